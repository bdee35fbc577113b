//! Rows on their way into files, fitted to the table by a pipeline's policy; what is rejected is staged as dead letters.
//! Memory is bounded by [`MOST_BYTES`] of rejects.

use std::{collections::BTreeMap, mem, sync::Arc};

use futures::{StreamExt, TryStreamExt, future, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use windrow_common::manifest::StagedFile;

use super::{Attempt, BatchStream, Layout, dead_letters, fit::Fitter, stage};
use crate::{error::Result, source::Reject, storage::Storage};

/// Bytes of rejected rows kept before they are staged.
const MOST_BYTES: usize = 8 << 20;

/// What did not fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unfit {
    /// Rejected rows.
    pub rows: u64,
    /// The files they are in.
    pub dead_letters: Vec<StagedFile>,
    /// Reason of the first.
    pub first: Option<String>,
    /// Values left out of rows that stayed, by column.
    pub values: BTreeMap<String, u64>,
}

/// See the module.
pub struct Fitting {
    storage: Storage,
    attempt: Attempt,
    state: Arc<Mutex<State>>,
}

struct State {
    fitter: Fitter,
    waiting: Vec<Reject>,
    bytes: usize,
    unfit: Unfit,
}

impl Fitting {
    pub fn new(storage: &Storage, layout: &Layout, attempt: &Attempt) -> Self {
        let state = State { fitter: Fitter::new(layout), waiting: Vec::new(), bytes: 0, unfit: Unfit::default() };
        Self { storage: storage.clone(), attempt: *attempt, state: Arc::new(Mutex::new(state)) }
    }

    /// The rows that fit.
    pub fn rows(&self, rows: BatchStream) -> BatchStream {
        let (storage, attempt, state) = (self.storage.clone(), self.attempt, self.state.clone());
        let fit = move |batch| {
            let (storage, state) = (storage.clone(), state.clone());
            async move {
                let mut state = state.lock().await;
                let fitted = state.fitter.fit(&batch)?;
                state.take(fitted.rejects, fitted.discarded);
                if state.bytes > MOST_BYTES {
                    state.stage(&storage, &attempt).await?;
                }
                Ok(fitted.rows)
            }
        };
        rows.and_then(fit).try_filter(|rows| future::ready(rows.num_rows() > 0)).boxed()
    }

    /// What did not fit, when all rows have gone through.
    pub async fn finish(self) -> Result<Unfit> {
        let mut state = self.state.lock().await;
        state.stage(&self.storage, &self.attempt).await?;
        Ok(mem::take(&mut state.unfit))
    }
}

impl State {
    fn take(&mut self, rejects: Vec<Reject>, discarded: BTreeMap<String, u64>) {
        self.unfit.rows += rejects.len() as u64;
        if let (None, Some(first)) = (&self.unfit.first, rejects.first()) {
            self.unfit.first = Some(format!("row {}, {}", first.position, first.reason));
        }
        self.bytes += rejects.iter().map(Reject::size).sum::<usize>();
        self.waiting.extend(rejects);
        for (column, values) in discarded {
            if !self.unfit.values.contains_key(&column) {
                tracing::warn!(column, "values that do not fit the table are left out");
            }
            *self.unfit.values.entry(column).or_default() += values;
        }
    }

    async fn stage(&mut self, storage: &Storage, attempt: &Attempt) -> Result<()> {
        let waiting = mem::take(&mut self.waiting);
        self.bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let rows = dead_letters::rows(&waiting, attempt)?;
        drop(waiting);
        let rows = stream::iter([Ok(rows)]).boxed();
        self.unfit.dead_letters.extend(stage(storage, &dead_letters::layout(), attempt, rows).await?);
        Ok(())
    }
}

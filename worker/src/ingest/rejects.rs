//! Rejected input on its way to the dead letters. A part of it at a time is kept in memory; when that is full it is
//! staged as a file of its own.

use futures::{StreamExt, future, stream};
use tokio::sync::Mutex;
use windrow_common::{count::counted, error, manifest::StagedFile};

use crate::{
    error::{Result, WorkerError},
    flight::{Hop, Part, Pass},
    source::Reject,
    stage::{Attempt, Unfit, dead_letters},
};

/// Bytes of rejected input kept before they are staged.
const MOST_BYTES: usize = 8 << 20;

pub(super) struct Rejects {
    hop: Hop,
    pass: Pass,
    attempt: Attempt,
    /// Share of the rows read that may be rejected.
    allowed: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Reject>,
    bytes: usize,
    files: Vec<StagedFile>,
    count: u64,
    /// Place and reason of the first, without its content.
    first: Option<String>,
}

impl Rejects {
    pub(super) fn new(hop: Hop, pass: Pass, attempt: Attempt, allowed: f64) -> Self {
        Self { hop, pass, attempt, allowed, state: Mutex::default() }
    }

    /// Fails with `TOO_MANY_REJECTED` at once if none are allowed.
    pub(super) async fn add(&self, rejects: Vec<Reject>) -> Result<()> {
        let mut state = self.state.lock().await;
        state.count += rejects.len() as u64;
        if let (None, Some(first)) = (&state.first, rejects.first()) {
            state.first = Some(format!("{} at {}: {}", first.input, first.position, first.reason));
        }
        // One of any number is too many, so there is no need to read on.
        if self.allowed <= 0.0 && state.count > 0 {
            return Err(self.too_many(&state, None));
        }
        state.bytes += rejects.iter().map(Reject::size).sum::<usize>();
        state.waiting.extend(rejects);
        match state.bytes > MOST_BYTES {
            true => self.stage(&mut state).await,
            false => Ok(()),
        }
    }

    /// How many the source had and the files all of them are in, with those of rows that did not fit the table.
    /// `TOO_MANY_REJECTED` if they are more than the pipeline allows of them and the `good` rows of the source together.
    pub(super) async fn finish(&self, good: u64, unfit: Unfit) -> Result<(u64, Vec<StagedFile>)> {
        let mut state = self.state.lock().await;
        let (of_source, read) = (state.count, good + state.count);
        state.count += unfit.rows;
        state.first = state.first.take().or(unfit.first);
        if exceeds(state.count, read, self.allowed) {
            return Err(self.too_many(&state, Some(read)));
        }
        self.stage(&mut state).await?;
        state.files.extend(unfit.dead_letters);
        Ok((of_source, std::mem::take(&mut state.files)))
    }

    async fn stage(&self, state: &mut State) -> Result<()> {
        let waiting = std::mem::take(&mut state.waiting);
        state.bytes = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        let rows = dead_letters::rows(&waiting, &self.attempt)?;
        drop(waiting);
        let rows = stream::once(future::ok(rows)).boxed();
        state.files.extend(self.hop.put(&self.pass, Part::DeadLetters, dead_letters::schema(), rows).await?.files);
        Ok(())
    }

    fn too_many(&self, state: &State, read: Option<u64>) -> WorkerError {
        let of = read.map(|read| format!(" of {}", counted(read, "row"))).unwrap_or_default();
        let first = state.first.as_deref().unwrap_or_default();
        let rejected = format!("{}{of} rejected where `limits.max_rejected` is {}", state.count, self.allowed);
        WorkerError::never(error::TOO_MANY_REJECTED, format!("{rejected}; the first: {first}"))
            .fix("correct the input, or allow more by `limits.max_rejected`")
    }
}

/// Whether so many of the rows read are more than the share allowed.
fn exceeds(rejected: u64, read: u64, allowed: f64) -> bool {
    rejected as f64 > allowed * read as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_all_rows_read_and_the_limit_itself_is_allowed() {
        assert!(!exceeds(0, 0, 0.0));
        assert!(exceeds(1, 1_000_000, 0.0));
        assert!(!exceeds(10, 1_000, 0.01));
        assert!(exceeds(11, 1_000, 0.01));
        assert!(!exceeds(5, 5, 1.0));
    }
}

//! Consumers that wait until windows are published. One that waits holds no more than its call: after each change of the ledger
//! it looks again.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, TryAcquireError};
use tonic::{Code, Status};
use windrow_common::{error, id::PipelineName, window::Window};
use windrow_proto::{
    status::{About, status_about},
    v1,
};

use super::{
    closing::closed_out,
    leading,
    refusal::{missing, never_ready, refused},
    view,
};
use crate::{
    controller::View,
    core::{
        closed::closed,
        ready::{NeverReady, ready},
    },
    run::Standing,
};

/// Most calls that wait at a time.
const MOST_WAITING: usize = 1_024;
/// The longest a call waits; clients ask again.
const LONGEST: Duration = Duration::from_secs(60);
/// Changes come by the hundred a second, and everybody who waits looks after each.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) pipeline: PipelineName,
    pub(super) range: Option<Window>,
    pub(super) settled: bool,
    pub(super) wait: Duration,
}

pub(super) struct Waiting {
    places: Semaphore,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(MOST_WAITING) }
    }

    /// Answers when the range is ready, or how it stands when the time is over.
    pub(super) async fn wait(&self, standing: &Arc<Standing>, asked: &Asked) -> Result<v1::WaitReadyResponse, Status> {
        let _place = self.places.try_acquire().map_err(|full| match full {
            TryAcquireError::NoPermits | TryAcquireError::Closed => status_about(
                Code::ResourceExhausted,
                error::CONFLICT,
                format!("{MOST_WAITING} calls wait for windows already"),
                About { retry_after: Some(LONGEST), ..About::default() },
            ),
        })?;
        match tokio::time::timeout(asked.wait.min(LONGEST), until_ready(standing, asked)).await {
            Ok(answer) => answer,
            Err(_) => look(standing, asked).await,
        }
    }
}

async fn until_ready(standing: &Arc<Standing>, asked: &Asked) -> Result<v1::WaitReadyResponse, Status> {
    loop {
        let mut changes = leading(standing)?.changes();
        changes.mark_unchanged();
        let found = look(standing, asked).await?;
        if found.ready {
            return Ok(found);
        }
        // What closes with time changes nothing in the ledger until it is planned, which is a change.
        if changes.changed().await.is_ok() {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

async fn look(standing: &Arc<Standing>, asked: &Asked) -> Result<v1::WaitReadyResponse, Status> {
    let Asked { pipeline, range, settled, .. } = asked.clone();
    let look = move |found: &View<'_>| -> Result<v1::WaitReadyResponse, Refused> {
        let entry = found.table.pipeline(&pipeline).ok_or_else(|| Refused::Unknown(pipeline.clone()))?;
        let ready = ready(found.table, entry, range, settled, found.when.now).map_err(Refused::Never)?;
        Ok(v1::WaitReadyResponse {
            ready: ready.first.is_none(),
            range: Some(ready.range.into()),
            windows: ready.windows,
            published: ready.published,
            first: ready.first.as_ref().map(|first| view::window(found, first)),
            closed: Some(closed_out(&closed(found.table, entry, &ready))),
        })
    };
    leading(standing)?.read(look).await.map_err(refused)?.map_err(|refused| match refused {
        Refused::Unknown(name) => missing("pipeline", name.as_str()),
        Refused::Never(why) => never_ready(&why),
    })
}

enum Refused {
    Unknown(PipelineName),
    Never(NeverReady),
}

//! The committer's part in a sweep: list, keep the list, and when the coordinator has said what lives, take the rest away.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::{error, failpoint};
use windrow_proto::{
    convert::{Malformed, required, task_id},
    v1,
};

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sweep::{self, Listed, LiveSet, Swept},
};

/// Lists kept for sweeps under way; a sweep whose second half never came is forgotten when there are more.
const MOST_LISTS: usize = 64;

/// What was listed, by request.
#[derive(Default)]
pub(super) struct Lists(Mutex<BTreeMap<u64, Vec<Listed>>>);

impl Lists {
    pub(super) async fn list(&self, connectors: &Connectors, asked: &v1::SweepList, now: Timestamp) -> Result<u64> {
        let pipeline = read_pipeline(&asked.pipeline)?;
        checked_sink(&asked.sink, &pipeline)?;
        let sink = connectors.sink(&pipeline)?;
        let listed = sweep::list(sink.as_ref(), now, Duration::from_millis(asked.grace_ms)).await?;
        let files = listed.len() as u64;
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(asked.request, listed);
        while lists.len() > MOST_LISTS {
            lists.pop_first();
        }
        Ok(files)
    }

    pub(super) async fn delete(&self, connectors: &Connectors, asked: &v1::SweepDelete) -> Result<Swept> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked.request);
        let Some(listed) = taken else { return Ok(Swept::default()) };
        let pipeline = read_pipeline(&asked.pipeline)?;
        checked_sink(&asked.sink, &pipeline)?;
        let sink = connectors.sink(&pipeline)?;
        let live = live_set(&asked.live).map_err(|cause| {
            WorkerError::later(error::VERSION_SKEW, "the coordinator's list of live attempts makes no sense")
                .because(cause)
        })?;
        failpoint::reach(failpoint::Point::Sweeping, &asked.sink).await?;
        sweep::take_away(sink.as_ref(), &listed, &live).await
    }
}

/// One claim that cannot be read makes the whole list worthless: its files would be deleted.
fn live_set(live: &[v1::HeldClaim]) -> Result<LiveSet, Malformed> {
    live.iter().map(|claim| Ok((task_id(&claim.task)?, required(claim.token, "token")?.into()))).collect()
}

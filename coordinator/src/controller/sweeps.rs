//! Sweeps: now and then the committer of a sink takes away what attempts left behind. It lists first; only then is it
//! told what lives, as the ledger has it under a leadership that is confirmed. The other way round a file that was
//! claimed in between would be deleted.

use std::time::Duration;

use tracing::{debug, info};
use windrow_common::{
    claim::Token,
    id::{SinkId, WorkerId},
    task::TaskState,
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::Controller;
use crate::{core::rollback, ledger::LedgerError};

/// A sink's sweep.
pub(super) struct Sweep {
    due: Duration,
    /// The request that is under way; an answer to another is old.
    request: Option<u64>,
}

impl Controller {
    /// Begins the sweeps that are due.
    pub(super) fn sweep(&mut self) {
        let now = self.clock.elapsed();
        let committers: Vec<(SinkId, WorkerId)> = self
            .table
            .sinks()
            .filter_map(|(sink, entry)| Some((sink.clone(), entry.committer.as_ref()?.value.clone())))
            .filter(|(_, worker)| self.workers.can_commit(worker))
            .collect();
        for (sink, worker) in committers {
            let first = now + self.timing.first_sweep;
            if self.sweeps.entry(sink.clone()).or_insert(Sweep { due: first, request: None }).due > now {
                continue;
            }
            // What a rollback brings back may be nothing's any more until its commit is made.
            if rollback::open(&self.table, &sink).is_some() {
                continue;
            }
            let Some(pipeline) = self.any_pipeline_of(&sink) else { continue };
            let request = self.next_request();
            self.sweeps.insert(sink.clone(), Sweep { due: now + self.timing.sweep_every, request: Some(request) });
            let grace_ms = u64::try_from(self.timing.sweep_grace.as_millis()).unwrap_or(u64::MAX);
            let list = v1::SweepList { request, sink: sink.to_string(), pipeline, grace_ms };
            self.tell(&worker, Out::SweepList(list));
        }
    }

    /// The committer has its list: now it may know what lives.
    pub(super) async fn listed(
        &mut self,
        worker: &WorkerId,
        sink: &SinkId,
        request: u64,
        files: u64,
    ) -> Result<(), LedgerError> {
        if self.sweeps.get(sink).and_then(|sweep| sweep.request) != Some(request) || files == 0 {
            return Ok(());
        }
        if rollback::open(&self.table, sink).is_some() {
            return Ok(());
        }
        if !self.ledger.still_leads().await? {
            return Err(LedgerError::NotLeader);
        }
        let Some(pipeline) = self.any_pipeline_of(sink) else { return Ok(()) };
        let delete = v1::SweepDelete { request, sink: sink.to_string(), pipeline, live: self.live_attempts(sink) };
        debug!(%sink, files, live = delete.live.len(), "sweeps");
        self.tell(worker, Out::SweepDelete(delete));
        Ok(())
    }

    pub(super) fn swept(&mut self, sink: &SinkId, request: u64, files: u64, bytes: u64) {
        let Some(sweep) = self.sweeps.get_mut(sink).filter(|sweep| sweep.request == Some(request)) else { return };
        sweep.request = None;
        if files > 0 {
            info!(%sink, files, bytes, "took away what attempts had left behind");
        }
    }

    /// The attempts whose files may still be published: of claimed tasks and of sealed ones, with or without an intent.
    fn live_attempts(&self, sink: &SinkId) -> Vec<v1::HeldClaim> {
        let epoch = self.ledger.epoch();
        let tasks = self.table.all_tasks().filter(|task| task.value.sink == *sink);
        let live = tasks.filter_map(|task| {
            let token = match &task.value.state {
                TaskState::Claimed { .. } => Token { epoch, revision: task.revision },
                TaskState::Sealed { token, .. } => *token,
                _ => return None,
            };
            Some(v1::HeldClaim { task: task.value.id.as_bytes().to_vec(), token: Some(token.into()) })
        });
        live.collect()
    }
}

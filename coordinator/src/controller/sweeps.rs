//! Sweeps: now and then the committer of a sink takes away what attempts left behind. It lists first; only then is it
//! told what lives, as the ledger has it under a leadership that is confirmed. The other way round a file that was
//! claimed in between would be deleted.

use std::time::Duration;

use tracing::{debug, info};
use windrow_common::{
    claim::Token,
    id::{SinkId, WorkerId},
    task::{Failure, TaskState},
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::Controller;
use crate::{core::pins, ledger::LedgerError};

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
            let unsafe_for_pins = || !self.knows_pins(&worker) && !pins::held(&self.table, &sink).is_empty();
            if self.may_not_clean(&sink) || unsafe_for_pins() {
                continue;
            }
            self.begin_sweep(&sink, &worker, v1::CleanExtent::Declared);
        }
    }

    /// The next one by itself follows when its time has come, from now on. Its request; `None` if nothing writes there.
    pub(super) fn begin_sweep(&mut self, sink: &SinkId, worker: &WorkerId, clean: v1::CleanExtent) -> Option<u64> {
        let pipeline = self.any_pipeline_of(sink)?;
        let request = self.next_request();
        let due = self.clock.elapsed() + self.timing.sweep_every;
        self.sweeps.insert(sink.clone(), Sweep { due, request: Some(request) });
        let grace_ms = u64::try_from(self.timing.sweep_grace.as_millis()).unwrap_or(u64::MAX);
        let list = v1::SweepList { request, sink: sink.to_string(), pipeline, grace_ms, clean: clean.into() };
        self.tell(worker, Out::SweepList(list));
        Some(request)
    }

    /// The committer has its list: now it may know what lives.
    pub(super) async fn listed(
        &mut self,
        worker: &WorkerId,
        sink: &SinkId,
        request: u64,
        listed: Result<(u64, Vec<v1::VacuumedTable>), Failure>,
    ) -> Result<(), LedgerError> {
        let (files, tables) = match listed {
            Ok(listed) => listed,
            Err(failure) => return self.cleaned(request, Err(failure)),
        };
        self.clean_wishes.vacuumed(request, tables);
        let only_look = self.clean_wishes.only_looks(request);
        let current = self.sweeps.get(sink).and_then(|sweep| sweep.request) == Some(request);
        if !current || (files == 0 && only_look.is_none()) || self.may_not_clean(sink) {
            self.clean_wishes.postpone(request);
            return Ok(());
        }
        if !self.ledger.still_leads().await? {
            return Err(LedgerError::NotLeader);
        }
        let Some(pipeline) = self.any_pipeline_of(sink) else { return Ok(()) };
        let delete = v1::SweepDelete {
            request,
            sink: sink.to_string(),
            pipeline,
            live: self.live_attempts(sink),
            pinned: pins::held(&self.table, sink).into_iter().map(Into::into).collect(),
            only_look: only_look.unwrap_or(false),
        };
        debug!(%sink, files, live = delete.live.len(), pinned = delete.pinned.len(), "sweeps");
        self.tell(worker, Out::SweepDelete(delete));
        Ok(())
    }

    /// How much was taken away of what attempts had left behind, and what of the rest.
    pub(super) fn swept(
        &mut self,
        sink: &SinkId,
        request: u64,
        swept: Result<(u64, u64, Option<v1::CleanReport>), Failure>,
    ) -> Result<(), LedgerError> {
        if let Some(sweep) = self.sweeps.get_mut(sink).filter(|sweep| sweep.request == Some(request)) {
            sweep.request = None;
        }
        let (files, bytes, report) = match swept {
            Ok(swept) => swept,
            Err(failure) => return self.cleaned(request, Err(failure)),
        };
        if files > 0 {
            info!(%sink, files, bytes, "took away what attempts had left behind");
        }
        let report = report.unwrap_or_default();
        if self.clean_wishes.only_looks(request) != Some(true) && report.files + report.log_files > 0 {
            let v1::CleanReport { files, bytes, log_files, whole_from, .. } = report;
            info!(%sink, files, bytes, log_files, whole_from, "took away what the table had given up");
        }
        self.cleaned(request, Ok(report))
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

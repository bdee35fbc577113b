//! What the leader does by itself: reap lost leases, plan due windows, find committers, commit, assign.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, info};
use windrow_common::{
    id::{SinkId, TaskId, WorkerId},
    ticket::{self, Ticket},
};
use windrow_proto::{
    convert::digest_bytes,
    v1::{self, session_response::Message as Out},
};

use super::Controller;
use crate::{
    core::{
        assign::{Assignment, assign},
        backfill, commit,
        commit::Todo,
        lifecycle, plan, report,
        table::Change,
    },
    ledger::{LedgerError, MAX_CHANGE},
};

/// Rounds of planning per round of the controller; more is planned at the next tick.
const PLAN_ROUNDS: usize = 10;
/// How often the state of the pipelines is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
const TICKET_MARGIN: Duration = Duration::from_secs(300);

impl Controller {
    pub(super) async fn drive(&mut self) -> Result<(), LedgerError> {
        if self.table.recovery().is_some() {
            return self.recover().await;
        }
        self.reap().await?;
        self.plan().await?;
        self.commit().await?;
        self.sweep();
        self.assign().await?;
        self.measure();
        Ok(())
    }

    /// Now and then, for whoever looks at the metrics.
    fn measure(&mut self) {
        let elapsed = self.clock.elapsed();
        if elapsed < self.measure_next {
            return;
        }
        self.measure_next = elapsed + MEASURE_EVERY;
        let now = self.now();
        for (name, entry) in self.table.pipelines() {
            self.metrics.observe(name, entry, &report::pipeline(&self.table, entry, now), now);
        }
    }

    async fn reap(&mut self) -> Result<(), LedgerError> {
        for (worker, claims) in self.workers.expire(self.clock.elapsed(), self.timing.lease) {
            info!(%worker, claims = claims.len(), "was not heard of for a lease");
            self.sessions.remove(&worker);
            for task in claims {
                self.metrics.lease_expired();
                self.progress.remove(&task);
                if let Ok(change) = lifecycle::reap(&self.table, &task, self.now()) {
                    self.persist(&change).await?;
                }
            }
        }
        Ok(())
    }

    async fn plan(&mut self) -> Result<(), LedgerError> {
        for _ in 0..PLAN_ROUNDS {
            let now = self.now();
            let mut changes = plan::plan(&self.table, now);
            changes.extend(backfill::advance(&self.table, now));
            if changes.is_empty() {
                break;
            }
            for change in &changes {
                self.persist(change).await?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), LedgerError> {
        let mut sinks: Vec<SinkId> = self.table.pipelines().map(|(_, entry)| entry.sink.clone()).collect();
        sinks.extend(self.table.sinks().map(|(sink, _)| sink.clone()));
        sinks.sort_unstable();
        sinks.dedup();
        for sink in sinks {
            // Taking the sink may be followed by work for its new committer at once.
            for _ in 0..2 {
                let run = self.sinks.entry(sink.clone()).or_default().clone();
                match commit::next(&self.table, &self.workers, &sink, &run, self.clock.elapsed()) {
                    None => break,
                    Some(Todo::Take(change)) => {
                        self.persist(&change).await?;
                    }
                    Some(todo) => {
                        self.ask_committer(&sink, todo);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn ask_committer(&mut self, sink: &SinkId, todo: Todo) {
        let request = self.next_request();
        let Some(pipeline) = self.any_pipeline_of(sink) else { return };
        let run = self.sinks.entry(sink.clone()).or_default();
        match todo {
            Todo::Take(_) => {}
            Todo::Prepare { worker, draft } => {
                debug!(%sink, seq = draft.seq, tasks = draft.tasks.len(), "prepares");
                let tasks = draft.tasks.iter().filter_map(|(id, _)| self.table.task(id));
                let prepare = v1::Prepare {
                    request,
                    sink: sink.to_string(),
                    pipeline,
                    seq: draft.seq,
                    previous: digest_bytes(draft.previous.as_ref()),
                    previous_aborted: draft.previous_aborted,
                    tasks: tasks.filter_map(|task| sealed(&task.value)).collect(),
                };
                run.preparing(request, worker.clone(), draft);
                self.tell(&worker, Out::Prepare(prepare));
            }
            Todo::Commit { worker, intent, abort } => {
                debug!(%sink, seq = intent.seq, abort, "commits");
                run.committing(request, worker.clone());
                let first = intent.tasks.first().and_then(|(id, _)| self.table.task(id));
                let commit = v1::Commit {
                    request,
                    sink: sink.to_string(),
                    pipeline,
                    seq: intent.seq,
                    path: intent.path,
                    digest: intent.digest.0.to_vec(),
                    abort,
                    trace: first.and_then(|task| task.value.trace.clone()).unwrap_or_default(),
                };
                self.tell(&worker, Out::Commit(commit));
            }
        }
    }

    /// A pipeline that writes to the sink, as JSON: what the committer opens the sink by.
    pub(super) fn any_pipeline_of(&self, sink: &SinkId) -> Option<Vec<u8>> {
        let entry = self.table.pipelines().map(|(_, entry)| entry).find(|entry| entry.sink == *sink)?;
        serde_json::to_vec(entry.spec()).ok()
    }

    async fn assign(&mut self) -> Result<(), LedgerError> {
        loop {
            let now = self.now();
            let chosen = assign(&self.table, &mut self.workers, now);
            let claims = chosen.iter().filter_map(|chosen| {
                let change = lifecycle::claim(&self.table, &chosen.task, &chosen.worker, now).ok()?;
                Some((chosen.clone(), change))
            });
            let (given, changes): (Vec<Assignment>, Vec<Change>) = claims.take(MAX_CHANGE).unzip();
            if given.is_empty() {
                return Ok(());
            }
            let batch = changes.into_iter().fold(Change::default(), Change::and);
            // The revision of the claiming transaction is the token of all its claims.
            let revision = self.persist(&batch).await?;
            self.metrics.claims(given.len());
            for assignment in given {
                self.workers.hold(&assignment.worker, assignment.task, self.clock.elapsed());
                self.send_assignment(&assignment.worker, &assignment.task, revision);
            }
        }
    }

    fn send_assignment(&mut self, worker: &WorkerId, task: &TaskId, revision: i64) {
        let token = windrow_common::claim::Token { epoch: self.ledger.epoch(), revision };
        let Some(task) = self.table.task(task).map(|entry| entry.value.clone()) else { return };
        let Some(entry) = self.table.pipeline(&task.pipeline) else { return };
        let Ok(pipeline) = serde_json::to_vec(entry.spec()) else { return };
        let deadline = entry.spec().limits.deadline.0;
        let committer = self.table.sink(&task.sink).and_then(|sink| sink.committer.as_ref()).map(|entry| &entry.value);
        let endpoint = match committer {
            Some(committer) if committer != worker => {
                self.workers.get(committer).map(|state| state.info.flight_endpoint.clone()).unwrap_or_default()
            }
            _ => String::new(),
        };
        let ticket = Ticket {
            task: task.id,
            token,
            attempt: task.attempts,
            pipeline: task.pipeline.clone(),
            sink: task.sink.clone(),
            window: task.window,
            pipeline_sha256: ticket::sha256(&pipeline),
            expires_unix_ms: expiry(self.clock.now(), deadline),
        };
        let Ok(ticket) = self.tickets.signer.sign(&ticket) else { return };
        let assign = v1::Assign {
            task: task.id.as_bytes().to_vec(),
            token: Some(token.into()),
            attempt: task.attempts,
            pipeline,
            window: Some(task.window.into()),
            windows: u32::try_from(task.windows()).unwrap_or(u32::MAX),
            revision: task.revision,
            flight_endpoint: endpoint,
            ticket,
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            trace: task.trace.clone().unwrap_or_default(),
        };
        self.tell(worker, Out::Assign(assign));
    }
}

/// A ticket is good for as long as its attempt may take, and a while longer for the last put.
fn expiry(now: Timestamp, deadline: Duration) -> i64 {
    now.checked_add(deadline + TICKET_MARGIN).unwrap_or(Timestamp::MAX).as_millisecond()
}

fn sealed(task: &windrow_common::task::Task) -> Option<v1::SealedTask> {
    let windrow_common::task::TaskState::Sealed { token, manifest, .. } = &task.state else { return None };
    Some(v1::SealedTask {
        task: task.id.as_bytes().to_vec(),
        pipeline: task.pipeline.to_string(),
        window: Some(task.window.into()),
        revision: task.revision,
        token: Some((*token).into()),
        manifest: Some(manifest.into()),
    })
}

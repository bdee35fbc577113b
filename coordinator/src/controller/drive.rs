//! What the leader does by itself: reap lost leases, plan due windows, find committers, commit, assign.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use tracing::{Instrument, debug, info};
use windrow_common::{
    failpoint::{self, Point},
    guard::Guard,
    id::{SinkId, TaskId, WorkerId},
    pipeline::Pattern,
    task::Lane,
    ticket::{self, Ticket},
};
use windrow_proto::{
    convert::digest_bytes,
    v1::{self, session_response::Message as Out},
};

use super::{Controller, traces};
use crate::{
    core::{
        assign::{Assignment, assign},
        backfill, commit,
        commit::Todo,
        compare, lifecycle, plan, recount, shards,
        table::Change,
        unchanged, upstream,
    },
    ledger::{LedgerError, MAX_CHANGE},
    trace,
};

/// Rounds of planning per round of the controller; more is planned at the next tick.
const PLAN_ROUNDS: usize = 10;
const TICKET_MARGIN: Duration = Duration::from_secs(300);

impl Controller {
    /// `look` says that it is time to see what time has brought.
    pub(super) async fn drive(&mut self, look: bool) -> Result<(), LedgerError> {
        if self.table.recovery().is_some() {
            return self.recover().await;
        }
        if look {
            self.reap().await?;
            self.end_pins().await?;
            for change in upstream::settle(&self.table, self.now()) {
                self.persist(&change).await?;
            }
            while let Some(change) = shards::give_up(&self.table, self.now()) {
                self.persist(&change).await?;
            }
        }
        self.wake_seals().await?;
        if look || self.may_plan {
            self.plan().await?;
        }
        self.commit().await?;
        self.ask_for_versions().await?;
        self.ask_about_pins().await?;
        self.ask_to_clean().await?;
        self.tell_receivers().await?;
        self.sweep();
        if look {
            self.look_around();
            self.look_for_small_files().await?;
        }
        self.assign().await?;
        if look {
            self.measure();
        }
        Ok(())
    }

    /// Thousands of workers may be lost at once, with a rack or a network, and others wait for their tasks: those are taken
    /// back by the hundred.
    async fn reap(&mut self) -> Result<(), LedgerError> {
        let mut reaped = Change::default();
        for (worker, claims) in self.workers.expire(self.clock.elapsed(), self.timing.lease) {
            info!(%worker, claims = claims.len(), "was not heard of for a lease");
            self.sessions.remove(&worker);
            for task in claims {
                self.metrics.lease_expired();
                self.progress.remove(&task);
                // What is reaped of a window that was cut may take its other shards along.
                if self.table.cut().next().is_some() && !reaped.is_empty() {
                    self.persist(&std::mem::take(&mut reaped)).await?;
                }
                let Ok(change) = lifecycle::reap(&self.table, &task, self.now()) else { continue };
                self.attempts.inherit(&task, &change);
                if reaped.size() + change.size() > MAX_CHANGE {
                    self.persist(&std::mem::take(&mut reaped)).await?;
                }
                reaped = reaped.and(change);
            }
        }
        match reaped.is_empty() {
            true => Ok(()),
            false => self.persist(&reaped).await.map(drop),
        }
    }

    async fn plan(&mut self) -> Result<(), LedgerError> {
        for _ in 0..PLAN_ROUNDS {
            let now = self.now();
            let mut changes = plan::plan(&self.table, now);
            changes.extend(backfill::advance(&self.table, now));
            changes.extend(recount::clear(&self.table));
            changes.extend(compare::plan(&self.table, now));
            if changes.is_empty() {
                self.may_plan = false;
                break;
            }
            for change in &mut changes {
                traces::begin(change);
                self.persist(change).await?;
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), LedgerError> {
        for sink in self.sinks_in_need() {
            // Taking the sink may be followed by work for its new committer at once.
            for _ in 0..2 {
                let run = self.sinks.entry(sink.clone()).or_default().clone();
                match commit::next(&self.table, &self.workers, &sink, &run, self.when()) {
                    None => break,
                    Some(Todo::Take(change)) => {
                        self.persist(&change).await?;
                        let committer = self.table.sink(&sink).and_then(|entry| entry.committer.as_ref());
                        info!(%sink, worker = committer.map(|found| found.value.as_str()), "has a new committer");
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

    /// Most sinks need nothing most of the time.
    fn sinks_in_need(&self) -> Vec<SinkId> {
        let (nothing, when) = (commit::SinkRun::default(), self.when());
        let written = self.table.pipelines().map(|(_, entry)| &entry.sink);
        let sinks: BTreeSet<&SinkId> = written.chain(self.table.sinks().map(|(sink, _)| sink)).collect();
        let needs = |sink: &&SinkId| {
            let run = self.sinks.get(*sink).unwrap_or(&nothing);
            commit::next(&self.table, &self.workers, sink, run, when).is_some()
        };
        sinks.into_iter().filter(needs).cloned().collect()
    }

    fn ask_committer(&mut self, sink: &SinkId, todo: Todo) {
        let request = self.next_request();
        let tasks = match &todo {
            Todo::Take(_) => return,
            Todo::Prepare { draft, .. } => &draft.tasks,
            Todo::Commit { intent, .. } => &intent.tasks,
        };
        let Some(pipeline) = self.pipeline_behind(tasks).or_else(|| self.any_pipeline_of(sink)) else { return };
        match todo {
            Todo::Take(_) => {}
            Todo::Prepare { worker, draft } => {
                debug!(%sink, seq = draft.seq, tasks = draft.tasks.len(), "prepares");
                let tasks = draft.tasks.iter().filter_map(|(id, _)| self.table.task(id));
                let origins = self.outcomes(tasks.clone().map(|task| &task.value));
                let prepare = v1::Prepare {
                    request,
                    sink: sink.to_string(),
                    pipeline,
                    seq: draft.seq,
                    previous: digest_bytes(draft.previous.as_ref()),
                    previous_aborted: draft.previous_aborted,
                    tasks: tasks
                        .filter_map(|task| sealed(&task.value, commit::guard(&self.table, &task.value)))
                        .collect(),
                    trace: origins.parent.or_else(|| self.rollback_trace(sink)).unwrap_or_default(),
                    links: origins.links,
                    show: draft.shows.as_ref().map(|shows| self.show_version(sink, shows)),
                };
                self.run(sink).preparing(request, worker.clone(), draft);
                self.tell(&worker, Out::Prepare(prepare));
            }
            Todo::Commit { worker, intent, abort } => {
                debug!(%sink, seq = intent.seq, abort, "commits");
                self.run(sink).committing(request, worker.clone());
                let tasks = intent.tasks.iter().filter_map(|(id, _)| self.table.task(id));
                let origins = self.outcomes(tasks.map(|task| &task.value));
                let commit = v1::Commit {
                    request,
                    sink: sink.to_string(),
                    pipeline,
                    seq: intent.seq,
                    path: intent.path,
                    digest: intent.digest.0.to_vec(),
                    abort,
                    trace: origins.parent.or_else(|| self.rollback_trace(sink)).unwrap_or_default(),
                    links: origins.links,
                };
                self.tell(&worker, Out::Commit(commit));
            }
        }
    }

    /// The pipeline of the first task, as JSON: its markers are the commit's, if it has any.
    fn pipeline_behind(&self, tasks: &[(TaskId, i64)]) -> Option<Vec<u8>> {
        let task = self.table.task(&tasks.first()?.0)?;
        serde_json::to_vec(self.table.pipeline(&task.value.pipeline)?.spec()).ok()
    }

    /// A pipeline that writes to the sink, as JSON: what the committer opens the sink by.
    pub(super) fn any_pipeline_of(&self, sink: &SinkId) -> Option<Vec<u8>> {
        let all = || self.table.pipelines().map(|(_, entry)| entry).filter(|entry| entry.sink == *sink);
        // One that loads knows more of the table than one that does nothing but compact it.
        let loads = all().find(|entry| entry.spec().pattern != Pattern::Compact);
        let entry = loads.or_else(|| all().next())?;
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
            let tasks = given.iter().filter_map(|given| self.table.task(&given.task));
            let span = trace::claim(given.len(), &self.origins(tasks.map(|task| &task.value)));
            let claim_trace = trace::traceparent(&span).unwrap_or_default();
            // The revision of the claiming transaction is the token of all its claims.
            let written = self.persist(&batch).instrument(span).await;
            if let Err(LedgerError::Conflict) = &written {
                self.metrics.claim_conflicts(given.len());
            }
            let revision = written?;
            self.metrics.claims(given.len());
            for assignment in given {
                self.workers.hold(&assignment.worker, assignment.task, self.clock.elapsed());
                if failpoint::reach(Point::Claimed, assignment.worker.as_str()).await.is_err() {
                    self.hang_up(&assignment.worker);
                }
                self.send_assignment(&assignment.worker, &assignment.task, revision, &claim_trace);
            }
        }
    }

    fn send_assignment(&mut self, worker: &WorkerId, task: &TaskId, revision: i64, claim_trace: &str) {
        let token = windrow_common::claim::Token { epoch: self.ledger.epoch(), revision };
        let Some(task) = self.table.task(task).map(|entry| entry.value.clone()) else { return };
        let Some(entry) = self.table.pipeline(&task.pipeline) else { return };
        let Ok(pipeline) = serde_json::to_vec(entry.spec()) else { return };
        let deadline = entry.spec().limits.deadline.0;
        let committer = self.table.sink(&task.sink).and_then(|sink| sink.committer.as_ref()).map(|entry| &entry.value);
        let other = committer.filter(|committer| *committer != worker).cloned();
        let endpoint = other.as_ref().and_then(|other| self.workers.get(other));
        let endpoint = endpoint.map(|state| state.info.flight_endpoint.clone()).unwrap_or_default();
        if let Some(other) = other {
            self.workers.send_by(task.id, other);
        }
        let ticket = Ticket {
            task: task.id,
            token,
            attempt: task.attempts,
            pipeline: task.pipeline.clone(),
            sink: task.sink.clone(),
            window: task.window,
            pipeline_sha256: ticket::sha256(&pipeline),
            expires_unix_ms: expiry(self.tickets.now(self.clock.elapsed()), deadline),
        };
        let Ok(ticket) = self.tickets.signer.sign(&ticket) else { return };
        let prove = unchanged::is_proven(entry, &task, self.now());
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
            claim_trace: claim_trace.to_owned(),
            previous_trace: self.attempts.of(&task.id).unwrap_or_default().to_owned(),
            detail_apart: self.is_apart(&task),
            prove,
            published: self.published(&task),
            recount: task.lane == Lane::Recount,
            seams: if prove { task.inner_bounds() } else { Vec::new() },
            waited_enough: task.declared.is_some() || upstream::goes_anyway(&self.table, &task, self.now()),
            loaded: digest_bytes(task.loaded.as_ref()),
            declared: task.declared.is_some(),
            part: task.part.as_ref().map(|part| part.what.clone()).unwrap_or_default(),
            compaction: task.lane == Lane::Compact,
            comparison: task.lane == Lane::Compare,
            backfill: task.lane.backfill().map(ToString::to_string).unwrap_or_default(),
        };
        self.tell(worker, Out::Assign(assign));
    }
}

/// A ticket is good for as long as its attempt may take, and a while longer for the last put.
fn expiry(now: Timestamp, deadline: Duration) -> i64 {
    now.checked_add(deadline + TICKET_MARGIN).unwrap_or(Timestamp::MAX).as_millisecond()
}

fn sealed(task: &windrow_common::task::Task, guard: Option<Guard>) -> Option<v1::SealedTask> {
    let windrow_common::task::TaskState::Sealed { token, manifest, .. } = &task.state else { return None };
    Some(v1::SealedTask {
        task: task.id.as_bytes().to_vec(),
        pipeline: task.pipeline.to_string(),
        window: Some(task.window.into()),
        revision: task.revision,
        token: Some((*token).into()),
        manifest: Some(manifest.into()),
        guard: guard.map(Into::into),
        shard: task.shard,
        compaction: task.lane == Lane::Compact,
        comparison: task.lane == Lane::Compare,
        declared: task.declared.as_deref().map(Into::into),
    })
}

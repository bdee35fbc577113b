//! What workers say, and what follows from it.

use std::time::Duration;

use tracing::{debug, info, warn};
use windrow_common::{
    error,
    failpoint::{self, Point},
    id::{SinkId, TaskId, WorkerId},
    task::{Failure, Task, TaskState},
};
use windrow_proto::v1::{self, session_response::Message as Out};

use super::{Controller, Draft, PrepareFailed, Progress, Session, SessionEvent, together::Then};
use crate::{
    core::{
        commit::{self, Answer},
        lifecycle::{self, HeldClaim},
        sources,
        workers::{Role, WorkerInfo},
    },
    ledger::LedgerError,
};

impl Controller {
    pub(super) async fn hear(
        &mut self,
        worker: WorkerId,
        session: u64,
        event: SessionEvent,
    ) -> Result<(), LedgerError> {
        if let SessionEvent::Hello { info, protocol, held, out } = event {
            return self.welcome(info, held, (protocol, Session { number: session, out })).await;
        }
        // A session that was replaced says nothing that counts any more.
        if self.sessions.get(&worker).is_none_or(|open| open.number != session) {
            return Ok(());
        }
        self.workers.heard(&worker, self.clock.elapsed());
        match event {
            SessionEvent::Hello { .. } => Ok(()),
            SessionEvent::Heartbeat { number, draining, progress, traces } => {
                if draining {
                    self.workers.drain(&worker);
                }
                self.note_traces(&worker, traces);
                self.heartbeat(&worker, number, progress);
                Ok(())
            }
            SessionEvent::Seal { request, claim, manifest, trace } => {
                self.note_traces(&worker, vec![(claim.task, trace)]);
                self.seal(&worker, request, claim, manifest).await
            }
            SessionEvent::Fail { request, claim, failure, not_ready, trace } => {
                self.note_traces(&worker, vec![(claim.task, trace)]);
                self.fail(&worker, request, (claim, not_ready), failure).await
            }
            SessionEvent::Turn { request, claim, rows } => {
                self.turn(&worker, request, &claim, rows);
                Ok(())
            }
            SessionEvent::Cut { request, claim, parts } => self.cut(&worker, request, &claim, parts).await,
            SessionEvent::Proven { request, claim, proof, seq, found } => {
                self.proven(&worker, request, &claim, ((proof, seq), &found)).await
            }
            SessionEvent::Prepared { request, sink, draft } => self.prepared(&sink, request, draft).await,
            SessionEvent::Settled { request, sink, answer, trace } => {
                self.settled(&sink, request, answer, trace.as_deref()).await
            }
            SessionEvent::Listed { request, sink, listed } => self.listed(&worker, &sink, request, listed).await,
            SessionEvent::Swept { request, sink, swept } => self.swept(&sink, request, swept),
            SessionEvent::PinChecked { request, found } => self.pin_checked(&worker, request, found).await,
            SessionEvent::Recalled { request, sink, recalled } => self.recalled(&sink, request, recalled).await,
            SessionEvent::Versions { request, versions } => self.versions_listed(&worker, request, versions).await,
            SessionEvent::CompactionPlanned { request, sink, found } => {
                self.compaction_planned(&worker, &sink, request, found).await
            }
            SessionEvent::Looked { request, seen } => {
                self.looked(&worker, request, seen);
                Ok(())
            }
            SessionEvent::Notified { request, sink, up_to, failure } => {
                self.receivers_told(&worker, request, (sink, up_to), failure).await
            }
            SessionEvent::Goodbye => self.goodbye(&worker).await,
            SessionEvent::Closed => {
                self.hang_up(&worker);
                Ok(())
            }
        }
    }

    /// A worker is here, perhaps again. Claims it still holds go on; claims of another token it is told to drop; claims
    /// the ledger gives it that it does not know of (the assignment was lost) are given back.
    async fn welcome(
        &mut self,
        info: WorkerInfo,
        held: Vec<HeldClaim>,
        (protocol, session): (u32, Session),
    ) -> Result<(), LedgerError> {
        let worker = info.id.clone();
        info!(%worker, roles = info.roles_in_words(), slots = info.slots, protocol, held = held.len(), "is here");
        let is_sink = info.roles.contains(&Role::Sink);
        self.cut_off(&worker);
        self.workers.connect(info, self.clock.elapsed());
        self.sessions.insert(worker.clone(), session);
        let welcome = v1::Welcome {
            protocol,
            now_unix_ms: self.tickets.now(self.clock.elapsed()).as_millisecond(),
            epoch: self.ledger.epoch(),
            lease_ms: millis(self.timing.lease),
            heartbeat_ms: millis(self.timing.heartbeat),
            ticket_keys: if is_sink { vec![self.ticket_key()] } else { Vec::new() },
        };
        self.tell(&worker, Out::Welcome(welcome));
        let known: Vec<TaskId> =
            self.workers.get(&worker).map(|state| state.claims.iter().copied().collect()).unwrap_or_default();
        // An older claim on a task does not stand for the one the ledger has: that assignment was lost all the same.
        let current: Vec<TaskId> =
            held.iter().filter(|claim| self.is_current(&worker, claim)).map(|claim| claim.task).collect();
        for claim in &held {
            if current.contains(&claim.task) {
                self.workers.hold(&worker, claim.task, self.clock.elapsed());
            } else {
                self.revoke(&worker, claim);
            }
        }
        for task in known.into_iter().filter(|task| !current.contains(task)) {
            self.workers.release(&worker, &task);
            if let Ok(change) = lifecycle::hand_back(&self.table, &task, self.now()) {
                self.persist(&change).await?;
            }
        }
        Ok(())
    }

    pub(super) fn is_current(&self, worker: &WorkerId, claim: &HeldClaim) -> bool {
        let entry = self.table.task(&claim.task);
        entry.is_some_and(|entry| match &entry.value.state {
            TaskState::Claimed { worker: holder, .. } => {
                holder == worker && (claim.token.epoch, claim.token.revision) == (self.ledger.epoch(), entry.revision)
            }
            TaskState::Sealed { token, .. } => *token == claim.token,
            _ => false,
        })
    }

    fn revoke(&mut self, worker: &WorkerId, claim: &HeldClaim) {
        let task = claim.task.as_bytes().to_vec();
        self.metrics.claim_conflicts(1);
        let reason = "the claim has passed on".to_owned();
        self.tell(worker, Out::Revoke(v1::Revoke { task, token: Some(claim.token.into()), reason }));
    }

    /// Of claims the worker holds; what others say of them is nobody's business.
    fn note_traces(&mut self, worker: &WorkerId, traces: Vec<(TaskId, Option<String>)>) {
        for (task, trace) in traces {
            if self.workers.get(worker).is_some_and(|state| state.claims.contains(&task)) {
                self.attempts.heard(task, trace);
            }
        }
    }

    fn heartbeat(&mut self, worker: &WorkerId, number: u64, progress: Vec<(TaskId, Progress)>) {
        for (task, done) in progress {
            if self.workers.get(worker).is_some_and(|state| state.claims.contains(&task)) {
                self.progress.insert(task, done);
            }
        }
        self.changes.send_modify(|count| *count += 1);
        let reply = v1::HeartbeatReply { number, lease_ms: millis(self.timing.lease) };
        self.tell(worker, Out::Heartbeat(reply));
    }

    /// Rows of an attempt wait for their turn at its source. An attempt whose claim has passed on gets none.
    fn turn(&mut self, worker: &WorkerId, request: u64, claim: &HeldClaim, rows: u64) {
        let current = self.is_current(worker, claim).then(|| self.table.task(&claim.task)).flatten();
        let source = current
            .and_then(|task| Some(sources::read_by(self.table.pipeline(&task.value.pipeline)?, &task.value.lane)));
        let wait = source.map(|source| match sources::limits(&self.table, source).rows_per_s {
            Some(rate) => self.queues.turn(source, rows, rate, self.clock.elapsed()),
            None => Duration::ZERO,
        });
        let wait_ms = u64::try_from(wait.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        // The part of a millisecond that was cut off is waited too.
        let wait_ms = if wait.is_some_and(|wait| !wait.is_zero()) { wait_ms.saturating_add(1) } else { wait_ms };
        self.tell(worker, Out::Turn(v1::TurnReply { request, accepted: wait.is_some(), wait_ms }));
    }

    async fn fail(
        &mut self,
        worker: &WorkerId,
        request: u64,
        (claim, not_ready): (HeldClaim, bool),
        failure: Failure,
    ) -> Result<(), LedgerError> {
        let (epoch, now) = (self.ledger.epoch(), self.now());
        debug!(%worker, task = %claim.task, code = %failure.code, message = %failure.message, not_ready, "attempt ended");
        let broken = (failure.code == error::FLIGHT_BROKEN.code).then(|| self.workers.way_of(&claim.task)).flatten();
        self.let_go(worker, &claim);
        let change = match not_ready {
            true => lifecycle::not_ready(&self.table, epoch, &claim, failure.message, now),
            false => lifecycle::fail(&self.table, epoch, &claim, failure, now),
        };
        let accepted = match change {
            Ok(change) => {
                self.persist(&change).await?;
                if let Some(sink_worker) = broken {
                    self.metrics.hop_broke();
                    self.workers.hop_broke(&sink_worker, self.clock.elapsed());
                }
                self.attempts.inherit(&claim.task, &change);
                true
            }
            Err(_) => false,
        };
        self.tell(worker, Out::Fail(v1::FailReply { request, accepted }));
        Ok(())
    }

    /// The worker is done with a claim, whatever comes of it. A newer one it has on the same task is left alone: nobody
    /// would take it back from a worker that was not known to hold it.
    pub(super) fn let_go(&mut self, worker: &WorkerId, claim: &HeldClaim) {
        let held = self.table.task(&claim.task).is_some_and(
            |entry| matches!(&entry.value.state, TaskState::Claimed { worker: holder, .. } if holder == worker),
        );
        if held && !self.is_current(worker, claim) {
            return;
        }
        self.workers.release(worker, &claim.task);
        self.progress.remove(&claim.task);
    }

    async fn prepared(
        &mut self,
        sink: &SinkId,
        request: u64,
        draft: Result<Draft, PrepareFailed>,
    ) -> Result<(), LedgerError> {
        loop {
            let Some(asked) = self.sinks.get(sink).and_then(|run| run.prepared(request)).cloned() else {
                return Ok(());
            };
            let Draft { path, digest, shows, files } = match &draft {
                Ok(draft) => draft.clone(),
                Err(failed) if asked.shows.is_some() => {
                    return self.rollback_unprepared(sink, failed.failure.clone()).await;
                }
                Err(failed) => return self.prepare_failed(sink, failed.clone()).await,
            };
            if shows != asked.shows.map(|shows| shows.version) {
                let failure = unversed(self.now().wall);
                return self.rollback_unprepared(sink, failure).await;
            }
            match commit::record(&self.table, sink, &asked, (path, digest), &files) {
                Some(change) if self.together.has_room_for(&change) => {
                    self.together.add(change, Then::Intended { sink: sink.clone() });
                    return Ok(());
                }
                Some(_) => self.write_together().await?,
                None => {
                    let now = self.clock.elapsed();
                    self.run(sink).resume(now);
                    return Ok(());
                }
            }
        }
    }

    async fn prepare_failed(&mut self, sink: &SinkId, failed: PrepareFailed) -> Result<(), LedgerError> {
        let (now, elapsed) = (self.now(), self.clock.elapsed());
        warn!(%sink, code = %failed.failure.code, message = %failed.failure.message, "cannot prepare a commit");
        let change = match (failed.task, failed.failure.retry) {
            (Some(task), _) if failed.staged_files_bad => {
                lifecycle::unseal(&self.table, &task, failed.failure, now).ok()
            }
            (_, windrow_common::task::Retry::Later) => {
                self.run(sink).failed(failed.failure, elapsed);
                return Ok(());
            }
            (task, windrow_common::task::Retry::Never) => {
                let blamed = task.or(self.run(sink).blame(elapsed));
                blamed.and_then(|task| lifecycle::quarantine_sealed(&self.table, &task, failed.failure, now).ok())
            }
        };
        self.run(sink).resume(elapsed);
        if let Some(change) = change {
            self.persist(&change).await?;
        }
        Ok(())
    }

    async fn settled(
        &mut self,
        sink: &SinkId,
        request: u64,
        answer: Answer,
        commit: Option<&str>,
    ) -> Result<(), LedgerError> {
        let elapsed = self.clock.elapsed();
        if !self.sinks.get(sink).is_some_and(|run| run.is_committing(request)) {
            return Ok(());
        }
        match answer {
            Answer::Committed => return self.committed(sink, request, commit).await,
            Answer::Aborted => return self.aborted(sink).await,
            Answer::Refused(failure) => {
                warn!(%sink, code = %failure.code, message = %failure.message, "the sink refuses the intent; it is aborted");
                self.run(sink).abort_next(failure, elapsed);
            }
            Answer::Halt(failure) => {
                tracing::error!(%sink, code = %failure.code, message = %failure.message, "the sink is halted; an operator has to look");
                self.run(sink).halt(failure, elapsed);
            }
            Answer::Unknown(Some(failure)) => {
                self.metrics.commit_retried();
                self.run(sink).failed(failure, elapsed);
            }
            // The recorded intent is the newest there is, so the sink can be past it only if the ledger went back.
            Answer::Stale => {
                let failure = went_back(self.now().wall);
                tracing::error!(%sink, code = %failure.code, message = %failure.message, "the sink is halted");
                self.run(sink).halt(failure, elapsed);
            }
            Answer::Unknown(None) => {
                self.metrics.commit_retried();
                self.run(sink).again(elapsed);
            }
        }
        Ok(())
    }

    /// The sink holds the intent.
    async fn committed(&mut self, sink: &SinkId, request: u64, commit: Option<&str>) -> Result<(), LedgerError> {
        failpoint::reach(Point::Finalizing, sink.as_str()).await?;
        loop {
            match commit::finalize(&self.table, sink, self.now()) {
                Some(change) if self.together.has_room_for(&change) => {
                    let entry = self.table.sink(sink).and_then(|entry| entry.intent.as_ref());
                    let intent = entry.map(|entry| &entry.value);
                    let tasks = intent.into_iter().flat_map(|intent| &intent.tasks);
                    let tasks = tasks.filter_map(|(id, _)| self.table.task(id));
                    let tasks: Vec<Task> = tasks.map(|task| task.value.clone()).collect();
                    let seq = intent.map_or(0, |intent| intent.seq);
                    let settling = tasks.iter().map(|task| self.settle(task, seq, commit)).collect();
                    self.together.add(change, Then::Published { sink: sink.clone(), tasks, settling });
                    return Ok(());
                }
                Some(_) => self.write_together().await?,
                None => {
                    self.run(sink).done();
                    return Ok(());
                }
            }
            // What was written may have been this very commit's end, told before.
            if !self.sinks.get(sink).is_some_and(|run| run.is_committing(request)) {
                return Ok(());
            }
        }
    }

    async fn aborted(&mut self, sink: &SinkId) -> Result<(), LedgerError> {
        let now = self.now();
        let reason = self.run(sink).abort_reason(now);
        let intent = self.table.sink(sink).and_then(|entry| entry.intent.as_ref());
        let tasks = intent.map_or(0, |intent| intent.value.tasks.len());
        if let Some(change) = commit::finalize_abort(&self.table, sink, &reason, now) {
            self.persist(&change).await?;
        }
        self.run(sink).aborted(tasks);
        Ok(())
    }

    /// The worker stops. What it holds is free at once.
    async fn goodbye(&mut self, worker: &WorkerId) -> Result<(), LedgerError> {
        info!(%worker, "leaves");
        self.sessions.remove(worker);
        self.cut_off(worker);
        for task in self.workers.remove(worker) {
            self.progress.remove(&task);
            if let Ok(change) = lifecycle::hand_back(&self.table, &task, self.now()) {
                self.persist(&change).await?;
            }
        }
        Ok(())
    }

    fn ticket_key(&self) -> v1::TicketKey {
        v1::TicketKey { id: self.tickets.key.id().to_owned(), key: self.tickets.key.reveal().to_vec() }
    }

    pub(super) fn run(&mut self, sink: &SinkId) -> &mut commit::SinkRun {
        self.sinks.entry(sink.clone()).or_default()
    }
}

fn went_back(at: jiff::Timestamp) -> Failure {
    Failure {
        code: windrow_common::error::SINK_FORKED.code.to_owned(),
        message:
            "the sink holds commits the ledger does not know of: the ledger was lost or restored from a backup, or \
                  another cluster writes here; `windrow admin restore` or `rebuild` makes the ledger good"
                .to_owned(),
        retry: windrow_common::task::Retry::Later,
        at,
        took: Duration::ZERO,
        worker: None,
    }
}

fn unversed(at: jiff::Timestamp) -> Failure {
    Failure {
        code: error::VERSION_SKEW.code.to_owned(),
        message: "the committer knows no rollbacks: upgrade the workers".to_owned(),
        retry: windrow_common::task::Retry::Later,
        at,
        took: Duration::ZERO,
        worker: None,
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

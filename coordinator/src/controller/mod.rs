//! The controller: sole owner of the table while this coordinator leads. It takes messages from one bounded inbox and
//! ticks; each round is decide, persist, apply, reply. Decisions are made in `core`; here they are carried out.

mod cleaning;
mod closing;
mod commands;
mod compactions;
mod cutting;
mod drive;
mod looking;
mod measuring;
mod message;
mod pins;
mod proving;
mod question;
mod recovery;
mod rollbacks;
mod sessions;
mod sweeps;
mod telling;
#[cfg(test)]
mod tests;
mod together;
mod traces;
mod view;
mod wishes;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;
use windrow_common::{
    claim::Token,
    clock::Clock,
    id::{SinkId, TaskId, WorkerId},
    task::{Task, TaskState},
    ticket::{TicketKey, TicketKeys},
};
use windrow_proto::v1;

use self::{
    cleaning::CleanWish, compactions::Compactions, cutting::HeldSeals, looking::Looking, measuring::Measuring,
    pins::PinWish, rollbacks::Then, sweeps::Sweep, telling::Telling, together::Together, wishes::Wishes,
};
pub use self::{
    compactions::{Found, Plan},
    message::{Command, CommandError, Draft, Message, Outbox, PrepareFailed, Progress, Recalled, Reply, SessionEvent},
    pins::Whole,
    recovery::Recovering,
    view::View,
};
use crate::{
    core::{
        audit::audit,
        commit::SinkRun,
        gather::When,
        lifecycle::{self, Now},
        sources::Queues,
        table::{Change, Key, Record, Table, Versioned},
        workers::Workers,
    },
    ledger::{Ledger, LedgerError},
};

/// Messages that may wait; senders wait when it is full. A round takes all of them.
const INBOX: usize = 1_024;
/// How often time-bound things (due windows, leases, pauses) are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How the controller treats workers.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A worker not heard of for this long loses its claims.
    pub lease: Duration,
    /// How often workers are to speak.
    pub heartbeat: Duration,
    /// How often what attempts left behind is taken away from a sink.
    pub sweep_every: Duration,
    /// How long after a leader's start it does so first.
    pub first_sweep: Duration,
    /// How long a staged file is left alone.
    pub sweep_grace: Duration,
    /// Whether claims and the leadership found at the start are of those who are gone for certain: on one machine the worker is part of
    /// this very process, and the store belongs to one process at a time.
    pub claims_are_orphans: bool,
    /// Whether this windrow ends when what is due is published, and sees no window that closes later.
    pub leaves: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(5),
            sweep_every: Duration::from_secs(3_600),
            first_sweep: Duration::from_secs(600),
            sweep_grace: Duration::from_secs(24 * 3_600),
            claims_are_orphans: false,
            leaves: false,
        }
    }
}

/// Everything the leader knows and does.
pub struct Controller {
    table: Table,
    workers: Workers,
    sinks: BTreeMap<SinkId, SinkRun>,
    sweeps: BTreeMap<SinkId, Sweep>,
    /// How far each sink is while the ledger is being made good.
    recovering: Recovering,
    version_wishes: Wishes<Then>,
    pin_wishes: Wishes<PinWish>,
    clean_wishes: Wishes<CleanWish>,
    compactions: Compactions,
    telling: Telling,
    looking: Looking,
    sessions: BTreeMap<WorkerId, Session>,
    progress: BTreeMap<TaskId, Progress>,
    together: Together,
    held_seals: HeldSeals,
    attempts: traces::Attempts,
    /// The rows of sources that limit them.
    queues: Queues,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    timing: Timing,
    tickets: Tickets,
    /// Numbers requests to committers, apart from any other leader's: they keep lists by these numbers.
    requests: u64,
    changes: watch::Sender<u64>,
    metrics: crate::metrics::Metrics,
    measuring: Measuring,
    /// When time-bound things are looked at next.
    look_next: Duration,
    /// Whether there may be windows to plan other than those that time brings.
    may_plan: bool,
}

/// What claims are signed with. Each leader has a key of its own and tells it to the sink workers; they keep the one
/// before, so that streams under way outlive a change of leaders. They are dated by the leader's clock as it was when it began to lead, carried on by
/// the monotonic one, so that no jump of a clock makes them void.
struct Tickets {
    key: TicketKey,
    signer: TicketKeys,
    began: (Timestamp, Duration),
}

impl Tickets {
    fn new(clock: &dyn Clock) -> Self {
        let key = TicketKey::random();
        Self { signer: TicketKeys::new(vec![key.clone()]), key, began: (clock.now(), clock.elapsed()) }
    }

    fn now(&self, elapsed: Duration) -> Timestamp {
        let (wall, began) = self.began;
        wall.checked_add(elapsed.saturating_sub(began)).unwrap_or(Timestamp::MAX)
    }
}

/// The open session of a worker.
struct Session {
    number: u64,
    out: Outbox,
}

/// Talks to a running controller.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Message>,
    changes: watch::Receiver<u64>,
}

/// Why the controller stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("asked to")]
    Asked,
}

/// More than one leader will ever make.
const REQUESTS_OF_A_LEADER: u64 = 1 << 24;

/// Reads the ledger and starts leading. The returned future runs until leadership is lost, `stop` resolves, or the
/// ledger cannot be written.
pub async fn start(ledger: Ledger, clock: Arc<dyn Clock>, timing: Timing) -> Result<(Handle, Running), LedgerError> {
    let table = ledger.load().await?;
    let (inbox, messages) = mpsc::channel(INBOX);
    let (changes, seen) = watch::channel(0);
    let requests = ledger.leadership().0.unsigned_abs().saturating_mul(REQUESTS_OF_A_LEADER);
    let mut controller = Controller {
        table,
        workers: Workers::default(),
        sinks: BTreeMap::new(),
        sweeps: BTreeMap::new(),
        recovering: Recovering::default(),
        version_wishes: Wishes::default(),
        pin_wishes: Wishes::default(),
        clean_wishes: Wishes::default(),
        compactions: Compactions::default(),
        telling: Telling::default(),
        looking: Looking::default(),
        sessions: BTreeMap::new(),
        progress: BTreeMap::new(),
        together: Together::default(),
        held_seals: HeldSeals::default(),
        attempts: traces::Attempts::default(),
        queues: Queues::default(),
        ledger,
        tickets: Tickets::new(clock.as_ref()),
        clock,
        timing,
        requests,
        changes,
        metrics: crate::metrics::Metrics::new(),
        measuring: Measuring::default(),
        look_next: Duration::ZERO,
        may_plan: true,
    };
    match controller.timing.claims_are_orphans {
        true => controller.end_claims().await?,
        false => controller.adopt_claims(),
    }
    Ok((Handle { inbox, changes: seen }, Running { controller, messages }))
}

/// A controller that is ready to run.
pub struct Running {
    controller: Controller,
    messages: mpsc::Receiver<Message>,
}

impl Running {
    /// Leads until `stop` resolves or the ledger refuses.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Stopped {
        let controller = &mut self.controller;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(stop);
        let mut batch = Vec::with_capacity(INBOX);
        loop {
            let ticked = tokio::select! {
                biased;
                () = &mut stop => return Stopped::Asked,
                count = self.messages.recv_many(&mut batch, INBOX) => match count {
                    0 => return Stopped::Asked,
                    _ => false,
                },
                _ = tick.tick() => true,
            };
            let round = controller.round(&mut batch, ticked).await;
            if let Err(error) = round {
                warn!(%error, "stops leading");
                return error.into();
            }
        }
    }
}

impl Controller {
    /// Ten thousand workers say thousands of times a second that they are well. Nothing follows from that, so nothing is
    /// looked for; what time brings about is looked for at every tick.
    async fn round(&mut self, batch: &mut Vec<Message>, ticked: bool) -> Result<(), LedgerError> {
        let now = self.clock.elapsed();
        // Messages come first, and may come without end.
        let look = ticked || now >= self.look_next;
        if look {
            self.look_next = now + TICK;
        }
        let mut may_follow = look;
        for message in batch.drain(..) {
            may_follow |= !message.only_tells();
            if !message.goes_together() {
                self.write_together().await?;
            }
            match message {
                Message::Session { worker, session, event } => self.hear(worker, session, event).await?,
                Message::Command(command) => self.obey(command).await?,
                Message::Read(read) => read(&View::of(self)),
            }
        }
        self.write_together().await?;
        match may_follow {
            true => self.drive(look).await,
            false => Ok(()),
        }
    }

    /// Claims found in the ledger: their workers have one full lease to appear.
    fn adopt_claims(&mut self) {
        if self.table.recovery().is_some() {
            return;
        }
        let now = self.clock.elapsed();
        for task in self.table.all_tasks() {
            if let TaskState::Claimed { worker, .. } = &task.value.state {
                self.workers.hold(worker, task.value.id, now);
            }
        }
    }

    /// Claims found in the ledger whose holders cannot appear any more: each is a lost lease, for its task may be what
    /// ended them.
    async fn end_claims(&mut self) -> Result<(), LedgerError> {
        let claimed = |task: &&Versioned<Task>| matches!(task.value.state, TaskState::Claimed { .. });
        let orphans: Vec<TaskId> = self.table.whole_tasks().filter(claimed).map(|task| task.value.id).collect();
        for task in orphans {
            if let Ok(change) = lifecycle::reap(&self.table, &task, self.now()) {
                self.persist(&change).await?;
            }
        }
        Ok(())
    }

    /// Persists a change and takes it over; the revision it was written at.
    async fn persist(&mut self, change: &Change) -> Result<i64, LedgerError> {
        self.look_over(change);
        let revision = self.ledger.write(change).await?;
        self.take_over(change, revision);
        Ok(revision)
    }

    fn look_over(&self, change: &Change) {
        // Told and not prevented: the store's compares and the sink's seq stand between a mistake here and the data, and a
        // leader that refused to go on would not be better off under the next one.
        if let Err(violation) = audit(&self.table, self.ledger.epoch(), change) {
            tracing::error!(invariant = violation.id, message = violation.message, "a change breaks an invariant");
            self.metrics.violated(violation.id);
        }
    }

    fn take_over(&mut self, change: &Change, revision: i64) {
        self.revoke_withdrawn(change);
        self.count_discarded(change);
        self.compactions.count_time(&self.table, change, self.clock.now());
        self.may_plan |= change.may_be_followed_by_tasks();
        self.table.apply(change, revision);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Groups that go without the head of their sink moving on.
    fn count_discarded(&self, change: &Change) {
        let published = |sink: &SinkId| {
            change.put.iter().any(|record| matches!(record, Record::Head(of, head) if of == sink && !head.aborted))
        };
        let gone = change.delete.iter().filter_map(|key| match key {
            Key::Group(_, id) => self.table.task(id),
            _ => None,
        });
        gone.filter(|task| !published(&task.value.sink))
            .for_each(|task| self.metrics.group_discarded(&task.value.sink));
    }

    /// Workers that hold what a change takes away are told at once, so that their slots are free for something else.
    fn revoke_withdrawn(&mut self, change: &Change) {
        let tasks = change.delete.iter().filter_map(|key| match key {
            Key::Task(_, id) | Key::Group(_, id) | Key::Comparison(_, id) => self.table.task(id),
            _ => None,
        });
        // Also where a claim is ended by what befell another task: one that is done with its claim, or lost it, is not known to
        // hold it any more.
        let ended = change.put.iter().filter_map(|record| match record {
            Record::Task(task) if !matches!(task.state, TaskState::Claimed { .. } | TaskState::Sealed { .. }) => {
                self.table.task(&task.id)
            }
            _ => None,
        });
        let claimed = tasks.chain(ended).filter_map(|task| match &task.value.state {
            TaskState::Claimed { worker, .. } => Some((worker.clone(), task.value.id, task.revision)),
            _ => None,
        });
        for (worker, task, revision) in claimed.collect::<Vec<_>>() {
            if self.workers.get(&worker).is_some_and(|state| state.claims.contains(&task)) {
                self.workers.release(&worker, &task);
                let token = Token { epoch: self.ledger.epoch(), revision };
                let task = task.as_bytes().to_vec();
                let reason = "the task was withdrawn, or begins anew".to_owned();
                let revoke = v1::Revoke { task, token: Some(token.into()), reason };
                self.tell(&worker, v1::session_response::Message::Revoke(revoke));
            }
        }
    }

    /// Says something to a worker. A worker that does not listen is cut off; it reconnects or its lease runs out.
    fn tell(&mut self, worker: &WorkerId, message: v1::session_response::Message) {
        let Some(session) = self.sessions.get(worker) else { return };
        let response = Box::new(v1::SessionResponse { message: Some(message) });
        if session.out.try_send(response).is_err() {
            warn!(%worker, "does not listen; its session is closed");
            self.hang_up(worker);
        }
    }

    /// Ends a worker's session; it may come back with a new one.
    fn hang_up(&mut self, worker: &WorkerId) {
        self.sessions.remove(worker);
        self.cut_off(worker);
    }

    /// A worker's session broke: it gets nothing new, and what it was asked as a committer will not be answered.
    fn cut_off(&mut self, worker: &WorkerId) {
        self.workers.disconnect(worker);
        let now = self.clock.elapsed();
        self.sinks.values_mut().for_each(|run| run.lost(worker, now));
        self.recovering.lost(worker);
        self.version_wishes.lost(worker);
        self.pin_wishes.lost(worker);
        self.clean_wishes.lost(worker);
        self.compactions.lost(worker);
        self.telling.lost(worker);
        self.looking.lost(worker);
    }

    fn now(&self) -> Now {
        Now::at(self.clock.now(), rand::random_range(0.0..1.0))
    }

    fn when(&self) -> When {
        When { now: self.now(), elapsed: self.clock.elapsed(), leaves: self.timing.leaves }
    }

    fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

impl Handle {
    /// Tells the controller what a worker said.
    pub async fn session(&self, worker: WorkerId, session: u64, event: SessionEvent) -> Result<(), CommandError> {
        let message = Message::Session { worker, session, event };
        self.inbox.send(message).await.map_err(|_| CommandError::Stopped)
    }

    /// Carries out a command and waits for its answer.
    pub async fn command<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Command(command(reply));
        self.inbox.send(message).await.map_err(|_| CommandError::Stopped)?;
        answer.await.map_err(|_| CommandError::Stopped)?
    }

    /// Looks at the table.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        let read = Box::new(move |view: &View<'_>| {
            let _ = reply.send(look(view));
        });
        self.inbox.send(Message::Read(read)).await.map_err(|_| CommandError::Stopped)?;
        answer.await.map_err(|_| CommandError::Stopped)
    }

    /// Counts changes; wakes whoever waits for the next one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Whether the controller has stopped.
    pub fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }
}

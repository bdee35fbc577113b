//! The life of a task after it was planned: claimed, sealed, failed, reaped, split, quarantined, withdrawn. Each step is
//! a function from the table to the [`Change`] that makes it, refused if the task is not where the step starts.

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    claim::Token,
    error,
    id::{TaskId, WorkerId},
    manifest::ManifestRef,
    pipeline::Retries,
    task::{Failure, Lane, Outage, Retry, Seams, Task, TaskState},
    window::Window,
};

use super::{
    blame, compact, compare, late,
    plan::MAX_OPEN,
    recount, shards,
    table::{Change, Key, Record, Table, Versioned},
};

/// What a decision may take from outside: the time, and a number in `[0, 1)` to spread retries with.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: Timestamp,
    pub jitter: f64,
}

impl Now {
    /// The wall clock's time, as exactly as records keep it.
    pub fn at(wall: Timestamp, jitter: f64) -> Self {
        Self { wall: in_record(wall), jitter }
    }
}

/// Why a step cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token is not that of the task's present claim: the caller is a zombie.
    #[error("task {0} has passed to another attempt")]
    Fenced(TaskId),
    #[error("task {0} does not exist")]
    Gone(TaskId),
    #[error("task {task} is {phase}")]
    WrongPhase { task: TaskId, phase: windrow_common::task::TaskPhase },
}

/// How long a task that was not ready waits before it may ask again.
const NOT_READY_PAUSE: Duration = Duration::from_secs(30);

/// T1: gives a pending task to a worker. The revision of the change becomes the token.
pub fn claim(table: &Table, id: &TaskId, worker: &WorkerId, now: Now) -> Result<Change, Refused> {
    let entry = find(table, id)?;
    if !matches!(entry.value.state, TaskState::Pending { .. } | TaskState::Waiting { .. }) {
        return Err(wrong_phase(&entry.value));
    }
    let mut task = entry.value.clone();
    task.attempts += 1;
    task.state = TaskState::Claimed { worker: worker.clone(), since: now.wall };
    Ok(Change::replace(Record::Task(task), entry.revision))
}

/// What sealing came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Seal {
    Change(Box<Change>),
    /// The same attempt sealed before; only the answer was lost.
    AlreadySealed,
    /// Shards that were cut off it are not sealed yet; it may be asked again when they are.
    Waits,
}

/// T3: what an attempt staged becomes what will be published. Zombies stop here.
pub fn seal(table: &Table, epoch: i64, claim: &HeldClaim, manifest: ManifestRef, now: Now) -> Result<Seal, Refused> {
    let entry = find(table, &claim.task)?;
    if let TaskState::Sealed { token, .. } = &entry.value.state
        && *token == claim.token
    {
        return Ok(Seal::AlreadySealed);
    }
    let worker = holder(entry, epoch, &claim.token)?.clone();
    // Its window is published; nothing was to be staged.
    if entry.value.lane == Lane::Recount {
        return Err(wrong_phase(&entry.value));
    }
    let mut task = entry.value.clone();
    task.outage = Outage::default();
    task.state = TaskState::Sealed { worker, token: claim.token, manifest, since: now.wall };
    if task.shard > 0 || matches!(task.lane, Lane::Compact | Lane::Compare) {
        return Ok(Seal::Change(Box::new(Change::replace(Record::Task(task), entry.revision))));
    }
    if !shards::are_sealed(table, &task.id) {
        return Ok(Seal::Waits);
    }
    let (part, others) = shards::sealed_with(table, &task.id);
    task.part = part;
    Ok(Seal::Change(Box::new(Change::replace(Record::Task(task), entry.revision).and(others))))
}

/// A claim as its holder names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldClaim {
    pub task: TaskId,
    pub token: Token,
}

/// T4: an attempt ended with an error, counted against whoever is [to blame](blame). The task is tried again after a
/// pause, split if it is a run whose failure may lie in one of its windows, or quarantined.
pub fn fail(table: &Table, epoch: i64, claim: &HeldClaim, failure: Failure, now: Now) -> Result<Change, Refused> {
    let entry = find(table, &claim.task)?;
    holder(entry, epoch, &claim.token)?;
    if compact::is_over(&entry.value, &failure) {
        return Ok(gone(entry));
    }
    let entry = shards::concerned(table, entry, &failure);
    let retries = retries(table, &entry.value);
    let mut task = entry.value.clone();
    Ok(match blame::count(&mut task, &retries, &failure, now) {
        None => split_or_quarantine(table, entry, task, failure, now),
        Some(pause) => again(table, entry, (task, pause), Some(failure), now),
    })
}

/// The source was not complete: the task waits, and no attempt is counted.
pub fn not_ready(table: &Table, epoch: i64, claim: &HeldClaim, reason: String, now: Now) -> Result<Change, Refused> {
    let entry = find(table, &claim.task)?;
    holder(entry, epoch, &claim.token)?;
    let mut task = entry.value.clone();
    task.attempts = task.attempts.saturating_sub(1);
    task.state = TaskState::Waiting { until: later(now.wall, NOT_READY_PAUSE), reason };
    Ok(Change::replace(Record::Task(task), entry.revision).and(shards::without_others(table, id_of(entry))))
}

/// A task that nobody has, and that waited for its input for too long.
pub(super) fn quarantine_waiting(table: &Table, id: &TaskId, failure: Failure, now: Now) -> Result<Change, Refused> {
    let entry = unclaimed(table, id)?;
    Ok(split_or_quarantine(table, entry, entry.value.clone(), failure, now))
}

/// A run some of whose windows could go on: tasks over its halves take its place.
pub(super) fn halve(table: &Table, id: &TaskId, now: Now) -> Result<Change, Refused> {
    let entry = unclaimed(table, id)?;
    halves(table, entry, None, now).ok_or_else(|| wrong_phase(&entry.value))
}

/// The worker gives a claim back unharmed, because it stops.
pub fn hand_back(table: &Table, id: &TaskId, now: Now) -> Result<Change, Refused> {
    let entry = find(table, id)?;
    if !matches!(entry.value.state, TaskState::Claimed { .. }) {
        return Err(wrong_phase(&entry.value));
    }
    Ok(again(table, entry, (entry.value.clone(), Duration::ZERO), None, now))
}

/// T5: nothing was heard of the worker for a lease.
pub fn reap(table: &Table, id: &TaskId, now: Now) -> Result<Change, Refused> {
    let entry = find(table, id)?;
    let TaskState::Claimed { worker, .. } = &entry.value.state else { return Err(wrong_phase(&entry.value)) };
    let retries = retries(table, &entry.value);
    let mut task = entry.value.clone();
    task.lost_leases += 1;
    let failure = Failure {
        code: error::SESSION_LOST.code.to_owned(),
        message: format!("nothing was heard of worker {worker} for a whole lease"),
        retry: Retry::Later,
        at: now.wall,
        took: Duration::ZERO,
        worker: Some(worker.clone()),
    };
    // An input that kills its worker looks like a lost lease, so these have a cap of their own.
    Ok(match task.lost_leases >= retries.lost_leases {
        true => split_or_quarantine(table, entry, task, failure, now),
        false => again(table, entry, (task, Duration::ZERO), Some(failure), now),
    })
}

/// T3': a sealed task's files turned out to be bad while no intent names them; it has to run again.
pub fn unseal(table: &Table, id: &TaskId, failure: Failure, now: Now) -> Result<Change, Refused> {
    let entry = whole(table, sealed(table, id)?)?;
    // What is to be rewritten is looked for anew: the table may have changed since.
    if entry.value.lane == Lane::Compact {
        return Ok(gone(entry).and(no_intent(&entry.value)));
    }
    let mut task = entry.value.clone();
    task.errors += 1;
    let change = match task.errors >= retries(table, &task).attempts {
        true => split_or_quarantine(table, entry, task, failure, now),
        false => again(table, entry, (task, Duration::ZERO), Some(failure), now),
    };
    Ok(change.and(no_intent(&entry.value)))
}

/// A sealed task that its sink will never take.
pub fn quarantine_sealed(table: &Table, id: &TaskId, failure: Failure, now: Now) -> Result<Change, Refused> {
    let entry = sealed(table, id)?;
    Ok(split_or_quarantine(table, entry, entry.value.clone(), failure, now).and(no_intent(&entry.value)))
}

/// T10: withdraws a task that is not sealed, and with it what was cut off it. Its record goes; a zombie's seal then finds
/// nothing.
pub fn cancel(table: &Table, id: &TaskId) -> Result<Change, Refused> {
    let entry = whole(table, find(table, id)?)?;
    match entry.value.state {
        TaskState::Sealed { .. } => Err(wrong_phase(&entry.value)),
        _ => {
            let gone = gone(entry);
            Ok(gone.and(shards::without_others(table, id_of(entry))))
        }
    }
}

/// What becomes of a task whose intent was aborted in the sink: it runs again. Only a task that was `alone` in its intent
/// can be given up, for among many nobody knows which one the sink refused; those that were, count an error and in the
/// end [go alone](goes_alone).
pub fn after_abort(table: &Table, entry: &Versioned<Task>, failure: Failure, alone: bool, now: Now) -> Change {
    if entry.value.lane == Lane::Compact {
        return gone(entry);
    }
    let most = retries(table, &entry.value).attempts;
    let mut task = entry.value.clone();
    task.errors += 1;
    match alone && (failure.retry == Retry::Never || task.errors >= most) {
        true => split_or_quarantine(table, entry, task, failure, now),
        false => {
            task.errors = task.errors.min(most.saturating_sub(1).max(1));
            again(table, entry, (task, Duration::ZERO), Some(failure), now)
        }
    }
}

/// A seal of another life of the ledger: it runs again, through no fault of its own.
pub(super) fn forget_seal(table: &Table, id: &TaskId, now: Now) -> Result<Change, Refused> {
    let entry = whole(table, sealed(table, id)?)?;
    if entry.value.lane == Lane::Compact {
        return Ok(gone(entry));
    }
    Ok(again(table, entry, (entry.value.clone(), Duration::ZERO), None, now))
}

/// Whether a sealed task gets an intent of its own, because one error more would end it.
pub fn goes_alone(table: &Table, task: &Task) -> bool {
    task.errors > 0 && task.errors + 1 >= retries(table, task).attempts
}

/// The task waits for its next attempt. What was cut off it is of the attempt before.
fn again(
    table: &Table,
    entry: &Versioned<Task>,
    (mut task, pause): (Task, Duration),
    failure: Option<Failure>,
    now: Now,
) -> Change {
    task.state = TaskState::Pending { not_before: later(now.wall, pause), last_failure: failure };
    if task.shard == 0 && !matches!(task.lane, Lane::Compact | Lane::Compare) {
        task.part = None;
    }
    Change::replace(Record::Task(task), entry.revision).and(shards::without_others(table, id_of(entry)))
}

/// A shard is given up with its window: without it the others are nothing.
fn split_or_quarantine(table: &Table, entry: &Versioned<Task>, mut task: Task, failure: Failure, now: Now) -> Change {
    if task.shard > 0
        && let Some(first) = table.task(&task.first())
    {
        let mut whole = first.value.clone();
        (whole.part, whole.state) = (None, TaskState::Quarantined { failure });
        return Change::replace(Record::Task(whole), first.revision).and(shards::without_others(table, id_of(first)));
    }
    // Nobody is to look into a window that is published because it cannot be counted; loading it shows what is wrong.
    if task.lane == Lane::Recount {
        return late::found(table, entry, task.each_window(), (failure, now)).into_change();
    }
    if matches!(task.lane, Lane::Compact | Lane::Compare) {
        task.state = TaskState::Quarantined { failure };
        return Change::replace(Record::Task(task), entry.revision);
    }
    task.part = None;
    // When whole runs fail one after the other, the cause is not in their windows: they are not taken to pieces.
    let halves = match blame::concerns_every_window(&failure) {
        true => None,
        false => halves(table, entry, Some(&failure), now),
    };
    halves.unwrap_or_else(|| {
        task.state = TaskState::Quarantined { failure };
        Change::replace(Record::Task(task), entry.revision).and(shards::without_others(table, id_of(entry)))
    })
}

/// Tasks over the halves of a run in its place; `None` where there is one window, or no room.
fn halves(table: &Table, entry: &Versioned<Task>, failure: Option<&Failure>, now: Now) -> Option<Change> {
    let task = &entry.value;
    let windows = task.each_window();
    if windows.len() < 2 || table.open(&task.pipeline, &task.lane) >= MAX_OPEN {
        return None;
    }
    let (left, right) = windows.split_at(windows.len() / 2);
    let gone = gone(entry).and(shards::without_others(table, id_of(entry)));
    let halves = [left, right].into_iter().filter_map(|half| part(task, half, failure.cloned(), now));
    Some(halves.fold(gone, |change, half| change.and(Change::create(Record::Task(half)))))
}

/// The task over some of a run's windows, as if it had been planned that way.
pub(super) fn part(run: &Task, windows: &[Window], last_failure: Option<Failure>, now: Now) -> Option<Task> {
    let (first, last) = (windows.first()?, windows.last()?);
    let window = Window::new(run.window.axis(), first.start(), last.end()).ok()?;
    let seams = match (&run.seams, windows.len()) {
        (_, 1) => Seams::None,
        (Seams::At(_), _) => Seams::At(windows[1..].iter().map(Window::start).collect()),
        (seams, _) => seams.clone(),
    };
    Some(Task {
        id: TaskId::of(&run.pipeline, run.shard, &window, run.revision),
        part: None,
        window,
        seams,
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        outage: Outage::default(),
        state: TaskState::Pending { not_before: now.wall, last_failure },
        ..run.clone()
    })
}

/// The task's record goes.
pub(super) fn gone(entry: &Versioned<Task>) -> Change {
    let key = Key::of(&entry.value);
    Change { expect: vec![(key.clone(), Some(entry.revision))], put: Vec::new(), delete: vec![key] }
}

/// Expects that no intent may be naming the task.
fn no_intent(task: &Task) -> Change {
    Change { expect: vec![(Key::Intent(task.sink.clone()), None)], ..Change::default() }
}

fn find<'a>(table: &'a Table, id: &TaskId) -> Result<&'a Versioned<Task>, Refused> {
    table.task(id).ok_or(Refused::Gone(*id))
}

/// The task that stands for the window of a task.
fn whole<'a>(table: &'a Table, entry: &'a Versioned<Task>) -> Result<&'a Versioned<Task>, Refused> {
    if entry.value.shard == 0 { Ok(entry) } else { find(table, &entry.value.first()) }
}

fn id_of(entry: &Versioned<Task>) -> &TaskId {
    &entry.value.id
}

/// A task that waits for somebody to take it.
fn unclaimed<'a>(table: &'a Table, id: &TaskId) -> Result<&'a Versioned<Task>, Refused> {
    let entry = find(table, id)?;
    match entry.value.state {
        TaskState::Pending { .. } | TaskState::Waiting { .. } => Ok(entry),
        _ => Err(wrong_phase(&entry.value)),
    }
}

fn sealed<'a>(table: &'a Table, id: &TaskId) -> Result<&'a Versioned<Task>, Refused> {
    let entry = find(table, id)?;
    match entry.value.state {
        TaskState::Sealed { .. } => Ok(entry),
        _ => Err(wrong_phase(&entry.value)),
    }
}

/// The worker of the present claim, if `token` is that claim's.
pub(super) fn holder<'a>(entry: &'a Versioned<Task>, epoch: i64, token: &Token) -> Result<&'a WorkerId, Refused> {
    match &entry.value.state {
        TaskState::Claimed { worker, .. } if (token.epoch, token.revision) == (epoch, entry.revision) => Ok(worker),
        _ => Err(Refused::Fenced(entry.value.id)),
    }
}

fn wrong_phase(task: &Task) -> Refused {
    Refused::WrongPhase { task: task.id, phase: task.state.phase() }
}

fn retries(table: &Table, task: &Task) -> Retries {
    table.pipeline(&task.pipeline).map(|entry| entry.spec().retries.clone()).unwrap_or_default()
}

/// No task is told to wait longer than this.
pub fn longest_pause(table: &Table, task: &Task) -> Duration {
    let usual = blame::longest_pause(&retries(table, task)).max(NOT_READY_PAUSE);
    match (&task.lane, table.pipeline(&task.pipeline)) {
        (Lane::Recount, Some(entry)) => usual.saturating_add(recount::longest_wait(entry)),
        (Lane::Compare, Some(entry)) => usual.saturating_add(compare::longest_wait(entry)),
        _ => usual,
    }
}

pub(super) fn later(now: Timestamp, pause: Duration) -> Timestamp {
    in_record(now.checked_add(pause).unwrap_or(Timestamp::MAX))
}

/// The instant as records keep it, in microseconds: a finer one would not be what is read back.
fn in_record(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

//! From sealed tasks to a published commit: who commits to a sink, what its next intent is, and what follows from the
//! committer's answer. At most one intent per sink exists, and it is recorded before it is tried.
//!
//! ```text
//!          sealed tasks             draft             recorded            answer
//!   Idle ---------------> Preparing -----> (T7) intent --------> Committing ------> (T9 or T11) Idle
//! ```

use std::{collections::BTreeMap, time::Duration};

use windrow_common::{
    error,
    guard::Guard,
    id::{PipelineName, SinkId, TaskId, WorkerId},
    intent::{IntentRef, MAX_INTENT_TASKS, Seq},
    manifest::{Counts, Digest, ManifestRef, WriteMode},
    task::{Failure, Lane, Retry, Task, TaskState},
    window::Axis,
};

use super::{
    choose, closed, compact, compare,
    gather::When,
    lifecycle::{self, Now},
    recount, rollback, shards,
    table::{Change, Coverage, Head, Key, Record, SinkEntry, Table, Versioned},
    unchanged::{self, Loaded},
    workers::Workers,
};

/// What is under way for a sink. It lives in the leader's memory; a new leader starts from the records again.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkRun {
    pub step: Step,
    /// Most tasks of the next intent: halved while a sink refuses, so that one bad task is found.
    batch: usize,
    /// Failures in a row, for the pause between them.
    failures: u32,
    /// Whether the next thing to do with the intent is to abort it.
    abort: Option<Failure>,
    /// Why the last step came to nothing; forgotten when one succeeds.
    trouble: Option<Failure>,
    /// Whether that needs an operator.
    halted: bool,
}

/// Why nothing is committed to a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub failure: Failure,
    /// An operator has to look; else it is tried again by itself.
    pub halted: bool,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again; zero while it is.
    pub retry_in: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Idle {
        not_before: Duration,
    },
    /// The committer was asked to work out the next intent.
    Preparing {
        request: u64,
        worker: WorkerId,
        draft: Draft,
    },
    /// The committer was asked to carry out the recorded intent.
    Committing {
        request: u64,
        worker: WorkerId,
    },
    /// Two histories, or a sink that was rolled back. An operator has to look; asked again after a pause.
    Halted {
        not_before: Duration,
    },
}

impl Default for SinkRun {
    fn default() -> Self {
        Self {
            step: Step::Idle { not_before: Duration::ZERO },
            batch: MAX_INTENT_TASKS,
            failures: 0,
            abort: None,
            trouble: None,
            halted: false,
        }
    }
}

/// The next thing to do for a sink.
#[derive(Clone, Debug, PartialEq)]
pub enum Todo {
    /// T6: give the sink a committer.
    Take(Change),
    /// Ask the committer to work out an intent of these tasks.
    Prepare { worker: WorkerId, draft: Draft },
    /// Ask the committer to carry out, or to abort, the recorded intent.
    Commit { worker: WorkerId, intent: IntentRef, abort: bool },
}

/// What the committer is asked to work out an intent of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub seq: Seq,
    /// The digest of the intent before it.
    pub previous: Option<Digest>,
    /// Whether the one before was aborted.
    pub previous_aborted: bool,
    /// Sealed tasks and the revisions of their seals; shards behind the task they were cut off.
    pub tasks: Vec<(TaskId, i64)>,
    /// Of a rollback, which has no tasks.
    pub shows: Option<Shows>,
    /// The task there is to blame if the sink does not take them, where it can only be one's fault.
    pub only: Option<TaskId>,
}

/// What a rollback's commit is worked out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shows {
    pub version: u32,
    /// The version that was shown when it was asked for.
    pub instead_of: u32,
    /// The revision of its record.
    pub asked: i64,
}

/// Longest pause after failures in a row.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What a sink needs next, if anything.
pub fn next(table: &Table, workers: &Workers, sink: &SinkId, run: &SinkRun, when: When) -> Option<Todo> {
    let now = when.elapsed;
    let nothing = SinkEntry::default();
    let entry = table.sink(sink).unwrap_or(&nothing);
    let Some(worker) = serving(table, workers, sink, now).cloned() else {
        return appoint(table, workers, sink, now).map(Todo::Take);
    };
    match &run.step {
        Step::Idle { not_before } | Step::Halted { not_before } if *not_before <= now => {}
        // Whoever was asked is not the committer any more: its answer will not come, or no longer counts.
        Step::Preparing { worker: asked, .. } | Step::Committing { worker: asked, .. } if *asked != worker => {}
        _ => return None,
    }
    if let Some(intent) = &entry.intent {
        return Some(Todo::Commit { worker, intent: intent.value.clone(), abort: run.abort.is_some() });
    }
    let head = entry.head.as_ref().map(|head| head.value).unwrap_or_default();
    let (seq, previous, previous_aborted) = (head.seq + 1, head.digest, head.aborted);
    // Before loads that are sealed: who asked for it knew nothing of them, and they are shown above it.
    if let Some(asked) = entry.rollback.as_ref().filter(|found| found.value.phase == rollback::Phase::Asked) {
        let shows = Shows { version: asked.value.to, instead_of: asked.value.shown, asked: asked.revision };
        let draft = Draft { seq, previous, previous_aborted, tasks: Vec::new(), shows: Some(shows), only: None };
        return Some(Todo::Prepare { worker, draft });
    }
    let knows = choose::Knows {
        groups: compact::are_known_to(workers, &worker),
        comparisons: compare::are_known_to(workers, &worker),
    };
    let chosen = choose::choose(table, sink, (run.batch, knows), when);
    if chosen.iter().any(|task| task.value.shard > 0) && !shards::are_known_to(workers, &worker) {
        return None;
    }
    let mut whole = chosen.iter().filter(|task| task.value.shard == 0).map(|task| task.value.id);
    let only = whole.next().filter(|_| whole.next().is_none());
    let tasks: Vec<_> = chosen.iter().map(|task| (task.value.id, task.revision)).collect();
    let draft = Draft { seq, previous, previous_aborted, tasks, shows: None, only };
    (!draft.tasks.is_empty()).then_some(Todo::Prepare { worker, draft })
}

/// T6: gives the sink a committer if it has none that serves. One that is gone, or that its peers cannot reach, is
/// replaced; its revision tells that nobody else did so meanwhile. What the old one still does is harmless: intents are
/// fixed, and the sink takes each once.
pub fn appoint(table: &Table, workers: &Workers, sink: &SinkId, now: Duration) -> Option<Change> {
    if serving(table, workers, sink, now).is_some() {
        return None;
    }
    let load = |worker: &WorkerId| {
        table.sinks().filter(|(_, other)| other.committer.as_ref().is_some_and(|found| found.value == *worker)).count()
    };
    let worker = workers.best_committer(load, now)?;
    let expect = table.sink(sink).and_then(|entry| entry.committer.as_ref()).map(|committer| committer.revision);
    let record = Record::Committer(sink.clone(), worker);
    Some(Change { expect: vec![(record.key(), expect)], put: vec![record], delete: Vec::new() })
}

/// The sink's committer, if it can be asked.
fn serving<'a>(table: &'a Table, workers: &Workers, sink: &SinkId, now: Duration) -> Option<&'a WorkerId> {
    let committer = table.sink(sink)?.committer.as_ref().map(|committer| &committer.value);
    committer.filter(|worker| workers.can_commit(worker) && !workers.gives_way(worker, now))
}

/// T7: records the intent the committer worked out, if all the draft rested on still holds.
/// `files` are those it adds, task by task.
pub fn record(
    table: &Table,
    sink: &SinkId,
    draft: &Draft,
    (path, digest): (String, Digest),
    files: &[u64],
) -> Option<Change> {
    let entry = table.sink(sink)?;
    let committer = entry.committer.as_ref()?;
    let head = entry.head.as_ref();
    let at = head.map(|head| head.value).unwrap_or_default();
    if entry.intent.is_some() || (at.seq + 1, at.digest) != (draft.seq, draft.previous) {
        return None;
    }
    let mut expect = vec![
        (Key::Committer(sink.clone()), Some(committer.revision)),
        (Key::Intent(sink.clone()), None),
        (Key::Head(sink.clone()), head.map(|head| head.revision)),
    ];
    let mut counts = Counts::default();
    for (id, seal) in &draft.tasks {
        let task = table.task(id).filter(|task| task.revision == *seal && task.value.sink == *sink)?;
        counts += manifest(&task.value)?.counts;
        expect.push((Key::of(&task.value), Some(*seal)));
    }
    let intent = IntentRef {
        seq: draft.seq,
        previous: draft.previous,
        path,
        digest,
        tasks: draft.tasks.clone(),
        counts,
        files: draft.tasks.iter().map(|(id, _)| *id).zip(files.iter().copied()).collect(),
    };
    let change = Change { expect, put: vec![Record::Intent(sink.clone(), intent)], delete: Vec::new() };
    match draft.shows {
        None => Some(change),
        Some(shows) => Some(change.and(rollback::intended(entry, sink, shows.asked, draft.seq)?)),
    }
}

/// T9: the sink holds the intent; its tasks leave the ledger, or become recounts, or the next comparison, and their windows are covered. A rollback's has none: it is done.
pub fn finalize(table: &Table, sink: &SinkId, now: Now) -> Option<Change> {
    let (intent, mut change) = close_intent(table, sink, false)?;
    let tasks: Vec<&Versioned<Task>> = intent.tasks.iter().filter_map(|(id, _)| table.task(id)).collect();
    let mut coverages: BTreeMap<&PipelineName, Coverage> = BTreeMap::new();
    let mut published: BTreeMap<&Lane, u64> = BTreeMap::new();
    for task in tasks.iter().map(|task| &task.value) {
        if task.lane == Lane::Compact {
            change.delete.push(Key::of(task));
            continue;
        }
        let entry = table.pipeline(&task.pipeline);
        if task.lane == Lane::Compare {
            change.delete.push(Key::of(task));
            let next = entry.and_then(|entry| compare::follows(entry, manifest(task), intent.seq, now));
            change.put.extend(next.map(Record::Task));
            if let Some(entry) = entry {
                let coverage = coverages.entry(&task.pipeline).or_insert_with(|| entry.coverage.value.clone());
                let rows_deleted = manifest(task).map_or(0, |manifest| manifest.counts.rows_deleted);
                coverage.totals += Counts { rows_deleted, ..Counts::default() };
            }
            continue;
        }
        match entry.and_then(|entry| recount::follows(entry, task, manifest(task))) {
            Some(recount) => change.put.push(Record::Task(recount)),
            None => change.delete.push(Key::of(task)),
        }
        let Some(entry) = entry else { continue };
        let coverage = coverages.entry(&task.pipeline).or_insert_with(|| entry.coverage.value.clone());
        closed::now_published(coverage, entry, task, gained(&intent, task));
        if task.shard == 0 && task.window.axis() == Axis::Version {
            unchanged::now_loaded(coverage, task, loaded(&tasks, task, intent.seq));
        }
        if task.shard == 0 {
            *published.entry(&task.lane).or_default() += task.windows() as u64;
        }
    }
    for (pipeline, coverage) in coverages {
        let revision = table.pipeline(pipeline)?.coverage.revision;
        change = change.and(Change::replace(Record::Coverage(pipeline.clone(), coverage), revision));
    }
    for (lane, windows) in published {
        let Lane::Backfill(id) = lane else { continue };
        let Some(backfill) = table.backfill(id) else { continue };
        let mut next = backfill.value.clone();
        next.published += windows;
        change = change.and(Change::replace(Record::Backfill(next), backfill.revision));
    }
    let done = rollback::done(table.sink(sink)?, sink, intent.seq);
    Some(change.and(done.unwrap_or_default()))
}

/// What the table has got by a task. Rows and bytes are as they were staged, files as they are in the commit.
fn gained(intent: &IntentRef, task: &Task) -> Counts {
    let staged = manifest(task).map(|manifest| manifest.counts).unwrap_or_default();
    Counts { files: intent.files.get(&task.id).copied().unwrap_or(staged.files), ..staged }
}

/// What readers see of a full load from now on, if its source was proven; of several in one commit nobody can say whose rows
/// they see.
fn loaded(tasks: &[&Versioned<Task>], task: &Task, seq: Seq) -> Option<Loaded> {
    let alone = tasks.iter().all(|other| other.value.first() == task.id);
    let proof = manifest(task)?.proof.as_ref().filter(|_| alone)?.whole;
    let rows = tasks.iter().filter_map(|other| manifest(&other.value)).map(|manifest| manifest.counts.rows_written);
    Some(Loaded { proof, seq, rows: rows.sum() })
}

/// T11: the sink holds the intent's abort; its tasks run again, or are quarantined if that cannot help.
pub fn finalize_abort(table: &Table, sink: &SinkId, failure: &Failure, now: Now) -> Option<Change> {
    let (intent, change) = close_intent(table, sink, true)?;
    let change = change.and(rollback::undone(table.sink(sink)?, sink, intent.seq, failure).unwrap_or_default());
    // What was cut off a task runs again with it.
    let tasks: Vec<_> = intent.tasks.iter().filter_map(|(id, _)| table.task(id)).collect();
    let tasks: Vec<_> = tasks.into_iter().filter(|task| task.value.shard == 0).collect();
    let alone = tasks.len() == 1;
    let after = |task: &&Versioned<Task>| lifecycle::after_abort(table, task, failure.clone(), alone, now);
    Some(tasks.iter().map(after).fold(change, Change::and))
}

/// What T9 and T11 share: the intent as it was recorded goes, the head moves onto it. T9 compares no task: while the
/// intent that names their seals exists, nothing else may touch them.
fn close_intent(table: &Table, sink: &SinkId, aborted: bool) -> Option<(IntentRef, Change)> {
    let entry = table.sink(sink)?;
    let intent = entry.intent.as_ref()?;
    let head = Head { seq: intent.value.seq, digest: Some(intent.value.digest), aborted };
    let change = Change {
        expect: vec![(Key::Intent(sink.clone()), Some(intent.revision))],
        put: vec![Record::Head(sink.clone(), head)],
        delete: vec![Key::Intent(sink.clone())],
    };
    Some((intent.value.clone(), change))
}

/// What a sealed task's rows have to look like before they replace all others; `None` where nothing is asked, because
/// they replace nothing or whoever asked for the load accepts what comes. The sink's committer holds them against it,
/// for how many rows there are only the sink knows.
pub fn guard(table: &Table, task: &Task) -> Option<Guard> {
    let spec = table.pipeline(&task.pipeline)?.spec();
    if matches!(task.lane, Lane::Compact | Lane::Compare) {
        // What the one replaces it has the rows of; the other was held against a guard of its own.
        return None;
    }
    let accepted = task.lane.backfill().and_then(|id| table.backfill(id)).is_some_and(|found| found.value.accept);
    (spec.sink.write == WriteMode::ReplaceAll && !accepted).then_some(spec.guard)
}

fn manifest(task: &Task) -> Option<&ManifestRef> {
    match &task.state {
        TaskState::Sealed { manifest, .. } => Some(manifest),
        _ => None,
    }
}

/// The committer's answer about an intent.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Committed,
    Aborted,
    /// The sink is past this intent: whoever asked was late. The records tell the truth.
    Stale,
    /// Only an abort can follow.
    Refused(Failure),
    Halt(Failure),
    /// Not known, for this reason if there is one; ask again.
    Unknown(Option<Failure>),
}

impl Trouble {
    /// What a sealed task waits for, in words.
    pub fn in_words(&self) -> String {
        let (Failure { code, message, .. }, seconds) = (&self.failure, self.retry_in.as_secs());
        match self.halted {
            true => format!("its sink is halted until somebody has looked: {message} [{code}]"),
            false if seconds == 0 => format!("its commit failed and is tried again now: {message} [{code}]"),
            false => format!("its commit failed and is tried again in {seconds} s: {message} [{code}]"),
        }
    }
}

impl SinkRun {
    pub fn preparing(&mut self, request: u64, worker: WorkerId, draft: Draft) {
        self.step = Step::Preparing { request, worker, draft };
    }

    pub fn committing(&mut self, request: u64, worker: WorkerId) {
        self.step = Step::Committing { request, worker };
    }

    /// The draft of the request, if it is the one that is waited for.
    pub fn prepared(&self, request: u64) -> Option<&Draft> {
        match &self.step {
            Step::Preparing { request: asked, draft, .. } if *asked == request => Some(draft),
            _ => None,
        }
    }

    pub fn is_committing(&self, request: u64) -> bool {
        matches!(&self.step, Step::Committing { request: asked, .. } if *asked == request)
    }

    /// The step is done; the next may follow at once.
    pub fn done(&mut self) {
        *self = Self { batch: (self.batch * 2).min(MAX_INTENT_TASKS), ..Self::default() };
    }

    /// The intent of so many tasks is aborted. Smaller ones follow, to find the task the sink refuses; a rollback's has none.
    pub fn aborted(&mut self, tasks: usize) {
        let batch = if tasks == 0 { self.batch } else { (tasks / 2).max(1) };
        *self = Self { batch, ..Self::default() };
    }

    /// The session with a worker broke. If something was asked of it, its answer will not come.
    pub fn lost(&mut self, gone: &WorkerId, now: Duration) {
        if let Step::Preparing { worker, .. } | Step::Committing { worker, .. } = &self.step
            && worker == gone
        {
            self.step = Step::Idle { not_before: now };
        }
    }

    /// The step is done or given up; what comes next is decided from the records.
    pub fn resume(&mut self, now: Duration) {
        self.step = Step::Idle { not_before: now };
    }

    /// The step has to be done again, after a pause that grows.
    pub fn again(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let pause =
            Duration::from_millis(100).saturating_mul(1_u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX));
        self.step = Step::Idle { not_before: now + pause.min(MAX_PAUSE) };
    }

    /// The same for a reason that whoever waits should know.
    pub fn failed(&mut self, failure: Failure, now: Duration) {
        (self.trouble, self.halted) = (Some(failure), false);
        self.again(now);
    }

    /// Most tasks of the next intent.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// How often in a row a step failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Preparing failed for good. Returns the task to blame if it can only be one; else a smaller batch is tried.
    pub fn blame(&mut self, now: Duration) -> Option<TaskId> {
        let Step::Preparing { draft, .. } = &self.step else { return None };
        let only = draft.only;
        self.batch = (draft.tasks.len() / 2).max(1);
        self.step = Step::Idle { not_before: now };
        only
    }

    /// The next attempt at the intent is to abort it.
    pub fn abort_next(&mut self, failure: Failure, now: Duration) {
        self.abort = Some(failure);
        self.step = Step::Idle { not_before: now };
    }

    pub fn halt(&mut self, failure: Failure, now: Duration) {
        (self.trouble, self.halted) = (Some(failure), true);
        self.failures = self.failures.saturating_add(1);
        self.step = Step::Halted { not_before: now + MAX_PAUSE };
    }

    /// Why nothing is committed, if that is so.
    pub fn trouble(&self, now: Duration) -> Option<Trouble> {
        let retry_in = match &self.step {
            Step::Idle { not_before } | Step::Halted { not_before } => not_before.saturating_sub(now),
            Step::Preparing { .. } | Step::Committing { .. } => Duration::ZERO,
        };
        let failure = self.trouble.clone()?;
        Some(Trouble { failure, halted: self.halted, failures: self.failures, retry_in })
    }

    /// Why the intent is being aborted.
    pub fn abort_reason(&self, now: Now) -> Failure {
        self.abort.clone().unwrap_or_else(|| Failure {
            code: error::SINK_CONFLICT.code.to_owned(),
            message: "the sink shows the intent as aborted".to_owned(),
            retry: Retry::Later,
            at: now.wall,
            took: Duration::ZERO,
            worker: None,
        })
    }
}

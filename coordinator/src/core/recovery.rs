//! Making the ledger good from what the sinks know: after it was restored from a backup, or lost as a whole. The sink is
//! the truth for what is published, and the bodies of its intents say which windows that was.
//!
//! ```text
//!   begin            drop_claims        replay, commit by commit, sink by sink          drop_seals, finish
//!   (epoch raised) -> nobody works -> head, coverage, cursor, open tasks follow the sink -> as before the loss
//! ```

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::{
    id::{BackfillId, PipelineName, SinkId, TaskId},
    intent::Seq,
    manifest::{Counts, Digest},
    pipeline::Pipeline,
    task::{Lane, Task, TaskState},
    window::{Axis, Window},
};

use super::{
    apply::{self, BadPipeline},
    backfill::Backfill,
    closed,
    coverage::IntervalSet,
    lifecycle::{self, Now},
    rollback, shards,
    table::{Change, Coverage, Cursor, Head, Key, Record, Recovery, SinkEntry, Table, Versioned},
};

/// A commit as the sink knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastCommit {
    pub seq: Seq,
    pub digest: Digest,
    /// The digest of the commit before it.
    pub previous: Option<Digest>,
    pub aborted: bool,
    pub tasks: Vec<PastTask>,
}

/// A task a past commit published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastTask {
    pub task: TaskId,
    pub pipeline: PipelineName,
    pub window: Window,
    pub revision: u32,
    pub epoch: i64,
    pub counts: Counts,
}

/// Why a commit of the sink cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHistory {
    #[error("the sink's commit {found} does not follow the ledger's commit {head}")]
    Forked { head: Seq, found: Seq },
    #[error("commit {seq} published windows of {pipeline}, which is not applied here")]
    UnknownPipeline { seq: Seq, pipeline: PipelineName },
}

/// What a step of [`replay`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// More steps follow for the same commit.
    More(Change),
    /// With this the commit is taken over.
    Last(Change),
}

/// What a change that replaces open tasks may come to, so that counts of backfills still fit the transaction. One task
/// falls into a part more at most than the commit has tasks.
const MOST_REPLACED: usize = 110;
/// Most backfills whose counts one change sets right.
const MOST_BACKFILLS: usize = 10;
/// What a change that takes back claims or seals may come to; one for each, and one for each shard that goes with it.
const MOST_DROPPED: usize = 100;

/// Begins: the pipelines are taken in, and from now on nothing is planned, given out or committed.
pub fn begin(table: &Table, pipelines: &[Pipeline], now: Now) -> Result<Change, BadPipeline> {
    let (change, _) = apply::apply(table, pipelines)?;
    Ok(match table.recovery() {
        Some(_) => change,
        None => change.and(Change::create(Record::Recovery(Recovery { since: now.wall }))),
    })
}

/// Takes back claims: they are of another life of the ledger, and their tokens count no more.
pub fn drop_claims(table: &Table, now: Now) -> Option<Change> {
    let claimed = table.whole_tasks().filter(|task| matches!(task.value.state, TaskState::Claimed { .. }));
    Change::up_to(MOST_DROPPED, claimed.filter_map(|task| lifecycle::hand_back(table, &task.value.id, now).ok()))
}

/// Takes back seals, once all commits are taken over. What a backup calls sealed may have been given up since, and a sweep
/// that was told so may still be deleting its files: they are staged anew, under a token nobody has given up. Only an intent
/// that is still the sink's next has been open all the while, and so were the seals it names.
pub fn drop_seals(table: &Table, now: Now) -> Option<Change> {
    let intended = |task: &Task| {
        let intent = table.sink(&task.sink).and_then(|entry| entry.intent.as_ref());
        intent.is_some_and(|intent| intent.value.tasks.iter().any(|(id, _)| *id == task.id))
    };
    let sealed = table.whole_tasks().filter(|task| matches!(task.value.state, TaskState::Sealed { .. }));
    let dropped = sealed.filter(|task| !intended(&task.value));
    Change::up_to(MOST_DROPPED, dropped.filter_map(|task| lifecycle::forget_seal(table, &task.value.id, now).ok()))
}

/// The next step of taking over a commit: first the open tasks whose windows it published make room, then coverage,
/// cursor and head follow.
pub fn replay(table: &Table, sink: &SinkId, commit: &PastCommit, now: Now) -> Result<Step, BadHistory> {
    let nothing = SinkEntry::default();
    let entry = table.sink(sink).unwrap_or(&nothing);
    let head = entry.head.as_ref().map(|head| head.value).unwrap_or_default();
    if (commit.seq, commit.previous) != (head.seq + 1, head.digest) {
        return Err(BadHistory::Forked { head: head.seq, found: commit.seq });
    }
    let published: &[PastTask] = if commit.aborted { &[] } else { &commit.tasks };
    let unknown = |task: &&PastTask| table.pipeline(&task.pipeline).is_none_or(|entry| entry.sink != *sink);
    if let Some(task) = published.iter().find(unknown) {
        return Err(BadHistory::UnknownPipeline { seq: commit.seq, pipeline: task.pipeline.clone() });
    }
    Ok(match make_room(table, published, now) {
        Some(change) => Step::More(change),
        None => Step::Last(take_over(table, sink, (entry, commit, published), now)),
    })
}

/// Ends: work goes on.
pub fn finish(table: &Table) -> Option<Change> {
    let recovery = table.recovery()?;
    let delete = vec![Key::Recovery];
    Some(Change { expect: vec![(Key::Recovery, Some(recovery.revision))], put: Vec::new(), delete })
}

/// Open tasks, and what backfills have yet to plan, over windows that are published in their own revision or a later one:
/// what is left of them stays to be done. An earlier revision says nothing of them: they were to load its windows again.
fn make_room(table: &Table, published: &[PastTask], now: Now) -> Option<Change> {
    let mut change = Change::default();
    let mut backfills: BTreeMap<BackfillId, Backfill> = BTreeMap::new();
    let pipelines: BTreeSet<&PipelineName> = published.iter().map(|task| &task.pipeline).collect();
    for task in pipelines.iter().flat_map(|pipeline| table.tasks_of(pipeline)) {
        let done = published_since(&task.value.pipeline, task.value.revision, published);
        if !done.overlaps(task.value.window.start(), task.value.window.end()) {
            continue;
        }
        let (replaced, windows) = without(table, task, &done, now);
        let full = change.size() + replaced.size() > MOST_REPLACED || backfills.len() == MOST_BACKFILLS;
        if full && !change.is_empty() {
            break;
        }
        change = change.and(replaced);
        if let Lane::Backfill(id) = &task.value.lane
            && let Some(found) = table.backfill(id)
        {
            backfills.entry(id.clone()).or_insert_with(|| found.value.clone()).published += windows;
        }
    }
    for backfill in table.backfills().map(|found| &found.value).filter(|found| found.phase.is_unsettled()) {
        let done = published_since(&backfill.pipeline, backfill.revision, published);
        let overlaps = done.iter().any(|(start, end)| backfill.todo.overlaps(start, end));
        if let Some(entry) = table.pipeline(&backfill.pipeline).filter(|_| overlaps)
            && backfills.len() < MOST_BACKFILLS
        {
            let left = backfills.entry(backfill.id.clone()).or_insert_with(|| backfill.clone());
            let before = entry.windows_in(&left.todo);
            done.iter().for_each(|(start, end)| left.todo.remove(start, end));
            left.published += before - entry.windows_in(&left.todo);
        }
    }
    for backfill in backfills.into_values() {
        let Some(before) = table.backfill(&backfill.id) else { continue };
        change = change.and(Change::replace(Record::Backfill(backfill), before.revision));
    }
    (!change.is_empty()).then_some(change)
}

/// What of a pipeline's time is published in a revision or a later one.
fn published_since(pipeline: &PipelineName, revision: u32, published: &[PastTask]) -> IntervalSet {
    let concern = |task: &&PastTask| task.pipeline == *pipeline && task.revision >= revision;
    published.iter().filter(concern).map(|task| (task.window.start(), task.window.end())).collect()
}

/// The task without its published windows, and how many those are.
fn without(table: &Table, task: &Versioned<Task>, done: &IntervalSet, now: Now) -> (Change, u64) {
    let windows = task.value.each_window();
    let covered = |window: &Window| done.covers(window.start(), window.end());
    let published = windows.iter().filter(|window| covered(window)).count() as u64;
    let left: Vec<Window> = windows.into_iter().filter(|window| !covered(window)).collect();
    let runs: Vec<&[Window]> = left.chunk_by(|before, after| before.end() == after.start()).collect();
    let gone = lifecycle::gone(task).and(shards::without_others(table, &task.value.id));
    let parts = runs.iter().filter_map(|run| lifecycle::part(&task.value, run, None, now));
    (parts.fold(gone, |change, part| change.and(Change::create(Record::Task(part)))), published)
}

/// Coverage, totals and cursor of each pipeline, and the sink's head; a recorded intent has had its time.
fn take_over(
    table: &Table,
    sink: &SinkId,
    (entry, commit, published): (&SinkEntry, &PastCommit, &[PastTask]),
    now: Now,
) -> Change {
    let head = Head { seq: commit.seq, digest: Some(commit.digest), aborted: commit.aborted };
    let before = entry.head.as_ref().map(|head| head.revision);
    let record = Record::Head(sink.clone(), head);
    let mut change = Change { expect: vec![(record.key(), before)], put: vec![record], delete: Vec::new() };
    if let Some(intent) = entry.intent.as_ref().filter(|intent| intent.value.seq <= commit.seq) {
        let key = Key::Intent(sink.clone());
        change.expect.push((key.clone(), Some(intent.revision)));
        change.delete.push(key);
    }
    change = change.and(rollback::recovered(entry, sink, commit, now).unwrap_or_default());
    let mut followed: BTreeMap<&PipelineName, (Coverage, Cursor)> = BTreeMap::new();
    for task in published {
        let Some(entry) = table.pipeline(&task.pipeline) else { continue };
        let start = || (entry.coverage.value.clone(), entry.cursor.value);
        let (coverage, cursor) = followed.entry(&task.pipeline).or_insert_with(start);
        coverage.published.insert(task.window.start(), task.window.end());
        coverage.totals += task.counts;
        closed::note(coverage, entry, &task.window, task.revision);
        cursor.revision = cursor.revision.max(task.revision);
        if task.window.axis() == Axis::Version {
            cursor.next = cursor.next.max(task.window.end());
        }
    }
    for (name, (coverage, cursor)) in followed {
        let Some(entry) = table.pipeline(name) else { continue };
        change = change.and(Change::replace(Record::Coverage(name.clone(), coverage), entry.coverage.revision));
        if cursor != entry.cursor.value {
            change = change.and(Change::replace(Record::Cursor(name.clone(), cursor), entry.cursor.revision));
        }
    }
    change
}

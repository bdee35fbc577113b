//! Recounts: some time after its end a published window is counted again in its source, for rows that came, changed or went
//! after it was read. One that has changed is loaded again, as if somebody had asked for it.
//!
//! The load proves what its source held. When it is published, its record becomes that of the recount, in the same
//! transaction: it waits until the window's end lies `audit_after` back, is claimed like any task, and is done with one word,
//! which is held against the proof. Of a run each window has a proof of its own, so that the word says which of them have
//! changed. It moves no rows and is no load: windows stand as published all the while. A recount that cannot be had, however
//! often it was tried, says nothing good of its windows either, and they are loaded again too.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use windrow_common::{
    closed::Late,
    error,
    manifest::{ManifestRef, Proof},
    task::{Failure, Lane, Outage, Task, TaskState},
    window::{Axis, Window},
};

use super::{
    late,
    lifecycle::{self, HeldClaim, Now, Refused, gone},
    plan,
    table::{Change, Cursor, PipelineEntry, Record, Table, Versioned},
    timeline::{Standing, Timeline},
    workers::Workers,
};

/// Most records one transaction takes away.
const MAX_DROPPED: usize = plan::MAX_PLANNED;
/// Most recounts of a pipeline at a time: windows that are loaded come first.
pub const MOST_AT_A_TIME: usize = 1;
/// Most windows of a run that is counted again: its record holds a proof of each, and a transaction a hundred records.
const MOST_IN_A_RUN: usize = 100;
/// Most characters of what a worker says is otherwise.
const MOST_WORDS: usize = 1_000;
/// The version of the session protocol that knows them.
const PROTOCOL: u32 = 3;

/// What a recount came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// The source holds what was loaded.
    Same(Change),
    /// It does not: what has changed is loaded again.
    Stale(Change),
    /// It does not, and the window is closed: what its pipeline says of that, in a word.
    Late(Change, &'static str),
}

/// When a window is to be counted again; `None` if it is not.
pub fn due(entry: &PipelineEntry, window: &Window) -> Option<Timestamp> {
    let after = entry.spec().window.as_ref()?.audit_after?;
    let (_, end) = window.instants()?;
    end.checked_add(after.0).ok()
}

/// Whether its time has come, or it is being counted. One that failed has to wait for its next time.
pub fn has_come(recount: &Task, now: Now) -> bool {
    let (TaskState::Waiting { until: at, .. } | TaskState::Pending { not_before: at, .. }) = &recount.state else {
        return true;
    };
    *at <= now.wall
}

/// Whether a window that is loaded now is to be counted again. What was not to be waited for any more when it was read came
/// in time.
pub(super) fn lies_ahead(entry: &PipelineEntry, window: &Window, now: Now) -> bool {
    due(entry, window).is_some_and(|due| due > now.wall)
}

/// Whether an attempt at the task is to prove what its source holds, for a recount.
pub(super) fn is_asked_for(entry: &PipelineEntry, task: &Task, now: Now) -> bool {
    // Of a window that was declared complete nothing was read that could be proven again.
    let fits = task.windows() <= longest_run(entry);
    let is_load = task.lane != Lane::Recount && task.shard == 0 && fits && task.declared.is_none();
    task.lane == Lane::Recount || is_load && lies_ahead(entry, &task.window, now)
}

/// What becomes of the record of a window that is published: a recount, if the source was proven for one.
pub(super) fn follows(entry: &PipelineEntry, task: &Task, manifest: Option<&ManifestRef>) -> Option<Task> {
    let proof = manifest?.proof.clone()?;
    let until = due(entry, &task.window).filter(|_| task.window.axis() == Axis::Time && task.shard == 0)?;
    Some(Task {
        lane: Lane::Recount,
        loaded: manifest.filter(|_| entry.spec().readiness.late.compares()).map(|manifest| manifest.sha256),
        part: None,
        proof: Some(proof),
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        outage: Outage::default(),
        state: TaskState::Waiting { until, reason: "the window is published and counted again then".to_owned() },
        ..task.clone()
    })
}

/// An attempt has counted: what its source holds is held against what it was proven to hold. What is otherwise it may say in words.
pub fn counted(
    table: &Table,
    epoch: i64,
    claim: &HeldClaim,
    (proof, words): (&Proof, &str),
    now: Now,
) -> Result<Counted, Refused> {
    let entry = table.task(&claim.task).ok_or(Refused::Gone(claim.task))?;
    lifecycle::holder(entry, epoch, &claim.token)?;
    let known = entry.value.proof.as_ref();
    match known.is_some_and(|known| known.whole == proof.whole) {
        true => Ok(Counted::Same(gone(entry))),
        false => {
            let windows = changed_of(entry.value.each_window(), known, proof);
            Ok(late::found(table, entry, windows, (changed(words, now), now)))
        }
    }
}

/// The windows of which another digest was found; all of them where nobody told one from the other.
fn changed_of(windows: Vec<Window>, known: Option<&Proof>, found: &Proof) -> Vec<Window> {
    let known = known.map_or(&[][..], |known| known.windows.as_slice());
    if known.len() != windows.len() || found.windows.len() != windows.len() {
        return windows;
    }
    let digests = known.iter().zip(&found.windows);
    windows.into_iter().zip(digests).filter(|(_, (known, found))| known != found).map(|(window, _)| window).collect()
}

/// Those of its windows are loaded again, unless that is under way or another recount of them stands.
pub(super) fn stale(
    table: &Table,
    entry: &Versioned<Task>,
    windows: Vec<Window>,
    (failure, now): (Failure, Now),
) -> Change {
    let (task, gone) = (&entry.value, gone(entry));
    let Some(pipeline) = table.pipeline(&task.pipeline) else { return gone };
    let timeline = Timeline::of(table, pipeline);
    let newer: Vec<Window> = newer_than(table, task).map(|recount| recount.window).collect();
    let is_stale = |window: &Window| {
        timeline.standing(window) == Standing::Published && !newer.iter().any(|newer| newer.overlaps(window))
    };
    let stale: Vec<Window> = windows.into_iter().filter(is_stale).collect();
    let revision = pipeline.cursor.value.revision + 1;
    let load = |run: &[Window]| {
        let state = TaskState::Pending { not_before: now.wall, last_failure: Some(failure.clone()) };
        Some(Task { state, ..plan::task(pipeline, run, revision, Lane::Live, None, now)? })
    };
    let again: Vec<Task> = stretches(&stale).filter_map(load).collect();
    if again.is_empty() {
        return gone;
    }
    let cursor = Record::Cursor(task.pipeline.clone(), Cursor { revision, ..pipeline.cursor.value });
    let advance = gone.and(Change::replace(cursor, pipeline.cursor.revision));
    again.into_iter().fold(advance, |change, task| change.and(Change::create(Record::Task(task))))
}

/// Recounts of windows of a recount that were loaded again since.
fn newer_than<'a>(table: &'a Table, task: &'a Task) -> impl Iterator<Item = &'a Task> {
    let recounts = table.recounts_of(&task.pipeline).map(|recount| &recount.value);
    recounts.filter(move |other| other.revision > task.revision && other.window.overlaps(&task.window))
}

/// Takes away recounts that nobody waits for: of windows that were loaded again since, and of pipelines that want none.
pub fn clear(table: &Table) -> Option<Change> {
    let unwanted = table.pipelines().flat_map(|(name, entry)| {
        let wanted = entry.spec().window.as_ref().is_some_and(|window| window.audit_after.is_some());
        let mut newest: BTreeMap<i64, u32> = BTreeMap::new();
        for task in table.recounts_of(name).map(|recount| &recount.value) {
            for window in task.each_window() {
                let known = newest.entry(window.start()).or_default();
                *known = task.revision.max(*known);
            }
        }
        let is_newest = move |task: &Task| {
            task.each_window().iter().any(|window| newest.get(&window.start()) == Some(&task.revision))
        };
        table.recounts_of(name).filter(move |recount| !wanted || !is_newest(&recount.value))
    });
    Change::up_to(MAX_DROPPED, unwanted.map(gone))
}

/// How far ahead a recount may lie: what lies further was told by a clock that has been set back since.
pub(super) fn longest_wait(entry: &PipelineEntry) -> Duration {
    entry.spec().window.as_ref().and_then(|window| window.audit_after).map_or(Duration::ZERO, |after| after.0)
}

/// Whether every worker knows what to do with one: an older one would load the window.
pub(super) fn are_known_to_all(workers: &Workers) -> bool {
    workers.all_speak(PROTOCOL)
}

/// How many windows may go in one if each is to be counted again. What becomes of a window that stays as it is somebody decides for it
/// alone.
fn longest_run(entry: &PipelineEntry) -> usize {
    if matches!(entry.spec().readiness.late, Late::Reopen) { MOST_IN_A_RUN } else { 1 }
}

/// Windows in the order they are to be loaded in, cut into runs of at most `per_task`; of what is to be counted again into shorter ones.
pub(super) fn in_runs<'w>(
    entry: &PipelineEntry,
    windows: &'w [Window],
    per_task: usize,
    now: Now,
) -> impl Iterator<Item = &'w [Window]> + use<'w> {
    let (old, young) = windows.split_at(windows.partition_point(|window| !lies_ahead(entry, window, now)));
    let runs = |windows: &'w [Window], most: usize| stretches(windows).flat_map(move |stretch| stretch.chunks(most));
    runs(old, per_task).chain(runs(young, per_task.min(longest_run(entry))))
}

/// Where windows meet they are one stretch.
fn stretches(windows: &[Window]) -> impl Iterator<Item = &[Window]> {
    windows.chunk_by(|left, right| left.end() == right.start())
}

fn changed(words: &str, now: Now) -> Failure {
    let what = "counted again, its source holds other rows than were loaded";
    let words: String = words.chars().take(MOST_WORDS).collect();
    let message = if words.is_empty() { what.to_owned() } else { format!("{what}: {words}") };
    late::told(error::WINDOW_STALE, message, now)
}

impl Counted {
    /// What is to be written.
    pub fn into_change(self) -> Change {
        match self {
            Self::Same(change) | Self::Stale(change) | Self::Late(change, _) => change,
        }
    }
}

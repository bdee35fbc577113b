//! Recounts: some time after its end a published window is counted again in its source, for rows that came, changed or went
//! after it was read. One that has changed is loaded again, as if somebody had asked for it.
//!
//! The load proves what its source held. When it is published, its record becomes that of the recount, in the same
//! transaction: it waits until the window's end lies `audit_after` back, is claimed like any task, and is done with one word,
//! which is held against the proof. It moves no rows and is no load: windows stand as published all the while. A recount that
//! cannot be had, however often it was tried, says nothing good of its window either, and that is loaded again too.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use windrow_common::{
    error,
    manifest::{Digest, ManifestRef},
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
/// Most characters of what a worker says is otherwise.
const MOST_WORDS: usize = 1_000;
/// The version of the session protocol that knows them.
const PROTOCOL: u32 = 3;

/// What a recount came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// The source holds what was loaded.
    Same(Change),
    /// It does not: the window is loaded again.
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
    let is_load = task.lane != Lane::Recount && task.shard == 0 && task.windows() == 1 && task.declared.is_none();
    task.lane == Lane::Recount || is_load && lies_ahead(entry, &task.window, now)
}

/// What becomes of the record of a window that is published: a recount, if the source was proven for one.
pub(super) fn follows(entry: &PipelineEntry, task: &Task, manifest: Option<&ManifestRef>) -> Option<Task> {
    let proof = manifest?.proof?;
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
    (proof, words): (Digest, &str),
    now: Now,
) -> Result<Counted, Refused> {
    let entry = table.task(&claim.task).ok_or(Refused::Gone(claim.task))?;
    lifecycle::holder(entry, epoch, &claim.token)?;
    match entry.value.proof == Some(proof) {
        true => Ok(Counted::Same(gone(entry))),
        false => Ok(late::found(table, entry, changed(words, now), now)),
    }
}

/// The window is loaded again, unless that is under way or another recount of it stands.
pub(super) fn stale(table: &Table, entry: &Versioned<Task>, failure: Failure, now: Now) -> Change {
    let (task, gone) = (&entry.value, gone(entry));
    let Some(pipeline) = table.pipeline(&task.pipeline) else { return gone };
    let published = Timeline::of(table, pipeline).standing(&task.window) == Standing::Published;
    let revision = pipeline.cursor.value.revision + 1;
    let again = plan::task(pipeline, &task.each_window(), revision, Lane::Live, None, now);
    let Some(mut again) = again.filter(|_| published) else { return gone };
    again.state = TaskState::Pending { not_before: now.wall, last_failure: Some(failure) };
    let cursor = Record::Cursor(task.pipeline.clone(), Cursor { revision, ..pipeline.cursor.value });
    gone.and(Change::replace(cursor, pipeline.cursor.revision)).and(Change::create(Record::Task(again)))
}

/// Takes away recounts that nobody waits for: of windows that were loaded again since, and of pipelines that want none.
pub fn clear(table: &Table) -> Option<Change> {
    let unwanted = table.pipelines().flat_map(|(name, entry)| {
        let wanted = entry.spec().window.as_ref().is_some_and(|window| window.audit_after.is_some());
        let mut newest: BTreeMap<i64, u32> = BTreeMap::new();
        for task in table.recounts_of(name).map(|recount| &recount.value) {
            let known = newest.entry(task.window.start()).or_default();
            *known = task.revision.max(*known);
        }
        let is_newest = move |task: &Task| newest.get(&task.window.start()) == Some(&task.revision);
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

/// Windows in the order they are to be loaded in, cut into runs of at most `per_task`. What is to be counted again goes alone:
/// a run that has changed would be loaded again as a whole.
pub(super) fn in_runs<'w>(
    entry: &PipelineEntry,
    windows: &'w [Window],
    per_task: usize,
    now: Now,
) -> impl Iterator<Item = &'w [Window]> + use<'w> {
    let (old, young) = windows.split_at(windows.partition_point(|window| !lies_ahead(entry, window, now)));
    let stretches = old.chunk_by(|left, right| left.end() == right.start());
    stretches.flat_map(move |stretch| stretch.chunks(per_task)).chain(young.chunks(1))
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

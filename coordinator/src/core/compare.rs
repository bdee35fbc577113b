//! Comparisons of keys: which rows of a table have keys that are gone at the source, where nobody says of a row that it is deleted.
//!
//! A pipeline that wants them has one task for them at all times, and its record is the schedule: it waits until it is due, is
//! claimed, sealed and committed like any other task, alone in its commit, and when that is published the next one takes its
//! place in the same transaction. It moves no window: whoever asks for windows does not see it. One that is given up stays until
//! somebody asks for it, for what it was about to delete somebody has to look at.

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    count::counted,
    deletes::{ACCEPTED, Deletes},
    id::{PipelineName, SourceId, TaskId, WorkerId},
    intent::Seq,
    manifest::ManifestRef,
    pipeline::Pipeline,
    task::{Failure, Lane, Part, Task, TaskPhase, TaskState},
    window::Window,
};

use super::{
    lifecycle::{self, Now, later},
    plan::MAX_PLANNED,
    table::{Change, PipelineEntry, Record, Table},
    workers::Workers,
};

/// Most comparisons of a pipeline at a time.
pub const MOST_AT_A_TIME: usize = 1;
/// The version of the session protocol that knows them.
const PROTOCOL: u32 = 4;

/// Why keys are not compared now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadComparison {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("pipeline {0} does not say that keys are to be compared")]
    NotCompared(PipelineName),
    #[error("keys of pipeline {0} are being compared, and what that deletes is not accepted unseen")]
    UnderWay(PipelineName),
}

/// Where the next comparison of a pipeline stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// When it is due; `None` once its time has come.
    pub next: Option<Timestamp>,
    /// It is due or under way.
    pub due: bool,
    /// A worker is at it.
    pub working: bool,
    pub given_up: Option<Failure>,
}

/// Makes the comparisons that are missing and takes away those that nobody wants any more. One that an intent names is left to it.
pub fn plan(table: &Table, now: Now) -> Option<Change> {
    let missing = table.pipelines().filter_map(|(name, entry)| {
        let deletes = entry.spec().deletes.as_deref().filter(|_| table.comparison_of(name).is_none())?;
        let state = waits(deletes, "keys are compared for the first time then".to_owned(), now);
        Some(Change::create(Record::Task(task(entry, seq(table, entry), state, now))))
    });
    let unwanted = table.comparisons().filter(|found| {
        let task = &found.value;
        let wanted = table.pipeline(&task.pipeline).is_some_and(|entry| entry.spec().deletes.is_some());
        let intended =
            task.state.phase() == TaskPhase::Sealed && table.sink(&task.sink).is_some_and(|sink| sink.intent.is_some());
        !wanted && !intended
    });
    Change::up_to(MAX_PLANNED, missing.chain(unwanted.map(lifecycle::gone)))
}

/// Has a comparison made now; `None` where one is under way. Returns its task.
pub fn ask(
    table: &Table,
    pipeline: &PipelineName,
    accept: bool,
    now: Now,
) -> Result<(Option<Change>, TaskId), BadComparison> {
    let entry = table.pipeline(pipeline).ok_or_else(|| BadComparison::UnknownPipeline(pipeline.clone()))?;
    if entry.spec().deletes.is_none() {
        return Err(BadComparison::NotCompared(pipeline.clone()));
    }
    let part = accept.then(|| Part { of: 1, what: ACCEPTED.to_owned() });
    let state = TaskState::Pending { not_before: now.wall, last_failure: None };
    let Some(before) = table.comparison_of(pipeline) else {
        let task = Task { part, ..task(entry, seq(table, entry), state, now) };
        return Ok((Some(Change::create(Record::Task(task.clone()))), task.id));
    };
    let id = before.value.id;
    match before.value.state.phase() {
        TaskPhase::Claimed | TaskPhase::Sealed if accept && before.value.part.is_none() => {
            Err(BadComparison::UnderWay(pipeline.clone()))
        }
        TaskPhase::Claimed | TaskPhase::Sealed => Ok((None, id)),
        _ => {
            let asked = Task { id, part, ..task(entry, 0, state, now) };
            Ok((Some(Change::replace(Record::Task(asked), before.revision)), id))
        }
    }
}

/// The comparison that follows one that is published with the commit `seq`.
pub(super) fn follows(entry: &PipelineEntry, manifest: Option<&ManifestRef>, seq: Seq, now: Now) -> Option<Task> {
    let deletes = entry.spec().deletes.as_deref()?;
    let counts = manifest.map(|manifest| manifest.counts).unwrap_or_default();
    let found = format!("the last comparison found {} gone at the source", counted(counts.rows_deleted, "row"));
    Some(task(entry, seq, waits(deletes, found, now), now))
}

/// Where a pipeline's comparison stands; `None` if it wants none.
pub fn standing(table: &Table, entry: &PipelineEntry, now: Now) -> Option<Standing> {
    let task = &table.comparison_of(&entry.spec().name)?.value;
    let mut standing = Standing { next: None, due: true, working: false, given_up: None };
    match &task.state {
        TaskState::Waiting { until, .. } if *until > now.wall => {
            (standing.next, standing.due) = (Some(*until), false);
        }
        TaskState::Claimed { .. } => standing.working = true,
        TaskState::Quarantined { failure } => {
            (standing.given_up, standing.due) = (Some(failure.clone()), false);
        }
        _ => {}
    }
    Some(standing)
}

/// Where its keys are read.
pub fn source(pipeline: &Pipeline) -> SourceId {
    match &pipeline.deletes {
        Some(deletes) => deletes.reading(pipeline).source.id(),
        None => pipeline.source.id(),
    }
}

/// Whether the committer of a pipeline's sink can note what the table has: an older one knows nothing of it.
pub(super) fn can_be_noted(table: &Table, workers: &Workers, pipeline: &PipelineName) -> bool {
    let sink = table.pipeline(pipeline).and_then(|entry| table.sink(&entry.sink));
    let committer = sink.and_then(|sink| sink.committer.as_ref());
    committer.is_some_and(|committer| are_known_to(workers, &committer.value))
}

/// Whether a worker knows what they are; an older one would take one for a window.
pub(super) fn are_known_to(workers: &Workers, worker: &WorkerId) -> bool {
    workers.speaks(worker, PROTOCOL)
}

/// How far ahead one may lie: what lies further was told by a clock that has been set back since.
pub(super) fn longest_wait(entry: &PipelineEntry) -> Duration {
    entry.spec().deletes.as_ref().map_or(Duration::ZERO, |deletes| deletes.every.0)
}

fn waits(deletes: &Deletes, reason: String, now: Now) -> TaskState {
    TaskState::Waiting { until: later(now.wall, deletes.every.0), reason }
}

fn seq(table: &Table, entry: &PipelineEntry) -> Seq {
    table.sink(&entry.sink).and_then(|sink| sink.head.as_ref()).map_or(0, |head| head.value.seq)
}

fn task(entry: &PipelineEntry, seq: Seq, state: TaskState, now: Now) -> Task {
    let pipeline = entry.spec().name.clone();
    let id = TaskId::of_comparison(&pipeline, seq);
    Task { state, ..Task::new(id, (pipeline, entry.sink.clone()), Lane::Compare, Window::version(0), now.wall) }
}

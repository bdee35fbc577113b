//! Windows that wait for what other pipelines publish, or for what is [looked at](super::looks). The ledger knows that by itself: they cost no claim and no look at any
//! source, however many wait, and go on in the round in which the last of it is published.

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    error,
    id::PipelineName,
    readiness::{Condition, Require, Then},
    task::{Failure, Lane, Retry, Task, TaskPhase, TaskState},
    window::{Axis, Window},
};

use super::{
    lifecycle::{self, Now},
    looks, plan,
    table::{Change, PipelineEntry, Table, Versioned},
};

/// Most tasks one look gives up or takes apart; the next one goes on.
const MAX_A_LOOK: usize = 100;

/// What a task still waits for, in words; `None` if nothing keeps it, or if it has waited long enough.
pub fn lacks(table: &Table, task: &Task, now: Now) -> Option<String> {
    let require = require(table, task)?;
    let missing = lacking(table, (&task.pipeline, require), &task.window, now)?;
    match is_overdue(require, task, now) && require.then == Then::Go {
        true => None,
        false => Some(missing),
    }
}

/// How many windows of a pending task wait: those of a run that may go are about to be taken out of it.
pub fn waiting(table: &Table, task: &Task, now: Now) -> usize {
    let Some(require) = require(table, task).filter(|_| lacks(table, task, now).is_some()) else { return 0 };
    let waits = |window: &Window| lacking(table, (&task.pipeline, require), window, now).is_some();
    task.each_window().iter().filter(|window| waits(window)).count()
}

/// Whether a task has waited for longer than it is to: what is there is read.
pub fn goes_anyway(table: &Table, task: &Task, now: Now) -> bool {
    require(table, task).is_some_and(|require| require.then == Then::Go && is_overdue(require, task, now))
}

/// Whether a window has waited for longer than it is to, for whatever it waits.
pub fn overdue(table: &Table, task: &Task, now: Now) -> bool {
    let waits = match task.state.phase() {
        TaskPhase::Waiting => true,
        TaskPhase::Pending => lacks(table, task, now).is_some(),
        _ => false,
    };
    waits && require(table, task).is_some_and(|require| is_overdue(require, task, now))
}

/// What becomes of those that cannot go on as they are: a run some of whose windows may go is taken apart, and what has waited
/// for too long is given up where its pipeline says so.
pub fn settle(table: &Table, now: Now) -> Vec<Change> {
    let waiting = table.pipelines().filter(|(_, entry)| may_wait(entry)).flat_map(|(name, _)| table.tasks_of(name));
    let waiting = waiting.filter(|task| matches!(task.value.state.phase(), TaskPhase::Pending | TaskPhase::Waiting));
    waiting.filter_map(|task| settled(table, task, now)).take(MAX_A_LOOK).collect()
}

fn settled(table: &Table, entry: &Versioned<Task>, now: Now) -> Option<Change> {
    let task = &entry.value;
    let require = require(table, task)?;
    let missing = match &task.state {
        TaskState::Waiting { reason, .. } => reason.clone(),
        _ => lacking(table, (&task.pipeline, require), &task.window, now)?,
    };
    if is_overdue(require, task, now) && require.then == Then::Fail {
        return lifecycle::quarantine_waiting(table, &task.id, too_late(require, missing, now), now).ok();
    }
    let windows = task.each_window();
    let ready =
        windows.iter().filter(|window| lacking(table, (&task.pipeline, require), window, now).is_none()).count();
    let some = windows.len() > 1 && ready > 0 && ready < windows.len();
    some.then(|| lifecycle::halve(table, &task.id, now).ok()).flatten()
}

/// The conditions that do not hold for a window.
fn lacking(table: &Table, (own, require): (&PipelineName, &Require), window: &Window, now: Now) -> Option<String> {
    let judged = |(place, condition): (usize, &Condition)| match condition {
        Condition::Pipeline(name) => Some(lacks_pipeline(table, name, window, now)),
        // That is told when the window was read.
        Condition::Count(_) => None,
        _ => Some(looks::lacks(table.looks(), own, (place, condition), window)),
    };
    if let Some(missing) = require.all.iter().enumerate().filter_map(judged).find_map(|lacks| lacks) {
        return Some(missing);
    }
    let any = (require.all.len()..).zip(&require.any).filter_map(judged);
    let missing: Vec<String> = any.collect::<Option<_>>()?;
    (!missing.is_empty()).then(|| missing.join(", and "))
}

fn lacks_pipeline(table: &Table, name: &PipelineName, window: &Window, now: Now) -> Option<String> {
    let Some(upstream) = table.pipeline(name) else { return Some(format!("there is no pipeline {name}")) };
    let published = &upstream.coverage.value.published;
    let complete = match (window.axis(), upstream.coverage.value.axis) {
        (Axis::Time, Axis::Time) => published.covers(window.start(), window.end()),
        (Axis::Version, Axis::Time) => plan::unplanned(upstream, now) == 0 && table.tasks_of(name).next().is_none(),
        (_, Axis::Version) => !published.is_empty(),
    };
    let what = match (window.axis(), upstream.coverage.value.axis) {
        (Axis::Time, Axis::Time) => format!("all of {window}"),
        (Axis::Version, Axis::Time) => "all windows that are due".to_owned(),
        (_, Axis::Version) => "anything".to_owned(),
    };
    (!complete).then(|| format!("pipeline {name} has not published {what} yet"))
}

fn may_wait(entry: &PipelineEntry) -> bool {
    let require = &entry.spec().readiness.require;
    require.timeout.is_some() || require.conditions().next().is_some()
}

fn require<'a>(table: &'a Table, task: &Task) -> Option<&'a Require> {
    // What was published was complete: only whoever loads it waits. What was declared complete waits for nothing.
    let waits = matches!(task.lane, Lane::Live | Lane::Backfill(_)) && task.declared.is_none();
    let entry = table.pipeline(&task.pipeline).filter(|_| waits)?;
    Some(&entry.spec().readiness.require)
}

fn is_overdue(require: &Require, task: &Task, now: Now) -> bool {
    require.timeout.is_some_and(|timeout| waits_to(task.created, timeout.0) <= now.wall)
}

fn waits_to(created: Timestamp, patience: Duration) -> Timestamp {
    created.checked_add(patience).unwrap_or(Timestamp::MAX)
}

fn too_late(require: &Require, missing: String, now: Now) -> Failure {
    let patience = require.timeout.map(|timeout| timeout.to_string()).unwrap_or_default();
    Failure {
        code: error::NOT_READY_IN_TIME.code.to_owned(),
        message: format!("the input was not complete within {patience}: {missing}"),
        retry: Retry::Never,
        at: now.wall,
        took: Duration::ZERO,
        worker: None,
    }
}

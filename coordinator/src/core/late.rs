//! What comes late to closed windows. A recount finds that the source of a window holds other than was loaded; what follows the
//! pipeline says:
//!
//! ```text
//!              reopen: the window is loaded again
//!   recount -> refuse: nothing
//!              quarantine: the recount stays, quarantined, until it is released (the window is loaded again) or dropped
//!              aside: another pipeline loads what came late, beside the window
//! ```

use std::time::Duration;

use windrow_common::{
    closed::Late,
    error::{self, ErrorCode},
    id::PipelineName,
    task::{Failure, Lane, Outage, Retry, Task, TaskPhase, TaskState},
    window::Window,
};

use super::{
    closed,
    lifecycle::{Now, gone},
    plan,
    recount::{self, Counted},
    table::{Change, Cursor, PipelineEntry, Record, Table, Versioned},
    timeline::Timeline,
};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub pipeline: PipelineName,
    /// The window, or a part of it.
    pub window: Window,
    /// Who, as they say of themselves.
    pub by: String,
    /// Nothing is loaded: what is held is forgotten.
    pub drop: bool,
}

/// Why nothing is released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRelease {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("nothing is held of {0}")]
    NothingHeld(Window),
}

/// What becomes of published windows that were counted again, in vain or not: `changed` are those that are otherwise than they were, and
/// `found` says how. Windows that stay as they are go alone.
pub(super) fn found(
    table: &Table,
    entry: &Versioned<Task>,
    changed: Vec<Window>,
    (found, now): (Failure, Now),
) -> Counted {
    let task = &entry.value;
    let late = table.pipeline(&task.pipeline).map(|entry| &entry.spec().readiness.late);
    match late {
        None | Some(Late::Reopen) => Counted::Stale(recount::stale(table, entry, changed, (found, now))),
        Some(Late::Refuse) => Counted::Late(gone(entry), "refused"),
        Some(Late::Quarantine) => Counted::Late(held(entry, found), "held"),
        Some(Late::Aside(_)) if found.code != error::WINDOW_STALE.code => Counted::Late(held(entry, found), "held"),
        Some(Late::Aside(_)) => match aside(table, entry, found.clone(), now) {
            Some(change) => Counted::Late(change, "aside"),
            None => Counted::Late(held(entry, found), "held"),
        },
    }
}

/// The recount stays, for somebody to decide.
fn held(entry: &Versioned<Task>, found: Failure) -> Change {
    let message = format!("{}; its window is closed and stays as it is until this is released", found.message);
    let failure = Failure { code: error::LATE_HELD.code.to_owned(), message, retry: Retry::Never, ..found };
    let task = Task { state: TaskState::Quarantined { failure }, ..entry.value.clone() };
    Change::replace(Record::Task(task), entry.revision)
}

/// What came late is loaded by the pipeline beside; `None` if there is none, or while it is still busy with what came before.
fn aside(table: &Table, entry: &Versioned<Task>, found: Failure, now: Now) -> Option<Change> {
    let task = &entry.value;
    let side = closed::beside(table, &task.pipeline)?;
    if Timeline::of(table, side).task_over(&task.window).is_some() {
        return None;
    }
    let revision = side.cursor.value.revision + 1;
    let mut load = plan::task(side, &task.each_window(), revision, Lane::Live, None, now)?;
    load.loaded = Some(task.loaded?);
    load.state = TaskState::Pending { not_before: now.wall, last_failure: Some(found) };
    let cursor = Record::Cursor(side.spec().name.clone(), Cursor { revision, ..side.cursor.value });
    let advance = Change::replace(cursor, side.cursor.revision);
    Some(gone(entry).and(advance).and(Change::create(Record::Task(load))))
}

/// What is held of a window.
pub fn held_of<'a>(
    table: &'a Table,
    pipeline: &'a PipelineName,
) -> impl Iterator<Item = (&'a Versioned<Task>, &'a Failure)> {
    table.recounts_of(pipeline).filter_map(|recount| match &recount.value.state {
        TaskState::Quarantined { failure } => Some((recount, failure)),
        _ => None,
    })
}

/// Releases what is held of a window: the window is loaded again, and closed again with that. What could not be put aside is tried
/// again. Or, when it is to be dropped, nothing is loaded.
pub fn release(table: &Table, request: &Release, now: Now) -> Result<Change, BadRelease> {
    let Release { pipeline, window, by, drop } = request;
    let entry = table.pipeline(pipeline).ok_or_else(|| BadRelease::UnknownPipeline(pipeline.clone()))?;
    let concerns = |task: &Versioned<Task>| task.value.window.overlaps(window);
    if let Some((recount, _)) = held_of(table, pipeline).find(|(task, _)| concerns(task)) {
        return Ok(match drop {
            true => gone(recount),
            false => recount::stale(table, recount, recount.value.each_window(), (released(by, now), now)),
        });
    }
    let side = match closed::is_beside(entry) {
        Some(_) => Some(entry),
        None => closed::beside(table, pipeline),
    };
    let failed = side.and_then(|side| failed_aside(table, side, window));
    match failed {
        Some(task) if *drop => Ok(gone(task)),
        Some(task) => Ok(again(task, by, now)),
        None => Err(BadRelease::NothingHeld(*window)),
    }
}

fn failed_aside<'a>(table: &'a Table, side: &PipelineEntry, window: &Window) -> Option<&'a Versioned<Task>> {
    let found = Timeline::of(table, side).task_over(window)?;
    let id = found.value.id;
    (found.value.state.phase() == TaskPhase::Quarantined).then(|| table.task(&id)).flatten()
}

/// The task as if it had never been tried.
fn again(entry: &Versioned<Task>, by: &str, now: Now) -> Change {
    let task = Task {
        errors: 0,
        lost_leases: 0,
        outage: Outage::default(),
        state: TaskState::Pending { not_before: now.wall, last_failure: Some(released(by, now)) },
        ..entry.value.clone()
    };
    Change::replace(Record::Task(task), entry.revision)
}

fn released(by: &str, now: Now) -> Failure {
    told(error::WINDOW_STALE, format!("released by {by}"), now)
}

/// A word about a window that no worker said.
pub(super) fn told(code: ErrorCode, message: String, now: Now) -> Failure {
    let code = code.code.to_owned();
    Failure { code, message, retry: Retry::Later, at: now.wall, took: Duration::ZERO, worker: None }
}

//! Windows that an operator declares complete: whoever waits for them is not to wait any longer. Nothing is read for them; else they
//! take the route of all others, so that markers are set and receivers are told by the same commit.

use windrow_common::{
    closed::Declared,
    id::PipelineName,
    task::{Lane, Seams, Task, TaskPhase, TaskState},
    window::Window,
};

use super::{
    closed,
    lifecycle::{self, Now, gone},
    plan, shards,
    table::{Change, Cursor, PipelineEntry, Record, Table, Versioned},
    timeline::{Standing, Timeline},
};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub pipeline: PipelineName,
    pub window: Window,
    pub by: String,
    pub reason: String,
}

/// Why a window is not declared complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDeclaration {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("{0} is no window of the pipeline")]
    NoWindow(Window),
    #[error("{0} is not over yet")]
    NotClosed(Window),
    #[error("{0} is not planned yet: ask again in a moment, or resume the pipeline")]
    NotPlanned(Window),
    #[error("{0} is being loaded")]
    Loading(Window),
    #[error("pipeline {0} loads what comes late to another one; nobody waits for its windows")]
    Beside(PipelineName),
    #[error("`{0}` is empty or too long")]
    Text(&'static str),
}

/// Declares a window complete; `None` if it is published already, or declared.
pub fn declare(table: &Table, request: &Request, now: Now) -> Result<Option<Change>, BadDeclaration> {
    let entry =
        table.pipeline(&request.pipeline).ok_or_else(|| BadDeclaration::UnknownPipeline(request.pipeline.clone()))?;
    check_text(request)?;
    let window = request.window;
    check_window(entry, &window, now)?;
    let declared = Box::new(Declared { by: request.by.clone(), reason: request.reason.clone(), at: now.wall });
    let timeline = Timeline::of(table, entry);
    match timeline.standing(&window) {
        Standing::Published => Ok(None),
        Standing::NotClosed => Err(BadDeclaration::NotClosed(window)),
        Standing::Unplanned => Err(BadDeclaration::NotPlanned(window)),
        Standing::Queued => Err(BadDeclaration::Loading(window)),
        Standing::Missing => Ok(Some(missing(entry, &window, declared, now))),
        Standing::Open(id, TaskPhase::Pending | TaskPhase::Waiting) | Standing::Quarantined(id) => {
            let task = table.task(&id).ok_or(BadDeclaration::Loading(window))?;
            match task.value.declared.is_some() && task.value.state.phase() == TaskPhase::Pending {
                true => Ok(None),
                false => Ok(Some(instead(table, task, &window, declared, now))),
            }
        }
        Standing::Open(..) => Err(BadDeclaration::Loading(window)),
    }
}

fn check_text(request: &Request) -> Result<(), BadDeclaration> {
    for (key, text, most) in
        [("by", &request.by, Declared::MOST_BY), ("reason", &request.reason, Declared::MOST_REASON)]
    {
        if text.trim().is_empty() || text.len() > most {
            return Err(BadDeclaration::Text(key));
        }
    }
    Ok(())
}

fn check_window(entry: &PipelineEntry, window: &Window, now: Now) -> Result<(), BadDeclaration> {
    if closed::is_beside(entry).is_some() {
        return Err(BadDeclaration::Beside(entry.spec().name.clone()));
    }
    let tiling = entry.tiling.as_ref().ok_or(BadDeclaration::NoWindow(*window))?;
    if tiling.windows_from(window.start()).next().as_ref() != Some(window) {
        return Err(BadDeclaration::NoWindow(*window));
    }
    match window.end() <= tiling.closed_to(now.wall) {
        true => Ok(()),
        false => Err(BadDeclaration::NotClosed(*window)),
    }
}

/// A task for a window that nobody is about to load.
fn missing(entry: &PipelineEntry, window: &Window, declared: Box<Declared>, now: Now) -> Change {
    let revision = entry.cursor.value.revision + 1;
    let Some(task) = plan::task(entry, &[*window], revision, Lane::Live, None, now) else { return Change::default() };
    let cursor = Record::Cursor(entry.spec().name.clone(), Cursor { revision, ..entry.cursor.value });
    let task = Task { declared: Some(declared), ..task };
    Change::replace(cursor, entry.cursor.revision).and(Change::create(Record::Task(task)))
}

/// The window's task reads nothing any more. What else a run is over stands as it stood.
fn instead(table: &Table, entry: &Versioned<Task>, window: &Window, declared: Box<Declared>, now: Now) -> Change {
    let task = &entry.value;
    let pending = TaskState::Pending { not_before: now.wall, last_failure: None };
    if task.windows() == 1 {
        let task = Task { declared: Some(declared), part: None, errors: 0, state: pending, ..task.clone() };
        return Change::replace(Record::Task(task), entry.revision).and(shards::without_others(table, &entry.value.id));
    }
    let windows = task.each_window();
    let (before, rest) = windows.split_at(windows.partition_point(|other| other.start() < window.start()));
    let (own, after) = rest.split_at(rest.len().min(1));
    let stands = |run: &[Window]| {
        let part = lifecycle::part(task, run, None, now)?;
        Some(Task { state: task.state.clone(), ..part })
    };
    let declared = lifecycle::part(task, own, None, now).map(|part| Task {
        declared: Some(declared),
        seams: Seams::None,
        state: pending,
        ..part
    });
    let parts = [stands(before), declared, stands(after)];
    let gone = gone(entry).and(shards::without_others(table, &task.id));
    parts.into_iter().flatten().fold(gone, |change, part| change.and(Change::create(Record::Task(part))))
}

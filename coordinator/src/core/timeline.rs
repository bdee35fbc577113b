//! Where each window of a pipeline stands. Every window is in at most one pair of hands: an open task's, an unsettled
//! backfill's, or the planner's; whoever wants to move windows again asks here first, so that no window is moved by two
//! tasks at a time.

use windrow_common::{
    id::TaskId,
    task::{Task, TaskPhase, TaskState},
    window::Window,
};

use super::{
    coverage::IntervalSet,
    plan,
    table::{PipelineEntry, Table, Versioned},
};

/// Where a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Published,
    /// Planned once, never published, and without a task: it was withdrawn.
    Missing,
    Quarantined(TaskId),
    /// A task is open over it; it will be published without any backfill.
    Open(TaskId, TaskPhase),
    /// An unsettled backfill is about to make a task for it.
    Queued,
    /// Planning has not come to it yet, and will.
    Unplanned,
    NotClosed,
}

/// A pipeline's windows, its open tasks and what its backfills still have to plan.
pub struct Timeline<'a> {
    entry: &'a PipelineEntry,
    open: Vec<&'a Versioned<Task>>,
    queued: IntervalSet,
}

impl<'a> Timeline<'a> {
    pub fn of(table: &'a Table, entry: &'a PipelineEntry) -> Self {
        let name = &entry.spec().name;
        let unsettled = table.backfills().map(|backfill| &backfill.value);
        let unsettled = unsettled.filter(|backfill| backfill.pipeline == *name && backfill.phase.is_unsettled());
        Self {
            entry,
            open: table.tasks_of(name).collect(),
            queued: unsettled.flat_map(|backfill| backfill.todo.iter()).collect(),
        }
    }

    /// Where a closed window stands.
    pub fn standing(&self, window: &Window) -> Standing {
        if self.queued.overlaps(window.start(), window.end()) {
            return Standing::Queued;
        }
        match self.task_over(window).map(|task| (&task.value.state, task.value.id)) {
            Some((TaskState::Quarantined { .. }, id)) => Standing::Quarantined(id),
            Some((state, id)) => Standing::Open(id, state.phase()),
            // What comes late to another pipeline's window may come yet.
            None if plan::plans_nothing(self.entry) && !self.entry.is_published(window) => Standing::NotClosed,
            None if plan::plans_nothing(self.entry) => Standing::Published,
            None if window.start() >= self.entry.cursor.value.next => Standing::Unplanned,
            None if self.entry.is_published(window) => Standing::Published,
            None => Standing::Missing,
        }
    }

    /// The open task over a window.
    pub fn task_over(&self, window: &Window) -> Option<&'a Versioned<Task>> {
        self.open.iter().find(|task| task.value.window.overlaps(window)).copied()
    }
}

impl PipelineEntry {
    /// Whether all of a window is published.
    pub fn is_published(&self, window: &Window) -> bool {
        self.coverage.value.published.covers(window.start(), window.end())
    }

    /// How many windows are published.
    pub fn windows_published(&self) -> u64 {
        self.windows_in(&self.coverage.value.published)
    }

    /// How many windows a part of its time holds.
    pub fn windows_in(&self, set: &IntervalSet) -> u64 {
        match &self.tiling {
            Some(tiling) => set.iter().map(|(start, end)| tiling.count(start, end)).sum(),
            None => set.iter().map(|(start, end)| u64::try_from(end - start).unwrap_or(0)).sum(),
        }
    }
}

//! What users ask of the ledger: where pipelines, windows and backfills stand, and why.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use windrow_common::{
    closed::Declared,
    id::PipelineName,
    task::{Failure, Task, TaskPhase, TaskState},
    window::Window,
};

use super::{
    backfill::{self, Backfill},
    calendar::Tiling,
    closed, compare, late,
    lifecycle::Now,
    looks, plan, recount,
    table::{PipelineEntry, Table, Versioned},
    telling,
    timeline::{Standing, Timeline},
    upstream,
};

/// A pipeline's windows, counted by where they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineReport {
    pub published: u64,
    pub waiting: u64,
    pub pending: u64,
    pub claimed: u64,
    pub sealed: u64,
    pub quarantined: u64,
    /// Closed and not planned yet.
    pub unplanned: u64,
    /// Open windows whose tasks could not reach something they need.
    pub held_up: u64,
    /// Claimed windows that are not held up.
    pub working: u64,
    /// The newest failure of an open task.
    pub last_failure: Option<Failure>,
    /// Open windows that have waited for their input longer than they are to.
    pub overdue: u64,
    /// Commits of its sink that its receiver has not heard of; absent where nobody is told.
    pub untold: Option<u64>,
    /// When the next window closes.
    pub next_due: Option<Timestamp>,
    /// Everything before it is published.
    pub complete_to: Option<i64>,
    /// Published versions whose source was found unchanged.
    pub unchanged: u64,
    /// Published windows that are still to be counted again.
    pub recounts: u64,
    /// Those of them whose time has come.
    pub recounts_due: u64,
    /// Where its next comparison of keys stands; absent if it wants none.
    pub comparison: Option<compare::Standing>,
    /// Published windows whose source has changed since they were closed, which is held.
    pub held: u64,
}

impl PipelineReport {
    /// Windows that are due and not settled.
    pub fn unsettled(&self) -> u64 {
        self.waiting + self.pending + self.claimed + self.sealed + self.unplanned
    }
}

/// Where a pipeline stands.
pub fn pipeline(table: &Table, entry: &PipelineEntry, now: Now) -> PipelineReport {
    let windows_of = |task: &Versioned<Task>| task.value.windows() as u64;
    let held: u64 = late::held_of(table, &entry.spec().name).map(|(task, _)| windows_of(task)).sum();
    let recounts = || table.recounts_of(&entry.spec().name);
    let mut report = PipelineReport {
        published: entry.windows_published(),
        unplanned: plan::unplanned(entry, now),
        next_due: plan::next_due(entry, now),
        untold: telling::untold(table, entry),
        complete_to: complete_to(entry),
        unchanged: entry.windows_in(&entry.coverage.value.unchanged),
        held,
        recounts: recounts().map(windows_of).sum::<u64>() - held,
        recounts_due: recounts().filter(|task| recount::has_come(&task.value, now)).map(windows_of).sum::<u64>() - held,
        comparison: compare::standing(table, entry, now),
        ..PipelineReport::default()
    };
    for task in table.tasks_of(&entry.spec().name).map(|task| &task.value) {
        let windows = task.windows() as u64;
        match task.state.phase() {
            TaskPhase::Waiting => report.waiting += windows,
            TaskPhase::Pending if looks::is_unseen(table, task) => report.pending += windows,
            TaskPhase::Pending => {
                let waiting = upstream::waiting(table, task, now) as u64;
                report.waiting += waiting;
                report.pending += windows - waiting;
            }
            TaskPhase::Claimed => report.claimed += windows,
            TaskPhase::Sealed => report.sealed += windows,
            TaskPhase::Quarantined => report.quarantined += windows,
            TaskPhase::Cancelled => {}
        }
        if upstream::overdue(table, task, now) {
            report.overdue += windows;
        }
        match (task.state.phase(), task.outage.attempts) {
            (TaskPhase::Pending | TaskPhase::Claimed, 1..) => report.held_up += windows,
            (TaskPhase::Claimed, 0) => report.working += windows,
            _ => {}
        }
        if let Some(failure) = failure(task)
            && report.last_failure.as_ref().is_none_or(|known| known.at < failure.at)
        {
            report.last_failure = Some(failure.clone());
        }
    }
    report
}

/// Why a task's last attempt failed, if one did.
pub fn failure(task: &Task) -> Option<&Failure> {
    match &task.state {
        TaskState::Pending { last_failure, .. } => last_failure.as_ref(),
        TaskState::Quarantined { failure } => Some(failure),
        _ => None,
    }
}

/// How far the published windows lie behind time, or behind the pipeline's end once that has passed.
pub fn behind(entry: &PipelineEntry, report: &PipelineReport, now: Now) -> Option<Duration> {
    let tiling = entry.tiling.as_ref()?;
    let to = now.wall.as_microsecond().min(tiling.end().unwrap_or(i64::MAX));
    let behind = to.saturating_sub(report.complete_to?);
    Some(Duration::from_micros(u64::try_from(behind).unwrap_or(0)))
}

fn complete_to(entry: &PipelineEntry) -> Option<i64> {
    let origin = entry.tiling.as_ref().map_or(0, Tiling::origin);
    let to = entry.coverage.value.published.covered_to(origin);
    (to > origin).then_some(to)
}

/// One window, where it stands, and the task over it.
pub struct WindowReport<'a> {
    pub window: Window,
    pub standing: Standing,
    pub task: Option<&'a Versioned<Task>>,
    pub due: Option<Timestamp>,
    /// Whether it is a version whose source was found unchanged.
    pub unchanged: bool,
    /// When it is counted again.
    pub recount: Option<Timestamp>,
    /// The revision readers see; `None` if it is not published, or that is not known.
    pub revision: Option<u32>,
    /// That its source has changed since it was closed.
    pub held: Option<&'a Failure>,
    /// Whoever has declared it complete.
    pub declared: Option<&'a Declared>,
}

/// The windows of `[start, end)`, oldest first, at most `limit`.
pub fn windows<'a>(
    table: &'a Table,
    entry: &'a PipelineEntry,
    range: (i64, i64),
    limit: usize,
    now: Now,
) -> Vec<WindowReport<'a>> {
    let timeline = Timeline::of(table, entry);
    let windows: Vec<Window> = match &entry.tiling {
        Some(tiling) => {
            tiling.windows_from(range.0).take_while(|window| window.start() < range.1).take(limit).collect()
        }
        None => (0..entry.cursor.value.next)
            .filter_map(|version| u32::try_from(version).ok())
            .map(Window::version)
            .take(limit)
            .collect(),
    };
    let closed_to = entry.tiling.as_ref().map(|tiling| tiling.closed_to(now.wall));
    let held: BTreeMap<i64, &Failure> =
        late::held_of(table, &entry.spec().name).map(|(task, why)| (task.value.window.start(), why)).collect();
    let recounts = recounts(table, entry, &held);
    let declared: BTreeMap<i64, &Declared> =
        entry.coverage.value.declared.iter().map(|found| (found.window.start(), &found.declared)).collect();
    let unchanged = &entry.coverage.value.unchanged;
    let report = |window: Window| {
        let closed = closed_to.is_none_or(|to| window.end() <= to);
        let standing = match closed {
            true => timeline.standing(&window),
            false => Standing::NotClosed,
        };
        WindowReport {
            window,
            standing,
            task: timeline.task_over(&window),
            due: entry.tiling.as_ref().and_then(|tiling| tiling.closes(window.start())),
            unchanged: unchanged.covers(window.start(), window.end()),
            recount: recounts.get(&window.start()).copied(),
            revision: closed::revision(entry, &window).filter(|_| entry.is_published(&window)),
            held: held.get(&window.start()).copied(),
            declared: declared.get(&window.start()).copied(),
        }
    };
    windows.into_iter().map(report).collect()
}

/// When windows are counted again, by their starts: a run when its last one is to be, and what was loaded again with its newest load.
fn recounts(table: &Table, entry: &PipelineEntry, held: &BTreeMap<i64, &Failure>) -> BTreeMap<i64, Timestamp> {
    let recounts = table.recounts_of(&entry.spec().name).map(|task| &task.value);
    let mut recounts: Vec<&Task> = recounts.filter(|task| !held.contains_key(&task.window.start())).collect();
    recounts.sort_by_key(|task| task.revision);
    let due = |task: &&Task| Some((task.each_window(), recount::due(entry, &task.window)?));
    let due = recounts.iter().filter_map(due);
    due.flat_map(|(windows, at)| windows.into_iter().map(move |window| (window.start(), at))).collect()
}

/// A backfill's windows that run now, and of those the ones that failed before.
pub fn running(table: &Table, backfill: &Backfill) -> (u64, u64) {
    backfill::own(table, backfill).map(|task| &task.value).fold((0, 0), |(running, retrying), task| {
        let windows = task.windows() as u64;
        let claimed = matches!(task.state, TaskState::Claimed { .. } | TaskState::Sealed { .. });
        let failed_before = task.errors > 0 || task.lost_leases > 0 || failure(task).is_some();
        let quarantined = matches!(task.state, TaskState::Quarantined { .. });
        (
            running + if claimed { windows } else { 0 },
            retrying + if failed_before && !quarantined { windows } else { 0 },
        )
    })
}

/// The newest failure among a backfill's tasks.
pub fn backfill_failure(table: &Table, backfill: &Backfill) -> Option<Failure> {
    let failures = backfill::own(table, backfill).filter_map(|task| failure(&task.value));
    failures.max_by_key(|failure| failure.at).cloned()
}

/// Pipelines and their reports.
pub fn all(table: &Table, now: Now) -> Vec<(PipelineName, PipelineReport)> {
    table.pipelines().map(|(name, entry)| (name.clone(), pipeline(table, entry, now))).collect()
}

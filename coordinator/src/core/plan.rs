//! T0: turning due windows into tasks. Task ids are hashes of what the task is, so planning the same windows twice
//! changes nothing.

use windrow_common::{
    id::TaskId,
    task::{Lane, Seams, Task, TaskPhase, TaskState},
    window::{Axis, Window},
};

use super::{
    lifecycle::Now,
    table::{Change, Cursor, Key, PipelineEntry, Record, Table},
};

/// Most tasks one transaction creates.
pub const MAX_PLANNED: usize = 100;
/// Most open tasks of one pipeline; planning goes on when some of them are done.
pub const MAX_OPEN: usize = 1_000;

/// The next due windows of every pipeline as tasks; one change per pipeline, none if nothing is due.
pub fn plan(table: &Table, now: Now) -> Vec<Change> {
    let entries = table.pipelines().filter(|(_, entry)| entry.state.value.paused.is_none());
    entries.filter_map(|(_, entry)| plan_pipeline(table, entry, now)).collect()
}

fn plan_pipeline(table: &Table, entry: &PipelineEntry, now: Now) -> Option<Change> {
    let open: usize = TaskPhase::ALL.iter().map(|phase| table.count(&entry.spec().name, &Lane::Live, *phase)).sum();
    let room = MAX_OPEN.saturating_sub(open).min(MAX_PLANNED);
    if room == 0 {
        return None;
    }
    match &entry.tiling {
        Some(_) => plan_time(table, entry, room, now),
        None => plan_first_version(entry, now),
    }
}

/// Windows of time that have closed since the cursor.
fn plan_time(table: &Table, entry: &PipelineEntry, room: usize, now: Now) -> Option<Change> {
    let tiling = entry.tiling.as_ref()?;
    let spec = entry.spec().window.as_ref()?;
    let cursor = entry.cursor.value;
    let closed_to = tiling.closed_to(now.wall);
    let per_task = usize::try_from(spec.per_task.max(1)).unwrap_or(usize::MAX);
    let due = tiling.windows_from(cursor.next).take_while(|window| window.end() <= closed_to);
    let due: Vec<Window> = due.take(room.saturating_mul(per_task)).collect();
    let last = due.last()?;
    let mut tasks: Vec<Task> =
        due.chunks(per_task).filter_map(|run| task(entry, run, 0, Lane::Live, None, now)).collect();
    let mut revision = cursor.revision;
    if let Some(again) = look_back(table, entry, revision + 1, now) {
        revision += 1;
        tasks.push(again);
    }
    let next = Cursor { next: last.end(), revision };
    let advance = Change::replace(Record::Cursor(entry.spec().name.clone(), next), entry.cursor.revision);
    Some(tasks.into_iter().fold(advance, |change, task| change.and(Change::create(Record::Task(task)))))
}

/// The published windows just before the cursor, to be loaded again for rows that came late.
fn look_back(table: &Table, entry: &PipelineEntry, revision: u32, now: Now) -> Option<Task> {
    let spec = entry.spec().window.as_ref().filter(|spec| spec.lookback > 0)?;
    let back = entry.tiling.as_ref()?.windows_back_from(entry.cursor.value.next);
    let wanted = usize::try_from(spec.lookback).ok()?;
    let free = |window: &Window| entry.is_published(window) && !is_open(table, entry, window);
    let mut run: Vec<Window> =
        back.filter(|window| window.end() <= entry.cursor.value.next).take(wanted).take_while(free).collect();
    run.reverse();
    task(entry, &run, revision, Lane::Live, None, now)
}

/// A full load runs once when it is applied; schedules, triggers and backfills ask for further versions.
fn plan_first_version(entry: &PipelineEntry, now: Now) -> Option<Change> {
    if entry.cursor.value.next > 0 {
        return None;
    }
    let first = task(entry, &[Window::version(0)], 0, Lane::Live, None, now)?;
    let name = entry.spec().name.clone();
    let advance =
        Change::replace(Record::Cursor(name, Cursor { next: 1, ..entry.cursor.value }), entry.cursor.revision);
    Some(advance.and(Change::create(Record::Task(first))))
}

/// The task over a run of adjacent windows.
pub fn task(
    entry: &PipelineEntry,
    run: &[Window],
    revision: u32,
    lane: Lane,
    trace: Option<String>,
    now: Now,
) -> Option<Task> {
    let (first, last) = (run.first()?, run.last()?);
    let window = Window::new(first.axis(), first.start(), last.end()).ok()?;
    let pipeline = entry.spec().name.clone();
    Some(Task {
        id: TaskId::of(&pipeline, 0, &window, revision),
        pipeline,
        sink: entry.sink.clone(),
        shard: 0,
        window,
        seams: entry.tiling.as_ref().map_or(Seams::None, |tiling| tiling.seams(run)),
        revision,
        lane,
        created: now.wall,
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        trace,
        state: TaskState::Pending { not_before: now.wall, last_failure: None },
    })
}

/// Whether an open task covers some of a window.
pub fn is_open(table: &Table, entry: &PipelineEntry, window: &Window) -> bool {
    table.tasks_of(&entry.spec().name).any(|task| task.value.window.overlaps(window))
}

/// How many windows are closed and not planned.
pub fn unplanned(entry: &PipelineEntry, now: Now) -> u64 {
    match &entry.tiling {
        Some(tiling) => tiling.count(entry.cursor.value.next, tiling.closed_to(now.wall)),
        None => u64::from(entry.cursor.value.next == 0),
    }
}

/// The cursor a new pipeline starts with.
pub fn first_cursor(entry_axis: Axis, origin: i64) -> Cursor {
    match entry_axis {
        Axis::Time => Cursor { next: origin, revision: 0 },
        Axis::Version => Cursor { next: 0, revision: 0 },
    }
}

/// Expects that a pipeline has not changed since it was looked at.
pub fn unchanged(entry: &PipelineEntry) -> (Key, Option<i64>) {
    (Key::Pipeline(entry.spec().name.clone()), Some(entry.state.revision))
}

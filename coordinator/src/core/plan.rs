//! T0: turning due windows into tasks. Task ids are hashes of what the task is, so planning the same windows twice
//! changes nothing.

use jiff::Timestamp;
use windrow_common::{
    id::TaskId,
    pipeline::{Pattern, WindowSpec},
    task::{Lane, Seams, Task},
    window::{Axis, Window},
};

use super::{
    closed,
    lifecycle::Now,
    recount,
    table::{Change, Cursor, PipelineEntry, Record, Table},
    timeline::{Standing, Timeline},
};

/// Most tasks one transaction creates.
pub const MAX_PLANNED: usize = 100;
/// Most tasks one transaction creates to load published windows again.
const MAX_LOOKED_BACK: usize = 10;
/// Most open tasks of one lane; planning goes on when some of them are done.
pub const MAX_OPEN: usize = 1_000;

/// Most separate stretches a pipeline's published windows may lie in, for they are one record; planning goes on when the
/// windows between them are published too.
pub const MAX_STRETCHES: usize = 1_000;

/// The next due windows of every pipeline as tasks; one change per pipeline, none if nothing is due.
pub fn plan(table: &Table, now: Now) -> Vec<Change> {
    let entries = table.pipelines().filter(|(_, entry)| entry.state.value.paused.is_none());
    entries.filter_map(|(_, entry)| plan_pipeline(table, entry, now)).collect()
}

fn plan_pipeline(table: &Table, entry: &PipelineEntry, now: Now) -> Option<Change> {
    if plans_nothing(entry) {
        return None;
    }
    let room = MAX_OPEN.saturating_sub(table.open(&entry.spec().name, &Lane::Live)).min(MAX_PLANNED);
    if room == 0 || entry.coverage.value.published.len() >= MAX_STRETCHES {
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
    let per_task = spec.run() as usize;
    let due = tiling.windows_from(cursor.next).take_while(|window| window.end() <= closed_to);
    let mut due: Vec<Window> = due.take(room.saturating_mul(per_task)).collect();
    let mut next = due.last()?.end();
    // Only after a loss of the ledger: what the sink was found to hold is not loaded again.
    due.retain(|window| !entry.is_published(window));
    let mut runs = recount::in_runs(entry, &due, per_task, now);
    let mut tasks: Vec<Task> =
        runs.by_ref().take(room).filter_map(|run| task(entry, run, 0, Lane::Live, None, now)).collect();
    if let Some([first, ..]) = runs.next() {
        next = first.start();
    }
    let again = look_back(table, entry, cursor.revision + 1, now);
    let revision = cursor.revision + u32::from(!again.is_empty());
    tasks.extend(again);
    let next = Cursor { next, revision };
    let advance = Change::replace(Record::Cursor(entry.spec().name.clone(), next), entry.cursor.revision);
    Some(tasks.into_iter().fold(advance, |change, task| change.and(Change::create(Record::Task(task)))))
}

/// The published windows just before the cursor, to be loaded again for rows that came late. Those that are not
/// published are being loaded anyway.
fn look_back(table: &Table, entry: &PipelineEntry, revision: u32, now: Now) -> Vec<Task> {
    let Some((spec, tiling)) = entry.spec().window.as_ref().zip(entry.tiling.as_ref()) else { return Vec::new() };
    if spec.lookback == 0 || closed::closes(entry) {
        return Vec::new();
    }
    let lookback = spec.lookback.min(WindowSpec::MAX_RUN);
    let cursor = entry.cursor.value.next;
    let timeline = Timeline::of(table, entry);
    let back = tiling.windows_back_from(cursor).filter(|window| window.end() <= cursor).take(lookback as usize);
    let mut published: Vec<Window> = back.filter(|window| timeline.standing(window) == Standing::Published).collect();
    published.reverse();
    let stretches = published.chunk_by(|left, right| left.end() == right.start());
    let runs = stretches.flat_map(|stretch| stretch.chunks(spec.run() as usize));
    runs.take(MAX_LOOKED_BACK).filter_map(|run| task(entry, run, revision, Lane::Live, None, now)).collect()
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
    let id = TaskId::of(&pipeline, 0, &window, revision);
    Some(Task {
        seams: entry.tiling.as_ref().map_or(Seams::None, |tiling| tiling.seams(run)),
        revision,
        trace,
        ..Task::new(id, (pipeline, entry.sink.clone()), lane, window, now.wall)
    })
}

/// How many windows are closed and not planned.
pub fn unplanned(entry: &PipelineEntry, now: Now) -> u64 {
    match &entry.tiling {
        _ if plans_nothing(entry) => 0,
        Some(tiling) => tiling.count(entry.cursor.value.next, tiling.closed_to(now.wall)),
        None => u64::from(entry.cursor.value.next == 0),
    }
}

/// When the next window closes.
pub fn next_due(entry: &PipelineEntry, now: Now) -> Option<Timestamp> {
    let tiling = entry.tiling.as_ref()?;
    tiling.closes(tiling.closed_to(now.wall))
}

/// Whether nothing of a pipeline is planned by time: others say what it does.
pub fn plans_nothing(entry: &PipelineEntry) -> bool {
    moves_nothing(entry) || closed::is_beside(entry).is_some()
}

/// Whether a pipeline has no windows at all: it only rewrites files, and which ones `compact` decides.
pub fn moves_nothing(entry: &PipelineEntry) -> bool {
    entry.spec().pattern == Pattern::Compact
}

/// The cursor a new pipeline starts with.
pub fn first_cursor(entry_axis: Axis, origin: i64) -> Cursor {
    match entry_axis {
        Axis::Time => Cursor { next: origin, revision: 0 },
        Axis::Version => Cursor { next: 0, revision: 0 },
    }
}

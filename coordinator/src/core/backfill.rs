//! Backfills: marking a part of a pipeline's timeline to be moved (again), and seeing it through.

use jiff::Timestamp;
use windrow_common::{
    id::{BackfillId, PipelineName, TaskId},
    task::{Lane, Task, TaskPhase, TaskState},
    window::{Axis, Window},
};

use super::{
    coverage::IntervalSet,
    lifecycle::Now,
    plan,
    table::{Change, Cursor, Key, PipelineEntry, Record, Table, Versioned},
};

/// Which windows of the range are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Never published and not being worked on.
    Missing,
    /// Those, and quarantined ones.
    MissingAndFailed,
    /// All; published ones are replaced.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Where a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// Its claimed tasks go on; nothing new is given out.
    Paused,
    /// Its unsealed tasks were withdrawn.
    Cancelled,
    Succeeded,
    /// Everything is settled, some windows are quarantined.
    Failed,
}

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub pipeline: PipelineName,
    /// Absent: everything up to now.
    pub range: Option<Window>,
    pub choice: Choice,
    pub order: Order,
    /// Most tasks at a time; 0 means the pipeline's own limit.
    pub concurrency: u32,
    pub force: bool,
}

/// A backfill's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Backfill {
    pub id: BackfillId,
    pub request_id: String,
    pub pipeline: PipelineName,
    pub range: Window,
    pub choice: Choice,
    pub order: Order,
    pub concurrency: u32,
    pub phase: Phase,
    /// The revision its tasks carry.
    pub revision: u32,
    /// What is not planned yet.
    pub todo: IntervalSet,
    pub windows: u64,
    pub published: u64,
    /// Windows quarantined when it was settled.
    pub failed: u64,
    pub trace: Option<String>,
    pub created: Timestamp,
    pub settled: Option<Timestamp>,
}

/// What would become of one window, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    pub window: Window,
    pub standing: Standing,
    pub will_run: bool,
}

/// Where a window stands before the backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Published,
    /// Closed and never published, without a task.
    Missing,
    Quarantined(TaskId),
    /// A task is open over it; it will be published without any backfill.
    Open(TaskId, TaskPhase),
    NotClosed,
}

/// Why a backfill cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("the range holds no closed window of the pipeline")]
    EmptyRange,
    #[error("the range holds {windows} windows, more than {limit}")]
    TooLarge { windows: usize, limit: usize },
    #[error("the windows to run lie in {0} separate stretches, more than {MAX_STRETCHES}")]
    TooScattered(usize),
}

/// Most windows a backfill may run without being forced.
pub const MAX_WINDOWS: usize = 10_000;
/// Most separate stretches of windows: what fits a record.
const MAX_STRETCHES: usize = 300;

/// Every closed window of the range and whether it would run.
pub fn preview(table: &Table, request: &Request, now: Now) -> Result<Vec<Preview>, BadRequest> {
    let entry = pipeline(table, &request.pipeline)?;
    let windows = closed_windows(entry, request.range.as_ref(), now);
    if windows.is_empty() {
        return Err(BadRequest::EmptyRange);
    }
    let open: Vec<&Versioned<Task>> = table.tasks_of(&request.pipeline).collect();
    let look = |window: Window| {
        let standing = standing(entry, &open, &window);
        let will_run = match (request.choice, standing) {
            (_, Standing::Missing) => true,
            (Choice::MissingAndFailed | Choice::All, Standing::Quarantined(_)) => true,
            (Choice::All, Standing::Published) => true,
            _ => false,
        };
        Preview { window, standing, will_run }
    };
    Ok(windows.into_iter().map(look).collect())
}

/// Makes the backfill. Quarantined tasks it takes over are withdrawn in the same transaction.
pub fn create(
    table: &Table,
    request: &Request,
    id: BackfillId,
    origin: Origin,
    now: Now,
) -> Result<Backfill, BadRequest> {
    let entry = pipeline(table, &request.pipeline)?;
    let previews = preview(table, request, now)?;
    let chosen: Vec<&Preview> = previews.iter().filter(|preview| preview.will_run).collect();
    if chosen.len() > MAX_WINDOWS && !request.force {
        return Err(BadRequest::TooLarge { windows: chosen.len(), limit: MAX_WINDOWS });
    }
    let todo: IntervalSet = chosen.iter().map(|preview| (preview.window.start(), preview.window.end())).collect();
    if todo.len() > MAX_STRETCHES {
        return Err(BadRequest::TooScattered(todo.len()));
    }
    let (first, last) = (previews.first(), previews.last());
    let range = first
        .zip(last)
        .and_then(|(first, last)| Window::new(first.window.axis(), first.window.start(), last.window.end()).ok());
    Ok(Backfill {
        id,
        request_id: origin.request_id,
        pipeline: request.pipeline.clone(),
        range: range.ok_or(BadRequest::EmptyRange)?,
        choice: request.choice,
        order: request.order,
        concurrency: request.concurrency,
        phase: Phase::Running,
        revision: entry.cursor.value.revision + 1,
        todo,
        windows: chosen.len() as u64,
        published: 0,
        failed: 0,
        trace: origin.trace,
        created: now.wall,
        settled: None,
    })
}

/// Who asked for a backfill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub request_id: String,
    pub trace: Option<String>,
}

/// The transaction that makes a backfill known. It takes the pipeline's next revision, so that its tasks differ from all
/// before them, and for full loads the next version.
pub fn record(table: &Table, backfill: Backfill) -> Result<Change, BadRequest> {
    let entry = pipeline(table, &backfill.pipeline)?;
    let cursor = Cursor { revision: backfill.revision, ..entry.cursor.value };
    let next = Record::Cursor(backfill.pipeline.clone(), cursor);
    Ok(Change::replace(next, entry.cursor.revision).and(Change::create(Record::Backfill(backfill))))
}

/// Plans the next tasks of running backfills, and settles those that are done.
pub fn advance(table: &Table, now: Now) -> Vec<Change> {
    let running = table.backfills().filter(|entry| entry.value.phase == Phase::Running);
    running.filter_map(|entry| plan_next(table, entry, now).or_else(|| settle(table, entry, now))).collect()
}

fn plan_next(table: &Table, backfill: &Versioned<Backfill>, now: Now) -> Option<Change> {
    let entry = table.pipeline(&backfill.value.pipeline)?;
    let lane = Lane::Backfill(backfill.value.id.clone());
    let open: usize = TaskPhase::ALL.iter().map(|phase| table.count(&backfill.value.pipeline, &lane, *phase)).sum();
    let room = plan::MAX_OPEN.saturating_sub(open).min(plan::MAX_PLANNED / 2);
    if room == 0 || backfill.value.todo.is_empty() {
        return None;
    }
    let mut next = backfill.value.clone();
    let mut change = Change::default();
    for _ in 0..room {
        let Some(run) = next_run(entry, &next) else { break };
        let (Some(first), Some(last)) = (run.first(), run.last()) else { break };
        next.todo.remove(first.start(), last.end());
        change = change.and(withdraw_quarantined(table, entry, first.start(), last.end()));
        let planned = plan::task(entry, &run, next.revision, lane.clone(), next.trace.clone(), now)?;
        change = change.and(Change::create(Record::Task(planned)));
        if change.size() >= plan::MAX_PLANNED {
            break;
        }
    }
    Some(change.and(Change::replace(Record::Backfill(next), backfill.revision)))
}

/// The next adjacent windows one task may take, from the end the order begins at.
fn next_run(entry: &PipelineEntry, backfill: &Backfill) -> Option<Vec<Window>> {
    let per_task = entry.spec().window.as_ref().map_or(1, |window| window.per_task.max(1)) as usize;
    let (start, end) = match backfill.order {
        Order::OldestFirst => backfill.todo.iter().next()?,
        Order::NewestFirst => backfill.todo.iter().next_back()?,
    };
    let Some(tiling) = &entry.tiling else {
        return Window::new(Axis::Version, start, end).ok().map(|window| vec![window]);
    };
    let inside = |window: &Window| start <= window.start() && window.end() <= end;
    Some(match backfill.order {
        Order::OldestFirst => tiling.windows_from(start).take_while(inside).take(per_task).collect(),
        Order::NewestFirst => {
            let mut run: Vec<Window> = tiling.windows_back_from(end).take_while(inside).take(per_task).collect();
            run.reverse();
            run
        }
    })
}

fn withdraw_quarantined(table: &Table, entry: &PipelineEntry, start: i64, end: i64) -> Change {
    let quarantined = table.tasks_of(&entry.spec().name).filter(|task| {
        matches!(task.value.state, TaskState::Quarantined { .. })
            && task.value.window.start() < end
            && start < task.value.window.end()
    });
    quarantined.fold(Change::default(), |change, task| {
        let key = Key::Task(task.value.pipeline.clone(), task.value.id);
        change.and(Change { expect: vec![(key.clone(), Some(task.revision))], put: Vec::new(), delete: vec![key] })
    })
}

fn settle(table: &Table, backfill: &Versioned<Backfill>, now: Now) -> Option<Change> {
    let (open, failed) = open_and_failed(table, &backfill.value);
    if open > 0 || !backfill.value.todo.is_empty() {
        return None;
    }
    let mut settled = backfill.value.clone();
    settled.phase = if failed > 0 { Phase::Failed } else { Phase::Succeeded };
    settled.failed = failed;
    settled.settled = Some(now.wall);
    Some(Change::replace(Record::Backfill(settled), backfill.revision))
}

/// Windows of a backfill in open tasks, and in quarantined ones.
pub fn open_and_failed(table: &Table, backfill: &Backfill) -> (u64, u64) {
    let lane = Lane::Backfill(backfill.id.clone());
    let own = table.tasks_of(&backfill.pipeline).filter(|task| task.value.lane == lane);
    own.fold((0, 0), |(open, failed), task| match task.value.state {
        TaskState::Quarantined { .. } => (open, failed + task.value.windows() as u64),
        _ => (open + task.value.windows() as u64, failed),
    })
}

fn pipeline<'a>(table: &'a Table, name: &PipelineName) -> Result<&'a PipelineEntry, BadRequest> {
    table.pipeline(name).ok_or_else(|| BadRequest::UnknownPipeline(name.clone()))
}

fn closed_windows(entry: &PipelineEntry, range: Option<&Window>, now: Now) -> Vec<Window> {
    let Some(tiling) = &entry.tiling else {
        // A full load is run again as its next version.
        let newest = entry.cursor.value.next.max(1) - 1;
        return vec![Window::version(u32::try_from(newest).unwrap_or(u32::MAX))];
    };
    let closed = tiling.closed_to(now.wall);
    let (from, to) = range.map_or((tiling.origin(), closed), |range| (range.start(), range.end()));
    tiling
        .windows(from.max(tiling.origin()), to.min(closed))
        .into_iter()
        .filter(|window| window.end() <= closed)
        .collect()
}

/// Where a window stands, given the pipeline's open tasks.
pub fn standing(entry: &PipelineEntry, open: &[&Versioned<Task>], window: &Window) -> Standing {
    let over = open.iter().find(|task| task.value.window.overlaps(window));
    match over.map(|task| (&task.value.state, task.value.id)) {
        Some((TaskState::Quarantined { .. }, id)) => Standing::Quarantined(id),
        Some((state, id)) => Standing::Open(id, state.phase()),
        None if entry.is_published(window) => Standing::Published,
        None => Standing::Missing,
    }
}

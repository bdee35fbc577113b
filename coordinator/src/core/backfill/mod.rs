//! Backfills: marking a part of a pipeline's timeline to be moved (again), and seeing it through.

use jiff::Timestamp;
use windrow_common::{
    count::{counted, either, grouped},
    id::{BackfillId, PipelineName},
    window::{Axis, Window},
};

use super::{
    closed,
    coverage::IntervalSet,
    lifecycle::Now,
    table::{Change, Cursor, PipelineEntry, Record, Table},
    timeline::{Standing, Timeline},
};

mod detail;
mod progress;

pub use detail::is_apart;
pub use progress::{advance, open_and_failed, own};

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
    /// Its loads are let through whatever their guards say.
    pub accept: bool,
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
    /// Its loads are let through whatever their guards say.
    pub accept: bool,
}

/// What would become of one window, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    pub window: Window,
    pub standing: Standing,
    pub will_run: bool,
}

/// Why a backfill cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("the range holds no closed window of the pipeline")]
    EmptyRange,
    #[error("the range holds {}, more than {}", counted(*windows, "window"), grouped(*limit))]
    TooLarge { windows: usize, limit: usize },
    #[error("the range holds {}, which {} as {}: the pipeline says so in `readiness.late`", counted(*.0, "published window"), either(*.0, "stays", "stay"), either(*.0, "it is", "they are"))]
    Closed(usize),
    #[error("pipeline {0} loads what comes late to another one: what it holds follows from that")]
    Beside(PipelineName),
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
    if closed::is_beside(entry).is_some() {
        return Err(BadRequest::Beside(request.pipeline.clone()));
    }
    let timeline = Timeline::of(table, entry);
    let windows = candidates(entry, &timeline, request, now);
    if windows.is_empty() {
        return Err(BadRequest::EmptyRange);
    }
    let look = |window: Window| {
        let standing = timeline.standing(&window);
        let will_run = will_run(request.choice, &window, standing) && !is_closed(entry, standing);
        Preview { window, standing, will_run }
    };
    Ok(windows.into_iter().map(look).collect())
}

/// The backfill that answers the request. Quarantined runs it touches it takes over whole.
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
    let todo: IntervalSet = chosen.iter().map(|preview| whole(table, preview)).collect();
    let windows = count(entry, &todo);
    let closed = previews.iter().filter(|preview| is_closed(entry, preview.standing)).count();
    if windows == 0 && closed > 0 && request.choice == Choice::All {
        return Err(BadRequest::Closed(closed));
    }
    if windows > MAX_WINDOWS && !request.force {
        return Err(BadRequest::TooLarge { windows, limit: MAX_WINDOWS });
    }
    if todo.len() > MAX_STRETCHES {
        return Err(BadRequest::TooScattered(todo.len()));
    }
    let (Some(first), Some(last)) = (previews.first(), previews.last()) else { return Err(BadRequest::EmptyRange) };
    let range = Window::new(first.window.axis(), first.window.start(), last.window.end());
    Ok(Backfill {
        id,
        request_id: origin.request_id,
        pipeline: request.pipeline.clone(),
        range: range.map_err(|_| BadRequest::EmptyRange)?,
        choice: request.choice,
        order: request.order,
        concurrency: request.concurrency,
        phase: Phase::Running,
        revision: entry.cursor.value.revision + 1,
        todo,
        windows: windows as u64,
        published: 0,
        failed: 0,
        trace: origin.trace,
        created: now.wall,
        settled: None,
        accept: request.accept,
    })
}

/// The stretch a chosen window stands for: the whole of a quarantined run, for its record goes when it is taken over.
fn whole(table: &Table, preview: &Preview) -> (i64, i64) {
    let taken_over = match preview.standing {
        Standing::Quarantined(task) => table.task(&task).map(|task| task.value.window),
        _ => None,
    };
    let window = taken_over.unwrap_or(preview.window);
    (window.start(), window.end())
}

fn count(entry: &PipelineEntry, todo: &IntervalSet) -> usize {
    let of = |(start, end)| entry.tiling.as_ref().map_or(1, |tiling| tiling.count(start, end));
    usize::try_from(todo.iter().map(of).sum::<u64>()).unwrap_or(usize::MAX)
}

/// The id of the backfill a request makes; a repeat of the request has the same.
pub fn id_of(request_id: &str) -> BackfillId {
    let hash = blake3::hash(request_id.as_bytes()).to_hex();
    match format!("bf-{}", &hash[..10]).parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a hexadecimal hash is a valid name"),
    }
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
    let next = match backfill.range.axis() {
        Axis::Time => entry.cursor.value.next,
        Axis::Version => entry.cursor.value.next.max(backfill.range.end()),
    };
    let cursor = Record::Cursor(backfill.pipeline.clone(), Cursor { next, revision: backfill.revision });
    Ok(Change::replace(cursor, entry.cursor.revision).and(Change::create(Record::Backfill(backfill))))
}

/// What an operator may do to a backfill that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Pause,
    Resume,
    /// What is sealed is published still; the rest is withdrawn by [`advance`].
    Cancel,
}

/// Why a command makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    #[error("no backfill is called {0}")]
    Unknown(BackfillId),
    #[error("backfill {id} is {phase:?}")]
    WrongPhase { id: BackfillId, phase: Phase },
}

/// Pauses, resumes or cancels. Whether a request merely repeats one that was carried out is the controller's to see: it
/// answers that as done and does not come here, where a phase is only ever left.
pub fn steer(table: &Table, id: &BackfillId, command: Command, now: Now) -> Result<Change, BadCommand> {
    let backfill = table.backfill(id).ok_or_else(|| BadCommand::Unknown(id.clone()))?;
    let mut next = backfill.value.clone();
    next.phase = match (next.phase, command) {
        (Phase::Running, Command::Pause) => Phase::Paused,
        (Phase::Paused, Command::Resume) => Phase::Running,
        (Phase::Running | Phase::Paused, Command::Cancel) => Phase::Cancelled,
        (phase, _) => return Err(BadCommand::WrongPhase { id: id.clone(), phase }),
    };
    if next.phase == Phase::Cancelled {
        next.todo = IntervalSet::new();
        next.settled = Some(now.wall);
    }
    Ok(Change::replace(Record::Backfill(next), backfill.revision))
}

impl Phase {
    /// Whether the backfill may still make tasks.
    pub fn is_unsettled(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

fn pipeline<'a>(table: &'a Table, name: &PipelineName) -> Result<&'a PipelineEntry, BadRequest> {
    table.pipeline(name).ok_or_else(|| BadRequest::UnknownPipeline(name.clone()))
}

/// The closed windows of the range. A full load has one: its next version, or its newest if that one is not done.
fn candidates(entry: &PipelineEntry, timeline: &Timeline<'_>, request: &Request, now: Now) -> Vec<Window> {
    let Some(tiling) = &entry.tiling else {
        let version = |at: i64| u32::try_from(at).ok().map(Window::version);
        let next = entry.cursor.value.next;
        let newest = version(next - 1)
            .filter(|newest| request.choice != Choice::All || timeline.standing(newest) != Standing::Published);
        return newest.or_else(|| version(next).filter(|_| next > 0)).into_iter().collect();
    };
    let closed = tiling.closed_to(now.wall);
    let (from, to) = request.range.as_ref().map_or((tiling.origin(), closed), |range| (range.start(), range.end()));
    tiling
        .windows(from.max(tiling.origin()), to.min(closed))
        .into_iter()
        .filter(|window| window.end() <= closed)
        .collect()
}

/// Whether a published window is not loaded again, whoever asks.
fn is_closed(entry: &PipelineEntry, standing: Standing) -> bool {
    standing == Standing::Published && closed::closes(entry)
}

/// Whether the request asks for a window that stands so.
fn will_run(choice: Choice, window: &Window, standing: Standing) -> bool {
    match standing {
        Standing::Missing => true,
        Standing::Quarantined(_) => choice != Choice::Missing,
        Standing::Published => choice == Choice::All,
        // Planning comes to windows of time by itself; further versions are made on request alone.
        Standing::Unplanned => window.axis() == Axis::Version,
        Standing::Open(..) | Standing::Queued | Standing::NotClosed => false,
    }
}

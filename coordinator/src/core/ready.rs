//! Whether consumers may read: all of a range is published, and nothing of it is about to change if they ask for that too.

use windrow_common::window::{Axis, Window};

use super::{
    lifecycle::Now,
    report::{self, WindowReport},
    table::{PipelineEntry, Table},
    timeline::Standing,
};

/// How a range stands.
pub struct Ready<'a> {
    pub range: Window,
    pub windows: u64,
    pub published: u64,
    /// The first window that is not ready; `None` if all are.
    pub first: Option<WindowReport<'a>>,
}

/// Why a range will never be ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NeverReady {
    #[error("{range} lies outside the pipeline, whose windows lie in {all}")]
    Outside { range: Window, all: String },
    #[error("the pipeline has no windows of that kind: {0}")]
    OtherAxis(Window),
    #[error("no window is due yet")]
    NothingDue,
}

/// Looks at a range; at all that is due, or the newest version, without one.
pub fn ready<'a>(
    table: &'a Table,
    entry: &'a PipelineEntry,
    range: Option<Window>,
    settled: bool,
    now: Now,
) -> Result<Ready<'a>, NeverReady> {
    let range = match range {
        Some(range) => within(entry, range)?,
        None => due(entry, now).ok_or(NeverReady::NothingDue)?,
    };
    let published = &entry.coverage.value.published;
    let gaps = published.gaps(range.start(), range.end());
    let (windows, missing) = match &entry.tiling {
        Some(tiling) => {
            let whole = |start: i64, end: i64| tiling.count(start, end);
            (whole(range.start(), range.end()), gaps.iter().map(|(start, end)| whole(*start, *end)).sum())
        }
        None => (length(range.start(), range.end()), gaps.iter().map(|(start, end)| length(*start, *end)).sum()),
    };
    let first_gap = gaps.first().map(|(start, _)| *start);
    let first_moving = if settled { first_moving(table, entry, &range) } else { None };
    let first = first_gap.into_iter().chain(first_moving).min();
    let first = first.and_then(|start| at(table, entry, start, now));
    Ok(Ready { range, windows, published: windows.saturating_sub(missing), first })
}

/// Where the first thing begins that is under way or waits over a range.
pub(super) fn first_moving(table: &Table, entry: &PipelineEntry, range: &Window) -> Option<i64> {
    let name = &entry.spec().name;
    let open = table.tasks_of(name).map(|task| task.value.window).filter(|window| window.overlaps(range));
    let backfills = table.backfills().map(|backfill| &backfill.value);
    let backfills = backfills.filter(|backfill| backfill.pipeline == *name && backfill.phase.is_unsettled());
    let queued = backfills.flat_map(|backfill| backfill.todo.iter());
    let queued = queued.filter(|(start, end)| *start < range.end() && range.start() < *end).map(|(start, _)| start);
    open.map(|window| window.start()).chain(queued).map(|start| start.max(range.start())).min()
}

fn within(entry: &PipelineEntry, range: Window) -> Result<Window, NeverReady> {
    let Some(tiling) = &entry.tiling else {
        return if range.axis() == Axis::Version { Ok(range) } else { Err(NeverReady::OtherAxis(range)) };
    };
    if range.axis() != Axis::Time {
        return Err(NeverReady::OtherAxis(range));
    }
    match range.start() < tiling.origin() || tiling.end().is_some_and(|end| end < range.end()) {
        true => Err(NeverReady::Outside { range, all: all(tiling.origin(), tiling.end()) }),
        false => Ok(range),
    }
}

fn all(start: i64, end: Option<i64>) -> String {
    let whole = Window::new(Axis::Time, start, end.unwrap_or(i64::MAX));
    whole.map_or_else(|_| "nothing".to_owned(), |whole| whole.to_string())
}

fn due(entry: &PipelineEntry, now: Now) -> Option<Window> {
    match &entry.tiling {
        Some(tiling) => Window::new(Axis::Time, tiling.origin(), tiling.closed_to(now.wall)).ok(),
        None => {
            let next = entry.cursor.value.next.max(1);
            Window::new(Axis::Version, next - 1, next).ok()
        }
    }
}

fn length(start: i64, end: i64) -> u64 {
    u64::try_from(end.saturating_sub(start)).unwrap_or(0)
}

/// The window that begins or lies there. A version nobody has asked for yet is reported as not closed.
fn at<'a>(table: &'a Table, entry: &'a PipelineEntry, start: i64, now: Now) -> Option<WindowReport<'a>> {
    if entry.tiling.is_some() {
        return report::windows(table, entry, (start, start.saturating_add(1)), 1, now).pop();
    }
    let window = Window::new(Axis::Version, start, start.saturating_add(1)).ok()?;
    let known = report::windows(table, entry, (0, 0), usize::MAX, now);
    let known = known.into_iter().find(|found| found.window == window);
    Some(known.unwrap_or(WindowReport {
        window,
        standing: Standing::NotClosed,
        task: None,
        due: None,
        unchanged: false,
        recount: None,
        revision: None,
        held: None,
        declared: None,
    }))
}

//! The statements of a source. Bounds of windows are typed literals, for a COPY takes no parameters; none of them is text
//! that somebody else wrote. Pure.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use windrow_common::{
    error,
    window::{Axis, Window},
};

use super::{
    cut::Part,
    layout::{Chosen, Layout, TIMESTAMP},
    params::{Config, NullCursor, What},
    verbatim,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{identifier, literal, qualified},
};

const BIGINT: u32 = 20;
const DATE: u32 = 1082;
const TIMESTAMPTZ: u32 = 1184;
/// More than any zone's distance from UTC, clock changes included.
const WIDEST_OFFSET_HOURS: i64 = 48;

/// What becomes of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// They are asked for in types that are decoded here.
    Decoded,
    /// They are asked for, and left, as they are.
    AsTheyAre,
}

/// The rows of a window, or all rows for a full load, or a shard of them.
pub(super) fn copy(
    columns: (&Layout, Values),
    config: &Config,
    window: &Window,
    part: Option<&Part>,
) -> Result<String> {
    Ok(format!("COPY ({}) TO STDOUT (FORMAT BINARY)", rows(columns, config, window, part)?))
}

/// The same rows as one text: how many, and the sums of two hashes of each.
pub(super) fn counted(layout: &Layout, config: &Config, window: &Window) -> Result<String> {
    Ok(format!("SELECT {} FROM ({}) AS windrow_row", sums(), rows((layout, Values::Decoded), config, window, None)?))
}

/// The same text for each window of a run whose rows those are, with the window's number from 0 on; rows without a cursor have none. Windows
/// without rows are left out.
pub(super) fn counted_each(layout: &Layout, config: &Config, windows: &[Window]) -> Result<String> {
    let (Some(first), Some(last)) = (windows.first(), windows.last()) else {
        return Err(WorkerError::never(error::INTERNAL, "a run has windows"));
    };
    let run = Window::new(first.axis(), first.start(), last.end())
        .map_err(|cause| WorkerError::never(error::BAD_WINDOW, "a run is no window").because(cause))?;
    let cursor = Cursor::of(layout, config)?;
    let starts = windows[1..].iter().map(|window| cursor.bound(window.start())).collect::<Result<Vec<_>>>()?;
    let columns: Vec<String> = layout.columns.iter().map(|chosen| chosen.expression.clone()).collect();
    let which = which(layout, config, &run, None)?;
    Ok(format!(
        "SELECT windrow_window, {} FROM (SELECT ROW({}) AS windrow_row, pg_catalog.width_bucket({}, ARRAY[{}]) AS windrow_window FROM {}{which}) AS windrow_rows \
         GROUP BY windrow_window",
        sums(),
        columns.join(", "),
        cursor.exact,
        starts.join(", "),
        from(config),
    ))
}

/// How many rows, and the sums of two hashes of each.
fn sums() -> String {
    let hash = |seed: u8| {
        let text = "windrow_row::pg_catalog.text COLLATE pg_catalog.\"C\"";
        let sum = format!("pg_catalog.sum(pg_catalog.hashtextextended({text}, {seed}))");
        format!("coalesce({sum}, 0)::pg_catalog.text")
    };
    format!("pg_catalog.concat_ws(' ', pg_catalog.count(*), {}, {})", hash(0), hash(1))
}

fn rows((layout, values): (&Layout, Values), config: &Config, window: &Window, part: Option<&Part>) -> Result<String> {
    let value = |chosen: &Chosen| match values {
        Values::Decoded => chosen.expression.clone(),
        Values::AsTheyAre => verbatim::expression(chosen),
    };
    let columns: Vec<String> = layout
        .columns
        .iter()
        .map(|chosen| format!("{} AS {}", value(chosen), identifier(&chosen.column.name)))
        .collect();
    let which = which(layout, config, window, part)?;
    Ok(format!("SELECT {} FROM {}{which}", columns.join(", "), from(config)))
}

/// How many rows that is, a shard's aside.
pub(super) fn count(layout: &Layout, config: &Config, window: &Window) -> Result<String> {
    Ok(format!("SELECT pg_catalog.count(*) FROM {}{}", from(config), which(layout, config, window, None)?))
}

/// The condition on rows that are a window's or a shard's.
fn which(layout: &Layout, config: &Config, window: &Window, part: Option<&Part>) -> Result<String> {
    Ok(match window.axis() {
        Axis::Version => part.map(|part| format!(" WHERE {}", part.predicate())).unwrap_or_default(),
        Axis::Time if part.is_some() => {
            return Err(WorkerError::never(error::INTERNAL, "windows of time are not cut"));
        }
        Axis::Time => {
            let mut inside = predicate(layout, config, window)?;
            if let (NullCursor::Reject, Some(cursor)) = (config.null_cursor, &config.cursor) {
                inside = format!("(({inside}) OR {} IS NULL)", identifier(cursor));
            }
            format!(" WHERE {inside}")
        }
    })
}

/// How many rows have no cursor, counted up to a bound; `None` where nobody wants to know, or there can be none.
pub(super) fn count_null_cursors(layout: &Layout, config: &Config, most: u32) -> Option<String> {
    let cursor = config.cursor.as_ref().filter(|_| config.null_cursor == NullCursor::Refuse)?;
    let chosen = layout.column(cursor).filter(|chosen| chosen.column.nullable)?;
    let cursor = identifier(&chosen.column.name);
    let rows = format!("SELECT 1 FROM {} WHERE {cursor} IS NULL LIMIT {most}", from(config));
    Some(format!("SELECT pg_catalog.count(*) FROM ({rows}) AS nulls"))
}

fn from(config: &Config) -> String {
    match &config.what {
        What::Table { schema, name } => qualified(schema, name),
        // A comment at the query's end must not take the bracket with it.
        What::Query(query) => format!("({query}\n) AS windrow_query"),
    }
}

/// Which rows lie in `[start, end)`: exactly, and so that an index on the cursor can be used.
pub(super) fn predicate(layout: &Layout, config: &Config, window: &Window) -> Result<String> {
    let cursor = Cursor::of(layout, config)?;
    let between = |value: &str, start: String, end: String| format!("{value} >= {start} AND {value} < {end}");
    let exact = between(&cursor.exact, cursor.bound(window.start())?, cursor.bound(window.end())?);
    if !cursor.is_local {
        return Ok(exact);
    }
    let (start, end) = window.instants().ok_or_else(|| beyond(window))?;
    let wide = between(&cursor.column, local(start, -WIDEST_OFFSET_HOURS)?, local(end, WIDEST_OFFSET_HOURS)?);
    Ok(format!("{exact} AND {wide}"))
}

/// What tells the rows of one window from those of another.
struct Cursor {
    column: String,
    /// An instant of each row, or microseconds as a number.
    exact: String,
    is_number: bool,
    /// The server gives each local time one instant, so that each row is in one window; wider bounds are for its index.
    is_local: bool,
}

impl Cursor {
    fn of(layout: &Layout, config: &Config) -> Result<Self> {
        let Some(name) = &config.cursor else {
            let message = "nothing tells the rows of one window from those of another";
            return Err(WorkerError::never(error::CURSOR_MISSING, message).fix("name the column of time in `cursor`"));
        };
        let Some(chosen) = layout.column(name) else {
            return Err(WorkerError::never(error::CURSOR_MISSING, format!("the cursor column {name:?} is not read"))
                .fix("add it to `columns`"));
        };
        let column = identifier(name);
        let oid = chosen.column.data_type.oid;
        let exact = match oid {
            TIMESTAMPTZ | BIGINT => column.clone(),
            TIMESTAMP => {
                let zone = config.cursor_zone.as_ref().ok_or_else(|| {
                    WorkerError::never(
                        error::CURSOR_MISSING,
                        format!("the cursor column {name:?} is of type timestamp without time zone"),
                    )
                    .fix("declare the zone its values are in with `cursor_timezone`")
                })?;
                format!("({column} AT TIME ZONE {})", literal(zone))
            }
            DATE => {
                let zone = literal(config.cursor_zone.as_deref().unwrap_or("UTC"));
                format!("({column}::timestamp AT TIME ZONE {zone})")
            }
            _ => {
                let message = format!("the cursor column {name:?} is of type {}", chosen.column.data_type.name);
                return Err(WorkerError::never(error::CURSOR_MISSING, message)
                    .fix("a cursor is a timestamp, a date or a bigint of microseconds; cast it in `query`"));
            }
        };
        Ok(Self { column, exact, is_number: oid == BIGINT, is_local: matches!(oid, TIMESTAMP | DATE) })
    }

    /// A bound of a window, in microseconds since 1970, as a value to hold `exact` against.
    fn bound(&self, at: i64) -> Result<String> {
        if self.is_number {
            return Ok(format!("{at}::bigint"));
        }
        let at = Timestamp::from_microsecond(at)
            .map_err(|cause| WorkerError::never(error::BAD_WINDOW, "a window ends beyond all times").because(cause))?;
        Ok(instant(at))
    }
}

fn instant(at: Timestamp) -> String {
    format!("TIMESTAMPTZ '{}'", at.strftime("%Y-%m-%d %H:%M:%S%.6f+00"))
}

/// A local time some hours away from the instant's own in UTC.
fn local(at: Timestamp, hours: i64) -> Result<String> {
    let moved = at.to_zoned(TimeZone::UTC).datetime().checked_add(hours.hours());
    let moved = moved
        .map_err(|cause| WorkerError::never(error::BAD_WINDOW, "a window ends beyond all times").because(cause))?;
    Ok(format!("TIMESTAMP '{}'", moved.strftime("%Y-%m-%d %H:%M:%S%.6f")))
}

fn beyond(window: &Window) -> WorkerError {
    WorkerError::never(error::BAD_WINDOW, format!("{window} is no window of time"))
}

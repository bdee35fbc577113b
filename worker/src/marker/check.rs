//! Whether the markers a pipeline asks for make sense: each says one thing, and none lies where readers of a table would find it.

use std::collections::HashMap;

use jiff::{Span, Timestamp, ToSpan, tz::TimeZone};
use object_store::path::Path;
use windrow_common::{
    error::{self, ErrorCode},
    pipeline::{Every, Pipeline, WindowSpec},
    readiness::Publish,
    window::{Axis, Window},
};

use super::{place::keeper, plan::template};
use crate::{source::ParamError, storage::Storage, template::Template};

/// Windows whose markers are compared: a year of hours.
const COMPARED: i64 = 9_000;
/// Sinks whose data are files that people look for in a folder.
const FOLDERS: [&str; 4] = ["parquet", "csv", "json", "text"];

/// What is wrong with the markers of a pipeline; places are relative to `readiness`.
///
/// # Errors
/// All that is wrong.
pub fn check(pipeline: &Pipeline) -> Result<(), Vec<ParamError>> {
    let Some(publish) = &pipeline.readiness.publish else { return Ok(()) };
    let marker = template(pipeline, publish)
        .and_then(|marker| path_of(&marker.sample()?).map(|()| marker))
        .map_err(|message| vec![wrong("marker", error::BAD_MARKER, message, "write a path like `_SUCCESS`")])?;
    let found = [folder(pipeline, publish), partitions(pipeline, publish), names(pipeline, publish, &marker)];
    let wrong: Vec<ParamError> = found.into_iter().flatten().collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Files have their markers beside them, tables a folder of their own.
fn folder(pipeline: &Pipeline, publish: &Publish) -> Option<ParamError> {
    let format = pipeline.sink.format.as_str();
    match &publish.folder {
        Some(_) if FOLDERS.contains(&format) => Some(wrong(
            "folder",
            error::CONTRADICTION,
            format!("markers of {format} files lie beside them, in the folder of the sink"),
            "remove `folder`",
        )),
        None if !FOLDERS.contains(&format) => Some(wrong(
            "folder",
            error::MISSING_KEY,
            format!("a {format} table has no place for markers: nothing but its own files may lie in it"),
            "add `folder`, a folder beside the table; or remove `publish`: the commit itself tells its readers",
        )),
        Some(folder) if inside(pipeline, folder, &publish.marker) => Some(wrong(
            "folder",
            error::CONTRADICTION,
            format!("{folder:?} is within the table, whose readers would find the markers"),
            "name a folder beside the table",
        )),
        Some(_) if !Storage::CONNECTIONS.contains(&keeper(pipeline).kind.as_str()) => Some(wrong(
            "folder",
            error::UNKNOWN_CONNECTOR,
            format!("no marker can be put into a connection of type {:?}", keeper(pipeline).kind),
            "stage in object storage or in a folder",
        )),
        _ => None,
    }
}

/// Whether a marker would lie in the table's own folder.
fn inside(pipeline: &Pipeline, folder: &str, marker: &str) -> bool {
    let table = pipeline.sink.params.get("path").and_then(serde_json::Value::as_str).unwrap_or_default();
    let table = table.trim_matches('/');
    let path = format!("{}/{marker}", folder.trim_matches('/'));
    let path = path.trim_start_matches('/');
    pipeline.sink.staging.is_none()
        && (table.is_empty() || path.strip_prefix(table).is_some_and(|rest| rest.starts_with('/')))
}

fn partitions(pipeline: &Pipeline, publish: &Publish) -> Option<ParamError> {
    if !publish.partitions {
        return None;
    }
    let format = pipeline.sink.format.as_str();
    let (message, fix) = match FOLDERS.contains(&format) {
        false => (format!("the partitions of a {format} table are no folders for others"), "remove `partitions`"),
        true if !has_partitions(pipeline) => {
            ("the sink has no partitions".to_owned(), "add `partition_by` to the sink, or remove `partitions`")
        }
        true => return None,
    };
    Some(wrong("partitions", error::CONTRADICTION, message, fix))
}

/// That no two windows share a marker.
fn names(pipeline: &Pipeline, publish: &Publish, marker: &Template) -> Option<ParamError> {
    let contradiction = |message: String, fix: &str| Some(wrong("marker", error::CONTRADICTION, message, fix));
    let plain_name = !marker.by_window() && !publish.marker.contains('/');
    match &pipeline.window {
        None if marker.by_window() => contradiction(
            "the marker names a window, and a full load has none of time".to_owned(),
            "take the placeholders out: there is one marker, and what it says is the newest version",
        ),
        None => None,
        Some(_) if plain_name && has_partitions(pipeline) && FOLDERS.contains(&pipeline.sink.format.as_str()) => None,
        Some(_) if !marker.by_window() => contradiction(
            "all windows would have one marker, and it would say nothing".to_owned(),
            "name the window: `{window.start:%Y-%m-%dT%H}/_SUCCESS`; or write a plain name and `partition_by`",
        ),
        Some(window) => {
            let (one, other, path) = alike(window, marker)?;
            contradiction(
                format!("{one} and {other} would have one marker, {path:?}"),
                "name the window as finely as `window.every` cuts time, from the year on, in a zone without clock changes or with `%z`",
            )
        }
    }
}

/// Two windows with one marker, if there are among the first.
fn alike(spec: &WindowSpec, marker: &Template) -> Option<(Window, Window, String)> {
    let mut seen: HashMap<String, Window> = HashMap::new();
    for window in windows(spec)? {
        // What a format cannot say is told where the template is read.
        let path = marker.in_window(&window, |text| text).ok()?;
        if let Some(other) = seen.insert(path.clone(), window) {
            return Some((other, window, path));
        }
    }
    None
}

/// The first windows, as far as it takes to see whether their names repeat.
fn windows(spec: &WindowSpec) -> Option<impl Iterator<Item = Window>> {
    let zone = TimeZone::get(&spec.timezone).ok()?;
    let (start, every) = (spec.start, spec.every);
    let edge = move |number: i64| -> Option<Timestamp> {
        let civil = |span: Span| zone.to_timestamp(start.checked_add(span).ok()?).ok();
        match every {
            Every::Days(days) => civil(number.checked_mul(i64::from(days))?.days()),
            Every::Months(months) => civil(i32::try_from(number.checked_mul(i64::from(months))?).ok()?.months()),
            Every::Elapsed(length) => {
                let length = i64::try_from(length.as_micros()).ok()?;
                let first = zone.to_timestamp(start).ok()?.as_microsecond();
                Timestamp::from_microsecond(first.checked_add(number.checked_mul(length)?)?).ok()
            }
        }
    };
    let windows = (0..COMPARED).map_while(move |number| {
        let (start, end) = (edge(number)?, edge(number + 1)?);
        Window::new(Axis::Time, start.as_microsecond(), end.as_microsecond()).ok()
    });
    Some(windows)
}

/// That the path is one of an object that consumers can see.
fn path_of(path: &str) -> Result<(), String> {
    let parsed = Path::parse(path).map_err(|cause| cause.to_string())?;
    match parsed.parts().next() {
        None => Err("it names nothing".to_owned()),
        Some(first) if first.as_ref() == "_windrow" => Err("what lies in `_windrow` is windrow's own".to_owned()),
        Some(_) if path.ends_with('/') || path.starts_with('/') => Err("it names a folder, not an object".to_owned()),
        Some(_) => Ok(()),
    }
}

fn has_partitions(pipeline: &Pipeline) -> bool {
    let columns = pipeline.sink.params.get("partition_by").and_then(serde_json::Value::as_array);
    columns.is_some_and(|columns| !columns.is_empty())
}

fn wrong(key: &str, code: ErrorCode, message: String, fix: &str) -> ParamError {
    ParamError { path: format!("publish.{key}"), code, message, fix: Some(fix.to_owned()) }
}

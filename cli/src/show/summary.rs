//! What a run came to, and what to try next.

use std::{fmt::Write, path::Path, time::Duration};

use windrow_common::{
    count::{counted, either, grouped},
    pipeline::Pipeline,
};
use windrow_proto::v1;

use super::{
    Style,
    number::{bytes, span},
    state,
    table::table,
    waits,
};

/// A run that has ended.
pub struct Ran<'a> {
    /// What was reported of the pipelines when it began.
    pub before: &'a [v1::Pipeline],
    pub after: &'a [v1::Pipeline],
    /// Windows that wait.
    pub waiting: &'a [v1::Task],
    /// A line for each table whose files were rewritten.
    pub rewritten: &'a str,
    pub took: Duration,
}

pub fn render(path: &Path, pipelines: &[Pipeline], ran: &Ran<'_>, style: Style) -> String {
    let Ran { before, after, waiting, rewritten, took } = *ran;
    let mut text = String::new();
    let rows = after.iter().map(|report| row(before, report, pipelines));
    text.push_str(&table(&["PIPELINE", "WINDOWS", "ROWS", "BYTES", "FILES", "FAILED", "TABLE"], rows));
    text.push_str(rewritten);
    let moved: u64 = after.iter().map(|report| gained(before, report).rows_written).sum();
    let rejected: u64 = after.iter().map(|report| gained(before, report).rows_rejected).sum();
    let published: u64 = after.iter().map(|report| report.published.saturating_sub(of(before, report).published)).sum();
    let failed = after.iter().any(|report| report.quarantined > 0);
    let left = after.iter().any(|report| open(report) > 0);
    let _ = match published {
        0 if failed || left || !waiting.is_empty() => writeln!(text, "\nno window was published ({})", span(took)),
        0 if moved > 0 => {
            writeln!(text, "\n{} of windows that were loaded again, {}", counted(moved, "row"), style.green(span(took)))
        }
        0 if !rewritten.is_empty() => writeln!(text, "\nevery due window is published ({})", span(took)),
        0 => writeln!(text, "\nnothing to do: every due window is published ({})", span(took)),
        _ => {
            let (rows, windows) = (counted(moved, "row"), counted(published, "window"));
            writeln!(text, "\n{rows} in {windows}, {}", style.green(span(took)))
        }
    };
    if rejected > 0 {
        let _ = writeln!(
            text,
            "{} {} rejected; _windrow/dead_letters beside the table says why",
            counted(rejected, "row"),
            either(rejected, "was", "were")
        );
    }
    let discarded: u64 = after.iter().map(|report| gained(before, report).values_discarded).sum();
    if discarded > 0 {
        let were = either(discarded, "was", "were");
        let _ = writeln!(text, "{} did not fit the table and {were} left out", counted(discarded, "value"));
    }
    let deleted: u64 = after.iter().map(|report| gained(before, report).rows_deleted).sum();
    if deleted > 0 {
        let _ = writeln!(
            text,
            "{} {} gone at the source: deleted, unless written meanwhile",
            counted(deleted, "row"),
            either(deleted, "was", "were")
        );
    }
    for report in after {
        let given_up = report.comparison.as_ref().and_then(|comparison| comparison.given_up.as_ref());
        if let Some(failure) = given_up {
            let _ = writeln!(text, "{}: {} [{}]", report.name, failure.message, failure.code);
        }
    }
    let unchanged: u64 = after.iter().map(|report| report.unchanged.saturating_sub(of(before, report).unchanged)).sum();
    if unchanged > 0 {
        let were = either(unchanged, "was", "were");
        let _ = writeln!(text, "{} {were} left out: the source is what is loaded already", counted(unchanged, "load"));
    }
    text.push_str(&waits::render(path, waiting));
    for report in after.iter().filter(|report| report.quarantined > 0) {
        let why = report.last_failure.as_ref().map(|failure| format!(": {} [{}]", failure.message, failure.code));
        let _ = writeln!(
            text,
            "{}: {} failed{}",
            style.red(&report.name),
            counted(report.quarantined, "window"),
            why.unwrap_or_default()
        );
    }
    for report in after {
        if let Some(reason) = state::what_holds_it_up(report) {
            let (windows, are) = (counted(open(report), "window"), either(open(report), "is", "are"));
            let _ = writeln!(text, "{}: {windows} {are} left; {reason}", style.red(&report.name));
        }
    }
    let quarantined = pipelines
        .iter()
        .filter(|pipeline| after.iter().any(|report| report.name == pipeline.name.as_str() && report.quarantined > 0));
    let readable = pipelines.iter().any(|pipeline| {
        let own = after.iter().find(|report| report.name == pipeline.name.as_str());
        own.is_some_and(|report| report.published > 0)
    });
    text.push_str(&next(path, quarantined, left));
    if readable && !left && !failed {
        text.push_str(&reading(path, pipelines));
    }
    text
}

/// Windows that are due and not settled.
fn open(report: &v1::Pipeline) -> u64 {
    report.unplanned + report.pending + report.claimed + report.sealed
}

fn row(before: &[v1::Pipeline], report: &v1::Pipeline, pipelines: &[Pipeline]) -> Vec<String> {
    let gained = gained(before, report);
    let spec = pipelines.iter().find(|pipeline| pipeline.name.as_str() == report.name);
    vec![
        report.name.clone(),
        grouped(report.published),
        grouped(gained.rows_written),
        bytes(gained.bytes_written),
        grouped(gained.files),
        grouped(report.quarantined),
        spec.map(place).unwrap_or_default(),
    ]
}

fn of(reports: &[v1::Pipeline], report: &v1::Pipeline) -> v1::Pipeline {
    reports.iter().find(|other| other.name == report.name).cloned().unwrap_or_default()
}

/// What was published between two reports.
fn gained(before: &[v1::Pipeline], report: &v1::Pipeline) -> v1::Counts {
    let (start, end) = (of(before, report).totals.unwrap_or_default(), report.totals.unwrap_or_default());
    v1::Counts {
        rows_read: end.rows_read.saturating_sub(start.rows_read),
        rows_written: end.rows_written.saturating_sub(start.rows_written),
        rows_rejected: end.rows_rejected.saturating_sub(start.rows_rejected),
        bytes_written: end.bytes_written.saturating_sub(start.bytes_written),
        files: end.files.saturating_sub(start.files),
        values_discarded: end.values_discarded.saturating_sub(start.values_discarded),
        rows_deleted: end.rows_deleted.saturating_sub(start.rows_deleted),
    }
}

/// Where a pipeline's table is.
pub fn place(pipeline: &Pipeline) -> String {
    let text =
        |value: Option<&serde_json::Value>| value.and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let root = text(pipeline.sink.to.params.get("root"));
    let path = text(pipeline.sink.params.get("path"));
    format!("{}/{}", root.trim_end_matches('/'), path.trim_matches('/'))
}

/// The next commands to try: mending what failed, and going on.
fn next<'a>(path: &Path, quarantined: impl Iterator<Item = &'a Pipeline>, left: bool) -> String {
    let mut text = String::new();
    let failed: Vec<&Pipeline> = quarantined.collect();
    if !failed.is_empty() {
        let _ = writeln!(text, "\nmend the cause, then load what failed:");
    }
    for pipeline in &failed {
        let _ = writeln!(
            text,
            "  windrow backfill create {} --reprocess missing+failed --local {}",
            pipeline.name,
            path.display()
        );
    }
    if left {
        let _ = writeln!(text, "\ngo on where this run stopped:\n  windrow run {}", path.display());
    }
    text
}

/// What may be tried where all is well: a backfill, and reading the table.
fn reading(path: &Path, pipelines: &[Pipeline]) -> String {
    let mut text = String::new();
    let windowed = pipelines.iter().find(|pipeline| pipeline.window.is_some());
    if let Some((pipeline, window)) = windowed.and_then(|pipeline| Some((pipeline, pipeline.window.as_ref()?))) {
        let from = window.start.date();
        let to = from.checked_add(jiff::Span::new().days(7)).unwrap_or(from);
        let _ = writeln!(text, "\nload a week again:");
        let _ = writeln!(
            text,
            "  windrow backfill create {} --from {from} --to {to} --reprocess all --local {}",
            pipeline.name,
            path.display()
        );
    }
    if let Some(pipeline) = pipelines.first() {
        let table = place(pipeline);
        let partitions =
            pipeline.sink.params.get("partition_by").and_then(|columns| columns.as_array()).map_or(0, Vec::len);
        // `**` would find what is staged below `_windrow`, too, and count its rows twice.
        let files = |extension: &str| format!("{table}{}/part-*.{extension}", "/*=*".repeat(partitions));
        let read = match pipeline.sink.format.as_str() {
            "delta" => format!(
                "duckdb -c \"INSTALL delta; LOAD delta; SELECT count(*) FROM delta_scan('{table}')\"   or   polars.scan_delta('{table}')"
            ),
            "parquet" => format!("duckdb -c \"SELECT count(*) FROM read_parquet('{}')\"", files("parquet")),
            "postgres" => {
                let table = pipeline.sink.params.get("table").and_then(|table| table.as_str()).unwrap_or_default();
                format!("psql -c 'SELECT count(*) FROM {table}' DATABASE")
            }
            "csv" => format!("duckdb -c \"SELECT count(*) FROM read_csv('{}')\"", files("csv")),
            "text" => format!("cat {} | wc -l", files("txt")),
            _ => format!("duckdb -c \"SELECT count(*) FROM read_json('{}')\"", files("jsonl")),
        };
        let _ = writeln!(text, "read the table:\n  {read}");
    }
    text
}

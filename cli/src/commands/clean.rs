//! `windrow clean`: what a pipeline's table needs no more is taken away now, or listed.

use std::{
    io::{self, Write},
    time::Duration,
};

use windrow_common::{
    count::{counted, either, grouped},
    quantity::Pause,
};
use windrow_proto::v1;

use super::{exit::Exit, pin, target::Target};
use crate::show::{
    self, Output, instant,
    number::{bytes, span},
};

/// Take away now what a pipeline's table needs no more, or say what that is
///
/// Goes by the sink's `cleaning`, and by the usual rules where it has none: files of a Delta table that its log says were
/// removed more than 7 days ago; dead rows of a database's table. What is pinned stays.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline
    pipeline: String,
    /// List what would be taken away, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// Files that are listed for people; programs get up to a thousand.
const MOST_LISTED: usize = 20;

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let request = v1::CleanRequest { pipeline: args.pipeline.clone(), only_look: args.dry_run };
    let opened = args.target.open()?;
    let done = opened.admin().call(request, |mut client, request| async move { client.clean(request).await }).await;
    opened.close().await;
    let done = done?;
    let report = done.report.unwrap_or_default();
    let text = match show::encoded(&value(&report, &done.pins, args.dry_run), args.output)? {
        Some(text) => text,
        None => render(&args.pipeline, &report, &done.pins, args.dry_run),
    };
    io::stdout().write_all(text.as_bytes())?;
    if args.dry_run && report.files + report.log_files > 0 {
        writeln!(io::stderr(), "do it with: windrow clean {}{}", args.pipeline, args.target.as_flags())?;
    }
    Ok(Exit::Ok)
}

fn value(report: &v1::CleanReport, pins: &[v1::Pin], dry_run: bool) -> serde_json::Value {
    let files = report.some.iter().map(|file| serde_json::json!({ "path": file.path, "bytes": file.bytes }));
    let held = report.held.iter().map(|held| {
        let version = pin::written(held.version.as_ref());
        serde_json::json!({ "version": version, "files": held.files, "bytes": held.bytes, "until": until(&version, pins) })
    });
    let tables = report.tables.iter().map(|table| {
        serde_json::json!({
            "table": table.table, "dead_before": table.dead_before, "dead_after": table.dead_after,
            "took_ms": table.took_ms, "left": table.left,
        })
    });
    serde_json::json!({
        "dry_run": dry_run, "files": report.files, "log_files": report.log_files, "bytes": report.bytes,
        "keep": keep(report), "whole_from": (report.whole_from > 0).then_some(report.whole_from),
        "held_back": held.collect::<Vec<_>>(), "some_files": files.collect::<Vec<_>>(),
        "tables": tables.collect::<Vec<_>>(),
    })
}

fn keep(report: &v1::CleanReport) -> String {
    Pause(Duration::from_millis(report.keep_ms)).to_string()
}

/// Until when the last of the pins of a version holds it.
fn until(version: &str, pins: &[v1::Pin]) -> Option<String> {
    let last = pins.iter().filter(|pin| pin::version(pin) == version).map(|pin| pin.until_us).max();
    last.map(instant)
}

fn render(pipeline: &str, report: &v1::CleanReport, pins: &[v1::Pin], dry_run: bool) -> String {
    let would = if dry_run { "would take away" } else { "took away" };
    let mut text = String::new();
    if report.keep_ms > 0 || report.files + report.log_files > 0 {
        text = format!(
            "{pipeline}: {would} {} and {} {} of the log, {}; removed files are kept for {}\n",
            counted(report.files, "file"),
            grouped(report.log_files),
            either(report.log_files, "entry", "entries"),
            bytes(report.bytes),
            keep(report)
        );
    }
    if dry_run {
        for file in report.some.iter().take(MOST_LISTED) {
            text.push_str(&format!("  {}  {}\n", file.path, bytes(file.bytes)));
        }
        let more = report.files.saturating_sub(report.some.len().min(MOST_LISTED) as u64);
        if more > 0 {
            text.push_str(&format!("  and {} more\n", grouped(more)));
        }
    }
    if report.whole_from > 0 {
        let stop = if dry_run { "would not be" } else { "are not" };
        text.push_str(&format!("  versions before {} {stop} whole any more, but for pinned ones\n", report.whole_from));
    }
    for held in &report.held {
        let version = pin::written(held.version.as_ref());
        let until =
            until(&version, pins).map_or_else(|| "while a pipeline reads it".to_owned(), |at| format!("until {at}"));
        text.push_str(&format!(
            "  version {version} holds back {}, {}, {until}\n",
            counted(held.files, "file"),
            bytes(held.bytes)
        ));
    }
    for table in &report.tables {
        text.push_str(&vacuumed(pipeline, table));
    }
    if text.is_empty() {
        text = format!("{pipeline}: there is nothing that could be cleaned\n");
    }
    text
}

fn vacuumed(pipeline: &str, table: &v1::VacuumedTable) -> String {
    let name = &table.table;
    match table.left.as_str() {
        "" => format!(
            "{pipeline}: {name} was vacuumed in {}: {} before, {} after\n",
            span(Duration::from_millis(table.took_ms)),
            counted(table.dead_before, "dead row"),
            grouped(table.dead_after)
        ),
        left => format!("{pipeline}: {name} has {}: {left}\n", counted(table.dead_before, "dead row")),
    }
}

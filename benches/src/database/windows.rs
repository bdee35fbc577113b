//! The same rows as one window, as a hundred and as a thousand: what a window costs above the load, with everything windrow
//! does for it, from the claim to the end of the commit.

use std::process::Command;

use anyhow::Result;
use windrow_tests::process::windrow;

use super::{ROUNDS, ROWS, table::Table};
use crate::{
    report::{Goal, Report, mebibytes, rounded},
    sample::median,
    usage::{self, Finished},
};

const COUNTS: [u64; 3] = [1, 100, 1_000];
/// So many seconds after 2024-01-01 as there are rows.
const END: &str = "2024-02-27T20:53:20";

/// What N windows took, round by round, in seconds.
struct Windows {
    count: u64,
    copy: Vec<f64>,
    windrow: Vec<Finished>,
    duckdb: Vec<f64>,
    delta: Vec<f64>,
}

pub(super) fn measure(table: &mut Table, report: &mut Report) -> Result<()> {
    let mut all: Vec<Windows> = COUNTS.into_iter().map(Windows::new).collect();
    for _ in 0..ROUNDS {
        for windows in &mut all {
            let count = windows.count;
            windows.copy.push(table.peer(&format!("windows_copy {count}"))?.seconds);
            windows.windrow.push(load(table, count)?);
            windows.duckdb.push(table.peer(&format!("windows_duckdb {count}"))?.seconds);
            windows.delta.push(table.peer(&format!("windows_delta {count}"))?.seconds);
        }
    }
    report.say("the same rows by windows of `changed`, a task each, into a Delta table; overhead = (T(N) - T(1)) / N");
    for windows in &all {
        report.say(format!(
            "  {:>5} windows: COPY {:.2} s; windrow {:.2} s; DuckDB {:.2} s; ADBC and delta-rs {:.2} s",
            windows.count,
            median(windows.copy.iter().copied()),
            median(wall(windows)),
            median(windows.duckdb.iter().copied()),
            median(windows.delta.iter().copied()),
        ));
    }
    let [one, _, thousand] = all.as_slice() else { return Ok(()) };
    let overhead = |of: fn(&Windows) -> Vec<f64>| {
        let each = of(thousand).into_iter().zip(of(one)).map(|(many, one)| (many - one) * 1e3 / thousand.count as f64);
        median(each)
    };
    let (windrow, delta) = (overhead(wall), overhead(|windows| windows.delta.clone()));
    let ms = |value: f64| format!("{} ms", rounded(value));
    report.figure("limit: a COPY a window, one connection", ms(overhead(|windows| windows.copy.clone())));
    report.figure("DuckDB: a Parquet file a window", ms(overhead(|windows| windows.duckdb.clone())));
    report.figure("ADBC and delta-rs: a commit a window", ms(delta));
    report.figure("windrow: a task a window", ms(windrow));
    report.figure("  its processor time", ms(overhead(cpu)));
    report.goal("  to ADBC and delta-rs", windrow / delta, Goal::AtMost(0.25), "x");
    let peak = thousand.windrow.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
    report.goal("  peak memory of 1,000 tasks", mebibytes(peak), Goal::AtMost(256.0), " MiB");
    Ok(())
}

impl Windows {
    fn new(count: u64) -> Self {
        Self { count, copy: Vec::new(), windrow: Vec::new(), duckdb: Vec::new(), delta: Vec::new() }
    }
}

fn wall(windows: &Windows) -> Vec<f64> {
    windows.windrow.iter().map(|run| run.wall.as_secs_f64()).collect()
}

fn cpu(windows: &Windows) -> Vec<f64> {
    windows.windrow.iter().map(|run| run.cpu.as_secs_f64()).collect()
}

/// Runs the rows in so many windows into a new table, and has them counted.
fn load(table: &mut Table, windows: u64) -> Result<Finished> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("loaded.yaml"), pipeline(windows))?;
    let mut command = Command::new(windrow()?);
    let run = usage::run(command.arg("run").arg(folder.path()).env("SHOP_URL", table.postgres.url()))?;
    table.check("delta", &folder.path().join("lake/loaded"))?;
    Ok(run)
}

fn pipeline(windows: u64) -> String {
    format!(
        "version: 1
connections:
  shop: {{ type: postgres, url: \"${{env:SHOP_URL}}\" }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  loaded:
    pattern: incremental
    source: {{ from: shop, table: public.loaded, cursor: changed }}
    window: {{ every: {}s, start: 2024-01-01T00:00, end: {END}, per_task: 1 }}
    sink: {{ to: lake, format: delta, path: loaded }}
",
        ROWS / windows
    )
}

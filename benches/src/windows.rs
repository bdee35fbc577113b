//! What a window costs: the same made-up rows as one window, as a hundred and as a thousand, each a task of its own, as
//! users run them. Beside it DuckDB with a file a window and delta-rs with a commit a window, both with the rows in hand.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use windrow_tests::{peer::Peer, process::windrow};

use crate::{
    Settings,
    report::{Goal, Report, mebibytes, rounded},
    sample::median,
    usage::{self, Finished},
};

const ROUNDS: usize = 3;
/// One row a second.
const ROWS: u64 = 1_000_000;
const COUNTS: [u64; 3] = [1, 100, 1_000];
/// Numbers of the rows, counted from 1970: 2024-01-01 and on.
const FIRST: u64 = 1_704_067_200;

/// What N windows took, round by round.
struct Windows {
    count: u64,
    /// A task a window.
    alone: Vec<Finished>,
    /// As many windows a task as windrow puts in one by itself.
    together: Vec<Finished>,
    duckdb: Vec<f64>,
    delta: Vec<f64>,
}

pub(crate) fn run(_: &tokio::runtime::Runtime, _: &Settings, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut peer = Peer::start(PEERS, folder.path())?;
    let versions = peer.ask("versions")?;
    let mut all: Vec<Windows> = COUNTS.iter().map(|count| Windows::new(*count)).collect();
    for _ in 0..ROUNDS {
        for windows in &mut all {
            windows.alone.push(load(windows.count, Some(1), &mut peer)?);
            windows.together.push(load(windows.count, None, &mut peer)?);
            windows.duckdb.push(seconds(&peer.ask(&format!("duckdb {}", windows.count))?)?);
            windows.delta.push(seconds(&peer.ask(&format!("delta {}", windows.count))?)?);
        }
    }
    report.say(format!(
        "1,000,000 rows of 5 columns into a Delta table; medians of {ROUNDS} rounds; overhead = (T(N) - T(1)) / N"
    ));
    for windows in &all {
        tell(report, windows);
    }
    let [one, _, thousand] = all.as_slice() else { return Ok(()) };
    let overhead = |of: fn(&Windows) -> Vec<f64>| {
        let each = of(thousand).into_iter().zip(of(one)).map(|(many, one)| (many - one) * 1e3 / thousand.count as f64);
        median(each)
    };
    let (alone, delta) = (overhead(|windows| wall(&windows.alone)), overhead(|windows| windows.delta.clone()));
    let duckdb = overhead(|windows| windows.duckdb.clone());
    let ms = |value: f64| format!("{} ms", rounded(value));
    report.figure(&format!("DuckDB {}: a Parquet file a window", text(&versions, "duckdb")), ms(duckdb));
    report.figure(&format!("delta-rs {}: a commit a window", text(&versions, "deltalake")), ms(delta));
    report.figure("windrow: overhead of a window, a task each", ms(alone));
    report.figure("  its processor time", ms(overhead(|windows| cpu(&windows.alone))));
    report.goal("  to that of delta-rs", alone / delta, Goal::AtMost(0.25), "x");
    report.figure("windrow: overhead of a window, tasks of many", ms(overhead(|windows| wall(&windows.together))));
    let peak = thousand.alone.iter().map(|run| run.peak_bytes).max().unwrap_or(0);
    report.goal("  peak memory of 1,000 tasks", mebibytes(peak), Goal::AtMost(512.0), " MiB");
    Ok(())
}

impl Windows {
    fn new(count: u64) -> Self {
        Self { count, alone: Vec::new(), together: Vec::new(), duckdb: Vec::new(), delta: Vec::new() }
    }
}

fn wall(runs: &[Finished]) -> Vec<f64> {
    runs.iter().map(|run| run.wall.as_secs_f64()).collect()
}

fn cpu(runs: &[Finished]) -> Vec<f64> {
    runs.iter().map(|run| run.cpu.as_secs_f64()).collect()
}

fn tell(report: &mut Report, windows: &Windows) {
    report.say(format!(
        "  {:>5} windows: windrow {:.2} s a task each, {:.2} s tasks of many; DuckDB {:.2} s; delta-rs {:.2} s",
        windows.count,
        median(wall(&windows.alone)),
        median(wall(&windows.together)),
        median(windows.duckdb.iter().copied()),
        median(windows.delta.iter().copied()),
    ));
}

/// Runs the rows in so many windows into a new table, and has delta-rs count them.
fn load(windows: u64, per_task: Option<u32>, peer: &mut Peer) -> Result<Finished> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rows.yaml"), pipeline(windows, per_task))?;
    let run = usage::run(Command::new(windrow()?).arg("run").arg(folder.path()))?;
    check(&folder.path().join("lake/rows"), peer)?;
    Ok(run)
}

fn check(table: &Path, peer: &mut Peer) -> Result<()> {
    let found = peer.ask(&format!("read {}", table.display()))?;
    let sum = (FIRST..FIRST + ROWS).sum::<u64>();
    let right = found["rows"] == ROWS && found["distinct"] == ROWS && found["sum"] == sum;
    ensure!(right, "the reader found {found}, not {ROWS} rows that sum up to {sum}");
    Ok(())
}

fn pipeline(windows: u64, per_task: Option<u32>) -> String {
    let per_task = per_task.map(|count| format!(", per_task: {count}")).unwrap_or_default();
    format!(
        "version: 1
connections:
  made: {{ type: synthetic }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  rows:
    pattern: incremental
    source: {{ from: made, cursor: ts, rows_per_second: 1 }}
    window: {{ every: {}s, start: 2024-01-01T00:00, end: 2024-01-12T13:46:40{per_task} }}
    sink: {{ to: lake, format: delta, path: rows }}
",
        ROWS / windows
    )
}

fn seconds(answer: &Value) -> Result<f64> {
    answer["seconds"].as_f64().with_context(|| format!("the peer answered {answer}"))
}

fn text<'a>(answer: &'a Value, key: &str) -> &'a str {
    answer[key].as_str().unwrap_or("?")
}

const PEERS: &str = r#"
import json, os, shutil, sys, time
import deltalake, duckdb, pyarrow as pa, pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
ROWS, FIRST = 1000000, 1704067200
ids = pa.array(range(FIRST, FIRST + ROWS), pa.int64())
texts = pa.array(["%032x" % (i * 2654435761 % 2**128) for i in range(ROWS)])
data = pa.table({"id": ids, "ts": pc.multiply(ids, 1000000).cast(pa.timestamp("us", "UTC")), "hash": texts,
                 "payload": texts, "value": pc.divide(ids.cast(pa.float64()), 1e10)})
def windows(n):
    return [data.slice(i * (ROWS // n), ROWS // n) for i in range(n)]
for line in sys.stdin:
    what, *words = line.split()
    place = os.path.join(sys.argv[1], what)
    shutil.rmtree(place, ignore_errors=True)
    if what == "versions":
        answer = {"deltalake": deltalake.__version__, "duckdb": duckdb.__version__}
    elif what == "read":
        id = DeltaTable(words[0]).to_pyarrow_table(columns=["id"]).column("id")
        answer = {"rows": len(id), "distinct": pc.count_distinct(id).as_py(), "sum": pc.sum(id).as_py()}
    else:
        os.makedirs(place)
        parts, began, table = windows(int(words[0])), time.perf_counter(), None
        for n, part in enumerate(parts):
            if what == "duckdb":
                duckdb.sql("copy part to '%s/%d.parquet' (format parquet)" % (place, n))
            elif table is None:
                write_deltalake(place, part)
                table = DeltaTable(place)
            else:
                write_deltalake(table, part, mode="append")
        answer = {"seconds": time.perf_counter() - began}
    print(json.dumps(answer), flush=True)
"#;

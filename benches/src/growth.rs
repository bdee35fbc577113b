//! What a commit costs when a table has thousands behind it: staging, working out and committing one small window after
//! the other through the sink worker's own parts. Beside it a file created and synced, and delta-rs as it comes.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;
use windrow_common::{
    clock::{Clock, SystemClock},
    window::{Axis, Window},
};
use windrow_proto::v1::{self, prepared::Outcome};
use windrow_tests::peer::Peer;
use windrow_worker::{
    commit::Committer,
    flight::{Part, StageService},
    open::{BuiltIn, Connectors},
    telemetry::Metrics,
};

use crate::{
    Settings, machine,
    pass::{self, Claims},
    report::{Goal, Report, grouped, mebibytes, millis, rounded},
    sample::{median, median_time, percentile},
    usage,
};

const COMMITS: usize = 3_000;
/// A third of ours, as it grows more than three times as slow on the way.
const PEER_COMMITS: usize = 1_000;
const ROUNDS: usize = 100;
const ROWS: i64 = 100;
/// 2013-01-01, in microseconds.
const START: i64 = 1_356_998_400_000_000;
const HOUR: i64 = 3_600_000_000;

pub(crate) fn run(runtime: &tokio::runtime::Runtime, _: &Settings, report: &mut Report) -> Result<()> {
    for write in ["replace_window", "append"] {
        runtime.block_on(grow(write, report))?;
    }
    Ok(())
}

async fn grow(write: &str, report: &mut Report) -> Result<()> {
    let (ours, theirs, limit) = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let mut table = Table::new(ours.path(), write)?;
    let mut peer = Peer::start(PEER, theirs.path())?;
    let (mut steps, mut peer_times, mut limit_times) = (Vec::new(), Vec::new(), Vec::new());
    let mut resident = Vec::new();
    for round in 0..ROUNDS {
        if round == ROUNDS - ROUNDS / 10 {
            usage::forget_peak(std::process::id())?;
        }
        for _ in 0..COMMITS / ROUNDS {
            steps.push(table.append().await?);
            resident.push(usage::resident(std::process::id())? as f64);
        }
        let folder = limit.path().join(round.to_string());
        std::fs::create_dir(&folder)?;
        limit_times.extend(machine::file_syncs(&folder, COMMITS / ROUNDS)?);
        let answer = peer.ask(&(PEER_COMMITS / ROUNDS).to_string())?;
        let times = answer["seconds"].as_array().context("no times")?;
        peer_times.extend(times.iter().filter_map(Value::as_f64).map(Duration::from_secs_f64));
    }
    let peak = usage::peak(std::process::id())?;
    check(&mut peer, ours.path(), COMMITS)?;
    check(&mut peer, theirs.path(), PEER_COMMITS)?;
    let version = peer.ask("version")?;

    report.say(format!(
        "{} commits of {ROWS} rows each, `write: {write}`; alternating with {} of delta-rs {} (append)",
        grouped(COMMITS as u64),
        grouped(PEER_COMMITS as u64),
        version["deltalake"].as_str().unwrap_or("?")
    ));
    let part = |part: fn(&Steps) -> Duration| steps.iter().map(part).collect::<Vec<_>>();
    let whole = part(|steps| steps.stage + steps.prepare + steps.commit);
    tell(report, "windrow: stage, prepare and commit a window", &whole);
    tell(report, "  of that: stage (rows, file, manifest)", &part(|steps| steps.stage));
    tell(report, "  of that: prepare (the intent)", &part(|steps| steps.prepare));
    tell(report, "  of that: commit", &part(|steps| steps.commit));
    tell(report, "limit: a file of 4 KiB created and synced", &limit_times);
    tell(report, "delta-rs: write and commit to a table it holds; nothing is synced", &peer_times);
    report.goal("windrow: last tenth to first tenth", growth(&whole), Goal::AtMost(1.2), "x");
    let cpu = sums(&part(|steps| steps.cpu));
    report.goal("  its processor time, checkpoints included", cpu, Goal::AtMost(1.2), "x");
    report.figure("  of the commit alone", format!("{}x", rounded(growth(&part(|steps| steps.commit)))));
    report.figure("limit: last tenth to first tenth", format!("{}x", rounded(growth(&limit_times))));
    report.figure("delta-rs: last tenth to first tenth", format!("{}x", rounded(growth(&peer_times))));
    let usual = median(resident[COMMITS - COMMITS / 10..].iter().copied());
    let spike = peak as f64 / usual;
    report.figure("memory between commits in the last tenth", format!("{:.0} MiB", mebibytes(usual as u64)));
    report.goal("  its peak at checkpoints", spike, Goal::AtMost(1.5), "x");
    Ok(())
}

fn tell(report: &mut Report, what: &str, times: &[Duration]) {
    let (middle, tail) = (millis(median_time(times)), millis(percentile(times, 99)));
    report.figure(what, format!("{middle}, p99 {tail}"));
}

/// The middle of the last tenth against that of the first.
fn growth(times: &[Duration]) -> f64 {
    let tenth = times.len() / 10;
    median_time(&times[times.len() - tenth..]).as_secs_f64() / median_time(&times[..tenth]).as_secs_f64()
}

/// All of the last tenth against all of the first: the kernel counts processor time in steps longer than a commit.
fn sums(times: &[Duration]) -> f64 {
    let tenth = times.len() / 10;
    let sum = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    sum(&times[times.len() - tenth..]) / sum(&times[..tenth])
}

/// A reader that is not ours counts what is in the table.
fn check(peer: &mut Peer, table: &Path, commits: usize) -> Result<()> {
    let found = peer.ask(&format!("read {}", table.display()))?;
    let rows = commits as i64 * ROWS;
    let expected = json!({ "rows": rows, "sum": rows * (rows - 1) / 2, "files": commits });
    ensure!(found == expected, "the reader found {found}, not {expected}");
    Ok(())
}

/// A table and the parts of a sink worker that write it.
struct Table {
    claims: Claims,
    service: StageService,
    committer: Committer,
    schema: Value,
    seq: u64,
    previous: Vec<u8>,
}

/// How long one window took, step by step, and how much processor time all of it.
struct Steps {
    stage: Duration,
    prepare: Duration,
    commit: Duration,
    cpu: Duration,
}

impl Table {
    fn new(root: &Path, write: &str) -> Result<Self> {
        let claims = Claims::of(pass::pipeline(root, "delta", write, json!({})))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let connectors = Arc::new(Connectors::new(Arc::new(BuiltIn), clock.clone()));
        let sinks = connectors.clone();
        let resolver = Arc::new(move |pipeline: &_| sinks.sink(pipeline));
        let service = StageService::new(resolver, claims.keys.clone(), clock.clone(), 1);
        let committer = Committer::new(connectors, clock, "bench".parse()?, Metrics::new());
        let schema = serde_json::to_value(rows(0)?.schema().as_ref())?;
        Ok(Self { claims, service, committer, schema, seq: 0, previous: Vec::new() })
    }

    /// Takes the next window all the way into the table.
    async fn append(&mut self) -> Result<Steps> {
        let number = i64::try_from(self.seq)?;
        let start = START + number * HOUR;
        let window = Window::new(Axis::Time, start, start + HOUR)?;
        let batch = rows(number)?;
        let cpu = usage::cpu(std::process::id())?;

        let began = Instant::now();
        let claim = self.claims.claim(window, number + 2)?;
        let open = self.service.open(&claim.pass).await?;
        let stream = stream::iter([Ok(batch.clone())]).boxed();
        let files = self.service.put(&open, Part::Rows, batch.schema(), stream).await?.files;
        let manifest = self.claims.manifest(&claim, self.schema.clone(), files, ROWS as u64);
        let manifest = self.service.finish(&open, manifest).await?;
        let staged = Instant::now();

        let sealed = v1::SealedTask {
            task: claim.ticket.task.as_bytes().to_vec(),
            pipeline: claim.ticket.pipeline.to_string(),
            window: Some(window.into()),
            revision: 0,
            token: Some(claim.ticket.token.into()),
            manifest: Some((&manifest).into()),
            shard: 0,
            compaction: false,
            comparison: false,
            guard: None,
            declared: None,
        };
        let (sink, pipeline) = (claim.ticket.sink.to_string(), self.claims.json.to_vec());
        let seq = self.seq + 1;
        let asked = v1::Prepare {
            request: seq,
            sink: sink.clone(),
            pipeline: pipeline.clone(),
            seq,
            previous: self.previous.clone(),
            tasks: vec![sealed],
            ..v1::Prepare::default()
        };
        let draft = match self.committer.prepare(asked).await.outcome {
            Some(Outcome::Draft(draft)) => draft,
            other => bail!("no commit was worked out: {other:?}"),
        };
        let prepared = Instant::now();

        let asked = v1::Commit {
            request: seq,
            sink,
            pipeline,
            seq,
            path: draft.path,
            digest: draft.digest.clone(),
            ..v1::Commit::default()
        };
        let settled = self.committer.commit(asked).await;
        let committed = Instant::now();
        ensure!(settled.settlement() == v1::Settlement::Committed, "the commit came to {settled:?}");
        (self.seq, self.previous) = (seq, draft.digest);
        Ok(Steps {
            stage: staged - began,
            prepare: prepared - staged,
            commit: committed - prepared,
            cpu: usage::cpu(std::process::id())? - cpu,
        })
    }
}

/// The rows of the nth window.
fn rows(number: i64) -> Result<RecordBatch> {
    let ids = number * ROWS..(number + 1) * ROWS;
    let at = ids.clone().map(|id| START + number * HOUR + id % ROWS * (HOUR / ROWS));
    let names = ids.clone().map(|id| format!("row number {id}"));
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids)), true),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")), true),
        ("name", Arc::new(StringArray::from_iter_values(names)), true),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

/// The same rows through delta-rs: a number is so many more commits, `read` counts a table.
const PEER: &str = r#"
import json, sys, time
import deltalake, pyarrow as pa
from deltalake import DeltaTable, write_deltalake
ROWS, START, HOUR = 100, 1356998400000000, 3600000000
table, number = None, 0
def rows(n):
    ids = list(range(n * ROWS, (n + 1) * ROWS))
    at = pa.array([START + n * HOUR + i % ROWS * (HOUR // ROWS) for i in ids], pa.timestamp("us", "UTC"))
    return pa.table({"id": pa.array(ids, pa.int64()), "at": at, "name": ["row number %d" % i for i in ids]})
for line in sys.stdin:
    words = line.split()
    if words[0] == "version":
        answer = {"deltalake": deltalake.__version__}
    elif words[0] == "read":
        found = DeltaTable(words[1])
        ids = found.to_pyarrow_table(columns=["id"]).column("id").to_pylist()
        answer = {"rows": len(set(ids)), "sum": sum(ids), "files": len(found.file_uris())}
    else:
        times = []
        for _ in range(int(words[0])):
            data = rows(number)
            began = time.perf_counter()
            if table is None:
                write_deltalake(sys.argv[1], data)
                table = DeltaTable(sys.argv[1])
            else:
                write_deltalake(table, data, mode="append")
            times.append(time.perf_counter() - began)
            number += 1
        answer = {"seconds": times}
    print(json.dumps(answer), flush=True)
"#;

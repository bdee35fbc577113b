//! Windows of a second that are gathered: few commits with files of the size, in time, and every row once, whoever dies meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;
use windrow_tests::{
    cluster::Cluster,
    declared::Declared,
    oracle::Rows,
    process::{run, run_json},
    reader,
    skip::skip,
};

use crate::{cluster::TURN, compacting::wait};

/// How many windows there are.
const WINDOWS: i64 = 40;
/// How long those are gathered that are not gathered up to a size.
const WAIT: i64 = 6;
/// What reading, sealing and committing may take beside that.
const MARGIN: i64 = 4;
const TARGET: u64 = 512 << 10;

/// A commit of a Delta table that added files, by its log alone.
#[derive(Debug)]
struct Commit {
    /// When it was there.
    at: Timestamp,
    /// Where the oldest of its windows starts.
    first: Timestamp,
    /// The sizes of its files.
    files: Vec<u64>,
}

impl Commit {
    /// How long after the end of the oldest window it was there.
    fn seconds_after(&self) -> i64 {
        self.at.as_second() - self.first.as_second() - 1
    }
}

fn commits(table: &Path) -> Vec<Commit> {
    let mut log: Vec<PathBuf> =
        fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    log.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    log.sort();
    log.iter().filter_map(|path| commit(path)).collect()
}

fn commit(path: &Path) -> Option<Commit> {
    let text = fs::read_to_string(path).unwrap();
    let actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let added: Vec<Value> = actions.map(|action| action["add"].clone()).filter(|add| !add.is_null()).collect();
    let first = added.iter().map(|add| {
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        stats["minValues"]["ts"].as_str().unwrap().parse::<Timestamp>().unwrap()
    });
    Some(Commit {
        at: Timestamp::try_from(fs::metadata(path).unwrap().modified().unwrap()).unwrap(),
        first: first.min()?,
        files: added.iter().map(|add| add["size"].as_u64().unwrap()).collect(),
    })
}

/// Windows from this second on, as the sink gathers them.
fn pipeline(name: &str, start: i64, more: &str, (rows, payload): (u64, u64), sink: &str) -> String {
    let start = Timestamp::from_second(start).unwrap().to_zoned(TimeZone::UTC).datetime();
    format!(
        "  {name}:
    pattern: incremental
    source: {{ from: made_up, cursor: ts, rows_per_second: {rows}, payload_bytes: {payload}, seed: 3 }}
    window: {{ every: 1s, start: {start}, per_task: 1{more} }}
    sink: {{ to: lake, format: delta, path: {name}, {sink} }}
"
    )
}

fn declare(pipelines: &[String]) -> Declared {
    let head =
        "version: 1\nconnections:\n  made_up: { type: synthetic }\n  lake: { type: local, root: ./lake }\npipelines:\n";
    Declared::new(&format!("{head}{}", pipelines.concat())).unwrap()
}

fn published(cluster: &Cluster, name: &str) -> i64 {
    let pipelines = cluster.ask(&["get", "pipelines"]).unwrap_or_default();
    let found = pipelines.as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
    found.and_then(|found| found["windows"]["published"].as_i64()).unwrap_or(0)
}

/// Whether a window of the pipeline is sealed, and says what it waits for.
fn gathers(cluster: &Cluster, name: &str) -> bool {
    let tasks = cluster.ask(&["get", "tasks", name]).unwrap_or_default();
    let gathers = |task: &Value| {
        let why = task["obstacles"][0].as_str().unwrap_or_default();
        task["state"] == "sealed" && why.starts_with("it gathers: ") && why.ends_with(" at the latest")
    };
    tasks.as_array().is_some_and(|tasks| tasks.iter().any(gathers))
}

/// Proves CO15. One pipeline is gathered for a time and one up to a size; their committer is killed while it gathers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_windows_become_files_of_the_size_within_their_time() {
    let test = "small_windows_become_files_of_the_size_within_their_time";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(1, 1).await.unwrap() else { return skip(test, "there is no etcd") };
    let Ok(python) = reader::python() else { return skip(test, "there is no reader") };
    let start = Timestamp::now().as_second() + 2;
    let end = Timestamp::from_second(start + WINDOWS).unwrap().to_zoned(TimeZone::UTC).datetime();
    let end = format!(", end: {end}");
    let by_size = format!("target_file_size: {TARGET}, gather: {{ wait: 10m }}");
    let declared = declare(&[
        pipeline("by_time", start, &end, (5, 8), &format!("gather: {{ wait: {WAIT}s }}")),
        pipeline("by_size", start, &end, (100, 1_000), &by_size),
    ]);
    let table = |name: &str| declared.path().join("lake").join(name);
    cluster.apply(declared.arg()).unwrap();
    wait(&cluster, |cluster| published(cluster, "by_time") >= 10);
    wait(&cluster, |cluster| gathers(cluster, "by_time"));
    wait(&cluster, |cluster| cluster.metric("windrow_gathering_bytes") > 0);
    cluster.workers[0].1.kill().unwrap();
    let killed = Timestamp::now().as_second();
    cluster.add_worker("w2").unwrap();
    for name in ["by_time", "by_size"] {
        wait(&cluster, |cluster| published(cluster, name) == WINDOWS);
    }

    let in_time = commits(&table("by_time"));
    // Fewer than seconds, by far; the last windows wait for nothing.
    assert!((4..=10).contains(&in_time.len()), "{in_time:#?}");
    assert!(in_time.iter().all(|commit| commit.files.len() <= 2), "{in_time:#?}");
    let undisturbed =
        in_time.iter().filter(|commit| commit.at.as_second() < killed || commit.first.as_second() > killed + 10);
    let undisturbed: Vec<&Commit> = undisturbed.collect();
    assert!(undisturbed.len() >= 3, "killed at {killed}: {in_time:#?}");
    assert!(undisturbed.iter().all(|commit| commit.seconds_after() <= WAIT + MARGIN), "{in_time:#?}");
    let gathered = undisturbed.iter().filter(|commit| commit.seconds_after() >= WAIT - 1);
    assert!(gathered.count() >= 2, "they waited for others: {in_time:#?}");

    let of_size = commits(&table("by_size"));
    let (last, full) = of_size.split_last().unwrap();
    assert!(full.len() >= 3, "{of_size:#?}");
    // What is staged is a little more than what becomes of it.
    let fits = |commit: &&Commit| commit.files.len() == 1 && (TARGET / 2..=TARGET).contains(&commit.files[0]);
    assert!(full.iter().filter(fits).count() + 1 >= full.len(), "all but where somebody died: {of_size:#?}");
    assert!(last.files.len() <= 2, "{of_size:#?}");
    for (name, per_second) in [("by_time", 5), ("by_size", 100)] {
        let rows = Rows { seed: 3, per_second, start, end: start + WINDOWS, window: 1 };
        rows.compare(&python, "delta", &table(name)).unwrap().check(&rows).unwrap();
    }
    wait(&cluster, |cluster| cluster.metric("windrow_gathering_bytes") == 0);
    assert_eq!(cluster.metric("windrow_invariant_violations_total"), 0, "{}", cluster.logs());
}

/// A run is over when what is due is published: it gathers that, and does not sit out the time for windows to come.
#[test]
fn a_run_does_not_sit_out_the_time() {
    let start = Timestamp::now().as_second() - 30;
    let declared = declare(&[pipeline("events", start, "", (5, 8), "gather: { wait: 10m }")]);
    let began = std::time::Instant::now();
    let output = run(&["run", declared.arg()]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let commits = commits(&declared.path().join("lake/events"));
    assert!(!commits.is_empty() && commits.len() <= 8, "thirty windows were due, and some more came: {commits:#?}");
    // What is told is what was committed, and not what was staged.
    let files = commits.iter().map(|commit| commit.files.len()).sum::<usize>();
    let told = String::from_utf8_lossy(&output.stdout);
    let row = told.lines().find(|line| line.starts_with("events")).unwrap();
    assert!(row.split_whitespace().any(|word| word == files.to_string()), "{files} files: {told}");
    let pipelines = run_json(&["get", "pipelines", "--local", declared.arg(), "-o", "json"]).unwrap();
    assert_eq!(pipelines[0]["files"].as_u64(), Some(files as u64), "{pipelines}");
}

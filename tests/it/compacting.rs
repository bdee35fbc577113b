//! Small files that become few, as others see it: a table of another writer, a cluster whose workers die at it, windows that are replaced
//! beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::Value;
use windrow_tests::{
    cluster::Cluster,
    declared::Declared,
    example::Example,
    process::{Process, run, run_json, text},
    reader,
    skip::skip,
};

use crate::{cluster::TURN, visits::Visits};

/// What somebody else found in a version of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    version: u64,
    pub(crate) operation: String,
    files: u64,
    pub(crate) rows: u64,
    pub(crate) digests: Vec<String>,
}

const READER: &str = include_str!("../readers/compacted.py");
/// Of all columns of the tables below, whatever the rows' order.
const EVENTS: &str = "select count(*), sum(hash(id, day, name, value, tags, epoch_us(\"at\"))::hugeint) from {}";
pub(crate) const VISITS: &str = "select count(*), sum(hash(id, epoch_us(\"at\"))::hugeint) from {}";

fn look(python: &Path, table: &Path, query: &str, versions: &[String]) -> Vec<Seen> {
    let output = Command::new(python).args(["-c", READER]).arg(table).arg(query).args(versions).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let seen = |line: &str| {
        let found: Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| found[key].as_u64().unwrap();
        let digests = found["digests"].as_array().unwrap();
        Seen {
            version: number("version"),
            operation: found["operation"].as_str().unwrap().to_owned(),
            files: number("files"),
            rows: number("rows"),
            digests: digests.iter().map(|digest| digest.as_str().unwrap().to_owned()).collect(),
        }
    };
    text.lines().map(seen).collect()
}

pub(crate) fn newest(python: &Path, table: &Path, query: &str) -> Seen {
    look(python, table, query, &["-".to_owned()]).remove(0)
}

/// What each version shows, from the first with rows to the newest.
fn history(python: &Path, table: &Path, query: &str) -> Vec<Seen> {
    let last = newest(python, table, query).version;
    look(python, table, query, &(1..=last).map(|version| version.to_string()).collect::<Vec<_>>())
}

/// Whoever rewrote files changed no row: such a version shows what the one before it did, to both readers.
fn check_rewrites(history: &[Seen]) -> usize {
    for pair in history.windows(2).filter(|pair| pair[1].operation == "OPTIMIZE") {
        assert_eq!((pair[0].rows, &pair[0].digests), (pair[1].rows, &pair[1].digests), "version {}", pair[1].version);
        assert!(pair[1].files < pair[0].files, "{pair:?}");
    }
    assert!(history.iter().all(|seen| seen.digests.iter().all(|digest| *digest == seen.digests[0])), "{history:?}");
    history.iter().filter(|seen| seen.operation == "OPTIMIZE").count()
}

/// Appends with nulls, lists and three partitions, by deltalake: so many commits of so many rows from a number on.
const WRITER: &str = r#"
import sys, pyarrow as pa
from deltalake import write_deltalake
place, first, commits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for part in range(first, first + commits):
    rows = range(20 * part, 20 * part + 20)
    write_deltalake(place, pa.table({
        "id": pa.array(rows, pa.int64()),
        "day": [f"d{row % 3}" for row in rows],
        "name": [None if row % 7 == 0 else f"n{row}" for row in rows],
        "value": [row / 3 for row in rows],
        "tags": pa.array([[row, None] if row % 5 else None for row in rows], pa.list_(pa.int64())),
        "at": pa.array([row * 1_000_000 for row in rows], pa.timestamp("us", tz="UTC")),
    }), mode="append", partition_by=["day"])
"#;

fn write(python: &Path, table: &Path, first: u32, commits: u32) {
    let numbers = [first.to_string(), commits.to_string()];
    let output = Command::new(python).args(["-c", WRITER]).arg(table).args(numbers).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with a pipeline that only compacts, and where its table is.
fn others(python: &Path) -> (Declared, PathBuf) {
    let pipelines = "version: 1
connections:
  lake: { type: local, root: ./lake }
pipelines:
  events:
    pattern: compact
    sink: { to: lake, format: delta, path: events }
    compaction: { target_size: 1MiB, min_files: 2 }
";
    let declared = Declared::new(pipelines).unwrap();
    let table = declared.path().join("lake/events");
    fs::create_dir_all(&table).unwrap();
    write(python, &table, 0, 60);
    (declared, table)
}

/// Proves CO1. A table windrow never wrote, compacted while its writer goes on writing it; two readers that are not ours find every
/// row once before, meanwhile and after.
#[test]
fn a_table_of_another_writer_is_compacted_while_it_is_written() {
    let test = "a_table_of_another_writer_is_compacted_while_it_is_written";
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let (declared, table) = others(&python);
    let arg = declared.arg();
    assert_eq!(newest(&python, &table, EVENTS).files, 180);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            write(&python, &table, 60, 20);
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let output = run(&["run", arg]).unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    });
    let output = run(&["run", arg]).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let history = history(&python, &table, EVENTS);
    assert!(check_rewrites(&history) >= 1);
    let last = history.last().unwrap();
    assert_eq!(last.rows, 80 * 20);
    // A partition's large file waits until those beside it have grown.
    assert!((3..=9).contains(&last.files), "{last:?}");

    // More of them, and what there is to gain is told before it is done.
    write(&python, &table, 80, 5);
    let plan = run_json(&["compact", "events", "--dry-run", "-o", "json", "--local", arg]).unwrap();
    let files = last.files + 15;
    assert_eq!((&plan["before"]["files"], &plan["before"]["partitions"]), (&Value::from(files), &Value::from(3)));
    let saved: u64 = plan["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["files"].as_u64().unwrap() - group["become"].as_u64().unwrap())
        .sum();
    assert!(saved >= 12, "{plan}");
    assert_eq!(newest(&python, &table, EVENTS).files, files, "nothing was done");
    let told = run(&["compact", "events", "--local", arg]).unwrap();
    assert!(text(&told.stdout).contains("rewrote"), "{}{}", text(&told.stdout), text(&told.stderr));
    let after = newest(&python, &table, EVENTS);
    assert_eq!(after.rows, 85 * 20);
    assert!(after.files <= 9, "{after:?}");
    assert!(text(&run(&["compact", "events", "--local", arg]).unwrap().stdout).contains("nothing to do"));
}

/// Proves CO13. The worker that rewrites is killed at it, and the one that takes over when it has committed and nobody knows: one commit is
/// made, nothing stays open, and readers of any version find every row once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_at_it_leave_one_commit() {
    let test = "workers_that_are_killed_at_it_leave_one_commit";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 1).await.unwrap() else { return skip(test, "there is no etcd") };
    let Ok(python) = reader::python() else { return skip(test, "there is no reader") };
    let visits = Visits::new();
    let compaction = "{ min_files: 2, target_size: 1MiB, when: inline }";
    let before = killed_at_it(&mut cluster, (&python, &visits), compaction);
    assert!(before.files > 1, "{before:?}");
    cluster.add_worker_armed("w3", "F8=kill").unwrap();
    let args = ["compact", "visits", "--coordinator", &cluster.addresses()];
    let mut asking = Process::start(&args, &visits.path().join("compact.log")).unwrap();
    ends(&mut cluster, 2);
    assert_eq!(newest(&python, &visits.table(), VISITS).operation, "OPTIMIZE", "{}", cluster.logs());
    cluster.add_worker("w4").unwrap();
    wait(&cluster, |_| asking.ended().unwrap().is_some());
    assert!(asking.ended().unwrap().unwrap().success(), "{}\n{}", asking.log(), cluster.logs());
    assert_eq!(cluster.ask(&["get", "tasks", "visits"]).unwrap(), Value::from(Vec::<Value>::new()));
    let history = history(&python, &visits.table(), VISITS);
    let last = history.last().unwrap();
    assert_eq!((check_rewrites(&history), last.files, last.rows, &last.digests), (1, 1, 240, &before.digests));
    let (published, rows) = crate::visits::told(&cluster).unwrap();
    assert_eq!((published, rows), (24, 240), "no window was published again");
}

/// Proves CO3, CO4. A year is loaded, compacted and loaded again in parts at the same time, and a worker dies of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_loaded_and_replaced_while_their_files_are_rewritten() {
    let test = "windows_are_loaded_and_replaced_while_their_files_are_rewritten";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 3).await.unwrap() else { return skip(test, "there is no etcd") };
    let Ok(python) = reader::python() else { return skip(test, "there is no reader") };
    let example = Example::with_tasks_of(200).unwrap();
    let sink = "sink: { to: lake, format: delta, path: flights }";
    let compaction = "\n    compaction: { when: inline, min_files: 2, target_size: 64MiB }";
    example.edit(sink, &format!("{sink}{compaction}")).unwrap();
    cluster.apply(example.arg()).unwrap();
    cluster.wait_for(2_000).await.unwrap();
    let addresses = cluster.addresses();
    let again = [
        "backfill",
        "create",
        "flights",
        "--from",
        "2013-01-05",
        "--to",
        "2013-02-20",
        "--reprocess",
        "all",
        "--no-watch",
        "--coordinator",
        &addresses,
    ];
    assert!(run(&again).unwrap().status.success());
    cluster.wait_for(4_000).await.unwrap();
    cluster.workers[1].1.kill().unwrap();
    cluster.add_worker("w4").unwrap();
    cluster.wait_for(8_755).await.unwrap();
    let settled = ["backfill", "create", "flights", "--from", "2013-06-01", "--to", "2013-07-01", "--reprocess", "all"];
    let settled = run(&[settled.as_slice(), &["--coordinator", &addresses]].concat()).unwrap();
    assert!(settled.status.success(), "{}{}", text(&settled.stdout), text(&settled.stderr));
    wait(&cluster, |cluster| {
        let tasks = cluster.ask(&["get", "tasks", "flights"]);
        tasks.is_ok_and(|tasks| tasks.as_array().is_some_and(Vec::is_empty))
    });
    let compacted = run(&["compact", "flights", "--coordinator", &addresses]).unwrap();
    assert!(compacted.status.success(), "{}{}", text(&compacted.stdout), text(&compacted.stderr));
    let found = reader::flights(&python, &example.table()).unwrap();
    found.check_year().unwrap();
    assert!(found.files <= 4, "{} files", found.files);
    assert!(cluster.metric("windrow_compaction_groups_total") >= 2, "{}", cluster.logs());
    assert_eq!(cluster.metric("windrow_invariant_violations_total"), 0);
}

/// Has visits loaded and then their files rewritten, by a worker that is killed at it. What readers see, as before.
pub(crate) fn killed_at_it(cluster: &mut Cluster, (python, visits): (&Path, &Visits), compaction: &str) -> Seen {
    cluster.apply(visits.arg()).unwrap();
    wait(cluster, |cluster| crate::visits::told(cluster).is_some_and(|(published, _)| published == 24));
    let before = newest(python, &visits.table(), VISITS);
    cluster.workers[0].1.kill().unwrap();
    let path = visits.path().join("pipelines.yaml");
    let declared = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{declared}    compaction: {compaction}\n")).unwrap();
    cluster.apply(visits.arg()).unwrap();
    cluster.add_worker_armed("w2", "F2=kill").unwrap();
    ends(cluster, 1);
    assert_eq!(newest(python, &visits.table(), VISITS), before);
    before
}

/// Waits until something is so.
pub(crate) fn wait(cluster: &Cluster, mut so: impl FnMut(&Cluster) -> bool) {
    for _ in 0..1_200 {
        if so(cluster) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("two minutes have passed\n{}", cluster.logs());
}

/// Waits until a worker's process is gone.
fn ends(cluster: &mut Cluster, worker: usize) {
    for _ in 0..1_200 {
        if cluster.workers[worker].1.ended().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("worker {worker} lives\n{}", cluster.logs());
}

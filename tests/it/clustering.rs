//! Rows that are put in order across files, as others see it: how many of a table's files a reader that is not ours opens for a value, before
//! and after.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use windrow_tests::{
    cluster::Cluster,
    declared::Declared,
    process::{run, run_json, text},
    reader,
    skip::skip,
};

use crate::{
    cluster::TURN,
    compacting::{VISITS, killed_at_it, newest, wait},
    visits::Visits,
};

const READER: &str = include_str!("../readers/clustered.py");

/// What somebody else found in the newest version of a table.
#[derive(Clone, Debug)]
struct Seen {
    operation: String,
    files: u64,
    rows: u64,
    digest: String,
    /// By column, the share of files that are opened for a value.
    touched: Value,
}

impl Seen {
    fn touched(&self, column: &str) -> f64 {
        self.touched[column].as_f64().unwrap()
    }

    /// Whether the rows are those, wherever they lie.
    fn check_same_rows(&self, other: &Self) {
        assert_eq!((self.rows, &self.digest), (other.rows, &other.digest));
    }
}

fn look(python: &Path, table: &Path) -> Seen {
    let output = Command::new(python).args(["-c", READER]).arg(table).args(["user,amount", "25"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    Seen {
        operation: found["operation"].as_str().unwrap().to_owned(),
        files: found["files"].as_u64().unwrap(),
        rows: found["rows"].as_u64().unwrap(),
        digest: found["digest"].as_str().unwrap().to_owned(),
        touched: found["touched"].clone(),
    }
}

/// Appends by deltalake, of users and amounts that have nothing to do with when they came: so many commits from a number on.
const WRITER: &str = r#"
import sys, random, pyarrow as pa
from deltalake import write_deltalake
place, first, commits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for part in range(first, first + commits):
    dice = random.Random(part)
    users = [dice.randrange(5_000) for _ in range(2_000)]
    write_deltalake(place, pa.table({
        "at": pa.array([part * 1_000_000 + row for row in range(2_000)], pa.timestamp("us", tz="UTC")),
        "user": [None if user == 0 else f"user {user:05}" for user in users],
        "amount": pa.array([dice.randrange(-10**12, 10**12) for _ in users], pa.int64()),
        "note": [f"{dice.getrandbits(64):x}" for _ in users],
    }), mode="append")
"#;

fn write(python: &Path, table: &Path, first: u32, commits: u32) {
    let numbers = [first.to_string(), commits.to_string()];
    let output = Command::new(python).args(["-c", WRITER]).arg(table).args(numbers).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A folder with a pipeline that clusters what others write, in little memory.
fn declare(order: &str) -> Declared {
    let pipelines = format!(
        "version: 1
connections:
  lake: {{ type: local, root: ./lake }}
pipelines:
  events:
    pattern: compact
    sink: {{ to: lake, format: delta, path: events }}
    limits: {{ memory: 16MiB }}
    compaction:
      target_size: 96KiB
      cluster_by: {{ columns: [user, amount], order: {order} }}
"
    );
    let declared = Declared::new(&pipelines).unwrap();
    fs::create_dir_all(declared.path().join("lake/events")).unwrap();
    declared
}

fn windrow(args: &[&str]) -> String {
    let output = run(args).unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Proves CO1. A table of another writer: along the curve a reader opens few of its files for a value of either column, and by one column after the
/// other for one of the first. No row is another, and what was clustered is left alone until enough has come, or somebody asks.
#[test]
fn readers_open_few_files_for_a_value() {
    let test = "readers_open_few_files_for_a_value";
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let declared = declare("zorder");
    let (arg, table) = (declared.arg(), declared.path().join("lake/events"));
    // There is no table yet, and nothing to do.
    windrow(&["run", arg]);
    write(&python, &table, 0, 30);
    let before = look(&python, &table);
    assert!(before.touched("user") > 0.9 && before.touched("amount") > 0.9, "{before:?}");
    let plan = run_json(&["compact", "events", "--dry-run", "--major", "-o", "json", "--local", arg]).unwrap();
    assert_eq!((&plan["groups"][0]["files"], &plan["groups"][0]["major"]), (&Value::from(30), &Value::from(true)));
    assert_eq!(plan["groups"][0]["clustered_by"], serde_json::json!(["user", "amount"]));
    assert_eq!(look(&python, &table).operation, before.operation, "nothing was done");
    windrow(&["run", arg]);
    let after = look(&python, &table);
    after.check_same_rows(&before);
    assert_eq!(after.operation, "OPTIMIZE");
    assert!(after.files >= 16, "{after:?}");
    assert!(after.touched("user") < 0.5 && after.touched("amount") < 0.5, "{after:?}");
    let again = windrow(&["compact", "events", "--major", "--local", arg]);
    assert!(again.contains("nothing to do"), "{again}");

    // Two files are too few, unless somebody asks.
    write(&python, &table, 30, 2);
    let before = look(&python, &table);
    windrow(&["run", arg]);
    assert_ne!(look(&python, &table).operation, "OPTIMIZE");
    let told = windrow(&["compact", "events", "--major", "--local", arg]);
    assert!(told.contains("CLUSTERED BY") && told.contains("user, amount (zorder)"), "{told}");
    let after = look(&python, &table);
    after.check_same_rows(&before);
    assert!(after.touched("user") < 0.5 && after.touched("amount") < 0.5, "{after:?}");

    // Another order is another clustering: all is due again.
    let file = declared.path().join("pipelines.yaml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("zorder", "sort")).unwrap();
    windrow(&["run", arg]);
    let sorted = look(&python, &table);
    sorted.check_same_rows(&before);
    assert!(sorted.touched("user") < 0.12 && sorted.touched("amount") > 0.9, "{sorted:?}");
}

/// Files of a folder have no order across them: that is said before anything runs, and to whoever asks for it.
#[test]
fn a_folder_of_files_is_not_clustered() {
    let declared = declare("sort");
    let file = declared.path().join("pipelines.yaml");
    let pipelines = fs::read_to_string(&file).unwrap().replace("format: delta", "format: parquet");
    let (arg, file_arg) = (declared.arg(), file.to_str().unwrap());
    fs::write(&file, &pipelines).unwrap();
    let refused = run(&["validate", file_arg]).unwrap();
    let told = text(&refused.stdout) + &text(&refused.stderr);
    assert!(!refused.status.success() && told.contains("WR-K042") && told.contains("cluster_by"), "{told}");
    let plain: String =
        pipelines.lines().filter(|line| !line.contains("cluster_by")).map(|line| format!("{line}\n")).collect();
    fs::write(&file, plain).unwrap();
    windrow(&["run", arg]);
    let refused = run(&["compact", "events", "--major", "--local", arg]).unwrap();
    let told = text(&refused.stderr);
    assert!(!refused.status.success() && told.contains("WR-K042") && told.contains("--major"), "{told}");
}

/// Proves CO13. The worker that clusters a table of windrow's own is killed at it, and another does it; a window is loaded again afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_while_it_sorts_leaves_the_table_as_it_was() {
    let test = "a_worker_that_dies_while_it_sorts_leaves_the_table_as_it_was";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 1).await.unwrap() else { return skip(test, "there is no etcd") };
    let Ok(python) = reader::python() else { return skip(test, "there is no reader") };
    let visits = Visits::new();
    let compaction = "{ min_files: 2, target_size: 1KiB, when: inline, cluster_by: { columns: [id] } }";
    let before = killed_at_it(&mut cluster, (&python, &visits), compaction);
    cluster.add_worker("w3").unwrap();
    wait(&cluster, |_| newest(&python, &visits.table(), VISITS).operation == "OPTIMIZE");
    let addresses = cluster.addresses();
    windrow(&["compact", "visits", "--major", "--coordinator", &addresses]);
    let clustered = newest(&python, &visits.table(), VISITS);
    assert_eq!((clustered.rows, &clustered.digests), (240, &before.digests));
    let hours = ["--from", "2024-01-01T05:00", "--to", "2024-01-01T07:00", "--reprocess", "all"];
    windrow(&[["backfill", "create", "visits"].as_slice(), &hours, &["--coordinator", &addresses]].concat());
    windrow(&["compact", "visits", "--major", "--coordinator", &addresses]);
    let again = newest(&python, &visits.table(), VISITS);
    assert_eq!((again.rows, &again.digests), (240, &before.digests));
    assert_eq!(cluster.metric("windrow_invariant_violations_total"), 0);
}

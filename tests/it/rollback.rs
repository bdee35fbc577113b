//! Going back to a version of a full load: one call, by a commit of its own, whatever dies in between and whoever reads.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::{
    cluster::Cluster,
    process::{Process, Surroundings, ran, run, run_json},
    reader,
    skip::skip,
};

use crate::cluster::TURN;

/// Rows of the generations of the input: no sum of parts of them is one of them.
const ROWS: [u64; 4] = [6_000, 7_777, 9_001, 5_003];
/// Each is met by the process that goes on where the one before it was killed.
const TRAPS: [&str; 6] = ["F5=kill", "F6=kill", "F7=kill", "F8=kill", "F9=kill", "F10=kill"];

/// A full load of one file into a table, generation after generation.
struct Load {
    folder: TempDir,
    format: &'static str,
}

impl Load {
    /// The first generation is there to be loaded.
    fn declared(format: &'static str, keep: u32) -> Self {
        let load = Self { folder: tempfile::tempdir().unwrap(), format };
        load.deliver(0);
        fs::write(load.folder.path().join("pipelines.yaml"), load.pipelines("full", "", keep)).unwrap();
        load
    }

    /// So many generations are published as versions, the last one shown.
    fn published(format: &'static str, keep: u32, generations: usize) -> Self {
        let load = Self::declared(format, keep);
        let first = run(&["run", load.arg()]).unwrap();
        assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
        for generation in 1..generations {
            load.load(generation);
        }
        load
    }

    fn pipelines(&self, pattern: &str, window: &str, keep: u32) -> String {
        let root = self.folder.path().display();
        let cursor = if window.is_empty() { "" } else { ", cursor: at" };
        let expose = if window.is_empty() { format!(", expose: {{ keep_versions: {keep} }}") } else { String::new() };
        format!(
            "version: 1
connections:
  here: {{ type: local, root: \"{root}\" }}
pipelines:
  load:
    pattern: {pattern}
    source: {{ from: here, path: input.csv, schema: {{ id: int, generation: int, at: timestamp }}{cursor} }}
{window}    sink: {{ to: here, format: {}, path: table{expose} }}
    retries: {{ lost_leases: 100 }}
",
            self.format
        )
    }

    /// Puts a generation of the input in place, whole.
    fn deliver(&self, generation: usize) {
        let row = |id: u64| format!("{id},{generation},2024-01-01T{:02}:00:00Z\n", id % 24);
        let text = (0..ROWS[generation]).fold("id,generation,at\n".to_owned(), |text, id| text + &row(id));
        let new = self.folder.path().join("input.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join("input.csv")).unwrap();
    }

    /// Publishes a generation as the next version.
    fn load(&self, generation: usize) {
        self.deliver(generation);
        let (code, said) = self.said(&["backfill", "create", "load", "--reprocess", "all"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(self.rows(), Some(ROWS[generation]));
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("table")
    }

    /// The exit code of a command and all it said.
    fn said(&self, args: &[&str]) -> (Option<i32>, String) {
        ran(&[args, &["--local", self.arg()]].concat()).unwrap()
    }

    fn roll_back(&self, flags: &[&str]) -> (Option<i32>, String) {
        self.said(&[&["rollback", "load"], flags].concat())
    }

    /// Rows of the table as its log has them.
    fn rows(&self) -> Option<u64> {
        rows_of(&self.table(), self.format)
    }

    /// Number, state and rows of the versions, last shown first.
    fn versions(&self) -> Vec<(u64, bool, bool, u64)> {
        let found = run_json(&["get", "versions", "load", "-o", "json", "--local", self.arg()]).unwrap();
        let of = |version: &Value| {
            let number = |key: &str| version[key].as_u64().unwrap();
            let is = |key: &str| version[key].as_bool().unwrap();
            assert!(version["loaded"].is_string() && number("attempt") > 0, "{version}");
            (number("version"), is("shown"), is("kept"), number("rows"))
        };
        found.as_array().unwrap().iter().map(of).collect()
    }

    /// How many commits the sink has.
    fn seq(&self) -> u64 {
        let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", self.arg()]).unwrap();
        pipelines[0]["seq"].as_u64().unwrap()
    }

    /// Readers that know no log of ours find this generation and no other.
    fn check_others(&self, generation: usize) {
        if let Some(found) = self.read_by_others() {
            assert_eq!(found, BTreeMap::from([(generation as u64, ROWS[generation])]));
        }
    }

    /// Rows by generation: of lines of JSON in the bare folder, or by delta-rs and pyarrow.
    fn read_by_others(&self) -> Option<BTreeMap<u64, u64>> {
        let mut found = BTreeMap::new();
        if self.format == "json" {
            for file in fs::read_dir(self.table()).unwrap().map(|entry| entry.unwrap().path()) {
                let Some("jsonl") = file.extension().and_then(|extension| extension.to_str()) else { continue };
                for line in fs::read_to_string(&file).unwrap().lines() {
                    let row: Value = serde_json::from_str(line).unwrap();
                    *found.entry(row["generation"].as_u64().unwrap()).or_default() += 1;
                }
            }
            return Some(found);
        }
        const DELTA: &str = "from deltalake import DeltaTable; t = DeltaTable(sys.argv[1]).to_pyarrow_table()";
        const PARQUET: &str = "import pyarrow.dataset as ds; t = ds.dataset(sys.argv[1], format='parquet').to_table()";
        let read = if self.format == "delta" { DELTA } else { PARQUET };
        let script = format!(
            "import sys, json\n{read}\nprint(json.dumps({{str(v['values']): v['counts'] for v in \
             t['generation'].value_counts().to_pylist()}}))"
        );
        let python = match reader::python() {
            Ok(python) => python,
            Err(reason) => {
                skip("rollback: reading the table", &reason);
                return None;
            }
        };
        let output = Command::new(python).args(["-c", &script]).arg(self.table()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let counts: BTreeMap<String, u64> = serde_json::from_slice(&output.stdout).unwrap();
        Some(counts.into_iter().map(|(generation, rows)| (generation.parse().unwrap(), rows)).collect())
    }

    /// What the first load added, where it is now that others are shown.
    fn files_of_the_first(&self) -> Vec<PathBuf> {
        let text = |path: &str| fs::read_to_string(self.table().join(path)).unwrap();
        let paths: Vec<String> = match self.format {
            "delta" => {
                let text = text("_delta_log/00000000000000000001.json");
                let actions = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                actions.filter_map(|action| Some(action["add"]["path"].as_str()?.to_owned())).collect()
            }
            _ => {
                let entry: Value = serde_json::from_str(&text("_windrow/log/00000000000000000001.json")).unwrap();
                let staged = entry["add"].as_array().unwrap().iter().map(|file| file["staged"].as_str().unwrap());
                staged.map(|staged| staged.replace("_windrow/stage", "_windrow/kept")).collect()
            }
        };
        paths.iter().map(|path| self.table().join(path)).collect()
    }

    /// Reads the table again and again; ends with how often that was when `done` is set.
    fn watch(&self, done: Arc<AtomicBool>, fits: Vec<u64>) -> JoinHandle<u64> {
        let (table, format) = (self.table(), self.format);
        std::thread::spawn(move || {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                if let Some(rows) = rows_of(&table, format) {
                    assert!(fits.contains(&rows), "{rows} rows");
                    looks += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            looks
        })
    }

    /// Runs a command again and again, each time killed at another point.
    fn killed_at_each_point(&self, args: &[&str]) {
        let args = [args, &["--local", self.arg()]].concat();
        for trap in TRAPS {
            let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", trap);
            let mut killed = Process::start_in(&armed, &args, &self.folder.path().join(trap)).unwrap();
            wait_for_end(&mut killed);
            assert!(!killed.ended().unwrap().unwrap().success(), "{trap} was not met: {}", killed.log());
        }
    }
}

fn rows_of(table: &Path, format: &str) -> Option<u64> {
    if format == "delta" { crate::demo::rows_by_log(table) } else { crate::torn::rows_by_files_log(table) }
}

fn wait_for_end(process: &mut Process) {
    let ended = (0..6_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        process.ended().unwrap().is_some()
    });
    assert!(ended, "{}", process.log());
}

/// Whatever dies and however often it is asked: one commit, and readers see the version before or the one that was shown.
fn there_and_back(format: &'static str) {
    let load = Load::published(format, 3, 3);
    assert_eq!(load.versions(), [(2, true, true, ROWS[2]), (1, false, true, ROWS[1]), (0, false, true, ROWS[0])]);
    let (code, said) = load.roll_back(&["--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("would show v1 again; v2 is shown"), "{said}");
    assert_eq!((load.rows(), load.seq()), (Some(ROWS[2]), 3));

    let done = Arc::new(AtomicBool::new(false));
    let watcher = load.watch(Arc::clone(&done), vec![ROWS[2], ROWS[1]]);
    load.killed_at_each_point(&["rollback", "load", "--request-id", "back"]);
    for _ in 0..2 {
        let (code, said) = load.roll_back(&["--request-id", "back"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("v1 is shown again, v2 was before (commit 4)"), "{said}");
        assert!(said.contains("windrow pause load"), "what goes on is said: {said}");
    }
    done.store(true, Ordering::Relaxed);
    let looks = watcher.join().unwrap();
    assert!(looks > 100, "{looks} looks");
    assert_eq!((load.rows(), load.seq()), (Some(ROWS[1]), 4));
    load.check_others(1);

    // Once more goes one further, and to a later one there is a way as well.
    let (code, said) = load.roll_back(&[]);
    assert_eq!((code, load.rows(), load.seq()), (Some(0), Some(ROWS[0]), 5), "{said}");
    load.check_others(0);
    let (code, said) = load.roll_back(&[]);
    assert_eq!((code, load.seq()), (Some(1), 5), "{said}");
    assert!(said.contains("WR-K030") && said.contains("before v0"), "{said}");
    let (code, said) = load.roll_back(&["--to", "v2"]);
    assert_eq!((code, load.rows(), load.seq()), (Some(0), Some(ROWS[2]), 6), "{said}");
    load.check_others(2);
    let (code, said) = load.roll_back(&["--to", "2"]);
    assert_eq!((code, load.seq()), (Some(1), 6), "{said}");
    assert!(said.contains("WR-C004") && said.contains("is what readers see"), "{said}");

    // The next load is a version above all, and the one before it stays the one that was shown.
    load.roll_back(&["--to", "v0"]);
    load.load(3);
    assert_eq!(load.seq(), 8);
    load.check_others(3);
    assert_eq!(load.versions()[..2], [(3, true, true, ROWS[3]), (0, false, true, ROWS[0])]);
    let (code, said) = load.roll_back(&["--to", "v0"]);
    assert_eq!((code, load.rows()), (Some(0), Some(ROWS[0])), "{said}");
    load.check_others(0);
}

/// Proves FL4, FL7.
#[test]
fn a_delta_table_goes_back_to_the_version_before_whatever_is_killed() {
    there_and_back("delta");
}

/// Proves FL4, FL7.
#[test]
fn a_folder_of_parquet_files_goes_back_to_the_version_before_whatever_is_killed() {
    there_and_back("parquet");
}

/// Proves FL7. Readers of the bare folder find the version's rows, each once.
#[test]
fn a_folder_of_lines_of_json_goes_back_to_the_version_before_whatever_is_killed() {
    there_and_back("json");
}

/// Proves FL7. What was taken away is not brought back in part: the table stays as it is, and the error says what is kept.
#[test]
fn a_version_whose_files_are_gone_is_refused_with_what_is_kept() {
    for format in ["delta", "parquet"] {
        let load = Load::published(format, 3, 3);
        let files = load.files_of_the_first();
        assert!(!files.is_empty());
        for file in files {
            fs::remove_file(file).unwrap();
        }
        let (code, said) = load.roll_back(&["--to", "v0"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("WR-K030") && said.contains("kept: v1") && said.contains("get versions"), "{said}");
        let (code, said) = load.roll_back(&["--to", "v9"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("WR-K030") && said.contains("v9 of pipeline load is not known to its sink"), "{said}");
        assert_eq!((load.rows(), load.seq()), (Some(ROWS[2]), 3));
        let kept: Vec<(u64, bool)> = load.versions().iter().map(|version| (version.0, version.2)).collect();
        assert_eq!(kept, [(2, true), (1, true), (0, false)], "{format}");
    }
}

/// With one version there is none to go back to.
#[test]
fn a_folder_that_keeps_one_version_has_nothing_to_go_back_to() {
    let load = Load::published("parquet", 1, 2);
    assert!(!load.table().join("_windrow/kept").exists());
    let (code, said) = load.roll_back(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WR-K030") && said.contains("keep_versions") && said.contains("none is kept"), "{said}");
    assert_eq!(load.rows(), Some(ROWS[1]));
}

/// Windows of time are loaded again instead.
#[test]
fn a_pipeline_of_windows_is_not_rolled_back_and_the_way_to_go_is_said() {
    let load = Load { folder: tempfile::tempdir().unwrap(), format: "delta" };
    load.deliver(0);
    let window = "    window: { every: 1h, start: 2024-01-01, end: 2024-01-02, per_task: 24 }\n";
    fs::write(load.folder.path().join("pipelines.yaml"), load.pipelines("incremental", window, 2)).unwrap();
    assert!(run(&["run", load.arg()]).unwrap().status.success());
    let (code, said) = load.roll_back(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WR-K031") && said.contains("windrow backfill create"), "{said}");
    let (code, said) = load.said(&["rollback", "lode"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WR-C003"), "{said}");
}

/// Proves FL7. The committer is killed between its commit and the ledger's knowing of it; another finds the commit made, and
/// makes what the bare folder lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committer_that_is_killed_after_the_commit_of_a_rollback_leaves_one_commit() {
    let test = "a_committer_that_is_killed_after_the_commit_of_a_rollback_leaves_one_commit";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 1).await.unwrap() else { return skip(test, "there is no etcd") };
    let load = Load::declared("json", 2);
    let addresses = cluster.addresses();
    cluster.apply(load.arg()).unwrap();
    let rows = |expected: u64| {
        let seen = (0..6_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            load.rows() == Some(expected)
        });
        assert!(seen, "{:?} rows, not {expected}\n{}", load.rows(), cluster.logs());
    };
    rows(ROWS[0]);
    load.deliver(1);
    let again = ["backfill", "create", "load", "--reprocess", "all", "--coordinator", &addresses];
    assert!(run(&again).unwrap().status.success());
    rows(ROWS[1]);
    cluster.workers[0].1.kill().unwrap();
    cluster.add_worker_armed("w2", "F8=kill").unwrap();
    let args = ["rollback", "load", "--coordinator", &addresses];
    let mut asking = Process::start(&args, &load.folder.path().join("rollback.log")).unwrap();
    wait_for_end(&mut cluster.workers[1].1);
    assert_eq!(load.rows(), Some(ROWS[0]), "the commit was made");
    assert!(asking.ended().unwrap().is_none(), "{}", asking.log());
    cluster.add_worker("w3").unwrap();
    wait_for_end(&mut asking);
    assert!(asking.ended().unwrap().unwrap().success(), "{}\n{}", asking.log(), cluster.logs());
    assert!(asking.log().contains("v0 is shown again, v1 was before (commit 3)"), "{}", asking.log());
    let pipelines = cluster.ask(&["get", "pipelines"]).unwrap();
    assert_eq!((load.rows(), &pipelines[0]["seq"]), (Some(ROWS[0]), &Value::from(3)));
    load.check_others(0);
}

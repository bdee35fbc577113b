//! Folders without a table's log, compacted while somebody fills them and somebody else reads them, on a disk and on S3, whatever
//! dies in between.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use object_store::{ObjectStoreExt, path::Path as Key};
use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::{
    declared::Declared,
    process::{run, run_in, text},
    reader,
    s3::{self, S3},
    skip::skip,
};

use crate::lake::{connection, server};

const READER: &str = include_str!("../readers/folder.py");
/// Rows of one file.
const ROWS: u64 = 20;
/// Where a process dies: reading, when a group is sealed, before the intent is recorded and after, before the commit and after.
const TRAPS: [&str; 6] = ["F2=kill", "F4=kill", "F5=kill", "F6=kill", "F7=kill", "F8=kill"];

/// A folder that is filled file by file.
struct Filled {
    folder: TempDir,
    s3: Option<S3>,
    python: PathBuf,
    format: &'static str,
    files: u64,
}

/// Writes the bytes of a Parquet file of so many rows from a number on, by pyarrow.
const WRITER: &str = r#"
import sys, pyarrow as pa, pyarrow.parquet as pq
path, first, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ids = range(first, first + rows)
pq.write_table(pa.table({"id": pa.array(ids, pa.int64()), "text": [f'row {id}, "quoted"\nand broken' for id in ids]}), path)
"#;

impl Filled {
    fn new(python: PathBuf, s3: Option<S3>, format: &'static str) -> Self {
        let filled = Self { folder: tempfile::tempdir().unwrap(), s3, python, format, files: 0 };
        let lake = match &filled.s3 {
            None => format!("{{ type: local, root: \"{}\" }}", filled.folder.path().join("lake").display()),
            Some(s3) => connection(filled.folder.path(), &s3.address(), s3::BUCKET),
        };
        let text = format!(
            "version: 1
connections:
  lake: {lake}
pipelines:
  events:
    pattern: compact
    sink: {{ to: lake, format: {format}, path: events, quiet: 0s, cleaning: {{ keep: 7d }} }}
    compaction: {{ target_size: 1MiB, min_files: 2 }}
    retries: {{ lost_leases: 100 }}
"
        );
        fs::write(filled.folder.path().join("pipelines.yaml"), text).unwrap();
        filled.tell(0);
        filled
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn progress(&self) -> PathBuf {
        self.folder.path().join("progress")
    }

    fn stop(&self) -> PathBuf {
        self.folder.path().join("stop")
    }

    /// Adds a file as a careful producer does: whole or not at all.
    async fn add(&mut self) {
        let first = self.files * ROWS;
        let key = format!("events/day={}/f{}.{}", self.files % 2, self.files, self.format);
        let bytes = self.bytes(first);
        match &self.s3 {
            Some(s3) => {
                s3.client().unwrap().put(&Key::from(key), bytes.into()).await.unwrap();
            }
            None => {
                let path = self.folder.path().join("lake").join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let new = path.with_extension("new");
                fs::write(&new, bytes).unwrap();
                fs::rename(new, path).unwrap();
            }
        }
        self.files += 1;
        self.tell(self.files * ROWS);
    }

    /// So many rows are there from now on.
    fn tell(&self, rows: u64) {
        let next = self.folder.path().join("progress.new");
        fs::write(&next, rows.to_string()).unwrap();
        fs::rename(next, self.progress()).unwrap();
    }

    fn bytes(&self, first: u64) -> Vec<u8> {
        let ids = first..first + ROWS;
        match self.format {
            "parquet" => {
                let path = self.folder.path().join("one.parquet");
                let numbers = [first.to_string(), ROWS.to_string()];
                let output = Command::new(&self.python).args(["-c", WRITER]).arg(&path).args(numbers).output().unwrap();
                assert!(output.status.success(), "{}", text(&output.stderr));
                return fs::read(path).unwrap();
            }
            "csv" => ids.fold("id,text\r\n".to_owned(), |all, id| {
                all + &format!("{id},\"row {id}, \"\"quoted\"\"\nand broken\"\r\n")
            }),
            _ => ids.fold(String::new(), |all, id| {
                all + &serde_json::json!({ "id": id, "text": format!("row {id}, \"quoted\"\nand broken") }).to_string()
                    + "\n"
            }),
        }
        .into()
    }

    /// Somebody who reads until told to stop.
    fn reader(&self, more: &[&str]) -> Child {
        let place = match &self.s3 {
            Some(_) => format!("s3:{}/events", s3::BUCKET),
            None => self.folder.path().join("lake/events").display().to_string(),
        };
        let mut command = Command::new(&self.python);
        command.args(["-c", READER, self.format, &place]).arg(self.progress()).arg(self.stop()).args(more);
        command.envs(self.s3.iter().flat_map(S3::environment));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What they found in the end; it was right at every look.
    fn found(&self, reader: Child) -> Value {
        fs::write(self.stop(), "").unwrap();
        let output = reader.wait_with_output().unwrap();
        assert!(output.status.success(), "{}: {}", self.format, text(&output.stderr));
        fs::remove_file(self.stop()).unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Whether a command got to its end; what it said.
    fn tried(&self, args: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let output = run_in(args, &environment).unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    fn keys(&self, ending: &str) -> usize {
        let all = match &self.s3 {
            Some(s3) => s3.keys().unwrap(),
            None => below(&self.folder.path().join("lake")),
        };
        all.iter().filter(|key| key.ends_with(ending)).count()
    }
}

pub(crate) fn below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path.display().to_string()] }).collect()
}

/// Filled and compacted at once, by processes that die at every point of a commit; then cleaned by one that dies at that.
async fn compacted_under_fire(mut filled: Filled) {
    for _ in 0..6 {
        filled.add().await;
    }
    let reader = filled.reader(&[]);
    for trap in TRAPS {
        let (ended, said) = filled.tried(&["run", filled.arg()], &[("WINDROW_FAILPOINTS", trap)]);
        assert!(!ended, "{trap} was not met: {said}");
        for _ in 0..4 {
            filled.add().await;
        }
    }
    let (ended, said) = filled.tried(&["run", filled.arg()], &[]);
    assert!(ended, "{said}");
    let found = filled.found(reader);
    let (files, rows) = (filled.files, filled.files * ROWS);
    assert!(found["looks"].as_u64().unwrap() > 1, "{found}");
    assert_eq!(found["rows"], rows);
    assert!(found["files"].as_u64().unwrap() <= files / 2, "{found} of {files} files");
    let ending = format!(".{}", filled.format);
    assert_eq!(filled.keys(&ending), files as usize, "nothing of others is gone");

    let reader = filled.reader(&["list"]);
    let later = ("WINDROW_PLAY_DAYS_LATER", "8");
    let clean = ["clean", "events", "--local", filled.arg()];
    let (ended, said) = filled.tried(&clean, &[later, ("WINDROW_FAILPOINTS", "F12@2=kill")]);
    assert!(!ended, "{said}");
    let (ended, said) = filled.tried(&clean, &[later]);
    assert!(ended, "{said}");
    let found = filled.found(reader);
    assert_eq!(found["rows"], rows);
    let left = filled.keys(&ending);
    assert!(left < files as usize / 2, "{left} of {files} are left: {said}");
}

fn python(test: &str) -> Option<PathBuf> {
    reader::python().map_err(|reason| skip(test, &reason)).ok()
}

/// Proves CO8, CO9, CO13, CO14. Parquet on a disk: read by the list, by pyarrow, which leaves hidden folders out, and by DuckDB, which looks into
/// them: every row is there once at every look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_parquet_is_compacted_while_it_is_filled_and_read() {
    let Some(python) = python("a_folder_of_parquet_is_compacted_while_it_is_filled_and_read") else { return };
    compacted_under_fire(Filled::new(python, None, "parquet")).await;
}

/// Proves CO8. The same of JSON lines, whose names end as windrow's own records would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_json_lines_is_compacted_while_it_is_filled_and_read() {
    let Some(python) = python("a_folder_of_json_lines_is_compacted_while_it_is_filled_and_read") else { return };
    compacted_under_fire(Filled::new(python, None, "json")).await;
}

/// Proves CO8. The same of CSV with headers, quotes and line ends within them, in a bucket of a real S3 server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_csv_in_a_bucket_is_compacted_while_it_is_filled_and_read() {
    let test = "a_folder_of_csv_in_a_bucket_is_compacted_while_it_is_filled_and_read";
    let Some(python) = python(test) else { return };
    let Some(s3) = server(test) else { return };
    compacted_under_fire(Filled::new(python, Some(s3), "csv")).await;
}

/// Proves CO8, CO13. A folder that windrow loads, window by window, and compacts in between by processes that die at every point of
/// a commit: whoever reads finds every row of the windows that were loaded, once.
#[test]
fn a_folder_that_is_loaded_and_compacted_is_read_right_whatever_dies() {
    let Some(python) = python("a_folder_that_is_loaded_and_compacted_is_read_right_whatever_dies") else { return };
    let mut filled = Filled::new(python, None, "parquet");
    let root = filled.folder.path().join("input.csv");
    let row = |id: u64| format!("{id},\"row {id}, \"\"quoted\"\"\nand broken\",2024-01-01T{:02}:00:00Z\n", id / ROWS);
    fs::write(root, (0..24 * ROWS).fold("id,text,at\n".to_owned(), |all, id| all + &row(id))).unwrap();
    let declare = |hours: u64, compaction: &str| {
        let folder = filled.folder.path();
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: \"{}\" }}
  lake: {{ type: local, root: \"{}\" }}
pipelines:
  events:
    pattern: incremental
    source: {{ from: here, path: input.csv, schema: {{ id: int, text: text, at: timestamp }}, cursor: at }}
    window: {{ every: 1h, start: 2024-01-01T00:00, end: 2024-01-01T{hours:02}:00, per_task: 1 }}
    sink: {{ to: lake, format: parquet, path: events, target_file_size: 1B }}
    retries: {{ lost_leases: 100 }}
{compaction}",
            folder.display(),
            folder.join("lake").display()
        );
        fs::write(folder.join("pipelines.yaml"), text).unwrap();
    };
    let mut reader = None;
    let mut hours = 0;
    for trap in TRAPS {
        hours += 3;
        declare(hours, "");
        let (ended, said) = filled.tried(&["run", filled.arg()], &[]);
        assert!(ended, "{said}");
        filled.tell(hours * ROWS);
        reader = reader.or_else(|| Some(filled.reader(&["own"])));
        declare(hours, "    compaction: { target_size: 1MiB, min_files: 2 }\n");
        let (ended, said) = filled.tried(&["run", filled.arg()], &[("WINDROW_FAILPOINTS", trap)]);
        assert!(!ended, "{trap} was not met: {said}");
    }
    let (ended, said) = filled.tried(&["run", filled.arg()], &[]);
    assert!(ended, "{said}");
    filled.files = hours;
    let found = filled.found(reader.unwrap());
    assert_eq!(found["rows"], hours * ROWS);
    assert!(found["files"].as_u64().unwrap() < hours / 2, "{found}");
}

/// What there is to do is told before it is done, and done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_rewritten_is_told_first() {
    let Some(python) = python("what_would_be_rewritten_is_told_first") else { return };
    let mut filled = Filled::new(python, None, "json");
    let (ended, said) = filled.tried(&["run", filled.arg()], &[]);
    assert!(ended, "an empty folder has nothing to do: {said}");
    for _ in 0..8 {
        filled.add().await;
    }
    let ask = ["compact", "events", "--local", filled.arg()];
    let (_, told) = filled.tried(&[ask.as_slice(), &["--dry-run"]].concat(), &[]);
    assert!(told.contains("events: 8 files, 8 of them small") && told.contains("2 files would be left"), "{told}");
    assert_eq!(filled.keys(".list"), 0, "nothing was done");
    let (_, told) = filled.tried(&ask, &[]);
    assert!(told.contains("rewrote 8 files"), "{told}");
    let (_, told) = filled.tried(&ask, &[]);
    assert!(told.contains("nothing to do"), "{told}");
    // A table is not compacted behind its log's back.
    let log = filled.folder.path().join("lake/events/_delta_log");
    fs::create_dir(&log).unwrap();
    fs::write(log.join("00000000000000000000.json"), "{}").unwrap();
    let (ended, told) = filled.tried(&ask, &[]);
    assert!(!ended && told.contains("WR-K042") && told.contains("format: delta"), "{told}");
}

/// The example does what its page says.
#[test]
fn the_example_of_a_folder_becomes_two_files() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/folder");
    let folder = tempfile::tempdir().unwrap();
    for file in below(&from).iter().filter(|file| !file.contains("/_windrow/") && !file.contains("/.windrow/")) {
        let to = folder.path().join(Path::new(file).strip_prefix(&from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
    let output = run(&["run", folder.path().to_str().unwrap()]).unwrap();
    assert!(
        text(&output.stdout).contains("events: 12 files became 2"),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

const LOADED: &str = "version: 1
connections:
  made_up: { type: synthetic }
  lake: { type: local, root: ./lake }
pipelines:
  visits:
    pattern: incremental
    source: { from: made_up, cursor: ts, rows_per_second: 1 }
    window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-03T00:00, per_task: 2 }
    sink: { to: lake, format: parquet, path: visits, target_file_size: 16KiB }
    compaction: { target_size: 64MiB, min_files: 2 }
";
const SECONDS: u64 = 2 * 86_400;

/// Rows and different rows by the list and by whoever reads `*.parquet`, and how many files the list has.
const COUNTS: &str = r#"
import duckdb, glob, json, sys
place = sys.argv[1]
named = json.load(open(sorted(glob.glob(place + "/_windrow/files/*.list"))[-1]))
count = lambda files: duckdb.sql(f"select count(*), count(distinct id) from read_parquet({files})").fetchall()[0]
print(json.dumps([*count([f"{place}/{file['path']}" for file in named["files"]]), *count([f"{place}/*.parquet"]), len(named["files"])]))
"#;

/// Proves CO8, CO9. A folder windrow loads itself: its windows are replaced in what was rewritten, and what was rewritten goes when
/// somebody asks for it.
#[test]
fn a_folder_that_windrow_loads_is_compacted_too() {
    let Some(python) = python("a_folder_that_windrow_loads_is_compacted_too") else { return };
    let declared = Declared::new(LOADED).unwrap();
    let arg = declared.arg();
    let counts = || -> Vec<u64> {
        let output =
            Command::new(&python).args(["-c", COUNTS]).arg(declared.path().join("lake/visits")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let output = run(&["run", arg]).unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(counts(), [SECONDS, SECONDS, SECONDS, SECONDS, 1]);
    let again = ["backfill", "create", "visits", "--from", "2024-01-01T05:00", "--to", "2024-01-01T09:00"];
    let again = run(&[again.as_slice(), &["--reprocess", "all", "--local", arg]].concat()).unwrap();
    assert!(again.status.success(), "{}{}", text(&again.stdout), text(&again.stderr));
    let after = counts();
    assert_eq!(after[..4], [SECONDS; 4], "a window is replaced for both readers");
    let output = run(&["compact", "visits", "--local", arg]).unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let later = [("WINDROW_PLAY_DAYS_LATER".to_owned(), "8".to_owned())];
    let cleaned = run_in(&["clean", "visits", "--local", arg], &later).unwrap();
    assert!(cleaned.status.success(), "{}{}", text(&cleaned.stdout), text(&cleaned.stderr));
    assert_eq!(counts()[..2], [SECONDS; 2]);
}

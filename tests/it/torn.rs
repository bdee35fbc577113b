//! Loads that are killed in the middle while somebody reads: the reader sees what was there before or what is there after,
//! never an empty table and never a mixture.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::process::{Process, run, run_json};

/// Rows of the two generations of the input: no sum of parts of them is one of them.
const ROWS: [u64; 2] = [60_000, 77_777];
/// Loads that are killed.
const KILLS: u32 = 3;

struct Load {
    folder: TempDir,
    format: &'static str,
}

impl Load {
    /// A full load, or one of a day in hourly windows, of the first generation.
    fn new(pattern: &str, format: &'static str) -> Self {
        let load = Self { folder: tempfile::tempdir().unwrap(), format };
        load.deliver(0);
        let windows = match pattern {
            "full" => "",
            _ => "    window: { every: 1h, start: 2024-01-01, end: 2024-01-02, per_task: 24 }\n",
        };
        let cursor = if pattern == "full" { "" } else { ", cursor: at" };
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: . }}
pipelines:
  load:
    pattern: {pattern}
    source: {{ from: here, path: input.csv, schema: {{ id: int, generation: int, at: timestamp }}{cursor} }}
{windows}    sink: {{ to: here, format: {format}, path: table }}
    retries: {{ lost_leases: 100 }}
"
        );
        fs::write(load.folder.path().join("pipelines.yaml"), text).unwrap();
        load
    }

    /// Puts a generation of the input in place, whole: every hour of the day has its share.
    fn deliver(&self, generation: usize) {
        let row = |id: u64| format!("{id},{generation},2024-01-01T{:02}:{:02}:00Z\n", id % 24, id % 60);
        let text = (0..ROWS[generation]).fold("id,generation,at\n".to_owned(), |text, id| text + &row(id));
        let new = self.folder.path().join("input.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join("input.csv")).unwrap();
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("table")
    }

    /// Rows of the table as its log has them.
    fn rows(&self) -> Option<u64> {
        rows_of(&self.table(), self.format)
    }

    /// Reads the table again and again; ends with how often that was when `done` is set.
    fn watch(&self, done: Arc<AtomicBool>) -> JoinHandle<u64> {
        let (table, format) = (self.table(), self.format);
        std::thread::spawn(move || {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                if let Some(rows) = rows_of(&table, format) {
                    assert!(ROWS.contains(&rows), "{rows} rows");
                    looks += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            looks
        })
    }
}

fn rows_of(table: &Path, format: &str) -> Option<u64> {
    if format == "delta" { crate::demo::rows_by_log(table) } else { rows_by_files_log(table) }
}

/// A replay of the log of a folder of files. It does not look whether the files the log names are there.
pub(crate) fn rows_by_files_log(table: &Path) -> Option<u64> {
    let mut entries: Vec<_> =
        fs::read_dir(table.join("_windrow/log")).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".json"));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    entries.sort();
    let mut files = std::collections::BTreeMap::new();
    for entry in entries {
        let entry: Value = serde_json::from_slice(&fs::read(entry).ok()?).ok()?;
        for path in entry["remove"].as_array()? {
            files.remove(path.as_str()?);
        }
        for file in entry["add"].as_array()? {
            files.insert(
                file["path"].as_str()?.to_owned(),
                (file["staged"].as_str()?.to_owned(), file["rows"].as_u64()?),
            );
        }
    }
    (!files.is_empty()).then(|| files.values().map(|(_, rows)| rows).sum())
}

/// Loads the second generation over the first, killed in the middle again and again, and then to its end.
fn kill_and_watch(pattern: &str, format: &'static str) {
    let load = Load::new(pattern, format);
    let first = run(&["run", load.arg()]).unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(load.rows(), Some(ROWS[0]));
    load.deliver(1);
    let done = Arc::new(AtomicBool::new(false));
    let watcher = load.watch(Arc::clone(&done));
    let create = ["backfill", "create", "load", "--reprocess", "all", "--request-id", "torn", "--local", load.arg()];
    let mut killed_at_work = 0;
    for kill in 1..=KILLS {
        let log = load.folder.path().join(format!("{kill}.log"));
        let mut running = Process::start(&create, &log).unwrap();
        // Once it has said that it runs it is at work; each time it is left a little more time.
        let tries = 3_000;
        let at_work = (0..tries).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            running.log().contains("running") || running.ended().unwrap().is_some()
        });
        assert!(at_work, "{}", running.log());
        std::thread::sleep(Duration::from_millis(60) * kill);
        killed_at_work += u32::from(running.ended().unwrap().is_none());
        running.kill().unwrap();
    }
    let last = run(&create).unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    done.store(true, Ordering::Relaxed);
    let looks = watcher.join().unwrap();
    assert!(looks > 100 && killed_at_work > 0, "{looks} looks, {killed_at_work} of {KILLS} killed at work");
    assert_eq!(load.rows(), Some(ROWS[1]));
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", load.arg()]).unwrap();
    assert_eq!(pipelines[0]["windows"]["quarantined"], 0, "{pipelines}");
}

/// Proves FL4.
#[test]
fn a_full_load_into_delta_that_is_killed_shows_the_old_or_the_new_dataset() {
    kill_and_watch("full", "delta");
}

/// Proves FL4.
#[test]
fn a_full_load_into_files_that_is_killed_shows_the_old_or_the_new_dataset() {
    kill_and_watch("full", "parquet");
}

/// Proves IL4. All windows are replaced by one commit here, so that a mixture would be seen.
#[test]
fn windows_of_a_delta_table_whose_replacement_is_killed_keep_their_rows_until_it_is_done() {
    kill_and_watch("incremental", "delta");
}

/// Proves IL4.
#[test]
fn windows_of_a_folder_of_files_whose_replacement_is_killed_keep_their_rows_until_it_is_done() {
    kill_and_watch("incremental", "parquet");
}

//! What comes late to closed windows, by policy: files that are delivered after their window was published.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::process::{ran, run_json};

use super::rows_in;
use crate::told::Receiver;

/// The last of the windows ends about now, as they are loaded.
const WINDOWS: i64 = 4;
const SECONDS: i64 = 1;
/// How long after its end a window is counted again.
const AUDIT: i64 = 40;
/// The window that a file comes late to, and another one.
const LATE: i64 = 1;
const OTHER: i64 = 2;

/// Windows of a second, each with a folder of files, and a receiver that is told of them.
struct Drops {
    folder: TempDir,
    start: i64,
    receiver: Receiver,
    loaded: Instant,
}

impl Drops {
    /// Delivered, loaded and closed.
    fn loaded(late: &str, sink: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now().as_second();
        let start = (now / SECONDS - WINDOWS) * SECONDS;
        let drops = Self { folder, start, receiver: Receiver::start(), loaded: Instant::now() };
        for window in 0..WINDOWS {
            drops.deliver(window, "a.csv", &[10 * window, 10 * window + 1]);
        }
        fs::write(drops.path().join("key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = |window: i64| jiff::Timestamp::from_second(start + window * SECONDS).unwrap();
        let civil = |window: i64| at(window).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: . }}
pipelines:
  visits:
    pattern: incremental
    source: {{ from: here, path: \"in/{{window.start:%Y%m%dT%H%M%S}}/*.csv\", schema: {{ id: int }} }}
    window: {{ every: {SECONDS}s, start: \"{}\", end: \"{}\", audit_after: {AUDIT}s }}
    sink: {{ to: here, path: visits, {sink} }}
    readiness:
      late: {late}
      publish: {{ marker: \"ready/{{window.start:%Y%m%dT%H%M%S}}/_SUCCESS\"{} }}
      notify: {{ url: \"http://127.0.0.1:{}/hook\", secret: \"${{file:{}}}\", private: [127.0.0.1] }}
",
            civil(0),
            civil(WINDOWS),
            if sink.contains("delta") { ", folder: told" } else { "" },
            drops.receiver.port(),
            drops.path().join("key").display(),
        );
        fs::write(drops.path().join("pipelines.yaml"), text).unwrap();
        drops.run();
        let windows = drops.windows();
        let waiting = windows.iter().filter(|window| window["state"] == "published" && !window["recount"].is_null());
        assert_eq!(waiting.count() as i64, WINDOWS, "{windows:?}");
        // The time of the first comes a while after this, or the machine is too slow for the rest to show anything.
        assert!(drops.loaded.elapsed() < Duration::from_secs(30), "{:?}", drops.loaded.elapsed());
        drops
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn arg(&self) -> &str {
        self.path().to_str().unwrap()
    }

    fn name(&self, window: i64) -> String {
        let at = jiff::Timestamp::from_second(self.start + window * SECONDS).unwrap();
        at.strftime("%Y%m%dT%H%M%S").to_string()
    }

    fn time(&self, window: i64) -> String {
        jiff::Timestamp::from_second(self.start + window * SECONDS).unwrap().to_string()
    }

    fn deliver(&self, window: i64, file: &str, ids: &[i64]) {
        let folder = self.path().join("in").join(self.name(window));
        fs::create_dir_all(&folder).unwrap();
        let rows: String = ids.iter().map(|id| format!("{id}\n")).collect();
        fs::write(folder.join(file), format!("id\n{rows}")).unwrap();
    }

    fn run(&self) -> String {
        let (code, said) = self.does_run();
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// Returns when all windows are to be counted again.
    fn wait(&self) {
        let due = Duration::from_secs((AUDIT + SECONDS) as u64);
        std::thread::sleep(due.saturating_sub(self.loaded.elapsed()));
    }

    fn run_when_counted(&self) {
        self.wait();
        self.run();
    }

    fn ask(&self, args: &[&str]) -> Value {
        run_json(&[args, &["-o", "json", "--local", self.arg()]].concat()).unwrap()
    }

    fn windows(&self) -> Vec<Value> {
        self.ask(&["get", "windows", "visits"]).as_array().unwrap().clone()
    }

    fn does(&self, args: &[&str]) -> (Option<i32>, String) {
        ran(&[args, &["--local", self.arg()]].concat()).unwrap()
    }

    fn marker(&self, window: i64) -> PathBuf {
        let beside = self.path().join("visits/ready").join(self.name(window)).join("_SUCCESS");
        let told = self.path().join("told/ready").join(self.name(window)).join("_SUCCESS");
        if beside.exists() { beside } else { told }
    }

    fn marked_revision(&self, window: i64) -> u64 {
        let told: Value = serde_json::from_slice(&fs::read(self.marker(window)).unwrap()).unwrap();
        told["windows"][0]["revision"].as_u64().unwrap()
    }

    /// Everything readers see of the windows, byte for byte.
    fn seen(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut seen = BTreeMap::new();
        for folder in ["visits", "told"] {
            files_in(&self.path().join(folder), &mut seen);
        }
        assert!(!seen.is_empty());
        seen
    }

    /// The starts of the windows that an event of a kind was told of.
    fn told(&self, kind: &str) -> Vec<String> {
        self.receiver.starts(kind)
    }

    /// How many commits the sink itself has.
    fn seq(&self) -> Value {
        let log = self.path().join("visits/_windrow/log");
        let names = fs::read_dir(log).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        Value::from(names.filter(|name| name.starts_with(|digit: char| digit.is_ascii_digit())).count())
    }

    fn does_run(&self) -> (Option<i32>, String) {
        ran(&["run", self.arg()]).unwrap()
    }

    /// What shows that a closed window was not changed and cannot be.
    fn is_immutable(&self) -> Value {
        let found = self.ask(&["ready", "check", "visits", "--immutable"]);
        assert_eq!(
            (&found["ready"], &found["closed"]["immutable"]),
            (&Value::Bool(true), &Value::Bool(true)),
            "{found}"
        );
        assert_eq!(found["closed"]["digest"].as_str().map(str::len), Some(64), "{found}");
        found["closed"].clone()
    }
}

/// The files of a folder but windrow's own.
fn files_in(folder: &Path, seen: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true if entry.file_name() == "_windrow" => {}
            true => files_in(&entry.path(), seen),
            false => {
                seen.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
}

fn ids(folder: &Path) -> Vec<i64> {
    let mut ids: Vec<i64> = rows_in(folder).unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// Proves RM9. The window is as it was to the byte; what came late lies beside it, and receivers hear of it as of late rows.
#[test]
fn late_files_are_loaded_beside_a_window_that_stays_as_it_is() {
    let drops = Drops::loaded("{ aside: { path: visits_late } }", "format: json");
    let before = drops.seen();
    drops.deliver(LATE, "b.csv", &[100, 101, 102]);
    drops.run_when_counted();
    assert_eq!(drops.seen(), before);
    assert_eq!(ids(&drops.path().join("visits_late")), [100, 101, 102]);
    assert_eq!(drops.told("windrow.window.late"), [drops.time(LATE)]);
    assert_eq!(drops.told("windrow.window.published").len() as i64, WINDOWS);
    assert_eq!(drops.told("windrow.window.revised"), Vec::<String>::new());
    let closed = drops.is_immutable();
    assert_eq!((&closed["revision"], &closed["seq"]), (&Value::from(0), &drops.seq()));
    for (args, code) in [
        (&["backfill", "create", "visits", "--reprocess", "all"][..], "WR-C004"),
        (&["backfill", "create", "visits.late", "--reprocess", "all"][..], "WR-C004"),
        (&["ready", "release", "visits", "--window", &drops.time(LATE)][..], "WR-C003"),
    ] {
        let (exit, told) = drops.does(args);
        assert!(exit != Some(0) && told.contains(code), "{args:?}: {told}");
    }
    assert_eq!(drops.seen(), before);
    assert!(drops.run().contains("nothing to do"), "all is settled");
}

/// Proves RM9. The same beside a Delta table: the side table has a log and a counter of commits of its own.
#[test]
fn late_files_are_loaded_beside_a_table_that_stays_as_it_is() {
    let drops = Drops::loaded("{ aside: { path: visits_late } }", "format: delta");
    let before = drops.seen();
    drops.deliver(LATE, "b.csv", &[100, 101, 102]);
    // What is another than it was cannot be told apart: it waits for somebody, and the window does not change.
    drops.deliver(OTHER, "a.csv", &[20, 21, 22]);
    drops.wait();
    let (code, told) = drops.does_run();
    assert_eq!(code, Some(4), "{told}");
    assert_eq!(drops.seen(), before);
    assert_eq!(crate::demo::rows_by_log(&drops.path().join("visits_late")), Some(3));
    assert_eq!(drops.told("windrow.window.late"), [drops.time(LATE)]);
    let late = drops.ask(&["get", "tasks", "visits.late"]);
    assert_eq!(late[0]["failure"]["code"], "WR-W008", "{late}");
    assert_eq!(drops.is_immutable()["revision"], 0);

    drops.deliver(OTHER, "a.csv", &[20, 21]);
    drops.deliver(OTHER, "c.csv", &[22]);
    let (code, told) = drops.does(&["ready", "release", "visits", "--window", &drops.time(OTHER), "--drop"]);
    assert_eq!(code, Some(0), "{told}");
    drops.run();
    assert_eq!(drops.seen(), before);
    assert_eq!(drops.ask(&["get", "tasks", "visits.late"]), Value::Array(Vec::new()));
}

/// Proves RM9. What came late is held with its reason; released, the window is loaded again and everybody is told; dropped, it is not.
#[test]
fn late_files_are_held_until_an_operator_decides() {
    let drops = Drops::loaded("quarantine", "format: json");
    let before = drops.seen();
    drops.deliver(LATE, "b.csv", &[100]);
    drops.deliver(OTHER, "b.csv", &[200]);
    drops.run_when_counted();
    assert_eq!(drops.seen(), before);
    let windows = drops.windows();
    let held = &windows[LATE as usize]["held"];
    assert_eq!(held["code"], "WR-W007", "{windows:?}");
    assert!(held["message"].as_str().unwrap().contains("b.csv\" came late"), "{held}");
    assert_eq!(windows[0]["held"], Value::Null);
    assert_eq!(drops.is_immutable()["revision"], 0);

    let decide = |window: i64, drop: &[&str]| {
        let time = drops.time(window);
        let args = [&["ready", "release", "visits", "--window", &time, "--by", "ann"], drop].concat();
        let (code, told) = drops.does(&args);
        assert_eq!(code, Some(0), "{told}");
    };
    decide(OTHER, &["--drop"]);
    decide(LATE, &[]);
    drops.run();
    let rows: Vec<i64> = (0..WINDOWS).flat_map(|window| [10 * window, 10 * window + 1]).chain([100]).collect();
    assert_eq!(ids(&drops.path().join("visits")), rows);
    assert_eq!((drops.marked_revision(LATE), drops.marked_revision(OTHER)), (1, 0));
    assert_eq!(drops.told("windrow.window.revised"), [drops.time(LATE)]);
    assert_eq!(drops.is_immutable()["revision"], 1, "closed again, and it shows that it was not all the while");
    let revisions: Vec<_> = drops.windows().iter().map(|window| window["revision"].as_u64()).collect();
    assert_eq!(revisions, [Some(0), Some(1), Some(0), Some(0)]);
}

/// Proves RM9. The window is loaded again under a higher revision, marked anew, and receivers are told.
#[test]
fn a_window_that_may_be_reopened_is_loaded_again_with_what_came_late() {
    let drops = Drops::loaded("reopen", "format: json");
    drops.deliver(LATE, "b.csv", &[100]);
    drops.run_when_counted();
    let rows: Vec<i64> = (0..WINDOWS).flat_map(|window| [10 * window, 10 * window + 1]).chain([100]).collect();
    assert_eq!(ids(&drops.path().join("visits")), rows);
    assert_eq!((drops.marked_revision(LATE), drops.marked_revision(OTHER)), (1, 0));
    assert_eq!(drops.told("windrow.window.revised"), [drops.time(LATE)]);
    let (code, told) = drops.does(&["ready", "check", "visits", "--immutable"]);
    assert_eq!(code, Some(75), "{told}");
    assert!(told.contains("windows may be loaded again") && told.contains("revision 1"), "{told}");
}

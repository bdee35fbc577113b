//! Markers: after everything they tell of, and gone before it changes.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use windrow_tests::process::{run, said};

use super::{BY_HOUR, Day, HOURS, PER_HOUR, rows_in};

/// From the body of the intent to the ledger's knowing of the commit.
const TRAPS: [&str; 6] = ["F6=kill", "F7=kill", "F8=kill", "F8b=kill", "F9=kill", "F10=kill"];

/// A consumer that looks for markers all the time and reads what they say is there.
struct Consumer {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Consumer {
    fn of(day: &Arc<Day>) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, day) = (Arc::clone(&stop), Arc::clone(&reads), Arc::clone(day));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                counted.fetch_add(day.check(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, reads, thread }
    }

    /// How many reads it did; it has panicked if one of them found what was not ready.
    fn ends(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.reads.load(Ordering::Relaxed)
    }
}

/// Proves RM1, RM6.
#[test]
fn a_marker_comes_after_everything_and_a_killed_commit_leaves_none_before_it() {
    for trap in TRAPS {
        let day = Arc::new(Day::new("format: json", BY_HOUR));
        let consumer = Consumer::of(&day);
        day.dies(&["run", day.arg()], trap);
        let marked = day.check();
        match trap {
            "F9=kill" | "F10=kill" => assert!(marked > 0, "{trap}: the rows are there, and so are their markers"),
            _ => assert_eq!(marked, 0, "{trap}"),
        }
        day.run();
        assert_eq!(day.check(), HOURS, "{trap}: each hour has its marker, the idle one too");
        assert_eq!(day.revisions(), [0; HOURS as usize]);
        consumer.ends();
    }
}

/// Proves RM2. A window that is loaded again has no marker from before its rows change until all of the new ones are there.
#[test]
fn a_marker_goes_before_its_rows_change_and_a_killed_load_leaves_none() {
    for trap in TRAPS {
        let day = Arc::new(Day::new("format: json", BY_HOUR));
        day.run();
        let consumer = Consumer::of(&day);
        day.deliver(2, &["Basel"]);
        day.dies(&day.load_again(), trap);
        let left = day.marked().len() as u64;
        match trap {
            "F6=kill" | "F9=kill" | "F10=kill" => assert_eq!(left, HOURS, "{trap}: nothing is touched, or all is done"),
            _ => assert!(left < HOURS, "{trap}: what is being replaced is not ready"),
        }
        day.check();
        day.run();
        assert_eq!(day.check(), HOURS, "{trap}");
        assert!(day.revisions().iter().all(|revision| *revision > 0), "{trap}: {:?}", day.revisions());
        assert!(rows_in(&day.path().join("visits")).unwrap().iter().all(|row| row["generation"] == 2), "{trap}");
        assert!(consumer.ends() > 0, "{trap}");
    }
}

/// Proves RM4. Readers that look whether a file is there need no more than that.
#[test]
fn a_marker_may_be_empty_with_its_description_beside_it() {
    let publish = BY_HOUR.replace("_SUCCESS\"", "_SUCCESS\", manifest: beside");
    let day = Day::new("format: json", &publish);
    day.run();
    for hour in 0..HOURS {
        let marker = day.marker(hour);
        assert_eq!(fs::metadata(&marker).unwrap().len(), 0);
        let told = fs::read_to_string(marker.with_file_name("_SUCCESS.json")).unwrap();
        day.read(hour, &told).unwrap();
    }
}

/// The markers of partitions, with the number of files each tells of.
fn partitions(day: &Day) -> BTreeMap<String, u64> {
    let folders = fs::read_dir(day.path().join("visits")).unwrap().flatten();
    let marked = folders.filter_map(|folder| {
        let text = fs::read_to_string(folder.path().join("_SUCCESS")).ok()?;
        let told: Value = serde_json::from_str(&text).ok()?;
        Some((folder.file_name().into_string().ok()?, told["files"].as_array()?.len() as u64))
    });
    marked.collect()
}

/// Proves RM3.
#[test]
fn partitions_that_are_replaced_lose_their_markers_first_and_get_them_back_last() {
    let day = Day::cut("1d", "format: json, partition_by: [city]", "readiness: { publish: { marker: _SUCCESS } }");
    let map = |told: &[(&str, u64)]| told.iter().map(|(city, files)| (format!("city={city}"), *files)).collect();
    let three: BTreeMap<String, u64> = map(&[("Basel", 1), ("Bern", 1), ("Genf", 1)]);
    day.run();
    assert_eq!(partitions(&day), three);
    day.deliver(2, &["Basel", "Chur"]);
    day.dies(&day.load_again(), "F8b=kill");
    assert_eq!(partitions(&day), map(&[]), "none of those whose rows come or go");
    day.run();
    assert_eq!(partitions(&day), map(&[("Basel", 1), ("Bern", 0), ("Chur", 1), ("Genf", 0)]));
}

/// The windows the commits of a Delta table name.
fn windows_by_log(table: &Path) -> Vec<String> {
    let mut named = Vec::new();
    for entry in fs::read_dir(table.join("_delta_log")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            let text = fs::read_to_string(entry.path()).unwrap();
            let infos = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["commitInfo"].take());
            let windows = infos.filter_map(|info| info["windrow"]["windows"].as_array().cloned()).flatten();
            named.extend(windows.map(|window| window["window"].as_str().unwrap().to_owned()));
        }
    }
    named.sort();
    named
}

/// Proves RM5, RM8. For those who read the log the commit is the marker; for others one lies beside the table, and what is staged
/// or killed on its way is in neither.
#[test]
fn the_commit_of_a_table_is_its_marker_and_others_find_one_beside_it() {
    let publish = BY_HOUR.replace("_SUCCESS\"", "_SUCCESS\", folder: told");
    let day = Day::new("format: delta", &publish);
    let marker = |hour: u64| day.path().join(format!("told/ready/2024-01-01T{hour:02}/_SUCCESS"));
    let marked = || (0..HOURS).filter(|hour| marker(*hour).exists()).count() as u64;
    let table = day.path().join("visits");
    day.dies(&["run", day.arg()], "F7=kill");
    let rows = crate::demo::rows_by_log(&table).unwrap_or(0);
    assert_eq!((rows, marked()), (0, 0), "staged, and nobody sees it");
    assert!(
        fs::read_dir(&table).unwrap().flatten().any(|file| file.file_name().to_string_lossy().ends_with(".parquet"))
    );
    day.run();
    assert_eq!(marked(), HOURS);
    assert_eq!(crate::demo::rows_by_log(&table), Some((HOURS - 1) * PER_HOUR));
    let hours = (0..HOURS).map(|hour| {
        let end = if hour == HOURS - 1 {
            "2024-01-02T00:00:00Z".to_owned()
        } else {
            format!("2024-01-01T{:02}:00:00Z", hour + 1)
        };
        format!("2024-01-01T{hour:02}:00:00Z..{end}")
    });
    assert_eq!(windows_by_log(&table), hours.collect::<Vec<_>>());
    for file in fs::read_dir(&table).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        assert!(
            ["_delta_log", "_windrow"].contains(&&*name) || name.ends_with(".parquet"),
            "{name} is no file of a table"
        );
    }
}

/// Proves FL7. Readers who wait for the marker of a full load learn which version they are shown.
#[test]
fn a_version_that_is_shown_again_has_the_marker() {
    let folder = tempfile::tempdir().unwrap();
    let arg = folder.path().to_str().unwrap();
    let text = "version: 1
connections:
  here: { type: local, root: . }
pipelines:
  load:
    pattern: full
    source: { from: here, path: input.csv, schema: { id: int } }
    sink: { to: here, format: json, path: table, expose: { keep_versions: 2 } }
    readiness: { publish: { marker: _SUCCESS } }
";
    fs::write(folder.path().join("pipelines.yaml"), text).unwrap();
    let version = || {
        let told: Value = serde_json::from_slice(&fs::read(folder.path().join("table/_SUCCESS")).unwrap()).unwrap();
        (told["windows"][0]["version"].as_u64().unwrap(), told["seq"].as_u64().unwrap())
    };
    let does = |args: &[&str]| {
        let output = run(args).unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    fs::write(folder.path().join("input.csv"), "id\n1\n").unwrap();
    does(&["run", arg]);
    assert_eq!(version(), (0, 1));
    fs::write(folder.path().join("input.csv"), "id\n1\n2\n").unwrap();
    does(&["backfill", "create", "load", "--reprocess", "all", "--local", arg]);
    assert_eq!(version(), (1, 2));
    does(&["rollback", "load", "--local", arg]);
    assert_eq!(version(), (0, 3));
    assert_eq!(rows_in(&folder.path().join("table")).unwrap().len(), 1);
}

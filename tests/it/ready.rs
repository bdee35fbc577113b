//! Readiness: markers come last and go first, whatever dies in between; consumers wait, and pipelines wait for pipelines.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::{
    cluster::Cluster,
    process::{Process, run, run_in, run_json},
    skip::skip,
};

use crate::cluster::TURN;

const HOURS: u64 = 24;
/// An hour in which nothing happened.
const IDLE: u64 = 5;
const PER_HOUR: u64 = 10;
/// From the body of the intent to the ledger's knowing of the commit.
const TRAPS: [&str; 6] = ["F6=kill", "F7=kill", "F8=kill", "F8b=kill", "F9=kill", "F10=kill"];
const BY_HOUR: &str = "readiness: { publish: { marker: \"ready/{window.start:%FT%H}/_SUCCESS\" } }";

/// A day of visits in a file, generation after generation, and a pipeline that loads it by the hour.
struct Day {
    folder: TempDir,
}

impl Day {
    fn new(sink: &str, readiness: &str) -> Self {
        Self::cut("1h", sink, readiness)
    }

    fn cut(every: &str, sink: &str, readiness: &str) -> Self {
        let day = Self { folder: tempfile::tempdir().unwrap() };
        day.deliver(1, &["Basel", "Bern", "Genf"]);
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: . }}
pipelines:
  visits:
    pattern: incremental
    source: {{ from: here, path: input.csv, cursor: at, schema: {{ id: string, city: string, generation: int, at: timestamp }} }}
    window: {{ every: {every}, start: 2024-01-01T00:00, end: 2024-01-02T00:00 }}
    sink: {{ to: here, path: visits, {sink} }}
    {readiness}
    retries: {{ lost_leases: 100, backoff: 10ms }}
"
        );
        fs::write(day.path().join("pipelines.yaml"), text).unwrap();
        day
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn arg(&self) -> &str {
        self.path().to_str().unwrap()
    }

    /// Puts a generation of the input in place, whole.
    fn deliver(&self, generation: u64, cities: &[&str]) {
        let mut text = "id,city,generation,at\n".to_owned();
        for hour in (0..HOURS).filter(|hour| *hour != IDLE) {
            for row in 0..PER_HOUR {
                let city = cities[row as usize % cities.len()];
                text += &format!("{hour}-{row},{city},{generation},2024-01-01T{hour:02}:{:02}:00Z\n", row * 6);
            }
        }
        fs::write(self.path().join("input.new"), text).unwrap();
        fs::rename(self.path().join("input.new"), self.path().join("input.csv")).unwrap();
    }

    fn run(&self) -> String {
        let output = run(&["run", self.arg()]).unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }

    /// Does it again until it dies of the trap.
    fn dies(&self, args: &[&str], trap: &str) {
        let armed = [("WINDROW_FAILPOINTS".to_owned(), trap.to_owned())];
        let output = run_in(args, &armed).unwrap();
        assert!(!output.status.success() && output.status.code().is_none(), "{trap}: {}", said(&output));
    }

    fn load_again(&self) -> Vec<&str> {
        vec!["backfill", "create", "visits", "--reprocess", "all", "--local", self.arg()]
    }

    fn marker(&self, hour: u64) -> PathBuf {
        self.path().join(format!("visits/ready/2024-01-01T{hour:02}/_SUCCESS"))
    }

    fn marked(&self) -> Vec<u64> {
        (0..HOURS).filter(|hour| self.marker(*hour).exists()).collect()
    }

    /// Holds every marker against what a reader of the bare folder finds. Returns how many were there.
    fn check(&self) -> u64 {
        (0..HOURS).filter(|hour| self.check_hour(*hour)).count() as u64
    }

    /// What a consumer does: reads while the marker stands. False if there is none, or if it went meanwhile.
    fn check_hour(&self, hour: u64) -> bool {
        let marker = self.marker(hour);
        let Ok(text) = fs::read_to_string(&marker) else { return false };
        let found = self.read(hour, &text);
        let unchanged = fs::read_to_string(&marker).is_ok_and(|now| now == text);
        if unchanged && let Err(wrong) = found {
            panic!("hour {hour}: {wrong}\n{text}");
        }
        unchanged
    }

    /// Fails unless the folder's rows of the hour are those the marker tells of, and of one generation.
    fn read(&self, hour: u64, marker: &str) -> Result<(), String> {
        let told: Value = serde_json::from_str(marker).map_err(|error| error.to_string())?;
        let table = self.path().join("visits");
        for file in told["files"].as_array().ok_or("no files")? {
            let path = table.join(file["path"].as_str().ok_or("no path")?);
            let bytes = fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if Some(bytes) != file["bytes"].as_u64() {
                return Err(format!("{} has {bytes} bytes", path.display()));
            }
        }
        let mut generations: BTreeMap<u64, u64> = BTreeMap::new();
        for row in rows_in(&table)? {
            if row["id"].as_str().is_some_and(|id| id.starts_with(&format!("{hour}-"))) {
                *generations.entry(row["generation"].as_u64().ok_or("no generation")?).or_default() += 1;
            }
        }
        let rows: u64 = generations.values().sum();
        let expected = if hour == IDLE { 0 } else { PER_HOUR };
        let written = told["windows"][0]["rows_written"].as_u64();
        match rows == expected && written == Some(rows) && generations.len() <= 1 {
            true => Ok(()),
            false => Err(format!("the marker says {written:?} rows, the folder has {generations:?}")),
        }
    }

    /// The generations the markers' windows were loaded of, by their revisions.
    fn revisions(&self) -> Vec<u64> {
        let told = |hour| fs::read(self.marker(hour)).unwrap();
        let told = (0..HOURS).map(|hour| serde_json::from_slice::<Value>(&told(hour)).unwrap());
        told.map(|told| told["windows"][0]["revision"].as_u64().unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The rows of all files of JSON lines that are not windrow's own.
fn rows_in(folder: &Path) -> Result<Vec<Value>, String> {
    let mut rows = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())?.flatten() {
        let path = entry.path();
        if path.is_dir() && !entry.file_name().to_string_lossy().starts_with('_') {
            rows.extend(rows_in(&path)?);
        } else if entry.file_name().to_string_lossy().starts_with("part-") {
            // A file of another hour may go while this one's is looked for.
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.map_err(|error| format!("{}: {error}", path.display()))?,
            };
            for line in text.lines() {
                rows.push(serde_json::from_str(line).map_err(|error| error.to_string())?);
            }
        }
    }
    Ok(rows)
}

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

/// A pipeline that reads what the day's pipeline publishes.
const REPORTS: &str = "  reports:
    pattern: incremental
    source: { from: here, path: visits, format: delta, cursor: at }
    window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-02T00:00 }
    readiness: { require: { all: [{ pipeline: visits }] } }
    transform:
      - sql: SELECT id, at FROM input
    sink: { to: here, format: json, path: reports }
";

fn with_reports(day: &Day) {
    let path = day.path().join("pipelines.yaml");
    let text = fs::read_to_string(&path).unwrap();
    // Above the one it waits for, so that nothing comes of their order.
    fs::write(&path, text.replace("pipelines:\n", &format!("pipelines:\n{REPORTS}"))).unwrap();
}

fn windows_of(day: &Day, pipeline: &str) -> Value {
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", day.arg()]).unwrap();
    let found = pipelines.as_array().unwrap().iter().find(|found| found["name"] == pipeline).unwrap();
    found["windows"].clone()
}

/// Proves IL11, RM7.
#[test]
fn a_pipeline_waits_for_the_windows_of_another() {
    let day = Day::new("format: delta", "");
    with_reports(&day);
    day.run();
    let rows = rows_in(&day.path().join("reports")).unwrap();
    assert_eq!(rows.len() as u64, (HOURS - 1) * PER_HOUR);
}

/// The hour that cannot be had keeps the hour that needs it and no other.
#[test]
fn a_window_that_is_not_published_keeps_only_those_that_wait_for_it() {
    let day = Day::new("format: delta", "");
    with_reports(&day);
    let input = day.path().join("input.csv");
    let text = fs::read_to_string(&input).unwrap().replace("\n3-0,Basel,1,", "\n3-0,Basel,one,");
    fs::write(&input, text).unwrap();
    let output = run(&["run", day.arg()]).unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let (visits, reports) = (windows_of(&day, "visits"), windows_of(&day, "reports"));
    assert_eq!((&visits["published"], &visits["quarantined"]), (&Value::from(23), &Value::from(1)));
    assert_eq!((&reports["published"], &reports["waiting"]), (&Value::from(23), &Value::from(1)), "{reports}");
    let check = run(&["ready", "check", "reports", "--local", day.arg()]).unwrap();
    assert_eq!(check.status.code(), Some(75), "{}", said(&check));
    assert!(said(&check).contains("pipeline visits has not published all of 2024-01-01T03"), "{}", said(&check));
}

#[test]
fn the_example_of_the_page_runs() {
    let page = include_str!("../../docs/patterns/readiness.md");
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let day = Day::new("format: json", "");
    fs::write(day.path().join("pipelines.yaml"), text).unwrap();
    let rows = (0..HOURS).map(|hour| format!("{hour},2024-01-01T{hour:02}:30:00Z\n"));
    fs::write(day.path().join("visits.csv"), "id,at\n".to_owned() + &rows.collect::<String>()).unwrap();
    day.run();
    assert_eq!(day.marked().len() as u64, HOURS);
    assert_eq!(rows_in(&day.path().join("by_day")).unwrap().len() as u64, HOURS);
}

/// Proves RM11.
#[test]
fn whether_windows_are_ready_is_an_exit_code() {
    let day = Day::new("format: json", BY_HOUR);
    day.run();
    let ready = |args: &[&str]| {
        let output = run(&[&["ready"], args, &["--local", day.arg()]].concat()).unwrap();
        (output.status.code(), said(&output))
    };
    for args in [
        &["check", "visits"][..],
        &["check", "visits", "--settled"],
        &["check", "visits", "--window", "2024-01-01T05:30"],
        &["wait", "visits", "--from", "2024-01-01", "--to", "2024-01-01T12:00", "--timeout", "1m"],
    ] {
        let (code, said) = ready(args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        assert!(said.contains("visits: ready"), "{said}");
    }
    for (args, expected) in [
        (&["check", "visit"][..], "WR-C003"),
        (&["check", "visits", "--from", "2024-01-01", "--to", "2024-01-03"][..], "WR-W004"),
        (&["check", "visits", "--version", "v1"][..], "WR-W004"),
        (&["check", "visits", "--version", "one"][..], "WR-C001"),
        (&["check", "visits", "--window", "2025-01-01"][..], "WR-C001"),
    ] {
        let (code, said) = ready(args);
        assert!(
            code.is_some_and(|code| [1, 2].contains(&code)) && said.contains(expected),
            "{args:?}: {code:?} {said}"
        );
    }
}

/// Proves RM11. Who waits asks whoever leads, and hears of it when the last window is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_windows_is_told_although_the_leader_changes() {
    let test = "whoever_waits_for_windows_is_told_although_the_leader_changes";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 0).await.unwrap() else { return skip(test, "there is no etcd") };
    let day = Day::new("format: json", BY_HOUR);
    cluster.apply(day.arg()).unwrap();
    let addresses = cluster.addresses();
    let asked = |verb: &str, patience: &[&str]| {
        let args = [&["ready", verb, "visits", "--coordinator", &addresses], patience].concat();
        run(&args).unwrap()
    };
    assert_eq!(asked("check", &[]).status.code(), Some(75));
    assert_eq!(asked("wait", &["--timeout", "1s"]).status.code(), Some(75), "the time is over");
    let args = ["ready", "wait", "visits", "--timeout", "2m", "--coordinator", &addresses];
    let mut waiting: Vec<Process> =
        (0..5).map(|number| Process::start(&args, &day.path().join(format!("wait-{number}.log"))).unwrap()).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let leader = cluster.leader().unwrap();
    cluster.coordinators[leader].process.kill().unwrap();
    cluster.add_worker("w1").unwrap();
    for process in &mut waiting {
        let mut ended = None;
        for _ in 0..1_200 {
            ended = process.ended().unwrap();
            if ended.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(ended.is_some_and(|ended| ended.success()), "{}\n{}", process.log(), cluster.logs());
        assert!(process.log().contains("24 of 24 windows are published"), "{}", process.log());
    }
    assert_eq!(day.check(), HOURS, "they were told of no window before its marker was set");
}

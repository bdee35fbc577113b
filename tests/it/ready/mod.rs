//! Readiness: markers come last and go first, whatever dies in between; consumers wait, and pipelines wait for pipelines; what comes
//! late goes where a policy says.

mod closed;
mod declaring;
mod looking;
mod markers;
mod waiting;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use windrow_tests::{
    declared::Declared,
    process::{run, run_in, run_json, said},
};

const HOURS: u64 = 24;
/// An hour in which nothing happened.
const IDLE: u64 = 5;
const PER_HOUR: u64 = 10;
const BY_HOUR: &str = "readiness: { publish: { marker: \"ready/{window.start:%FT%H}/_SUCCESS\" } }";

/// A day of visits in a file, generation after generation, and a pipeline that loads it by the hour.
struct Day {
    declared: Declared,
}

impl Day {
    fn new(sink: &str, readiness: &str) -> Self {
        Self::cut("1h", sink, readiness)
    }

    fn cut(every: &str, sink: &str, readiness: &str) -> Self {
        let pipelines = format!(
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
        let day = Self { declared: Declared::new(&pipelines).unwrap() };
        day.deliver(1, &["Basel", "Bern", "Genf"]);
        day
    }

    fn path(&self) -> &Path {
        self.declared.path()
    }

    fn arg(&self) -> &str {
        self.declared.arg()
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

#[test]
fn the_example_of_the_page_runs() {
    let page = include_str!("../../../docs/patterns/readiness.md");
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let day = Day::new("format: json", "");
    fs::write(day.path().join("pipelines.yaml"), text).unwrap();
    let rows = (0..HOURS).map(|hour| format!("{hour},2024-01-01T{hour:02}:30:00Z\n"));
    fs::write(day.path().join("visits.csv"), "id,at\n".to_owned() + &rows.collect::<String>()).unwrap();
    day.run();
    assert_eq!(day.marked().len() as u64, HOURS);
    assert_eq!(rows_in(&day.path().join("by_day")).unwrap().len() as u64, HOURS);
}

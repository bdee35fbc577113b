//! Columns that are not what they were: the policies on them at every sink, and what a plan says of types before anything runs.

use std::{fs, path::Path};

use tempfile::TempDir;
use windrow_tests::process::ran;

mod evolving;
mod planning;
mod postgres;

/// A pipeline of daily windows over a CSV file, in a folder of its own.
struct Days {
    folder: TempDir,
    /// The connections, beside the folder itself, which is `here`.
    connections: String,
    /// The `sink` block.
    sink: String,
}

/// What a pipeline says beside source and sink.
#[derive(Clone, Copy)]
struct Said<'a> {
    /// Columns and types of the source.
    columns: &'a str,
    /// How many days there are.
    days: u32,
    policy: &'a str,
}

/// The first day's rows and all that is said of them.
const FIRST: Said<'static> = Said { columns: "id: int32, at: timestamp", days: 1, policy: "" };
const FIRST_ROWS: &str = "id,at\n1,2024-01-01T08:00:00Z\n";
/// On the second day there is a column more, and numbers are larger.
const SECOND: &str = "id: int, at: timestamp, extra: string";
const SECOND_ROWS: &str = "id,at,extra
1,2024-01-01T08:00:00Z,
2,2024-01-02T08:00:00Z,
3000000000,2024-01-02T09:00:00Z,
4,2024-01-02T10:00:00Z,x
";

impl Days {
    fn new(connections: &str, sink: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, connections: connections.to_owned(), sink: sink.to_owned() }
    }

    /// A table of the format in the folder.
    fn of(format: &str) -> Self {
        Self::new("", &format!("{{ to: here, format: {format}, path: lake }}"))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn arg(&self) -> &str {
        self.path().to_str().unwrap()
    }

    fn declare(&self, said: Said<'_>, rows: &str) {
        fs::write(self.path().join("rows.csv"), rows).unwrap();
        let Said { columns, days, policy } = said;
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: . }}
{connections}pipelines:
  days:
    pattern: incremental
    source: {{ from: here, path: rows.csv, format: csv, cursor: at, schema: {{ {columns} }} }}
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-{end:02}, per_task: 1 }}
    sink: {sink}
    retries: {{ attempts: 2, backoff: 10ms }}
{policy}",
            connections = self.connections,
            sink = self.sink,
            end = days + 1,
        );
        fs::write(self.path().join("pipelines.yaml"), text).unwrap();
    }

    /// Runs what is declared; the exit code and all that was said.
    fn run(&self) -> (Option<i32>, String) {
        ran(&["run", self.arg()]).unwrap()
    }

    /// The first day, loaded; the second, declared under a policy and run.
    fn second_day(&self, policy: &str) -> (Option<i32>, String) {
        self.declare(FIRST, FIRST_ROWS);
        let (code, text) = self.run();
        assert_eq!(code, Some(0), "{text}");
        self.declare(Said { columns: SECOND, days: 2, policy }, SECOND_ROWS);
        self.run()
    }
}

/// Reason and raw text of every dead letter in a folder and below it, by reason.
fn dead_letters(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().contains("_windrow/dead_letters/") {
                for line in fs::read_to_string(path).unwrap().lines() {
                    let letter: serde_json::Value = serde_json::from_str(line).unwrap();
                    let text = |key: &str| letter[key].as_str().unwrap().to_owned();
                    found.push((text("reason"), text("raw")));
                }
            }
        }
    }
    found.sort();
    found
}

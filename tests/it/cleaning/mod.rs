//! Cleaning of tables and pins, read back by deltalake and DuckDB: on folders and on a real S3 server, whatever dies in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::{
    process::{run_in, said},
    s3::{self, S3},
};

use crate::{folders::below, lake::connection};

mod pinned;
mod racing;
mod saying;

/// Days of the pipeline, each a window of its own.
const DAYS: u64 = 6;
const ROWS: u64 = 600;

/// What a version holds, whatever its order: rows, and a digest of them.
type Content = (u64, String);

/// What versions hold, and of which files they consist.
type Read = BTreeMap<u64, (Content, BTreeSet<String>)>;

/// A folder with a pipeline of six days into a Delta table, there or in a bucket.
struct Table {
    folder: TempDir,
    s3: Option<S3>,
    python: PathBuf,
}

impl Table {
    fn declared(python: PathBuf, s3: Option<S3>, cleaning: &str) -> Self {
        let table = Self { folder: tempfile::tempdir().unwrap(), s3, python };
        table.deliver(0);
        let root = table.folder.path().display();
        let lake = match &table.s3 {
            None => format!("{{ type: local, root: \"{root}\" }}"),
            Some(s3) => connection(table.folder.path(), &s3.address(), s3::BUCKET),
        };
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: \"{root}\" }}
  lake: {lake}
pipelines:
  days:
    pattern: incremental
    source: {{ from: here, path: input.csv, schema: {{ id: int, generation: int, at: timestamp }}, cursor: at }}
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-07, per_task: 1 }}
    sink: {{ to: lake, format: delta, path: table, target_file_size: 1B{cleaning} }}
    retries: {{ lost_leases: 100 }}
"
        );
        fs::write(table.pipelines(), text).unwrap();
        table
    }

    /// The same with the first generation published.
    fn published(python: PathBuf, s3: Option<S3>) -> Self {
        let table = Self::declared(python, s3, ", cleaning: { keep: 7d, log: 30d }");
        table.done(&["run", table.arg()], &[]);
        table
    }

    fn pipelines(&self) -> PathBuf {
        self.folder.path().join("pipelines.yaml")
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Puts a generation of the input in place, whole.
    fn deliver(&self, generation: u64) {
        let row = |id: u64| format!("{id},{generation},2024-01-0{}T{:02}:00:00Z\n", 1 + id % DAYS, id % 24);
        let text = (0..ROWS).fold("id,generation,at\n".to_owned(), |text, id| text + &row(id));
        let new = self.folder.path().join("input.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join("input.csv")).unwrap();
    }

    /// Loads a generation of one day, or of all of them, as the next version.
    fn load(&self, generation: u64, day: Option<u64>) {
        self.deliver(generation);
        let (from, to) = (format!("2024-01-0{}", day.unwrap_or(1)), format!("2024-01-0{}", day.unwrap_or(DAYS) + 1));
        self.local(&["backfill", "create", "days", "--from", &from, "--to", &to, "--reprocess", "all"], &[]);
    }

    /// The newest version, by the log's names.
    fn newest(&self) -> u64 {
        let all = self.everything();
        let versions =
            all.iter().filter_map(|path| path.split("_delta_log/").nth(1)?.strip_suffix(".json")?.parse().ok());
        versions.max().unwrap()
    }

    /// The exit code of a command and all it said.
    fn said(&self, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let output = run_in(args, &environment).unwrap();
        let said = said(&output);
        (output.status.code(), said)
    }

    fn done(&self, args: &[&str], environment: &[(&str, &str)]) -> String {
        let (code, said) = self.said(args, environment);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        said
    }

    fn local(&self, args: &[&str], environment: &[(&str, &str)]) -> String {
        self.done(&[args, &["--local", self.arg()]].concat(), environment)
    }

    /// Cleans so many days from now; what it says.
    fn clean(&self, days: u64, more: &[&str]) -> Value {
        let args = [&["clean", "days", "-o", "json", "--local", self.arg()], more].concat();
        let mut command = windrow_tests::process::command(&args).unwrap();
        let output = command.env("WINDROW_PLAY_DAYS_LATER", days.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Pins a version; its id, or what stands against it.
    fn pin(&self, version: &str) -> Result<String, String> {
        let args = ["pin", "days", "--version", version, "--for", "3d", "--reason", "a test", "--local", self.arg()];
        let (code, said) = self.said(&args, &[]);
        match code {
            Some(0) => Ok(said.split(':').next().unwrap().to_owned()),
            _ => Err(said),
        }
    }

    /// The versions that deltalake and DuckDB can read, of those asked for or of all: what they hold, and their files.
    fn read(&self, versions: Option<&BTreeSet<u64>>) -> Read {
        const SCRIPT: &str = r#"
import json, sys, duckdb
from deltalake import DeltaTable
place, wanted = sys.argv[1], json.loads(sys.argv[2])
newest = DeltaTable(place).version()
found = {}
for version in wanted if wanted is not None else range(1, newest + 1):
    try:
        table = DeltaTable(place, version=version)
        t = table.to_pyarrow_table()
        line = """concat_ws('|', id, generation, epoch_us("at"))"""
        query = f"SELECT count(*), md5(string_agg(line, ',' ORDER BY line)) FROM (SELECT {line} AS line FROM {{}})"
        content = duckdb.sql(query.format("t")).fetchall()[0]
        files = table.file_uris()
        if not place.startswith("s3:"):
            other = duckdb.sql(query.format(f"read_parquet({files})")).fetchall()[0]
            assert other == content, (other, content)
        found[version] = [content[0], content[1], [file.split("/table/")[1] for file in files]]
    except AssertionError:
        raise
    except Exception as cause:
        print(version, cause, file=sys.stderr)
print(json.dumps(found))
"#;
        let wanted = serde_json::to_string(&versions).unwrap();
        let mut reader = Command::new(&self.python);
        match &self.s3 {
            None => reader.args(["-c", SCRIPT, &format!("{}/table", self.arg()), &wanted]),
            Some(s3) => {
                reader.args(["-c", SCRIPT, &format!("s3://{}/table", s3::BUCKET), &wanted]).envs(s3.environment())
            }
        };
        let output = reader.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: BTreeMap<String, (u64, String, BTreeSet<String>)> = serde_json::from_slice(&output.stdout).unwrap();
        let entry = |(version, (rows, digest, files)): (String, (u64, String, BTreeSet<String>))| {
            (version.parse().unwrap(), ((rows, digest), files))
        };
        found.into_iter().map(entry).collect()
    }

    /// Data files that are there.
    fn files(&self) -> BTreeSet<String> {
        let data =
            self.everything().into_iter().filter(|path| path.ends_with(".parquet") && !path.contains("_delta_log"));
        data.map(|path| path.split("table/").last().unwrap().to_owned()).collect()
    }

    fn everything(&self) -> Vec<String> {
        match &self.s3 {
            Some(s3) => s3.keys().unwrap(),
            None => below(&self.folder.path().join("table")),
        }
    }
}

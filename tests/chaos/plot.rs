//! A folder with pipelines over made-up rows, every one of which is known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tempfile::TempDir;
use windrow_tests::{
    oracle::{Found, Rows},
    postgres::Postgres,
};

/// 2024-01-01 in seconds since 1970.
const START: i64 = 1_704_067_200;
const WINDOW: i64 = 60;
const WINDOWS: i64 = 24;
/// So many that a task of two windows is more than one batch of the source.
const PER_SECOND: u64 = 100;

/// The folder; gone with its tables when dropped.
pub(crate) struct Plot {
    pub(crate) rows: Rows,
    pub(crate) format: &'static str,
    folder: TempDir,
    /// Whether rows go into a database.
    database: bool,
}

impl Plot {
    /// With the pipeline `rows`.
    pub(crate) fn new(format: &'static str, seed: u64) -> Result<Self> {
        let rows = Rows { seed, per_second: PER_SECOND, start: START, end: START + WINDOW * WINDOWS, window: WINDOW };
        let plot = Self { rows, format, folder: tempfile::tempdir()?, database: false };
        plot.declare("rows", 2)?;
        Ok(plot)
    }

    /// The same into the database at the address.
    pub(crate) fn in_database(url: &str, seed: u64) -> Result<Self> {
        let plot = Self { format: "postgres", database: true, ..Self::new("delta", seed)? };
        fs::write(plot.path().join("url"), url)?;
        plot.declare("rows", 2)?;
        Ok(plot)
    }

    /// Adds a pipeline over the same rows, with so many windows in a task.
    pub(crate) fn declare(&self, name: &str, per_task: u32) -> Result<()> {
        let seed = self.rows.seed;
        let sink = match self.database {
            false => format!("to: lake_of_{name}, format: {}, path: {name}", self.format),
            true => {
                let table = self.in_tables(name);
                format!("to: shop_of_{name}, format: postgres, table: {table}, staging: lake_of_{name}")
            }
        };
        let shop = match self.database {
            false => String::new(),
            true => format!("  shop_of_{name}: {{ type: postgres, url: \"${{file:{}/url}}\" }}\n", self.arg()),
        };
        let text = format!(
            "version: 1
connections:
  made_for_{name}: {{ type: synthetic }}
  lake_of_{name}: {{ type: local, root: ./lake }}
{shop}pipelines:
  {name}:
    pattern: incremental
    source: {{ from: made_for_{name}, cursor: ts, rows_per_second: {PER_SECOND}, seed: {seed}, payload_bytes: 8 }}
    window: {{ every: 1m, start: 2024-01-01T00:00, end: 2024-01-01T00:{WINDOWS}, per_task: {per_task} }}
    sink: {{ {sink} }}
    retries: {{ backoff: 200ms, max_backoff: 2s }}
    limits: {{ deadline: 1m }}
"
        );
        Ok(fs::write(self.path().join(format!("{name}.yaml")), text)?)
    }

    /// Changes the text of a pipeline's file.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) -> Result<()> {
        let path = self.path().join(format!("{name}.yaml"));
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{from:?} is not in {name}.yaml");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder as an argument.
    pub(crate) fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap_or_default()
    }

    /// The database is all cells', so its tables have names of their own.
    fn in_tables(&self, pipeline: &str) -> String {
        let folder = self.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let letters: String = folder.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{pipeline}_{letters}")
    }

    /// Where a pipeline's files are.
    pub(crate) fn table(&self, pipeline: &str) -> PathBuf {
        let lake = self.folder.path().join("lake");
        if !self.database {
            return lake.join(pipeline);
        }
        // Named after the sink, which has a hash in it.
        let start = format!("{}-", self.in_tables(pipeline));
        let mut folders = fs::read_dir(&lake).into_iter().flatten().flatten();
        let found = folders.find(|folder| folder.file_name().to_string_lossy().starts_with(&start));
        found.map_or(lake, |found| found.path())
    }

    /// Writes out what the database holds, for a reader of text.
    pub(crate) fn dump(&self, postgres: &Postgres, pipeline: &str) -> Result<()> {
        let table = self.in_tables(pipeline);
        let rows = format!("SELECT id, (extract(epoch FROM ts) * 1000000)::bigint, hash FROM {table}");
        let commits = format!(
            "SELECT seq, digest, coalesce(previous, '') FROM windrow.commit WHERE starts_with(sink, '{table}-') ORDER BY seq"
        );
        let folder = self.dumped(pipeline);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("rows"), postgres.psql(&rows)?)?;
        fs::write(folder.join("commits"), postgres.psql(&commits)?)?;
        Ok(())
    }

    fn dumped(&self, pipeline: &str) -> PathBuf {
        self.folder.path().join("dump").join(pipeline)
    }

    /// What an independent reader finds there; fails unless it is every row once.
    pub(crate) fn read_back(&self, python: &Path, pipeline: &str) -> Result<Found> {
        let place = if self.database { self.dumped(pipeline) } else { self.table(pipeline) };
        let found = self.rows.compare(python, self.format, &place)?;
        found.check(&self.rows)?;
        Ok(found)
    }
}

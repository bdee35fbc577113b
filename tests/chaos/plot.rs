//! A folder with pipelines over made-up rows, every one of which is known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tempfile::TempDir;
use windrow_tests::oracle::{Found, Rows};

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
}

impl Plot {
    /// With the pipeline `rows`.
    pub(crate) fn new(format: &'static str, seed: u64) -> Result<Self> {
        let rows = Rows { seed, per_second: PER_SECOND, start: START, end: START + WINDOW * WINDOWS, window: WINDOW };
        let plot = Self { rows, format, folder: tempfile::tempdir()? };
        plot.declare("rows", 2)?;
        Ok(plot)
    }

    /// Adds a pipeline over the same rows, with so many windows in a task.
    pub(crate) fn declare(&self, name: &str, per_task: u32) -> Result<()> {
        let (format, seed) = (self.format, self.rows.seed);
        let text = format!(
            "version: 1
connections:
  made_for_{name}: {{ type: synthetic }}
  lake_of_{name}: {{ type: local, root: ./lake }}
pipelines:
  {name}:
    pattern: incremental
    source: {{ from: made_for_{name}, cursor: ts, rows_per_second: {PER_SECOND}, seed: {seed}, payload_bytes: 8 }}
    window: {{ every: 1m, start: 2024-01-01T00:00, end: 2024-01-01T00:{WINDOWS}, per_task: {per_task} }}
    sink: {{ to: lake_of_{name}, format: {format}, path: {name} }}
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

    /// Where a pipeline's rows go.
    pub(crate) fn table(&self, pipeline: &str) -> PathBuf {
        self.folder.path().join("lake").join(pipeline)
    }

    /// What an independent reader finds there; fails unless it is every row once.
    pub(crate) fn read_back(&self, python: &Path, pipeline: &str) -> Result<Found> {
        let found = self.rows.compare(python, self.format, &self.table(pipeline))?;
        found.check(&self.rows)?;
        Ok(found)
    }
}

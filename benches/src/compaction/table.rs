//! The table of small files, copies of it to be rewritten, and what must be found in them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::peer::Peer;

use crate::report::millis;

pub(super) const SCRIPT: &str = include_str!("../../peers/compaction.py");
const LIBRARIES: [&str; 3] = ["deltalake", "duckdb", "polars"];

/// How many files there are, and how many bytes of them one is to be made of.
#[derive(Clone, Copy)]
pub(super) struct Lot {
    pub(super) files: u64,
    /// Of each file.
    pub(super) rows: u64,
    pub(super) target: u64,
    /// The same where two workers share the work: by it there are groups enough for both.
    pub(super) shared: u64,
}

pub(super) struct Table {
    folder: TempDir,
    lot: Lot,
    /// Makes the table and reads all others.
    reader: Peer,
    content: Value,
    bytes: u64,
}

/// A table of its own to rewrite; it goes when it is dropped.
pub(super) struct Twin(TempDir);

/// What lies somewhere.
pub(super) struct Found {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// How long a query took.
pub(super) struct Query(Value);

impl Table {
    pub(super) fn make(lot: Lot) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut reader = Peer::start_apart(SCRIPT, &LIBRARIES.map(AsRef::as_ref))?;
        let place = folder.path().join("original");
        reader.ask(&format!("make {} {} {}", place.display(), lot.files, lot.rows))?;
        let found = reader.ask(&format!("read {} 1", place.display()))?;
        ensure!(found["content"][0] == lot.files * lot.rows && found["files"] == lot.files, "the table is {found}");
        let bytes = found["bytes"].as_u64().context("no bytes")?;
        Ok(Self { folder, lot, reader, content: found["content"].clone(), bytes })
    }

    pub(super) fn original(&self) -> PathBuf {
        self.folder.path().join("original")
    }

    pub(super) fn files(&self) -> u64 {
        self.lot.files
    }

    pub(super) fn rows_of_each(&self) -> u64 {
        self.lot.rows
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn target(&self) -> u64 {
        self.lot.target
    }

    pub(super) fn shared(&self) -> u64 {
        self.lot.shared
    }

    /// The same table again: its data files are never written, so links to them do.
    pub(super) fn copy(&self) -> Result<Twin> {
        let copy = Twin(tempfile::tempdir_in(self.folder.path())?);
        fs::create_dir_all(copy.place().join("_delta_log"))?;
        for entry in fs::read_dir(self.original())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::hard_link(entry.path(), copy.place().join(entry.file_name()))?;
            }
        }
        for entry in fs::read_dir(self.original().join("_delta_log"))? {
            let entry = entry?;
            fs::copy(entry.path(), copy.place().join("_delta_log").join(entry.file_name()))?;
        }
        Ok(copy)
    }

    /// What compacts a copy, as many groups at a time as there are slots.
    pub(super) fn pipeline(&self, target: u64) -> String {
        format!(
            "version: 1
connections:
  lake: {{ type: local, root: ./lake }}
pipelines:
  events:
    pattern: compact
    sink: {{ to: lake, format: delta, path: events }}
    compaction: {{ target_size: {target}B, min_files: 2, concurrency: 8 }}
"
        )
    }

    /// That the table's rows lie there, all columns of them, as a Delta table or as a folder of files.
    pub(super) fn check(&mut self, place: &Path, delta: bool) -> Result<Found> {
        let found = self.reader.ask(&format!("read {} {}", place.display(), u8::from(delta)))?;
        ensure!(found["content"] == self.content, "{} holds {found}, not {}", place.display(), self.content);
        let number = |key: &str| found[key].as_u64().with_context(|| format!("no {key}"));
        Ok(Found { files: number("files")?, bytes: number("bytes")? })
    }

    pub(super) fn query(&mut self, place: &Path) -> Result<Query> {
        // The first one warms up.
        self.reader.ask(&format!("query {}", place.display()))?;
        Ok(Query(self.reader.ask(&format!("query {}", place.display()))?))
    }

    pub(super) fn versions(&mut self) -> Result<String> {
        let versions = self.reader.ask("versions")?;
        let named = LIBRARIES.map(|name| format!("{name} {}", versions[name].as_str().unwrap_or("?")));
        Ok(named.join(", "))
    }
}

impl Twin {
    /// Where a pipeline that rewrites it lies.
    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn place(&self) -> PathBuf {
        self.0.path().join("lake/events")
    }
}

impl Query {
    pub(super) fn open(&self) -> String {
        self.time("open")
    }

    pub(super) fn ask(&self) -> String {
        self.time("ask")
    }

    fn time(&self, key: &str) -> String {
        millis(Duration::from_secs_f64(self.0[key].as_f64().unwrap_or(f64::NAN).max(0.0)))
    }
}

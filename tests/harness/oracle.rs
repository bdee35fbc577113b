//! The oracle: a reader that is not ours reads a sink back and compares it, row by row, with what the synthetic source
//! must have made. Rows lost and rows doubled are counted; both must be 0.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

const SCRIPT: &str = include_str!("../readers/oracle.py");

/// What the source makes: so many rows a second over a stretch of whole seconds since 1970, in windows of `window` seconds.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub seed: u64,
    pub per_second: u64,
    pub start: i64,
    pub end: i64,
    pub window: i64,
}

/// What was found in the sink.
#[derive(Clone, Debug, Deserialize)]
pub struct Found {
    pub rows: u64,
    pub lost: u64,
    pub doubled: u64,
    /// Rows the source never made.
    pub foreign: u64,
    /// The numbers of the commits, in order.
    pub seqs: Vec<u64>,
    /// Whether each commit names the digest of the one before.
    pub chained: bool,
    /// Files that belong to the table, relative to its folder.
    pub live: Vec<String>,
    /// Starts of the first windows with lost rows.
    pub windows_lost: Vec<i64>,
}

impl Rows {
    pub fn count(&self) -> u64 {
        self.per_second * self.end.abs_diff(self.start)
    }

    pub fn windows(&self) -> u64 {
        self.end.abs_diff(self.start) / self.window.unsigned_abs().max(1)
    }

    /// Reads the sink of `format` (delta, parquet, json, or what was written out of postgres) in `folder`.
    pub fn compare(&self, python: &Path, format: &str, folder: &Path) -> Result<Found> {
        let numbers = [self.seed.to_string(), self.per_second.to_string()];
        let times = [self.start, self.end, self.window].map(|number| number.to_string());
        let output = Command::new(python)
            .args(["-c", SCRIPT, format])
            .arg(folder)
            .args(numbers)
            .args(times)
            .output()
            .context("the oracle does not start")?;
        ensure!(output.status.success(), "the oracle failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Found {
    /// Whether every row is there once and no other, and the commits count 1, 2, 3 without a gap.
    pub fn check(&self, rows: &Rows) -> Result<()> {
        let differs = (self.lost, self.doubled, self.foreign);
        ensure!(
            differs == (0, 0, 0) && self.rows == rows.count(),
            "{} rows of {}: {} lost, {} doubled, {} foreign; windows from {:?}",
            self.rows,
            rows.count(),
            self.lost,
            self.doubled,
            self.foreign,
            self.windows_lost
        );
        ensure!(self.seqs.iter().copied().eq(1..=self.seqs.len() as u64), "the commits are numbered {:?}", self.seqs);
        ensure!(self.chained, "a commit does not name the one before it");
        Ok(())
    }
}

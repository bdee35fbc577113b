//! Peers that rewrite files, each in a process of its own.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use windrow_tests::peer::Peer;

use super::{
    Rewritten,
    table::{SCRIPT, Table},
};
use crate::usage;

/// Ways of `benches/peers/compaction.py` with the libraries they need; the first is the limit.
pub(super) const WAYS: [(&str, &[&str]); 4] = [
    ("decode", &["deltalake", "polars"]),
    ("polars_sink", &["deltalake", "polars"]),
    ("duckdb_copy", &["deltalake", "duckdb"]),
    ("delta_optimize", &["deltalake"]),
];

/// A way to rewrite the table, and its rounds.
pub(super) struct Way {
    pub(super) what: &'static str,
    pub(super) libraries: &'static [&'static str],
    pub(super) rounds: Vec<Rewritten>,
}

impl Way {
    pub(super) fn of(what: &'static str, libraries: &'static [&'static str]) -> Self {
        Self { what, libraries, rounds: Vec::new() }
    }

    pub(super) fn named(what: &'static str) -> Self {
        Self::of(what, &[])
    }
}

impl Table {
    /// Has a peer rewrite a copy of the table; what it wrote is read back by another.
    pub(super) fn by_peer(&mut self, way: &str, libraries: &[&str]) -> Result<Rewritten> {
        let copy = self.copy()?;
        let libraries: Vec<_> = libraries.iter().map(AsRef::as_ref).collect();
        let mut peer = Peer::start_apart(SCRIPT, &libraries)?;
        // An answer: its libraries are there.
        peer.ask("versions")?;
        let process = peer.process();
        usage::forget_peak(process)?;
        let before = usage::cpu(process)?;
        let answer = peer.ask(&format!("{way} {} {}", copy.place().display(), self.target()))?;
        let cpu = (usage::cpu(process)? - before).as_secs_f64();
        let peak_bytes = usage::peak(process)?;
        let seconds = answer["seconds"].as_f64().with_context(|| format!("the peer answered {answer}"))?;
        let (files, bytes) = match way {
            "decode" => (0, 0),
            _ => self.written(&answer, way)?,
        };
        Ok(Rewritten { seconds, cpu, peak_bytes, files, bytes })
    }

    fn written(&mut self, answer: &Value, way: &str) -> Result<(u64, u64)> {
        let place = answer["place"].as_str().context("no place")?;
        let found = self.check(Path::new(place), way.starts_with("delta"))?;
        ensure!(found.files < self.files(), "{way} left {} files", found.files);
        Ok((found.files, found.bytes))
    }
}

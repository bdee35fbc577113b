//! The table everybody reads, the peers that read it, and what must be found in what they wrote.

use std::{ffi::OsStr, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use windrow_tests::{peer::Peer, postgres::Postgres};

use crate::usage::{self, Finished};

/// When the first row was changed, in seconds since 1970: 2024-01-01. One a second from then on.
const FIRST: u64 = 1_704_067_200;
/// What the database may keep in memory: more than the table, so that nobody waits for a disk.
const SETTINGS: [&str; 3] = ["shared_buffers=1GB", "max_wal_size=8GB", "autovacuum=off"];
const SCRIPT: &str = include_str!("../../peers/database.py");

pub(super) struct Table {
    pub(super) postgres: Postgres,
    peers: Peer,
    _folder: TempDir,
    /// Sums over all columns that have one.
    expected: Value,
}

/// One load.
pub(super) struct Loaded {
    pub(super) seconds: f64,
    pub(super) cpu: f64,
    /// Of a process of its own; all peers are one, with each other's libraries in it.
    pub(super) peak_bytes: Option<u64>,
}

impl Table {
    pub(super) fn fill(rows: u64) -> Result<Self> {
        let postgres = Postgres::start_with(&SETTINGS)?.context("no PostgreSQL here; `make tools` installs it")?;
        postgres.psql(&format!(
            "CREATE TABLE loaded (id bigint PRIMARY KEY, quantity int, ratio float8, price numeric(12,2), name text, kind text,
                changed timestamptz, active boolean);
             INSERT INTO loaded SELECT i, (i * 7919) % 1000003, i / 7.0, (i * 31) % 10000000 / 100.0, md5(i::text),
                (ARRAY['new', 'open', 'paid', 'packed', 'sent', 'back', 'lost', 'closed'])[i % 8 + 1],
                to_timestamp({FIRST} + i), i % 3 = 0 FROM generate_series(0::bigint, {rows} - 1) i;
             CREATE INDEX ON loaded (changed)"
        ))?;
        postgres.psql("VACUUM (ANALYZE, FREEZE) loaded")?;
        let folder = tempfile::tempdir()?;
        let (url, count) = (postgres.url(), rows.to_string());
        let arguments = [folder.path().as_os_str(), OsStr::new(&url), OsStr::new(&count)];
        let peers = Peer::start_apart(SCRIPT, &arguments)?;
        let expected = postgres.psql(
            "SELECT json_build_object('rows', count(*), 'id', sum(id), 'quantity', sum(quantity), 'cents', (sum(price) * 100)::bigint,
                'text', sum(length(name) + length(kind)), 'active', count(*) FILTER (WHERE active),
                'seconds', sum(extract(epoch FROM changed)::bigint)) FROM loaded",
        )?;
        Ok(Self { postgres, peers, _folder: folder, expected: serde_json::from_str(&expected)? })
    }

    /// Versions of the peers.
    pub(super) fn versions(&mut self) -> Result<Value> {
        self.peers.ask("versions")
    }

    /// Has a peer do something and checks what it wrote, if it is files.
    pub(super) fn peer(&mut self, way: &str) -> Result<Loaded> {
        let before = usage::cpu(self.peers.process())?;
        let answer = self.peers.ask(way)?;
        let cpu = usage::cpu(self.peers.process())? - before;
        let seconds = answer["seconds"].as_f64().with_context(|| format!("the peer answered {answer}"))?;
        let place = answer["place"].as_str().unwrap_or_default().to_owned();
        // A way is named by who goes it and where to, or what by.
        match way.split(' ').next().unwrap_or_default().rsplit_once('_') {
            Some((_, "copy")) => {}
            Some((_, kind @ "delta")) => drop(self.check(kind, Path::new(&place))?),
            _ => drop(self.check("parquet", Path::new(&place))?),
        }
        Ok(Loaded { seconds, cpu: cpu.as_secs_f64(), peak_bytes: None })
    }

    /// That what lies there is the table.
    pub(super) fn check(&mut self, kind: &str, place: &Path) -> Result<Value> {
        let mut found = self.peers.ask(&format!("read {kind} {}", place.display()))?;
        let price = found.as_object_mut().and_then(|found| found.remove("price")).unwrap_or(json!(null));
        ensure!(found == self.expected, "the reader found {found} in {}, not {}", place.display(), self.expected);
        Ok(price)
    }

    /// All rows as the database sends them, thrown away.
    pub(super) fn copied(&self) -> Result<Finished> {
        // The shell becomes the client, so that its processor time is told.
        let command = "exec psql \"$URL\" -qc 'COPY loaded TO STDOUT (FORMAT BINARY)' >/dev/null";
        usage::run(Command::new("bash").args(["-c", command]).env("URL", self.postgres.url()))
    }
}

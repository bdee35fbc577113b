//! From one PostgreSQL server into another: a full load of a versioned table and its view, the rows as they are and decoded, beside the
//! limit, which is `COPY` on both sides with a pipe between. The pipe needs one table and exposes it half filled; a load needs its rows twice,
//! staged and loaded, and shows them at once.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use windrow_tests::{postgres::Postgres, process::windrow};

use crate::{
    Settings,
    report::{Goal, Report, grouped, mebibytes, seconds},
    sample::median,
    usage::{self, Finished},
};

const ROUNDS: usize = 3;
const ROWS: u64 = 5_000_000;
const FEWER: u64 = 1_000_000;
/// As a server is set up for loads; durable as they come.
const SERVER: [&str; 6] = [
    "shared_buffers=256MB",
    "max_wal_size=8GB",
    "fsync=on",
    "full_page_writes=on",
    "wal_level=replica",
    "checkpoint_timeout=30min",
];
const COLUMNS: &str = "id, at, device, kind, price, level, note, ok";

/// A way from one server to the other; its rounds in the order of the ways' turns.
struct Way {
    what: &'static str,
    sink: &'static str,
    rounds: Vec<Finished>,
}

pub(crate) fn run(_: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    let rows = if settings.long { ROWS } else { FEWER };
    let (Some(from), Some(to)) = (Postgres::start_with(&SERVER)?, Postgres::start_with(&SERVER)?) else {
        report.say("there is no PostgreSQL server: left out");
        return Ok(());
    };
    from.psql(&made(rows))?;
    let wanted = from.psql(&digest("rows"))?;
    let mut piped = Vec::new();
    let mut verbatim = Way::new("windrow, rows as they are", "");
    let mut decoded = Way::new("windrow, values decoded", ", decode: always");
    for _ in 0..ROUNDS {
        piped.push(pipe(&from, &to, &wanted)?);
        verbatim.load(&from, &to, &wanted)?;
        decoded.load(&from, &to, &wanted)?;
    }
    report.say(format!("{} rows of 8 columns of mixed types; medians of {ROUNDS} rounds", grouped(rows)));
    let limit = median(piped.iter().map(Duration::as_secs_f64));
    report.figure("COPY into COPY through a pipe", seconds(Duration::from_secs_f64(limit)));
    for way in [&verbatim, &decoded] {
        way.tell(report);
    }
    let ratio = |way: &Way| {
        median(way.rounds.iter().zip(&piped).map(|(way, pipe)| way.wall.as_secs_f64() / pipe.as_secs_f64()))
    };
    let peak = verbatim.rounds.iter().map(|round| round.peak_bytes).max().unwrap_or(0);
    report.goal("rows as they are: time to the pipe's", ratio(&verbatim), Goal::AtMost(1.10), "x");
    report.goal("  peak memory", mebibytes(peak), Goal::AtMost(256.0), " MiB");
    report.figure("values decoded: time to the pipe's", format!("{:.2}x", ratio(&decoded)));
    Ok(())
}

/// The table that is copied.
fn made(rows: u64) -> String {
    format!(
        "CREATE TABLE rows (id bigint NOT NULL, at timestamptz, device uuid, kind varchar(20), price numeric(12,2), level double precision, \
         note text, ok boolean); INSERT INTO rows SELECT n, timestamptz '2024-01-01Z' + n * interval '1 second', md5((n % 5000)::text)::uuid, \
         'kind ' || n % 20, n % 100000 / 7.0, sin(n), CASE WHEN n % 10 > 0 THEN md5(n::text) END, n % 3 = 0 FROM generate_series(1, {rows}) n; \
         VACUUM ANALYZE rows"
    )
}

fn digest(table: &str) -> String {
    format!("SELECT count(*), sum(id), sum(price), count(note), sum(hashtext(t::text)::bigint) FROM {table} t")
}

/// What a shell would do.
fn pipe(from: &Postgres, to: &Postgres, wanted: &str) -> Result<Duration> {
    to.psql("DROP TABLE IF EXISTS piped; CHECKPOINT")?;
    let began = Instant::now();
    let table = "CREATE TABLE piped (id bigint, at timestamptz, device uuid, kind varchar(20), price numeric(12,2), level double precision, \
                 note text, ok boolean)";
    to.psql(table)?;
    let out = format!("COPY (SELECT {COLUMNS} FROM rows) TO STDOUT (FORMAT BINARY)");
    from.pipe(&out, to, "COPY piped FROM STDIN (FORMAT BINARY)")?;
    let took = began.elapsed();
    ensure!(to.psql(&digest("piped"))? == wanted, "the pipe lost something");
    Ok(took)
}

impl Way {
    fn new(what: &'static str, sink: &'static str) -> Self {
        Self { what, sink, rounds: Vec::new() }
    }

    /// Loads the table as a process of its own, with a ledger and a target of its own.
    fn load(&mut self, from: &Postgres, to: &Postgres, wanted: &str) -> Result<()> {
        to.psql("DROP VIEW IF EXISTS loaded; DROP TABLE IF EXISTS loaded_v1; DROP SCHEMA IF EXISTS windrow, windrow_stage CASCADE; CHECKPOINT")?;
        let folder = tempfile::tempdir()?;
        let url = |name: &str, server: &Postgres| -> Result<String> {
            let file = folder.path().join(name);
            fs::write(&file, server.url())?;
            Ok(format!("  {name}: {{ type: postgres, url: \"${{file:{}}}\" }}\n", file.display()))
        };
        let text = format!(
            "version: 1\nconnections:\n  files: {{ type: local, root: . }}\n{}{}pipelines:\n  loaded:\n    pattern: full\n    source: {{ from: from, \
             table: rows, columns: [{COLUMNS}] }}\n    sink: {{ to: to, format: postgres, table: loaded, staging: files{} }}\n",
            url("from", from)?,
            url("to", to)?,
            self.sink
        );
        fs::write(folder.path().join("pipelines.yaml"), text)?;
        let path = folder.path().to_str().context("a folder has a name")?;
        self.rounds.push(usage::run(Command::new(windrow()?).args(["run", path]))?);
        ensure!(to.psql(&digest("loaded"))? == wanted, "{} lost something", self.what);
        Ok(())
    }

    fn tell(&self, report: &mut Report) {
        let of = |what: fn(&Finished) -> Duration| {
            Duration::from_secs_f64(median(self.rounds.iter().map(|round| what(round).as_secs_f64())))
        };
        report.figure(self.what, seconds(of(|round| round.wall)));
        report.figure("  processor time", seconds(of(|round| round.cpu)));
    }
}

//! The whole table at once, into Parquet files and into a Delta table.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use windrow_tests::process::windrow;

use super::{
    ROUNDS,
    table::{Loaded, Table},
};
use crate::{
    Settings,
    report::{Goal, Report, mebibytes},
    sample::median,
    usage::{self, Finished},
};

/// A way to load the table, round by round.
struct Way {
    what: String,
    rounds: Vec<Loaded>,
}

/// Rows of which memory is measured, beside the usual.
const SMALL: u64 = 1_000_000;
const LARGE: u64 = 20_000_000;

pub(super) fn measure(table: &mut Table, settings: &Settings, report: &mut Report) -> Result<()> {
    let versions = table.versions()?;
    let of = |name: &str, what: &str| Way::new(format!("{what} {}", versions[name].as_str().unwrap_or("?")));
    let mut copy = Way::new("limit: binary COPY, thrown away");
    let mut parquet = Way::new("windrow to Parquet");
    let mut delta = Way::new("windrow to Delta");
    let mut duckdb = of("duckdb", "DuckDB to Parquet,");
    let mut adbc = of("adbc-driver-postgresql", "ADBC to Parquet,");
    let mut adbc_delta = of("deltalake", "ADBC to delta-rs,");
    let mut connectorx = of("connectorx", "connectorx to Parquet,");
    let mut dlt = of("dlt", "dlt (connectorx) to Parquet,");
    let mut dlt_delta = of("dlt", "dlt (connectorx) to Delta,");
    for _ in 0..ROUNDS {
        copy.add(table.copied()?);
        parquet.add(load(table, "parquet")?);
        duckdb.rounds.push(table.peer("duckdb_parquet")?);
        delta.add(load(table, "delta")?);
        adbc_delta.rounds.push(table.peer("adbc_delta")?);
        adbc.rounds.push(table.peer("adbc_parquet")?);
        connectorx.rounds.push(table.peer("connectorx_parquet")?);
    }
    let others = if settings.long { ROUNDS } else { 1 };
    for _ in 0..others {
        dlt.rounds.push(table.peer("dlt_parquet")?);
        dlt_delta.rounds.push(table.peer("dlt_delta")?);
    }
    report.say("  a load; time, processor time of who loads (not of the database), peak memory");
    for way in [&copy, &parquet, &duckdb, &adbc, &connectorx, &dlt, &delta, &adbc_delta, &dlt_delta] {
        way.tell(report);
    }
    report.goal("Parquet: time to DuckDB's", parquet.time_to(&duckdb), Goal::AtMost(1.15), "x");
    report.goal("  processor time to DuckDB's", parquet.cpu_to(&duckdb), Goal::AtMost(1.10), "x");
    report.goal("  time to the binary COPY", parquet.time_to(&copy), Goal::AtMost(1.30), "x");
    report.goal("  peak memory", parquet.peak(), Goal::AtMost(256.0), " MiB");
    report.goal("Delta: time to ADBC and delta-rs", delta.time_to(&adbc_delta), Goal::AtMost(0.65), "x");
    report.goal("  time to the binary COPY", delta.time_to(&copy), Goal::AtMost(1.60), "x");
    report.goal("  peak memory", delta.peak(), Goal::AtMost(256.0), " MiB");
    report.goal("dlt to windrow, Parquet", dlt.mean() / parquet.mean(), Goal::AtLeast(3.5), "x");
    report.goal("dlt to windrow, Delta", dlt_delta.mean() / delta.mean(), Goal::AtLeast(4.0), "x");
    Ok(())
}

/// Memory by rows: a load is a stream, so it takes none.
pub(super) fn growth(settings: &Settings, report: &mut Report) -> Result<()> {
    let large = if settings.long { LARGE } else { LARGE / 2 };
    let (mut few, mut many) = (Table::fill(SMALL)?, Table::fill(large)?);
    let (small, grown) = (load(&mut few, "parquet")?, load(&mut many, "parquet")?);
    let rows = large as f64 / SMALL as f64;
    report.figure("peak memory at 1 million rows", format!("{:.0} MiB", mebibytes(small.peak_bytes)));
    report.goal(
        &format!("  at {rows} million to that"),
        grown.peak_bytes as f64 / small.peak_bytes as f64,
        Goal::AtMost(1.1),
        "x",
    );
    Ok(())
}

/// `windrow run` into a new place; what it wrote is read back.
fn load(table: &mut Table, format: &str) -> Result<Finished> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("loaded.yaml"), pipeline(format))?;
    let mut command = Command::new(windrow()?);
    let run = usage::run(command.arg("run").arg(folder.path()).env("SHOP_URL", table.postgres.url()))?;
    check_files(table, format, &folder.path().join("lake/loaded"))?;
    Ok(run)
}

fn check_files(table: &mut Table, format: &str, place: &Path) -> Result<()> {
    let price = table.check(format, place)?;
    ensure!(price.as_str().is_some_and(|kind| kind.contains("12, 2")), "the price became {price}");
    Ok(())
}

fn pipeline(format: &str) -> String {
    format!(
        "version: 1
connections:
  shop: {{ type: postgres, url: \"${{env:SHOP_URL}}\" }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  loaded:
    pattern: full
    source: {{ from: shop, table: public.loaded }}
    sink: {{ to: lake, format: {format}, path: loaded }}
"
    )
}

impl Way {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), rounds: Vec::new() }
    }

    fn add(&mut self, run: Finished) {
        let (seconds, cpu) = (run.wall.as_secs_f64(), run.cpu.as_secs_f64());
        self.rounds.push(Loaded { seconds, cpu, peak_bytes: Some(run.peak_bytes) });
    }

    fn tell(&self, report: &mut Report) {
        let cpu = median(self.rounds.iter().map(|round| round.cpu));
        let peak = if self.peak() > 0.0 { format!(", {:.0} MiB", self.peak()) } else { String::new() };
        report.figure(&self.what, format!("{:.2} s, {cpu:.2} s{peak}", self.mean()));
    }

    fn mean(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.seconds))
    }

    fn peak(&self) -> f64 {
        mebibytes(self.rounds.iter().filter_map(|round| round.peak_bytes).max().unwrap_or(0))
    }

    fn time_to(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(this, that)| this.seconds / that.seconds))
    }

    fn cpu_to(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(this, that)| this.cpu / that.cpu))
    }
}

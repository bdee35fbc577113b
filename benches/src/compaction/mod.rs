//! Small files of a Delta table that become large ones: windrow as users run it, beside decoding them, which nobody who rewrites them can
//! do without, and beside peers. Every output is read back, all of its columns, before a figure is printed; everybody writes zstd 1 and files
//! of as many bytes of input. windrow reads what it wrote once more before it commits, and makes a commit of it, which of the peers
//! delta-rs alone does, too.

mod peers;
mod slope;
mod table;
mod workers;

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use windrow_tests::process::windrow;

use self::{
    peers::{WAYS, Way},
    table::{Lot, Table},
};
use crate::{
    Settings,
    report::{Goal, Report, grouped, mebibytes},
    sample::median,
    usage,
};

const ROUNDS: usize = 3;
/// About 916 MB, and what is enough to see that all goes well.
const LARGE: Lot = Lot { files: 2_000, rows: 6_000, target: 80 << 20, shared: 80 << 20 };
const SMALL: Lot = Lot { files: 200, rows: 6_000, target: 16 << 20, shared: 1 << 20 };

/// One rewriting of a table.
struct Rewritten {
    seconds: f64,
    cpu: f64,
    peak_bytes: u64,
    files: u64,
    bytes: u64,
}

pub(crate) fn run(runtime: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    let lot = if settings.long { LARGE } else { SMALL };
    let mut table = Table::make(lot)?;
    let before = table.query(&table.original())?;
    let mut windrow = Way::named("windrow");
    let mut peers = WAYS.map(|(way, libraries)| Way::of(way, libraries));
    let mut after = None;
    for _ in 0..ROUNDS {
        for peer in &mut peers {
            peer.rounds.push(table.by_peer(peer.what, peer.libraries)?);
        }
        let copy = table.copy()?;
        windrow.rounds.push(by_windrow(&mut table, &copy)?);
        after = Some(table.query(&copy.place())?);
    }
    let versions = table.versions()?;
    report.say(format!(
        "{} files of {} rows and 12 columns, {:.0} MiB, to {:.0} MiB of them a file; medians of {ROUNDS} rounds; {versions}",
        grouped(lot.files),
        grouped(table.rows_of_each()),
        mebibytes(table.bytes()),
        mebibytes(lot.target)
    ));
    report.say("  time, processor time, peak memory, what was written");
    for way in peers.iter().chain([&windrow]) {
        way.tell(report);
    }
    let [decode, polars, _, delta] = &peers;
    report.goal("time to Polars' lazy sink", windrow.time_to(polars), Goal::AtMost(1.25), "x");
    report.figure("  processor time to Polars'", format!("{:.2}x", windrow.cpu_to(polars)));
    report.goal("  to delta-rs' optimize", windrow.time_to(delta), Goal::AtMost(0.5), "x");
    report.figure("  processor time to delta-rs'", format!("{:.2}x", windrow.cpu_to(delta)));
    report.figure("  to decoding alone", format!("{:.2}x", windrow.time_to(decode)));
    report.goal("  peak memory", windrow.peak(), Goal::AtMost(300.0), " MiB");
    let after = after.context("there was a round")?;
    report.figure("a query: to open the table, before and after", format!("{} {}", before.open(), after.open()));
    report.figure("  to ask its files", format!("{} {}", before.ask(), after.ask()));
    workers::measure(runtime, &mut table, (settings.long, report))?;
    if settings.long { slope::measure(report) } else { Ok(()) }
}

/// `windrow run` on a table of its own, to its end.
fn by_windrow(table: &mut Table, copy: &table::Twin) -> Result<Rewritten> {
    fs::write(copy.folder().join("pipelines.yaml"), table.pipeline(table.target()))?;
    let run = usage::run(Command::new(windrow()?).arg("run").arg(copy.folder()))?;
    let found = table.check(&copy.place(), true)?;
    ensure!(found.files < table.files(), "{} files are left", found.files);
    let (seconds, cpu) = (run.wall.as_secs_f64(), run.cpu.as_secs_f64());
    Ok(Rewritten { seconds, cpu, peak_bytes: run.peak_bytes, files: found.files, bytes: found.bytes })
}

impl Way {
    fn tell(&self, report: &mut Report) {
        let of = |what: fn(&Rewritten) -> f64| median(self.rounds.iter().map(what));
        let last = self.rounds.last().map_or((0, 0), |last| (last.files, last.bytes));
        let out = if last.0 > 0 { format!(", {} files {:.0} MiB", last.0, mebibytes(last.1)) } else { String::new() };
        let (seconds, cpu) = (of(|round| round.seconds), of(|round| round.cpu));
        report.figure(self.what, format!("{seconds:.2} s, {cpu:.2} s, {:.0} MiB{out}", self.peak()));
    }

    fn peak(&self) -> f64 {
        mebibytes(self.rounds.iter().map(|round| round.peak_bytes).max().unwrap_or(0))
    }

    fn to(&self, other: &Self, of: fn(&Rewritten) -> f64) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(this, that)| of(this) / of(that)))
    }

    fn time_to(&self, other: &Self) -> f64 {
        self.to(other, |round| round.seconds)
    }

    fn cpu_to(&self, other: &Self) -> f64 {
        self.to(other, |round| round.cpu)
    }
}

//! `windrow-benches`: figures beside their limits and peers, measured in one run of real processes, files and stores.
//! Each bench is one file; it checks what it moved before it prints a figure.

mod beside;
mod claims;
mod compaction;
mod database;
mod flight;
mod growth;
mod machine;
mod other;
mod pass;
mod pg_sink;
mod raw;
mod report;
mod sample;
mod scale;
mod usage;
mod windows;
mod year;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use self::report::Report;

/// Measure windrow beside its limits and peers
#[derive(Debug, Parser)]
#[command(name = "windrow-benches")]
struct Args {
    /// Which benches to run: year, windows, database, database_windows, database_memory, claims, growth, flight, pg_sink, compaction,
    /// beside, scale; all unless given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Fail when a goal is missed
    #[arg(long)]
    gate: bool,
    /// Also what takes many minutes
    #[arg(long)]
    long: bool,
    /// How many workers `scale` has, one after the other
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = scale::WORKERS)]
    workers: Vec<usize>,
    /// Be the other process of a bench
    #[arg(long, hide = true, num_args = 1.., value_name = "PART")]
    be: Vec<String>,
}

/// A bench and its name.
type Bench = (&'static str, fn(&tokio::runtime::Runtime, &Settings, &mut Report) -> Result<()>);

/// How to measure.
struct Settings {
    long: bool,
    workers: Vec<usize>,
}

const BENCHES: &[Bench] = &[
    ("year", year::run),
    ("windows", windows::run),
    ("database", database::whole),
    ("database_windows", database::by_windows),
    ("database_memory", database::memory),
    ("claims", claims::run),
    ("growth", growth::run),
    ("flight", flight::run),
    ("pg_sink", pg_sink::run),
    ("compaction", compaction::run),
    ("beside", beside::run),
    ("scale", scale::run),
];

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything asked for was measured and, with `--gate`, every goal met.
fn measure(args: &Args) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !args.be.is_empty() {
        let be = scale::be(&runtime, &args.be).unwrap_or_else(|| flight::be(&runtime, &args.be));
        return be.map(|()| true);
    }
    let wanted = chosen(&args.names)?;
    machine::print()?;
    let settings = Settings { long: args.long, workers: args.workers.clone() };
    let mut missed = 0;
    for (name, bench) in wanted {
        let mut report = Report::begin(name);
        bench(&runtime, &settings, &mut report).with_context(|| format!("bench {name}"))?;
        missed += report.end();
    }
    Ok(!args.gate || missed == 0)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Bench>> {
    if names.is_empty() {
        return Ok(BENCHES.iter().collect());
    }
    let find = |name: &String| BENCHES.iter().find(|(known, _)| known == name).with_context(|| no_bench(name));
    names.iter().map(find).collect()
}

fn no_bench(name: &str) -> String {
    let known: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
    format!("there is no bench {name:?}, only {}", known.join(", "))
}

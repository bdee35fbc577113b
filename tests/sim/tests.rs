//! The simulation, many seeds of it; see `main.rs` for what one is. A seed that fails is told, and fails again with
//! `windrow-sim --seed N --trace`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    ops::Range,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Deserialize;

/// What a run prints; see `run.rs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Report {
    seed: u64,
    violations: Vec<String>,
    trace: String,
    events: u64,
    simulated_ms: u64,
    rows_lost: u64,
    rows_doubled: u64,
    faults: BTreeMap<String, u64>,
}

fn run(seed: u64) -> Report {
    let output = Command::new(env!("CARGO_BIN_EXE_windrow-sim")).args(["--seed", &seed.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|error| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        panic!("seed {seed} told nothing: {error}; {text} {stderr}")
    })
}

/// Runs the seeds, as many at a time as the machine has processors.
fn run_all(seeds: Range<u64>) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let runners = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reports: Vec<Report> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return done;
                }
                done.push(run(seed));
            }
        };
        let threads: Vec<_> = (0..runners).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    reports.sort_by_key(|report| report.seed);
    reports
}

/// All seeds hold; what was injected is told.
fn hold(seeds: Range<u64>) {
    let reports = run_all(seeds);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    for (fault, count) in reports.iter().flat_map(|report| &report.faults) {
        *faults.entry(fault).or_default() += count;
    }
    let minutes = reports.iter().map(|report| report.simulated_ms).sum::<u64>() / 60_000;
    println!("{} seeds, {minutes} simulated minutes, faults {faults:?}", reports.len());
    let broken: Vec<_> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
    for report in &broken {
        println!("seed {}: {}", report.seed, report.violations.join("; "));
    }
    assert!(broken.is_empty(), "{} of {} seeds do not hold", broken.len(), reports.len());
    assert!(reports.iter().all(|report| (report.rows_lost, report.rows_doubled) == (0, 0)));
}

mod short {
    use super::*;

    #[test]
    fn without_faults_everything_is_published() {
        let report = run(0);
        assert_eq!(report.violations, Vec::<String>::new());
        assert!(report.faults.is_empty());
    }

    /// Proves CL2, CL3.
    #[test]
    fn a_few_seeds_hold() {
        hold(1..9);
    }

    #[test]
    fn a_seed_goes_the_same_way_again() {
        let first = run(3);
        assert_eq!(first, run(3));
        assert_ne!(first.trace, run(4).trace);
    }
}

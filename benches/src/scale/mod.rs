//! Many workers and much open work: one real etcd, one real coordinator in a process of its own, and 100, 1,000 and
//! 10,000 sessions over gRPC that do all that workers do but move no rows. What everything costs, and how it grows.
//!
//! The open tasks are 100,000 for each number of workers, so that what grows is the workers alone; one line with 1,000
//! tasks tells what the tasks cost.

mod coordinator;
mod crowd;
mod measure;
mod site;
mod table;
mod tally;
mod worker;

use std::time::Duration;

use anyhow::Result;

use self::{
    measure::{Measured, measure},
    table::Table,
};
use crate::{
    Settings,
    report::{Goal, Report, grouped, mebibytes},
};

pub(crate) use coordinator::be;

/// How many workers there are, from the smallest number to the largest.
pub(crate) const WORKERS: [usize; 3] = [100, 1_000, 10_000];
/// How many open tasks there are. With the smallest number of workers it is measured with few as well.
const TASKS: usize = 100_000;
const FEW_TASKS: usize = 1_000;
/// How often workers speak and how long they may be silent: 3,333 heartbeats a second of 10,000 workers. The coordinator's
/// own defaults, 5 and 30 seconds, are easier.
const HEARTBEAT: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_secs(9);
/// How long a modelled task takes, in the mean.
const TASK: Duration = Duration::from_secs(20);
/// How long a modelled commit takes, half of it to be worked out: some requests to an object store.
const COMMIT: Duration = Duration::from_millis(100);

pub(crate) fn run(runtime: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    runtime.block_on(async {
        report.say(format!(
            "one etcd, one coordinator in its own process; a heartbeat each {} s, leases of {} s; a worker has one slot, \
             a modelled task takes {} s, a modelled commit {} ms; no rows are moved",
            HEARTBEAT.as_secs(),
            LEASE.as_secs(),
            TASK.as_secs(),
            COMMIT.as_millis()
        ));
        let few = settings.workers.iter().find(|workers| **workers <= FEW_TASKS / 2).map(|workers| (*workers, FEW_TASKS));
        let mut all = Vec::new();
        for (workers, tasks) in few.into_iter().chain(settings.workers.iter().map(|workers| (*workers, TASKS))) {
            report.say(format!("  {} workers, {} open tasks", grouped(workers as u64), grouped(tasks as u64)));
            match Box::pin(measure(workers, tasks, report)).await {
                Ok(measured) => all.push(measured),
                // What was measured before is as true as it was.
                Err(error) => {
                    report.say(format!("    {error:#}"));
                    report.goal("measured to the end, workers", 0.0, Goal::AtLeast(workers as f64), "");
                    break;
                }
            }
        }
        Table::of(&all).print(report);
        goals(&all, report);
        Ok(())
    })
}

/// The smallest and the largest number of workers with the same open tasks.
fn goals(all: &[Measured], report: &mut Report) {
    let ([_, few, ..], Some(many)) = (all, all.last()) else { return };
    let rates = many.beats.rate / (many.workers as f64 / HEARTBEAT.as_secs_f64());
    report.say(format!("goals at {} workers", grouped(many.workers as u64)));
    report.goal("heartbeats answered, of those that are due", rates, Goal::AtLeast(0.98), "x");
    let fast = many.work.claims * TASK.as_secs_f64() / many.workers as f64;
    report.goal("modelled tasks done, of those that could be", fast, Goal::AtLeast(0.95), "x");
    report.goal("coordinator's processor while they only speak, cores", many.beats.cpu, Goal::AtMost(0.5), "");
    let growth = many.resident.saturating_sub(few.resident) as f64 / (many.workers - few.workers).max(1) as f64;
    report.goal("coordinator's memory a worker", growth / 1024.0, Goal::AtMost(40.0), " KiB");
    let p99 = |measured: &Measured| measured.work.claim.1.as_secs_f64();
    report.goal("p99 of a claim, to that of 100 workers", p99(many) / p99(few), Goal::AtMost(2.0), "x");
    let growth = many.beats.cpu / few.beats.cpu;
    report.goal("coordinator's processor, to that of 100 workers", growth, Goal::AtMost(100.0), "x");
    let again = (many.loss.taken_back + many.loss.given).as_secs_f64();
    report.goal("claims of a fifth of the workers taken back and given again", again, Goal::AtMost(2.0), " s");
    report.goal("leases lost, tasks given out twice", many.lost as f64, Goal::AtMost(0.0), "");
    report.figure("coordinator's memory at its peak", format!("{:.0} MiB", mebibytes(many.peak)));
}

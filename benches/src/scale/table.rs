//! The figures of all numbers of workers side by side, and how each grows.

use std::time::Duration;

use super::{
    measure::{Limit, Measured, Phase},
    site::Size,
};
use crate::report::{Report, grouped, mebibytes, rounded};

/// See the module.
pub(super) struct Table {
    head: Vec<String>,
    /// Which columns have the same open tasks as the one before, so that a ratio tells of the workers alone.
    grows: Vec<bool>,
    rows: Vec<Row>,
}

enum Row {
    Part(String),
    Figures { what: String, values: Vec<f64>, text: fn(f64) -> String },
}

impl Table {
    pub(super) fn of(all: &[Measured]) -> Self {
        let head = all.iter().map(|one| grouped(one.workers as u64)).collect();
        let grows = (1..all.len()).map(|at| all[at].tasks == all[at - 1].tasks).collect();
        let mut table = Self { head, grows, rows: Vec::new() };
        let version = all.first().map_or("?", |one| one.version.as_str());
        table.add(all, "open tasks", count, |one| one.tasks as f64);
        table.add(all, "connections", count, |one| one.connections as f64);
        table.add(all, "planning these tasks, s", rounded, |one| one.planning.as_secs_f64());
        table.add(all, "all connected and with a task in hand after, s", rounded, |one| one.gathering.as_secs_f64());
        table.part("coordinator's memory, MiB");
        table.add(all, "with the tasks and no worker", rounded, |one| mebibytes(one.alone));
        table.add(all, "with the workers", rounded, |one| mebibytes(one.resident));
        table.add(all, "at its peak", rounded, |one| mebibytes(one.peak));
        table.part("workers hold their tasks and only speak");
        table.beats(all, |one| &one.beats);
        table.part("workers speak as soon as they are answered");
        table.beats(all, |one| &one.flood);
        table.part("workers work, each at a modelled task");
        table.claims(all, |one| &one.work);
        table.beats(all, |one| &one.work);
        table.part("a task takes no time");
        table.claims(all, |one| &one.rush);
        table.beats(all, |one| &one.rush);
        table.part("a fifth of the workers is gone at once, and as many new ones come");
        table.add(all, "workers that are gone", count, |one| one.loss.workers as f64);
        table.add(all, "claims taken back, after the last lease, s", rounded, |one| one.loss.taken_back.as_secs_f64());
        table.add(all, "new workers connected after, s", rounded, |one| one.loss.joined.as_secs_f64());
        table.add(all, "and each with a task in hand after, s", rounded, |one| one.loss.given.as_secs_f64());
        table.part(format!("etcd {version}: size of its database, MiB: the file"));
        table.sizes(all, |size| size.file);
        table.part("the same: in use");
        table.sizes(all, |size| size.used);
        table.part("limit: bare transactions of the same etcd, before all that");
        table.limit(all, "one put, one after the other, /s", |limit| limit.single);
        table.limit(all, "one put, 64 at a time, /s", |limit| limit.many);
        table.limit(all, "a hundred puts, one after the other, transactions/s", |limit| limit.batched);
        table.limit(all, "keep-alives of a lease, one after the other, /s", |limit| limit.keep_alives);
        table
    }

    pub(super) fn print(&self, report: &mut Report) {
        let ratios = (1..self.head.len()).filter(|at| self.grows[at - 1]);
        let ratio = |at: usize| format!("to {}", self.head[at - 1]);
        let head = self.head.iter().cloned().chain(ratios.map(ratio));
        report.say(format!("  {:<56}{}", "workers", columns(head)));
        for row in &self.rows {
            match row {
                Row::Part(name) => report.say(format!("  {name}")),
                Row::Figures { what, values, text } => {
                    let ratios = (1..values.len()).filter(|at| self.grows[at - 1]);
                    let ratio = |at: usize| growth(values[at - 1], values[at]);
                    let cells = values.iter().map(|value| text(*value)).chain(ratios.map(ratio));
                    report.say(format!("    {what:<54}{}", columns(cells)));
                }
            }
        }
    }

    fn beats(&mut self, all: &[Measured], phase: fn(&Measured) -> &Phase) {
        self.add(all, "heartbeats answered, /s", count, |one| phase(one).rate);
        self.add(all, "answer to a heartbeat, p50, ms", rounded, |one| millis(phase(one).beat.0));
        self.add(all, "answer to a heartbeat, p99, ms", rounded, |one| millis(phase(one).beat.1));
        self.add(all, "coordinator's processor, cores", rounded, |one| phase(one).cpu);
        self.add(all, "processor of all the workers, cores", rounded, |one| phase(one).crowd_cpu);
    }

    fn claims(&mut self, all: &[Measured], phase: fn(&Measured) -> &Phase) {
        self.add(all, "claims, /s", rounded, |one| phase(one).claims);
        self.add(all, "transactions of the store that write, /s", rounded, |one| phase(one).transactions);
        self.add(all, "from a free slot to a task in hand, p50, ms", rounded, |one| millis(phase(one).claim.0));
        self.add(all, "from a free slot to a task in hand, p99, ms", rounded, |one| millis(phase(one).claim.1));
        self.add(all, "etcd's processor, cores", rounded, |one| phase(one).store_cpu);
    }

    fn sizes(&mut self, all: &[Measured], of: fn(&Size) -> u64) {
        let when = ["with the tasks open", "after all this", "compacted and made anew"];
        for (at, when) in when.into_iter().enumerate() {
            self.add(all, when, rounded, |one| mebibytes(of(&one.sizes[at])));
        }
    }

    fn limit(&mut self, all: &[Measured], what: &str, of: fn(&Limit) -> f64) {
        self.add(all, what, count, |one| of(&one.limit));
    }

    fn part(&mut self, name: impl Into<String>) {
        self.rows.push(Row::Part(name.into()));
    }

    fn add(&mut self, all: &[Measured], what: &str, text: fn(f64) -> String, value: impl Fn(&Measured) -> f64) {
        self.rows.push(Row::Figures { what: what.to_owned(), values: all.iter().map(value).collect(), text });
    }
}

fn columns(cells: impl Iterator<Item = String>) -> String {
    cells.map(|cell| format!("{cell:>13}")).collect()
}

/// From next to nothing there is no ratio.
fn growth(from: f64, to: f64) -> String {
    if from < 0.005 { "-".to_owned() } else { format!("{}x", rounded(to / from)) }
}

fn count(value: f64) -> String {
    grouped(value.round() as u64)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

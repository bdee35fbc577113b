//! The year of flights as 8,755 hourly windows against the same file loaded as one window: what windows cost, as users
//! run them, each time a process of its own with a ledger and a table of its own.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use windrow_tests::{example::Example, peer::python, process::windrow, reader};

use crate::{
    Settings,
    report::{Goal, Report, mebibytes, seconds},
    sample::median,
    usage::{self, Finished},
};

const ROUNDS: usize = 3;
const HOURS: u32 = 8_755;

/// A way to load the year.
struct Way {
    what: &'static str,
    every: &'static str,
    per_task: u32,
    rounds: Vec<Loaded>,
}

/// One load of it.
struct Loaded {
    run: Finished,
    files: i64,
}

pub(crate) fn run(_: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    let mut one = Way::new("one window", "8755h", 1);
    let mut hours = Way::new("8,755 windows in 2 tasks, as the example is", "1h", 4_378);
    let mut runs = Way::new("8,755 windows in 9 tasks, the default", "1h", 1_000);
    let mut idle = Vec::new();
    for _ in 0..ROUNDS {
        one.load()?;
        idle.push(hours.load()?);
        runs.load()?;
    }
    report.say(format!("336,776 rows of gzipped CSV, 19 columns, into a Delta table; medians of {ROUNDS} rounds"));
    let nothing = median(idle.iter().map(Duration::as_secs_f64));
    report.figure("a run that finds nothing to do", seconds(Duration::from_secs_f64(nothing)));
    for way in [&one, &hours, &runs] {
        way.tell(report);
    }
    let pairs = |of: fn(&Finished) -> f64, to: &Way| {
        median(to.rounds.iter().zip(&one.rounds).map(|(way, one)| of(&way.run) / of(&one.run)))
    };
    let wall = |run: &Finished| run.wall.as_secs_f64();
    let cpu = |run: &Finished| run.cpu.as_secs_f64();
    for way in [&hours, &runs] {
        report.goal(&format!("{}: time to one window", way.what), pairs(wall, way), Goal::AtMost(3.0), "x");
        report.goal("  processor time to one window", pairs(cpu, way), Goal::AtMost(3.0), "x");
        report.goal("  peak memory", way.peak(), Goal::AtMost(512.0), " MiB");
        report.goal("  data files in the table", way.files(), Goal::AtMost(24.0), " files");
    }
    if settings.long {
        let mut tasks = Way::new("8,755 windows in 8,755 tasks, each reads the whole file", "1h", 1);
        tasks.load()?;
        tasks.tell(report);
        report.goal("  peak memory", tasks.peak(), Goal::AtMost(512.0), " MiB");
        report.figure("  data files in the table", format!("{}", tasks.files()));
        let each = (wall(&tasks.rounds[0].run) - nothing) / f64::from(HOURS);
        report.figure("  a task", format!("{:.1} ms", each * 1e3));
    }
    Ok(())
}

impl Way {
    fn new(what: &'static str, every: &'static str, per_task: u32) -> Self {
        Self { what, every, per_task, rounds: Vec::new() }
    }

    /// Loads the year into a new table and has a reader that is not ours check it. Tells how long a second run takes,
    /// which has nothing to do.
    fn load(&mut self) -> Result<Duration> {
        let example = Example::with_tasks_of(self.per_task)?;
        example.edit("every: 1h", &format!("every: {}", self.every))?;
        let text = std::fs::read_to_string(example.pipelines())?;
        // Without the planes: this is about the flights.
        std::fs::write(example.pipelines(), text.split("  planes:").next().unwrap_or_default())?;
        let run = usage::run(Command::new(windrow()?).args(["run", example.arg()]))?;
        let found = reader::flights(&python()?, &example.table())?;
        found.check_year()?;
        let again = usage::run(Command::new(windrow()?).args(["run", example.arg()]))?;
        ensure!(reader::flights(&python()?, &example.table())? == found, "a second run changed the table");
        self.rounds.push(Loaded { run, files: found.files });
        Ok(again.wall)
    }

    fn tell(&self, report: &mut Report) {
        let wall = Duration::from_secs_f64(median(self.rounds.iter().map(|round| round.run.wall.as_secs_f64())));
        let cpu = Duration::from_secs_f64(median(self.rounds.iter().map(|round| round.run.cpu.as_secs_f64())));
        report.figure(self.what, seconds(wall));
        report.figure("  processor time", seconds(cpu));
    }

    /// The highest peak of all rounds.
    fn peak(&self) -> f64 {
        mebibytes(self.rounds.iter().map(|round| round.run.peak_bytes).max().unwrap_or(0))
    }

    /// The most files of all rounds.
    fn files(&self) -> f64 {
        self.rounds.iter().map(|round| round.files).max().unwrap_or(0) as f64
    }
}

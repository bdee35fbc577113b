//! How far pipelines are: a bar each on a terminal, a plain line now and then otherwise. On stderr.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use windrow_common::count::{counted, grouped};
use windrow_proto::v1;

/// Shows reports as they come.
pub struct Progress {
    bars: Option<MultiProgress>,
    shown: BTreeMap<String, Shown>,
}

struct Shown {
    bar: Option<ProgressBar>,
    /// Tenths that a plain line was printed for.
    tenths: u64,
    failure: String,
    trouble: String,
}

impl Progress {
    pub fn new(terminal: bool) -> Self {
        Self { bars: terminal.then(MultiProgress::new), shown: BTreeMap::new() }
    }

    pub fn show(&mut self, reports: &[v1::Pipeline]) {
        for report in reports {
            let bars = &self.bars;
            let shown = self.shown.entry(report.name.clone()).or_insert_with(|| Shown {
                bar: bars.as_ref().map(|bars| bars.add(new_bar(&report.name))),
                tenths: 0,
                failure: String::new(),
                trouble: String::new(),
            });
            let (done, all) = (done(report), all(report));
            match &shown.bar {
                Some(bar) => {
                    bar.set_length(all);
                    bar.set_position(done);
                    bar.set_message(rows(report));
                }
                None => {
                    let tenths = (done * 10).checked_div(all).unwrap_or(0);
                    if tenths > shown.tenths {
                        shown.tenths = tenths;
                        let _ = writeln!(
                            io::stderr(),
                            "{}: {} of {}, {}",
                            report.name,
                            grouped(done),
                            counted(all, "window"),
                            rows(report)
                        );
                    }
                }
            }
            tell(&self.bars, &mut shown.failure, &report.name, report.last_failure.as_ref());
            let trouble = report.trouble.as_ref();
            let what = if trouble.is_some_and(|trouble| trouble.halted) { "sink is halted" } else { "commit failed" };
            let failure = trouble.and_then(|trouble| trouble.failure.as_ref());
            tell(&self.bars, &mut shown.trouble, &format!("{}: {what}", report.name), failure);
        }
    }

    pub fn finish(&mut self, reports: &[v1::Pipeline]) {
        self.show(reports);
        for bar in self.shown.values().filter_map(|shown| shown.bar.as_ref()) {
            bar.finish();
        }
    }
}

/// Every new failure is told once, as it happens.
fn tell(bars: &Option<MultiProgress>, told: &mut String, what: &str, failure: Option<&v1::Failure>) {
    let Some(failure) = failure else { return };
    let text = format!("{what}: {} [{}]", failure.message, failure.code);
    if text == *told {
        return;
    }
    match bars {
        Some(bars) => drop(bars.println(&text)),
        None => drop(writeln!(io::stderr(), "{text}")),
    }
    *told = text;
}

fn new_bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<20} {bar:30} {pos:>7}/{len:<7} windows  {msg}");
    ProgressBar::new(0).with_prefix(name.to_owned()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn done(report: &v1::Pipeline) -> u64 {
    report.published + report.quarantined
}

fn all(report: &v1::Pipeline) -> u64 {
    done(report) + report.waiting + report.pending + report.claimed + report.sealed + report.unplanned
}

fn rows(report: &v1::Pipeline) -> String {
    let published = report.totals.map(|totals| totals.rows_written).unwrap_or_default();
    match report.rows_running {
        0 => counted(published, "row"),
        running => format!("{}, {} read", counted(published, "row"), grouped(running)),
    }
}

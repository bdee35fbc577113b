//! Compaction beside ingestion: a cluster publishes a window a second into a Delta table, whose files are rewritten after every commit, or
//! are not, in turns. What a window waits for from its end to the commit that shows it is read from the table's log.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use windrow_tests::{cluster::Cluster, peer::python, reader};

use crate::{
    Settings,
    report::{Goal, Report, millis, rounded},
    sample::percentile,
};

const ROUNDS: u32 = 3;
/// Of each way in all rounds.
const MINUTE: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;
const ROWS: u64 = 5_000;
/// Before the first window ends its pipeline is known.
const SOON: Duration = Duration::from_secs(2);
/// After the last one ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most files while windows come: those of a second or two, and what is large already.
const FEW: f64 = 32.0;

/// What came of a way, over all rounds.
#[derive(Default)]
struct Way {
    /// From a window's end to its commit.
    waits: Vec<Duration>,
    /// From the first window's end to the last commit, over all rounds.
    time: Duration,
    most_files: usize,
    rewrites: u64,
    aborted: u64,
}

pub(crate) fn run(runtime: &tokio::runtime::Runtime, settings: &Settings, report: &mut Report) -> Result<()> {
    let lasts = if settings.long { 10 * MINUTE } else { MINUTE };
    let Some((alone, beside)) = runtime.block_on(measure(lasts / ROUNDS))? else {
        report.say("there is no etcd: left out");
        return Ok(());
    };
    report.say(format!(
        "a window of {ROWS} rows a second for {} s each way in {ROUNDS} rounds; {WORKERS} workers; every commit has small files rewritten",
        lasts.as_secs()
    ));
    report.figure("windows a minute, alone", rounded(alone.rate()));
    report.figure("  beside compaction", rounded(beside.rate()));
    report.goal("  to that alone", beside.rate() / alone.rate(), Goal::AtLeast(0.99), "x");
    for (what, percent) in [("p50", 50), ("p99", 99)] {
        let both = [&alone, &beside].map(|way| percentile(&way.waits, percent));
        report.figure(&format!("{what} from a window's end to its commit"), both.map(millis).join(", "));
    }
    let p99 = |way: &Way| percentile(&way.waits, 99).as_secs_f64();
    report.goal("  p99 beside compaction to that alone", p99(&beside) / p99(&alone), Goal::AtMost(1.25), "x");
    report.figure("files at most, alone", alone.most_files.to_string());
    report.goal("  beside compaction", beside.most_files as f64, Goal::AtMost(FEW), " files");
    report.figure("  rewrites a minute", rounded(beside.rewrites as f64 * 60.0 / beside.time.as_secs_f64()));
    report.goal("commits of windows that were aborted", beside.aborted as f64, Goal::AtMost(0.0), "");
    Ok(())
}

/// Alone and beside compaction; `None` without etcd.
async fn measure(lasts: Duration) -> Result<Option<(Way, Way)>> {
    let folder = tempfile::tempdir()?;
    let Some(cluster) = Cluster::start(1, WORKERS).await? else { return Ok(None) };
    let (mut alone, mut beside) = (Way::default(), Way::default());
    for round in 0..ROUNDS {
        let rounds = [(format!("alone{round}"), "", &mut alone), (format!("beside{round}"), COMPACTION, &mut beside)];
        for (name, compaction, way) in rounds {
            let table = load(&cluster, folder.path(), (&name, compaction), lasts).await?;
            way.add(&table)?;
        }
    }
    ensure!(beside.rewrites > 0, "nothing was rewritten\n{}", cluster.logs());
    Ok(Some((alone, beside)))
}

const COMPACTION: &str = "\n    compaction: { when: inline, min_files: 2, target_size: 64MiB }";

/// Publishes a window a second until the time is over, and has a reader that is not ours count the rows. Where the table is.
async fn load(cluster: &Cluster, folder: &Path, (name, compaction): (&str, &str), lasts: Duration) -> Result<PathBuf> {
    let windows = lasts.as_secs();
    let start = Timestamp::from_second((Timestamp::now() + SOON).as_second())?;
    let at = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let text = format!(
        "version: 1
connections:
  made_for_{name}: {{ type: synthetic }}
  lake_of_{name}: {{ type: local, root: ./lake }}
pipelines:
  {name}:
    pattern: incremental
    source: {{ from: made_for_{name}, cursor: ts, rows_per_window: {ROWS} }}
    window: {{ every: 1s, start: {}, end: {}, per_task: 1 }}
    sink: {{ to: lake_of_{name}, format: delta, path: {name} }}{compaction}
",
        at(start),
        at(start + lasts)
    );
    let path = folder.join(format!("{name}.yaml"));
    fs::write(&path, text)?;
    cluster.apply(path.to_str().context("a folder has a name")?)?;
    let deadline = Instant::now() + SOON + lasts + PATIENCE;
    while published(cluster, name)? < windows {
        ensure!(Instant::now() < deadline, "not all windows were published\n{}", cluster.logs());
        sleep(Duration::from_millis(500)).await;
    }
    let table = folder.join("lake").join(name);
    let found = reader::ask(&python()?, ("delta", &table), "SELECT count(*), count(DISTINCT hash) FROM t", None)?;
    let rows = windows * ROWS;
    ensure!(found == format!("{rows}|{rows}"), "the reader found {found} rows and different ones, not {rows}");
    Ok(table)
}

fn published(cluster: &Cluster, name: &str) -> Result<u64> {
    let pipelines = cluster.ask(&["get", "pipelines"])?;
    let found = pipelines.as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
    found.and_then(|one| one["windows"]["published"].as_u64()).with_context(|| format!("no pipeline {name}"))
}

impl Way {
    /// Windows a minute.
    fn rate(&self) -> f64 {
        self.waits.len() as f64 * 60.0 / self.time.as_secs_f64()
    }

    /// Reads what a table's log tells.
    fn add(&mut self, table: &Path) -> Result<()> {
        let mut commits: Vec<PathBuf> =
            fs::read_dir(table.join("_delta_log"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        commits.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        commits.sort_unstable();
        let mut files: BTreeSet<String> = BTreeSet::new();
        let mut ends: Vec<(SystemTime, SystemTime)> = Vec::new();
        for path in commits {
            let made = fs::metadata(&path)?.modified()?;
            for line in fs::read_to_string(&path)?.lines() {
                let action: Value = serde_json::from_str(line)?;
                files.extend(action["add"]["path"].as_str().map(str::to_owned));
                action["remove"]["path"].as_str().map(|path| files.remove(path));
                self.tell(&action["commitInfo"]);
                let windows = action["commitInfo"]["windrow"]["windows"].as_array();
                for window in windows.into_iter().flatten() {
                    ends.push((end_of(window)?, made));
                }
            }
            self.most_files = self.most_files.max(files.len());
        }
        let (first, last) = (ends.iter().map(|(end, _)| *end).min(), ends.iter().map(|(_, made)| *made).max());
        let (Some(first), Some(last)) = (first, last) else { bail!("no window was published") };
        // The first one took its second, too.
        self.time += last.duration_since(first).unwrap_or_default() + Duration::from_secs(1);
        self.waits.extend(ends.iter().map(|(end, made)| made.duration_since(*end).unwrap_or_default()));
        Ok(())
    }

    fn tell(&mut self, info: &Value) {
        let rewrites = info["operation"] == "OPTIMIZE";
        self.rewrites += u64::from(rewrites);
        self.aborted += u64::from(!rewrites && info["windrow"]["aborted"] == true);
    }
}

/// When a window ended, as a commit names it: `start..end`.
fn end_of(window: &Value) -> Result<SystemTime> {
    let text = window["window"].as_str().and_then(|window| window.split_once(".."));
    let (_, end) = text.with_context(|| format!("{window} is no window"))?;
    Ok(end.parse::<Timestamp>()?.into())
}

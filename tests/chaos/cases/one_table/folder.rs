//! The same of a folder of Parquet that windrow loads: windows come as time goes on and are replaced by newer revisions, small files are
//! rewritten aside after every commit, those they stand for go when the next committer believes that days have passed, and each part of the
//! cluster is killed and stopped. A reader that is not ours goes by the list of files (`tests/readers/lister.py`), and finds each row
//! once at all times.

use std::{collections::BTreeMap, fs, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use windrow_tests::peer::Peer;

use super::{
    Case, HELD, Kept, MOST_LEFT,
    desk::{Desk, employ},
    open, settle, strikes,
    timeline::EVERY,
    unless_seen, watch,
    work::{self, Revisions},
};
use crate::{course::Outcome, ground::Ground, site::Site};

pub(crate) const MINUTE: Case = Case {
    name: "one-folder-1m",
    injected: "for a minute loads, replacements, rewrites aside and cleaning of one folder of files, while each part of the cluster is killed and stopped",
    held: HELD,
    run: |ground, seed| Box::pin(run(ground, seed, Duration::from_secs(60))),
};

pub(crate) const TEN_MINUTES: Case = Case {
    name: "one-folder-10m",
    injected: "what one-folder-1m does, for ten minutes",
    held: HELD,
    run: |ground, seed| Box::pin(run(ground, seed, Duration::from_secs(600))),
};

const FOLDER: Kept = Kept {
    format: "parquet",
    sink: "to: lake, format: parquet, path: rows, cleaning: { keep: 2h, accept_short: true }",
    log: "_windrow/log",
    ages: true,
};

const LISTER: &str = include_str!("../../../readers/lister.py");
const PAUSE: Duration = Duration::from_millis(20);
/// Fewer looks show nothing.
const LEAST_LOOKS: u64 = 200;

/// A reader by the list.
struct Lister(Peer);

/// What the log and the newest list tell in the end.
#[derive(Debug, Deserialize)]
struct End {
    /// The numbers of the commits, in order.
    seqs: Vec<u64>,
    /// Whether each names the one before.
    chained: bool,
    /// Loads and rewrites that were committed.
    effects: BTreeMap<String, u64>,
    /// What the newest list has.
    files: usize,
    rows: u64,
    /// Files that went because others stand for them.
    cleaned: u64,
    /// Every file that may lie there.
    live: Vec<String>,
    /// Looks, and faults by kind.
    count: BTreeMap<String, u64>,
}

async fn run(ground: &Ground, seed: u64, lasts: Duration) -> Result<Outcome> {
    let mut site = Site::new(ground, FOLDER.format, seed)?;
    let (desk, mut crew) = open(&mut site, &FOLDER, (seed, lasts)).await?;
    let ran = async {
        let mut lister = employ(&desk, "reading by the list", Lister::watch);
        let replaced = employ(&desk, "replacing windows", work::replace);
        let struck = strikes::strike(&mut site, &mut crew, &desk, Instant::now() + lasts).await;
        desk.end();
        let revisions = unless_seen(replaced, &mut lister).await?;
        let strikes = struck?;
        settle(&mut site, &desk).await?;
        crew.renew(&mut site)?;
        site.wait("the last cleaning", |_| Ok(replaced_files(&desk)? == 0)).await?;
        desk.close();
        let mut lister = lister.await??;
        let end = lister.end(&desk)?;
        check(&site, &desk, &end, &revisions).await?;
        lister.betray(&desk)?;
        let End { rows, effects, count, files, cleaned, .. } = &end;
        let replacements: u64 = revisions.values().map(|revision| revision - 1).sum();
        let text = format!(
            "{rows} rows, 0 lost, 0 doubled, 0 resurrected; {effects:?}, {replacements} windows replaced, {count:?}, {files} files, \
             {cleaned} cleaned away, {strikes} strikes"
        );
        Ok(Outcome::clean(text, strikes))
    };
    let ran: Result<Outcome> = ran.await;
    desk.close();
    ran.with_context(|| site.logs())
}

/// Files that are still there although others stand for them.
fn replaced_files(desk: &Desk) -> Result<usize> {
    let files = fs::read_dir(desk.table.join("_windrow/files"))?.map(|entry| Ok(entry?.path()));
    // Who died while writing one leaves `…list#1` behind.
    let lists = files
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "list"));
    let newest = lists.max().context("there is a list")?;
    let list: Value = serde_json::from_slice(&fs::read(newest)?)?;
    let files = list["instead_of"].as_array().context("a list says what it stands for")?.iter();
    Ok(files.filter_map(Value::as_str).filter(|path| desk.table.join(path).exists()).count())
}

impl Lister {
    /// Looks until there is nothing more to see.
    fn watch(desk: &Desk) -> Result<Self> {
        let start = desk.timeline.start.as_microsecond().to_string();
        let every = EVERY.as_micros().to_string();
        let arguments = [desk.table.as_os_str(), start.as_ref(), every.as_ref()];
        let mut lister = Self(Peer::start_with(&desk.python, LISTER, &arguments)?);
        while !desk.is_closed() {
            lister.look(desk)?;
            sleep(PAUSE);
        }
        Ok(lister)
    }

    fn look(&mut self, desk: &Desk) -> Result<()> {
        let said = self.0.ask("look")?;
        watch::check(&said)?;
        let mut seen = desk.seen();
        seen.version = said["version"].as_u64().context("no version")?;
        seen.revisions = serde_json::from_value(said["revisions"].clone())?;
        Ok(())
    }

    fn end(&mut self, desk: &Desk) -> Result<End> {
        self.look(desk)?;
        Ok(serde_json::from_value(self.0.ask("end")?)?)
    }

    /// The reader is no rubber stamp: a list that shows a row twice, or not at all, or one of before, is seen.
    fn betray(&mut self, desk: &Desk) -> Result<()> {
        self.look(desk)?;
        for (how, what) in [("double", "doubled"), ("resurrect", "resurrected"), ("lose", "lost")] {
            self.0.ask(&format!("betray {how}"))?;
            let said: Value = self.0.ask("look")?;
            ensure!(said["count"][what].as_u64().unwrap_or(0) > 0, "nobody saw that a row was {what}: {said}");
        }
        Ok(())
    }
}

/// Everything that must be so in the end, but for what the reader has seen to.
async fn check(site: &Site<'_>, desk: &Desk, end: &End, revisions: &Revisions) -> Result<()> {
    ensure!(end.seqs.iter().copied().eq(1..=end.seqs.len() as u64), "the commits are numbered {:?}", end.seqs);
    ensure!(end.chained, "a commit does not name the one before it");
    let seen = desk.seen().revisions.clone();
    for window in 0..desk.timeline.windows {
        let wanted = revisions.get(&window).unwrap_or(&1);
        ensure!(seen.get(&window) == Some(wanted), "window {window} is at {:?}, not {wanted}", seen.get(&window));
    }
    site.check_ledger("rows", (desk.timeline.windows, end.seqs.len() as u64)).await?;
    site.check_sweeps("rows", &end.live.iter().map(String::as_str).collect()).await?;
    let idle: Vec<_> = ["loads", "rewrites"].into_iter().filter(|kind| !end.effects.contains_key(*kind)).collect();
    ensure!(
        idle.is_empty() && end.cleaned > 0,
        "nothing came of {idle:?}, and {} files were cleaned away",
        end.cleaned
    );
    ensure!(end.files <= MOST_LEFT, "{} files are left", end.files);
    ensure!(end.count["looks"] > LEAST_LOOKS, "{} looks", end.count["looks"]);
    Ok(())
}

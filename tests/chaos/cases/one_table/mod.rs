//! One table, and everything at once: windows are loaded as time goes on and replaced by newer revisions, another writer appends to it
//! and deletes from it, its small files are rewritten after every commit, what it gave up is cleaned away seconds later, versions are pinned and
//! let go, and each part of the cluster is killed and stopped. A reader that is not ours checks every version the table ever
//! has (`tests/readers/watcher.py`): which rows it may hold follows from the version before it and from what its commit says it does.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};
use windrow_tests::peer::Peer;

pub(super) use self::folder::{MINUTE as FOLDER, TEN_MINUTES as FOLDER_FOR_TEN_MINUTES};
use self::{
    desk::{Desk, employ},
    strikes::Crew,
    timeline::Timeline,
    watch::{End, Watcher},
    work::Revisions,
};
use super::Case;
use crate::{
    course::Outcome,
    ground::Ground,
    site::{Site, Special},
};

mod desk;
mod folder;
mod strikes;
mod timeline;
mod watch;
mod work;

const HELD: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 9, 10, 15, 18, 21];

pub(crate) const MINUTE: Case = Case {
    name: "one-table-1m",
    injected: "for a minute loads, replacements, another writer, compaction, cleaning and pins on one table, while each part of the cluster is killed and stopped",
    held: HELD,
    run: |ground, seed| Box::pin(run(ground, seed, Duration::from_secs(60))),
};

pub(crate) const TEN_MINUTES: Case = Case {
    name: "one-table-10m",
    injected: "the same for ten minutes",
    held: HELD,
    run: |ground, seed| Box::pin(run(ground, seed, Duration::from_secs(600))),
};

/// Most files of any version: what comes between two rewrites, some of which others get the better of, and while nobody leads. Without rewrites
/// ten minutes leave ten times as many.
const MOST_FILES: u64 = 150;
/// Most files when all is done: of each kin one, and a small one that waits for others.
const MOST_LEFT: usize = 6;

/// What is kept, of which kind it is and how it says so.
struct Kept {
    format: &'static str,
    sink: &'static str,
    /// Where in it a file stands for each commit.
    log: &'static str,
    /// Whether workers have to believe that days have passed for it to be cleaned.
    ages: bool,
}

/// Files stay for longer than the case lasts, and are made to look old enough.
const TABLE: Kept = Kept {
    format: "delta",
    sink: "to: lake, format: delta, path: rows, cleaning: { keep: 2h, log: 2h, accept_short: true }",
    log: "_delta_log",
    ages: false,
};

async fn run(ground: &Ground, seed: u64, lasts: Duration) -> Result<Outcome> {
    let mut site = Site::new(ground, TABLE.format, seed)?;
    let (desk, crew) = open(&mut site, &TABLE, (seed, lasts)).await?;
    let ran = course(&mut site, &desk, crew, lasts).await;
    desk.close();
    ran.with_context(|| site.logs())
}

/// The cluster, the pipeline and all that it will ever load, and the first version of the table.
async fn open(site: &mut Site<'_>, kept: &Kept, (seed, lasts): (u64, Duration)) -> Result<(Arc<Desk>, Crew)> {
    let folder = site.plot.path().to_owned();
    fs::create_dir(folder.join("in"))?;
    for _ in 0..2 {
        site.add_coordinator(Special::default()).await?;
    }
    let crew = Crew::hire(site, kept.ages)?;
    let timeline = Timeline::lasting(lasts)?;
    (0..timeline.windows).try_for_each(|window| timeline.deliver(&folder, window, 1))?;
    fs::write(folder.join("rows.yaml"), timeline.pipeline(kept.sink))?;
    site.apply()?;
    let places = (folder, site.plot.table("rows"), kept.log);
    let desk = Desk::new(timeline, places, (site.ground.python.clone(), site.addresses()), seed);
    site.wait("the first window", |_| Ok(desk.newest() > 0)).await?;
    Ok((Arc::new(desk), crew))
}

async fn course(site: &mut Site<'_>, desk: &Arc<Desk>, mut crew: Crew, lasts: Duration) -> Result<Outcome> {
    let mut watcher = employ(desk, "watching", watch::watch);
    let replaced = employ(desk, "replacing windows", work::replace);
    let pinned = employ(desk, "pinning", work::pin);
    let written = employ(desk, "writing beside", work::write);
    let struck = strikes::strike(site, &mut crew, desk, Instant::now() + lasts).await;
    desk.end();
    // Whoever watches says best what is wrong, and has to see what the others have done.
    let (mut writer, conflicts) = unless_seen(written, &mut watcher).await?;
    let revisions = unless_seen(replaced, &mut watcher).await?;
    let (held, refused) = unless_seen(pinned, &mut watcher).await?;
    let strikes = struck?;
    settle(site, desk).await?;
    desk.close();
    let mut watcher = watcher.await??;
    watcher.read_pinned(desk)?;
    let end = watcher.end(desk)?;
    let cleaned = check(site, desk, &end, &revisions).await?;
    betray(&mut writer, &mut watcher)?;
    let End { rows, count, seqs, most_files, .. } = &end;
    let replacements: u64 = revisions.values().map(|revision| revision - 1).sum();
    let text = format!(
        "{rows} rows, 0 lost, 0 doubled, 0 resurrected; {} versions {count:?}, {} commits, {replacements} windows replaced, {conflicts} conflicts \
         of the other writer, at most {most_files} files, {cleaned} cleaned away, {held} pins held and {refused} refused, {strikes} strikes",
        desk.seen().version,
        seqs.len(),
    );
    Ok(Outcome::clean(text, strikes))
}

/// What somebody has done, unless the watcher has given up: then why.
async fn unless_seen<T, W>(work: JoinHandle<Result<T>>, watcher: &mut JoinHandle<Result<W>>) -> Result<T> {
    let done = work.await?;
    if watcher.is_finished() {
        watcher.await??;
        bail!("the watcher has ended");
    }
    done
}

/// With all faults healed everything comes to its end: all windows are published, and files are few.
async fn settle(site: &mut Site<'_>, desk: &Desk) -> Result<()> {
    let windows = desk.timeline.windows;
    site.wait("all windows", |site| Ok(site.count("rows", "published")? == windows)).await?;
    site.wait("the last rewrite", |_| Ok(desk.ask(&["compact", "rows"])?.status.success())).await?;
    site.wait("no open task", |site| Ok(site.ask(&["get", "tasks", "rows"])? == Value::Array(Vec::new()))).await
}

/// Everything that must be so in the end, but for what the watcher has seen to; how many files were cleaned away.
async fn check(site: &Site<'_>, desk: &Desk, end: &End, revisions: &Revisions) -> Result<usize> {
    ensure!(end.agree, "the readers do not agree on the newest version");
    ensure!(end.seqs.iter().copied().eq(1..=end.seqs.len() as u64), "the commits are numbered {:?}", end.seqs);
    let seen = desk.seen().revisions.clone();
    for window in 0..desk.timeline.windows {
        let wanted = revisions.get(&window).unwrap_or(&1);
        ensure!(seen.get(&window) == Some(wanted), "window {window} is at {:?}, not {wanted}", seen.get(&window));
    }
    site.check_ledger("rows", (desk.timeline.windows, end.seqs.len() as u64)).await?;
    let known: BTreeSet<&str> = end.paths.iter().map(String::as_str).collect();
    site.check_sweeps("rows", &known).await?;
    let cleaned = known.iter().filter(|path| !desk.table.join(path).exists()).count();
    let kinds = ["loads", "rewrites", "appends by others", "deletes by others"];
    let idle: Vec<_> = kinds.iter().filter(|kind| !end.count.contains_key(**kind)).collect();
    ensure!(idle.is_empty() && cleaned > 0, "nothing came of {idle:?}, and {cleaned} files were cleaned away");
    ensure!(end.most_files <= MOST_FILES, "a version had {} files", end.most_files);
    ensure!(end.live.len() <= MOST_LEFT, "{} files are left", end.live.len());
    Ok(cleaned)
}

/// The watcher is no rubber stamp: a row that is doubled, brought back or taken away in a commit that says nothing of it is seen.
fn betray(writer: &mut Peer, watcher: &mut Watcher) -> Result<()> {
    for (how, what) in [("double", "doubled"), ("resurrect", "resurrected"), ("lose", "lost")] {
        writer.ask(&format!("betray {how}"))?;
        ensure!(watcher.wrong(what)? > 0, "nobody saw that a row was {what}");
    }
    Ok(())
}

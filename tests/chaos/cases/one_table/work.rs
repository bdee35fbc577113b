//! Those who work on the table: windows are loaded again as newer revisions, versions are pinned and let go, another writer appends and
//! deletes. Each of them is asked for until it is done, whoever leads.

use std::{collections::BTreeMap, thread::sleep, time::Duration};

use anyhow::{Result, bail, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IteratorRandom};
use serde_json::Value;
use windrow_tests::peer::Peer;

use super::desk::Desk;

const OUTSIDER: &str = include_str!("../../../readers/outsider.py");
/// Most windows of a backfill.
const MOST_WINDOWS: u64 = 4;
const MOST_PINS: usize = 4;
/// A pin of a version that the newest has left so far behind is asked for too.
const OLDEST_PINNED: u64 = 30;
/// How often windows are asked for again that a settled backfill left to another task.
const MOST_BACKFILLS: u32 = 5;

/// The newest revision of each window that was loaded again.
pub(super) type Revisions = BTreeMap<u64, u64>;

/// Replaces windows until it is over.
pub(super) fn replace(desk: &Desk) -> Result<Revisions> {
    let mut random = StdRng::seed_from_u64(desk.seed ^ 1);
    let mut delivered = Revisions::new();
    let mut backfills = 0;
    while !desk.is_over() {
        sleep(Duration::from_millis(random.random_range(200..1_000)));
        let known = desk.seen().revisions.clone();
        let Some(first) = known.keys().copied().choose(&mut random) else { continue };
        let most = first + random.random_range(1..=MOST_WINDOWS);
        let windows: Vec<u64> = (first..most).take_while(|window| known.contains_key(window)).collect();
        for window in &windows {
            let revision = delivered.entry(*window).or_insert(1);
            *revision += 1;
            desk.timeline.deliver(&desk.folder, *window, *revision)?;
        }
        let came = |desk: &Desk| {
            let seen = desk.seen();
            windows.iter().all(|window| seen.revisions.get(window) == delivered.get(window))
        };
        // What was published a moment ago may be in hands still, and is left to them: it is asked for again.
        for attempt in 0.. {
            ensure!(attempt < MOST_BACKFILLS, "windows {windows:?} stay as they were");
            backfills += 1;
            backfill(desk, (first, first + windows.len() as u64), &format!("again-{backfills}"))?;
            let looked = desk.newest();
            desk.wait("the watcher", || Ok(desk.seen().version >= looked))?;
            if came(desk) {
                break;
            }
        }
    }
    Ok(delivered)
}

/// Has windows `[from, to)` loaded again, and stays until that is settled.
fn backfill(desk: &Desk, (from, to): (u64, u64), id: &str) -> Result<()> {
    let (from, to) = (desk.timeline.start_of(from).to_string(), desk.timeline.start_of(to).to_string());
    #[rustfmt::skip]
    let args = [
        "backfill", "create", "rows", "--from", &from, "--to", &to, "--reprocess", "all", "--request-id", id,
    ];
    desk.wait("a backfill", || {
        let output = desk.ask(&args)?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(4) => bail!("a backfill failed: {}", String::from_utf8_lossy(&output.stderr)),
            _ => Ok(false),
        }
    })
}

/// Pins versions, lately made ones and such as may be cleaned away at this moment, and lets go of them. How many were held, and how many
/// refused.
pub(super) fn pin(desk: &Desk) -> Result<(u64, u64)> {
    let mut random = StdRng::seed_from_u64(desk.seed ^ 2);
    let (mut held, mut refused) = (0, 0);
    while !desk.is_over() {
        sleep(Duration::from_millis(random.random_range(500..2_000)));
        if desk.pins().len() >= MOST_PINS {
            let pin = desk.pins().keys().choose(&mut random).cloned().unwrap_or_default();
            // Nobody reads it from here on.
            desk.pins().remove(&pin);
            desk.wait("a pin to go", || Ok(is_gone(&desk.ask(&["unpin", &pin])?)))?;
        }
        let newest = desk.seen().version.max(1);
        let version = random.random_range(newest.saturating_sub(OLDEST_PINNED).max(1)..=newest);
        let (version_text, id) = (version.to_string(), format!("pin-{}", held + refused));
        let args = ["pin", "rows", "--version", &version_text, "--for", "1h", "--request-id", &id, "-o", "json"];
        desk.wait("an answer to a pin", || {
            let output = desk.ask(&args)?;
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                let pin: Value = serde_json::from_slice(&output.stdout)?;
                desk.pins().insert(pin["id"].as_str().unwrap_or_default().to_owned(), version);
                held += 1;
            } else if said.contains("WR-K050") {
                refused += 1;
            } else {
                return Ok(false);
            }
            Ok(true)
        })?;
    }
    Ok((held, refused))
}

/// Let go of, now or by an attempt whose answer was lost.
fn is_gone(output: &std::process::Output) -> bool {
    output.status.success() || String::from_utf8_lossy(&output.stderr).contains("no pin")
}

/// Another writer at work; it is given back, with how often somebody was faster.
pub(super) fn write(desk: &Desk) -> Result<(Peer, u64)> {
    let seed = desk.seed.to_string();
    let mut writer = Peer::start_with(&desk.python, OUTSIDER, &[desk.table.as_os_str(), seed.as_ref()])?;
    let mut random = StdRng::seed_from_u64(desk.seed ^ 3);
    let mut refused = 0;
    while !desk.is_over() {
        sleep(Duration::from_millis(random.random_range(200..1_000)));
        refused += u64::from(writer.ask("write")?["refused"].is_string());
    }
    Ok((writer, refused))
}

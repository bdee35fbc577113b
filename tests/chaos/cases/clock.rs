//! Clocks that jump while work goes on, by a library that lies to one process about the time of day. What measures
//! durations goes on as it was, as when somebody sets a clock.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use tokio::time::sleep;
use windrow_tests::process::Surroundings;

use super::{Case, HELD};
use crate::{
    course::{Missing, Outcome},
    ground::Ground,
    site::{Site, Special},
};

pub(crate) const LEADER: Case = Case {
    name: "clock-leader",
    injected: "the leader's clock jumps an hour and a day, ahead and back",
    held: HELD,
    run: |ground, seed| Box::pin(jumps(ground, seed, ("leader", &["+1h", "-1h", "+1d", "+0", "-1d"]))),
};

pub(crate) const READER: Case = Case {
    name: "clock-reader",
    injected: "the clock of a reading worker jumps an hour and a day, ahead and back",
    held: HELD,
    run: |ground, seed| Box::pin(jumps(ground, seed, ("reader", &["+1h", "-1h", "+1d", "-1d"]))),
};

pub(crate) const COMMITTER: Case = Case {
    name: "clock-committer",
    injected: "the committer's clock jumps an hour and a day, ahead and back",
    held: HELD,
    run: |ground, seed| Box::pin(jumps(ground, seed, ("committer", &["+1h", "-1h", "+1d", "-1d", "+0"]))),
};

fn library() -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    places.iter().map(|place| PathBuf::from(place).join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// Whose clock jumps, and to where one after the other. A leader whose clock stays behind shows that nothing waits for a
/// time that was told by a wrong one.
type Jumps = (&'static str, &'static [&'static str]);

async fn jumps(ground: &Ground, seed: u64, (who, jumps): Jumps) -> Result<Outcome> {
    let library = library().context(Missing("there is no libfaketime"))?;
    let mut site = Site::new(ground, "delta", seed)?;
    site.plot.edit("rows", "per_task: 2", "per_task: 1")?;
    let clock = site.plot.path().join("clock");
    fs::write(&clock, "+0")?;
    let lied_to = Surroundings::default()
        .with_env("LD_PRELOAD", library.to_string_lossy())
        .with_env("FAKETIME_TIMESTAMP_FILE", clock.to_string_lossy())
        .with_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .with_env("FAKETIME_CACHE_DURATION", "1");
    let special = |part: &str| match part == who {
        true => Special { surroundings: lied_to.clone(), ..Special::default() },
        false => Special::default(),
    };
    site.add_coordinator(special("leader")).await?;
    site.add_coordinator(Special::default()).await?;
    site.add_worker("s1", "sink", special("committer"))?;
    let slow =
        |special: Special| Special { trap: Some("F3@every=delay:1500;F3@2=fail;F3@5=fail".to_owned()), ..special };
    site.add_worker("r1", "ingest", slow(special("reader")))?;
    site.add_worker("r2", "ingest", slow(Special::default()))?;
    site.apply()?;
    for jump in jumps {
        sleep(Duration::from_secs(3)).await;
        // In one step, so that nobody reads half of it.
        let next = clock.with_extension("next");
        fs::write(&next, jump)?;
        fs::rename(&next, &clock)?;
    }
    let published = site.wait_published().await;
    published.with_context(|| site.logs())?;
    let verdict = site.check().await.with_context(|| site.logs())?;
    Ok(verdict.outcome(jumps.len() as u64))
}

//! A rolling upgrade with running windows: every process is told to stop, ends in order, and another takes its place.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::Case;
use crate::{
    course::Outcome,
    ground::Ground,
    site::{Site, Special},
};

pub(crate) const ROLLING: Case = Case {
    name: "upgrade/rolling",
    injected: "every coordinator and worker is asked to stop and replaced, one after the other, while windows run",
    held: &[1, 2, 3, 4, 6, 7, 8, 9, 10, 16, 21],
    run: |ground, seed| Box::pin(rolling(ground, seed)),
};

async fn rolling(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut site = Site::new(ground, "delta", seed)?;
    site.plot.edit("rows", "per_task: 2", "per_task: 1")?;
    for _ in 0..2 {
        site.add_coordinator(Special::default()).await?;
    }
    let slow = || Special::trap("F3@every=delay:1500");
    site.add_worker("s1", "sink", Special::default())?;
    site.add_worker("r1", "ingest", slow())?;
    site.apply()?;
    site.wait("some windows", |site| Ok(site.count("rows", "published")? >= 2)).await?;
    for old in 0..2 {
        site.add_coordinator(Special::default()).await?;
        site.coordinators[old].process.term()?;
        site.wait("a coordinator to end", move |site| Ok(site.coordinators[old].process.ended()?.is_some())).await?;
        sleep(Duration::from_millis(500)).await;
    }
    for (old, name, role) in [(0, "s2", "sink"), (1, "r2", "ingest")] {
        let special = if role == "sink" { Special::default() } else { slow() };
        site.add_worker(name, role, special)?;
        site.workers[old].process.term()?;
        let ended = site.wait("a worker to end", move |site| Ok(site.workers[old].process.ended()?.is_some()));
        ended.await.with_context(|| site.logs())?;
    }
    let published = site.wait_published().await;
    published.with_context(|| site.logs())?;
    let verdict = site.check().await.with_context(|| site.logs())?;
    Ok(Outcome { found: format!("{} rows, {} commits", verdict.found.rows, verdict.found.seqs.len()), times: 4 })
}

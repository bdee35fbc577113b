//! Two versions at once: a rolling upgrade with running windows, and parts too far apart to work together. The other version is
//! this one, told to announce other versions of the session protocol.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use windrow_tests::process::Surroundings;

use super::{Case, HELD};
use crate::{
    course::Outcome,
    ground::Ground,
    site::{Site, Special},
};

pub(crate) const COORDINATORS_FIRST: Case = Case {
    name: "upgrade-coordinators-first",
    injected: "a rolling upgrade to the next version while windows run, coordinators first, then workers",
    held: HELD,
    run: |ground, seed| Box::pin(rolling(ground, seed, true)),
};

pub(crate) const WORKERS_FIRST: Case = Case {
    name: "upgrade-workers-first",
    injected: "a rolling upgrade to the next version while windows run, workers first, then coordinators",
    held: HELD,
    run: |ground, seed| Box::pin(rolling(ground, seed, false)),
};

pub(crate) const STRANGERS: Case = Case {
    name: "upgrade-strangers",
    injected: "workers of a version that the coordinators do not speak join",
    held: HELD,
    run: |ground, seed| Box::pin(strangers(ground, seed)),
};

/// A part that speaks these versions of the protocol, `oldest-newest`.
fn speaking(versions: &str) -> Special {
    Special { surroundings: Surroundings::default().with_env("WINDROW_PLAY_PROTOCOL", versions), ..Special::default() }
}

/// A reader to whom each window takes a while, so that there is a middle.
fn slow(special: Special) -> Special {
    Special { trap: Some("F3@every=delay:1500".to_owned()), ..special }
}

async fn rolling(ground: &Ground, seed: u64, coordinators_first: bool) -> Result<Outcome> {
    let mut site = Site::new(ground, "delta", seed)?;
    site.plot.edit("rows", "per_task: 2", "per_task: 1")?;
    for _ in 0..2 {
        site.add_coordinator(speaking("1-1")).await?;
    }
    site.add_worker("s1", "sink", speaking("1-1"))?;
    site.add_worker("r1", "ingest", slow(speaking("1-1")))?;
    site.apply()?;
    site.wait("some windows", |site| Ok(site.count("rows", "published")? >= 2)).await?;
    for coordinators in [coordinators_first, !coordinators_first] {
        match coordinators {
            true => replace_coordinators(&mut site).await.with_context(|| site.logs())?,
            false => replace_workers(&mut site).await.with_context(|| site.logs())?,
        }
    }
    ensure!(site.count("rows", "published")? < site.windows(), "the work was over before the upgrade was");
    let published = site.wait_published().await;
    published.with_context(|| site.logs())?;
    let agreed = |version: u32| {
        site.coordinators.iter().any(|part| part.process.log().contains(&format!("\"protocol\":{version}")))
    };
    ensure!(agreed(1) && agreed(2), "both versions were spoken\n{}", site.logs());
    let verdict = site.check().await.with_context(|| site.logs())?;
    Ok(verdict.outcome(4))
}

async fn replace_coordinators(site: &mut Site<'_>) -> Result<()> {
    for old in 0..2 {
        site.replace_coordinator(old, speaking("1-2")).await?;
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

async fn replace_workers(site: &mut Site<'_>) -> Result<()> {
    for (old, name, role) in [(0, "s2", "sink"), (1, "r2", "ingest")] {
        let special = if role == "sink" { speaking("1-2") } else { slow(speaking("1-2")) };
        site.add_worker(name, role, special)?;
        site.workers[old].process.terminate()?;
        site.wait("a worker to end", move |site| Ok(site.workers[old].process.ended()?.is_some())).await?;
    }
    Ok(())
}

async fn strangers(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut site = Site::new(ground, "delta", seed)?;
    site.add_coordinator(speaking("1-1")).await?;
    let stranger = site.add_worker("far", "ingest,sink", speaking("2-3"))?;
    site.add_worker("s1", "sink", Special::default())?;
    site.add_worker("r1", "ingest", Special::default())?;
    site.apply()?;
    let published = site.wait_published().await;
    published.with_context(|| site.logs())?;
    let log = site.workers[stranger].process.log();
    ensure!(log.contains("WR-N001") && log.contains("2 to 3"), "the refusal says which versions there are: {log}");
    let workers = site.ask(&["get", "workers"])?;
    ensure!(workers.as_array().is_some_and(|workers| workers.len() == 2), "{workers}");
    let verdict = site.check().await.with_context(|| site.logs())?;
    Ok(verdict.outcome(1))
}

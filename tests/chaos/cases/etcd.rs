//! The store is away, dies, forgets its history, is full.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use tokio::time::sleep;
use windrow_tests::etcd::Etcd;

use super::{Case, HELD};
use crate::{
    course::Outcome,
    ground::Ground,
    site::{Site, Special},
};

pub(crate) const AWAY: Case = Case {
    name: "etcd-away-30s",
    injected: "all of etcd stands still for half a minute in the middle of the work",
    held: HELD,
    run: |ground, seed| Box::pin(away(ground, seed, Duration::from_secs(30))),
};

pub(crate) const AWAY_LONG: Case = Case {
    name: "etcd-away-10m",
    injected: "all of etcd stands still for ten minutes in the middle of the work",
    held: HELD,
    run: |ground, seed| Box::pin(away(ground, seed, Duration::from_secs(600))),
};

pub(crate) const RESTARTED: Case = Case {
    name: "etcd-restarted",
    injected: "all members of etcd are killed at once and started again ten seconds later",
    held: HELD,
    run: |ground, seed| Box::pin(restarted(ground, seed)),
};

pub(crate) const MEMBERS: Case = Case {
    name: "etcd-members",
    injected: "the leading member of etcd is killed, started again, stopped, and goes on, three times over",
    held: HELD,
    run: |ground, seed| Box::pin(members(ground, seed)),
};

pub(crate) const COMPACTED: Case = Case {
    name: "etcd-compacted",
    injected: "etcd's history is compacted to its head five times a second, while the leader changes",
    held: HELD,
    run: |ground, seed| Box::pin(compacted(ground, seed)),
};

pub(crate) const FULL: Case = Case {
    name: "etcd-full",
    injected: "etcd's quota is used up and raises its alarm; room is made later",
    held: HELD,
    run: |ground, seed| Box::pin(full(ground, seed)),
};

/// A cluster on an etcd of its own that has begun to work; one window in a task, so that there is a middle.
pub(super) async fn begin<'a>(ground: &'a Ground, seed: u64, etcd: &Etcd) -> Result<Site<'a>> {
    let mut site = Site::new(ground, "delta", seed)?.on_etcd(etcd.endpoints());
    site.plot.edit("rows", "per_task: 2", "per_task: 1")?;
    for _ in 0..2 {
        site.add_coordinator(Special::default()).await?;
    }
    site.add_worker("s1", "sink", Special::default())?;
    // Each window takes a while, so that there is a middle.
    for name in ["r1", "r2"] {
        site.add_worker(name, "ingest", Special::trap("F3@every=delay:700"))?;
    }
    site.apply()?;
    site.wait("some windows", |site| Ok(site.count("rows", "published")? >= 4)).await?;
    Ok(site)
}

pub(super) async fn start(ground: &Ground, args: &[&str]) -> Result<Etcd> {
    Etcd::start_on(&ground.host(), 3, args).await?.context("there was an etcd a moment ago")
}

pub(super) async fn end(mut site: Site<'_>, times: u64) -> Result<Outcome> {
    let published = site.wait_published().await;
    published.with_context(|| site.logs())?;
    let verdict = site.check().await.with_context(|| site.logs())?;
    Ok(verdict.outcome(times))
}

async fn away(ground: &Ground, seed: u64, long: Duration) -> Result<Outcome> {
    let etcd = start(ground, &[]).await?;
    let site = begin(ground, seed, &etcd).await?;
    for member in 0..3 {
        etcd.stop(member)?;
    }
    sleep(long).await;
    let rows = site.plot.rows.compare(&ground.python, "delta", &site.plot.table("rows"))?;
    ensure!(rows.doubled == 0 && rows.foreign == 0, "while etcd was away: {rows:?}");
    for member in 0..3 {
        etcd.cont(member)?;
    }
    end(site, 1).await
}

async fn restarted(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut etcd = start(ground, &[]).await?;
    let site = begin(ground, seed, &etcd).await?;
    for member in 0..3 {
        etcd.kill(member)?;
    }
    sleep(Duration::from_secs(10)).await;
    etcd.restart_all().await?;
    end(site, 1).await
}

async fn members(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut etcd = start(ground, &[]).await?;
    let site = begin(ground, seed, &etcd).await?;
    for _ in 0..3 {
        let leader = etcd.leader().await?;
        etcd.kill(leader)?;
        sleep(Duration::from_secs(2)).await;
        etcd.restart(leader).await?;
        let leader = etcd.leader().await?;
        etcd.stop(leader)?;
        sleep(Duration::from_secs(3)).await;
        etcd.cont(leader)?;
        sleep(Duration::from_secs(1)).await;
    }
    end(site, 6).await
}

async fn compacted(ground: &Ground, seed: u64) -> Result<Outcome> {
    let etcd = start(ground, &[]).await?;
    let mut site = begin(ground, seed, &etcd).await?;
    let mut client = Client::connect(etcd.endpoints(), None).await?;
    let mut times = 0;
    for round in 0..40 {
        let revision = client.get("x", None).await?.header().context("an answer has a header")?.revision();
        // Nothing may have been written since the last time.
        times += u64::from(client.compact(revision, None).await.is_ok());
        if round == 10 {
            site.coordinators[0].process.kill()?;
        }
        sleep(Duration::from_millis(200)).await;
    }
    // On a busy machine little is written between two rounds, and only what was written can be compacted.
    ensure!(times > 2, "only {times} compactions");
    end(site, times).await
}

async fn full(ground: &Ground, seed: u64) -> Result<Outcome> {
    let etcd = start(ground, &["--quota-backend-bytes=8388608"]).await?;
    let mut site = begin(ground, seed, &etcd).await?;
    let mut client = Client::connect(etcd.endpoints(), None).await?;
    let filler = "x".repeat(512 * 1024);
    let mut filled = 0;
    while client.put(format!("filler/{filled}"), filler.clone(), None).await.is_ok() {
        filled += 1;
        ensure!(filled < 100, "8 MiB took 50");
    }
    let done = site.wait("a refusal", |site| {
        Ok(site.coordinators.iter().any(|part| part.process.log().to_lowercase().contains("space")))
    });
    done.await.with_context(|| site.logs())?;
    // Making room as an operator does: delete, compact, defragment, disarm.
    client.delete("filler/", Some(etcd_client::DeleteOptions::new().with_prefix())).await?;
    let revision = client.get("x", None).await?.header().context("an answer has a header")?.revision();
    client.compact(revision, Some(etcd_client::CompactionOptions::new().with_physical())).await?;
    for endpoint in etcd.endpoints() {
        Client::connect([endpoint], None).await?.defragment().await?;
    }
    for alarm in client.alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::Nospace, None).await?.alarms() {
        let mut options = etcd_client::AlarmOptions::new();
        options.with_member(alarm.member_id());
        client.alarm(etcd_client::AlarmAction::Deactivate, etcd_client::AlarmType::Nospace, Some(options)).await?;
    }
    end(site, 1).await
}

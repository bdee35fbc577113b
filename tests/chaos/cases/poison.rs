//! A window that kills its worker each time: it is given up after three, and the others go their way.

use anyhow::{Context, Result, ensure};

use super::Case;
use crate::{
    course::Outcome,
    ground::Ground,
    site::{Site, Special},
};

pub(crate) const TASK: Case = Case {
    name: "poison-task",
    injected: "every worker that loads one window dies; each is replaced",
    held: &[1, 2, 3, 4, 7, 9, 16, 21],
    run: |ground, seed| Box::pin(task(ground, seed)),
};

async fn task(ground: &Ground, seed: u64) -> Result<Outcome> {
    let mut site = Site::new(ground, "delta", seed)?;
    site.plot.declare("poison", 1)?;
    site.plot.edit("poison", "end: 2024-01-01T00:24", "end: 2024-01-01T00:01")?;
    site.add_coordinator(Special::default()).await?;
    site.add_worker("s1", "sink", Special::default())?;
    let deadly = || Special::trap("F3:poison@every=kill");
    for name in ["r1", "r2"] {
        site.add_worker(name, "ingest", deadly())?;
    }
    site.apply()?;
    let mut deaths = 0;
    let windows = site.windows();
    let settled = site.wait("an end of the dying", |site| {
        let dead: Vec<usize> = (1..site.workers.len())
            .rev()
            .filter(|worker| site.workers[*worker].process.ended().is_ok_and(|ended| ended.is_some()))
            .collect();
        for worker in dead {
            // Where one died, another starts; what died is dead for good.
            site.workers.remove(worker);
            deaths += 1;
            site.add_worker(&format!("r{}", deaths + 2), "ingest", deadly())?;
        }
        Ok(site.count("poison", "quarantined")? == 1 && site.count("rows", "published")? == windows)
    });
    settled.await.with_context(|| site.logs())?;
    ensure!(deaths == 3, "{deaths} workers died of it");
    let tasks = site.ask(&["get", "tasks", "poison"])?;
    ensure!(tasks[0]["lost_leases"] == 3, "{tasks}");
    let verdict = site.check().await.with_context(|| site.logs())?;
    Ok(verdict.outcome(deaths))
}

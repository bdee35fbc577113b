//! What befalls those who keep the table: each part of the cluster is killed and stopped in turn, in an order of chance.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::time::{Instant, sleep};
use windrow_tests::cluster::leads;

use super::desk::Desk;
use crate::site::{LEADERSHIP, LEASE, Site, Special};

/// Between two of them everything may find its way.
const REST: std::ops::Range<u64> = 1_000..4_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Leader,
    /// Whoever commits to the table.
    Committer,
    Reader,
    /// It rewrites files and does nothing else.
    Compactor,
}

const VICTIMS: [Victim; 4] = [Victim::Leader, Victim::Committer, Victim::Reader, Victim::Compactor];

/// The workers there are, by their roles; each place is taken again when it is free.
pub(super) struct Crew {
    /// Roles, and where the site has who has them.
    workers: Vec<(&'static str, usize)>,
    hired: usize,
    /// Whether each of them believes that it is days later than those before it did: what they gave up is old enough to go then.
    ages: bool,
}

impl Crew {
    pub(super) fn hire(site: &mut Site<'_>, ages: bool) -> Result<Self> {
        let mut crew = Self { workers: Vec::new(), hired: 0, ages };
        for role in ["sink", "sink", "ingest", "ingest", "compact", "compact"] {
            let worker = crew.start(site, role)?;
            crew.workers.push((role, worker));
        }
        Ok(crew)
    }

    fn start(&mut self, site: &mut Site<'_>, role: &str) -> Result<usize> {
        self.hired += 1;
        let mut special = Special::default();
        if self.ages {
            special.surroundings = special.surroundings.with_env("WINDROW_PLAY_DAYS_LATER", self.hired.to_string());
        }
        site.add_worker(&format!("w{}", self.hired), role, special)
    }

    /// All who write are killed at once; those who take their places are days later.
    pub(super) fn renew(&mut self, site: &mut Site<'_>) -> Result<()> {
        let sinks: Vec<usize> = (0..self.workers.len()).filter(|place| self.workers[*place].0 == "sink").collect();
        for place in &sinks {
            site.workers[self.workers[*place].1].process.kill()?;
        }
        for place in sinks {
            self.workers[place].1 = self.start(site, "sink")?;
        }
        Ok(())
    }

    /// The place of the next victim; any of its role where nobody says who commits.
    fn place_of(&self, site: &Site<'_>, victim: Victim) -> usize {
        let role = match victim {
            Victim::Reader => "ingest",
            Victim::Compactor => "compact",
            Victim::Committer | Victim::Leader => "sink",
        };
        let commits = |worker: usize| self.commits(site, worker).unwrap_or(false);
        let mut all = (0..self.workers.len()).filter(|place| self.workers[*place].0 == role);
        let first = all.next().unwrap_or(0);
        match victim {
            Victim::Committer => all.find(|place| commits(self.workers[*place].1)).unwrap_or(first),
            _ => first,
        }
    }

    fn commits(&self, site: &Site<'_>, worker: usize) -> Result<bool> {
        let prefix = format!("{}-", site.workers[worker].name);
        let workers = site.ask(&["get", "workers"])?;
        let one = |one: &serde_json::Value| {
            let own = one["id"].as_str().is_some_and(|id| id.starts_with(&prefix));
            own && one["sinks"].as_array().is_some_and(|sinks| !sinks.is_empty())
        };
        Ok(workers.as_array().is_some_and(|all| all.iter().any(one)))
    }
}

/// Strikes until the time has come, and leaves everybody alive. How often.
pub(super) async fn strike(site: &mut Site<'_>, crew: &mut Crew, desk: &Desk, until: Instant) -> Result<u64> {
    let mut random = StdRng::seed_from_u64(desk.seed);
    let mut left: Vec<(Victim, bool)> = Vec::new();
    let mut strikes = 0;
    loop {
        sleep(Duration::from_millis(random.random_range(REST))).await;
        if Instant::now() >= until || desk.is_over() {
            return Ok(strikes);
        }
        if left.is_empty() {
            left = VICTIMS.into_iter().flat_map(|victim| [(victim, true), (victim, false)]).collect();
            left.shuffle(&mut random);
        }
        let (victim, dies) = left.pop().context("there is one")?;
        strikes += 1;
        match (victim, dies) {
            (Victim::Leader, true) => kill_leader(site).await?,
            (Victim::Leader, false) => stop_leader(site, &mut random).await?,
            (Victim::Committer, true) if crew.ages => crew.renew(site)?,
            (_, true) => {
                let place = crew.place_of(site, victim);
                let (role, worker) = crew.workers[place];
                site.workers[worker].process.kill()?;
                sleep(Duration::from_millis(random.random_range(200..2_000))).await;
                crew.workers[place].1 = crew.start(site, role)?;
            }
            (_, false) => {
                let worker = crew.workers[crew.place_of(site, victim)].1;
                site.workers[worker].process.stop()?;
                sleep(LEASE + Duration::from_millis(random.random_range(500..3_000))).await;
                site.workers[worker].process.cont()?;
            }
        }
    }
}

async fn kill_leader(site: &mut Site<'_>) -> Result<()> {
    let Some(leader) = leader(site)? else { return Ok(()) };
    let at = Some(site.coordinators[leader].address.clone());
    site.coordinators[leader].process.kill()?;
    sleep(Duration::from_secs(1)).await;
    site.add_coordinator(Special { at, ..Special::default() }).await?;
    Ok(())
}

async fn stop_leader(site: &mut Site<'_>, random: &mut StdRng) -> Result<()> {
    let Some(leader) = leader(site)? else { return Ok(()) };
    site.coordinators[leader].process.stop()?;
    sleep(LEADERSHIP + Duration::from_millis(random.random_range(500..2_000))).await;
    site.coordinators[leader].process.cont()
}

/// Who leads, if anybody does now.
fn leader(site: &mut Site<'_>) -> Result<Option<usize>> {
    for (at, part) in site.coordinators.iter_mut().enumerate() {
        if part.process.ended()?.is_none() && leads(&part.process.log()) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

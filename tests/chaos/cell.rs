//! A cell of the matrix: one point of the protocol, one fault, one kind of sink.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use windrow_common::failpoint::Point;

use crate::{
    cases::HELD,
    course::Outcome,
    ground::Ground,
    site::{LEADERSHIP, LEASE, Site, Special},
};

/// After a fault is over, so long for the one it befell to do its worst.
const WAKING: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`; another process takes the place a second later.
    Kill,
    /// SIGSTOP, past the lease, then SIGCONT.
    Stop,
    /// The network is cut while the process goes on, past the lease, then healed.
    Cut,
    /// What was about to be done, or to be answered, fails.
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) point: Point,
    pub(crate) fault: Fault,
    pub(crate) format: &'static str,
}

/// Whose process it befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Leader,
    Reader,
    Committer,
}

pub(crate) const FORMATS: [&str; 4] = ["delta", "parquet", "json", "postgres"];
const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Stop, Fault::Cut, Fault::Fail];

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let of = |point| FAULTS.into_iter().flat_map(move |fault| FORMATS.map(|format| Self { point, fault, format }));
        Point::ALL.into_iter().filter(|point| point.is_everywhere()).flat_map(of).collect()
    }

    fn victim(self) -> Victim {
        match self.point {
            Point::Claimed | Point::Sealed | Point::Intended | Point::Finalizing | Point::Finalized => Victim::Leader,
            Point::Reading | Point::Staged => Victim::Reader,
            Point::Staging
            | Point::Prepared
            | Point::Committing
            | Point::Committed
            | Point::Marking
            | Point::Sweeping => Victim::Committer,
        }
    }

    /// What is done, in words.
    pub(crate) fn injected(self) -> String {
        let who = match self.victim() {
            Victim::Leader => "the leader",
            Victim::Reader => "a reading worker",
            Victim::Committer => "the committer",
        };
        let when = match self.point {
            Point::Claimed => "a claim is recorded, its worker does not know",
            Point::Reading => "some rows are handed over",
            Point::Staging => "a file is half written",
            Point::Staged => "all is staged, nothing sealed",
            Point::Sealed => "a seal is recorded, its worker does not know",
            Point::Prepared => "an intent's body is written, nothing recorded",
            Point::Intended => "an intent is recorded, nobody asked to commit",
            Point::Committing => "just before the sink's commit",
            Point::Committed => "just after the sink's commit, nobody told",
            Point::Marking => "readers see the rows, no marker says so",
            Point::Finalizing => "a commit is known, not recorded",
            Point::Finalized => "a commit is recorded, nobody told",
            Point::Sweeping => "orphans are listed, none deleted",
        };
        let what = match self.fault {
            Fault::Kill => "is killed",
            Fault::Stop => "is stopped past its lease and goes on",
            Fault::Cut => "is cut off past its lease and comes back",
            Fault::Fail => "fails or loses its connection",
        };
        format!("{who} {what}: {when}")
    }

    /// The invariants that [`Site::check`] and the course of the cell show to hold.
    pub(crate) fn held(self) -> Vec<u8> {
        let mut held = HELD.to_vec();
        if matches!(self.fault, Fault::Stop | Fault::Cut) && self.victim() != Victim::Leader {
            held.push(5);
        }
        held.sort_unstable();
        held
    }

    pub(crate) async fn run(self, ground: &Ground, seed: u64) -> Result<Outcome> {
        let mut random = StdRng::seed_from_u64(seed);
        // Sometimes the first of its kind, sometimes one among others.
        let nth = if self.point == Point::Sweeping { 1 } else { random.random_range(1..=2) };
        // Sometimes the others are still at it when it is over, sometimes they are long done.
        let late = random.random_bool(0.5);
        let mut site = Site::new(ground, self.format, seed)?;
        let ran = self.befall(&mut site, nth, late).await;
        ran.with_context(|| site.logs())?;
        let verdict = site.check().await.with_context(|| site.logs())?;
        Ok(verdict.outcome(1))
    }

    async fn befall(self, site: &mut Site<'_>, nth: u32, late: bool) -> Result<()> {
        let id = self.point.id();
        let trap = |action: &str| Special { trap: Some(format!("{id}@{nth}={action}")), ..Special::default() };
        let special = match self.fault {
            Fault::Kill => trap("kill"),
            Fault::Stop => trap("stop"),
            Fault::Cut => Special { apart: true, ..trap("hold") },
            Fault::Fail => trap("fail"),
        };
        let for_victim = |victim| if self.victim() == victim { special.clone() } else { Special::default() };
        site.add_coordinator(for_victim(Victim::Leader)).await?;
        site.add_coordinator(Special::default()).await?;
        // The first sink worker commits, the first reader gets the first task.
        site.add_worker("s1", "sink", for_victim(Victim::Committer))?;
        site.apply()?;
        site.wait("a committer", |site| {
            Ok(site.ask(&["get", "workers"])?[0]["sinks"].as_array().is_some_and(|sinks| !sinks.is_empty()))
        })
        .await?;
        site.add_worker("s2", "sink", Special::default())?;
        // A sweep finds something only if an attempt left something behind.
        let first = match self.point {
            Point::Sweeping => Special::trap("F3=fail"),
            _ => for_victim(Victim::Reader),
        };
        site.add_worker("r1", "ingest", first)?;
        site.add_worker("r2", "ingest", Special::default())?;
        site.wait(&format!("{id} to go off"), |site| Ok(site.has_gone_off(id))).await?;
        self.strike(site, late).await?;
        site.wait_published().await
    }

    async fn strike(self, site: &mut Site<'_>, late: bool) -> Result<()> {
        let lease = match self.victim() {
            Victim::Leader => LEADERSHIP,
            _ => LEASE,
        };
        match self.fault {
            Fault::Kill => {
                site.wait("the end of the victim", |site| Ok(self.of(site).process.ended()?.is_some())).await?;
                sleep(Duration::from_secs(1)).await;
                match self.victim() {
                    Victim::Leader => site.add_coordinator(Special::default()).await.map(|_| ())?,
                    Victim::Reader => site.add_worker("r3", "ingest", Special::default()).map(|_| ())?,
                    Victim::Committer => site.add_worker("s3", "sink", Special::default()).map(|_| ())?,
                }
            }
            Fault::Stop => {
                site.wait("the victim to stand still", |site| Ok(self.of(site).process.is_stopped())).await?;
                self.outlast(site, lease, late).await?;
                self.of(site).process.cont()?;
                sleep(WAKING).await;
            }
            Fault::Cut => {
                let cut = |site: &mut Site<'_>, cut: bool| {
                    let namespace = self.of(site).namespace.as_ref().context("the victim lives apart")?;
                    if cut { namespace.cut() } else { namespace.heal() }
                };
                cut(site, true)?;
                site.let_go(self.point.id())?;
                self.outlast(site, lease, late).await?;
                cut(site, false)?;
                sleep(WAKING).await;
            }
            Fault::Fail => {}
        }
        let ended = self.fault != Fault::Kill && self.of(site).process.ended()?.is_some();
        ensure!(!ended, "the victim ended by itself");
        Ok(())
    }

    /// Past the lease at least; `late` until the others have done all.
    async fn outlast(self, site: &mut Site<'_>, lease: Duration, late: bool) -> Result<()> {
        sleep(lease + Duration::from_secs(1)).await;
        if late { site.wait_published().await } else { Ok(()) }
    }

    fn of<'s>(self, site: &'s mut Site<'_>) -> &'s mut crate::site::Part {
        match self.victim() {
            Victim::Leader => &mut site.coordinators[0],
            Victim::Committer => &mut site.workers[0],
            Victim::Reader => &mut site.workers[2],
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Cut => "cut",
            Fault::Fail => "fail",
        };
        write!(f, "{}-{fault}-{}", self.point.id(), self.format)
    }
}

//! One number of workers, from the first connection to the last figure.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::{
    LEASE, TASK,
    crowd::Crowd,
    site::{PATIENCE, Site, Size},
    worker::Pace,
};
use crate::{
    raw::Raw,
    report::{Report, mebibytes, millis, rounded},
    sample::percentile,
    usage,
};

/// How long workers are watched while they only speak, while they work, and while they do as much as they can.
const SPEAKING: Duration = Duration::from_secs(15);
const WORKING: Duration = Duration::from_secs(20);
const FLAT_OUT: Duration = Duration::from_secs(8);
/// How long what comes before is let fade.
const SETTLING: Duration = Duration::from_secs(4);
/// Of so many workers one is lost.
const LOST_EACH: usize = 5;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bare transactions of one put, and of a hundred.
const SINGLES: usize = 400;
const BATCHES: usize = 40;
const BATCH: usize = windrow_coordinator::core::assign::MAX_CLAIMS;

/// Everything that is printed of it.
pub(super) struct Measured {
    pub(super) workers: usize,
    pub(super) tasks: usize,
    pub(super) connections: usize,
    pub(super) version: String,
    /// How long planning the tasks took.
    pub(super) planning: Duration,
    /// From the first connection until all have a task in hand.
    pub(super) gathering: Duration,
    pub(super) resident: u64,
    pub(super) peak: u64,
    /// Before there were workers.
    pub(super) alone: u64,
    pub(super) beats: Phase,
    pub(super) work: Phase,
    pub(super) flood: Phase,
    pub(super) rush: Phase,
    pub(super) loss: Loss,
    /// With all tasks open and nothing sealed; after all the work; and then compacted.
    pub(super) sizes: [Size; 3],
    pub(super) limit: Limit,
    /// What must not happen.
    pub(super) lost: usize,
}

/// What was seen for a while.
#[derive(Clone, Copy)]
pub(super) struct Phase {
    /// Heartbeats a second that were answered, and how long an answer took: p50 and p99.
    pub(super) rate: f64,
    pub(super) beat: (Duration, Duration),
    pub(super) claims: f64,
    pub(super) claim: (Duration, Duration),
    /// Writing transactions of the store a second.
    pub(super) transactions: f64,
    /// Cores of the coordinator and of etcd.
    pub(super) cpu: f64,
    pub(super) store_cpu: f64,
    /// Cores of all the workers, which are one process.
    pub(super) crowd_cpu: f64,
}

/// A fifth of the workers is gone at once.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    pub(super) workers: usize,
    /// From the end of the last lease until all their claims were taken back, to a quarter of a second.
    pub(super) taken_back: Duration,
    /// As many new workers come: from the first connection to the last welcome, and from there until each has a task in hand.
    pub(super) joined: Duration,
    pub(super) given: Duration,
}

/// Bare transactions of the same etcd a second.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) single: f64,
    pub(super) many: f64,
    pub(super) batched: f64,
    pub(super) keep_alives: f64,
}

/// It says how it is going.
pub(super) async fn measure(workers: usize, tasks: usize, report: &mut Report) -> Result<Measured> {
    let mut site = Site::start().await?;
    let limit = Limit::of(&mut site).await?;
    let planning = site.plan(tasks).await?;
    let coordinator = site.coordinator.process();
    let alone = usage::resident(coordinator)?;
    let began = Instant::now();
    let mut crowd = Crowd::none(site.address());
    crowd.join(0..workers).await?;
    crowd.all_busy().await?;
    let gathering = began.elapsed();
    let mut watch = Watch { site, crowd, report, lost: 0 };

    let beats = watch.phase(Pace::Hold, SPEAKING).await?;
    let resident = usage::resident(coordinator)?;
    ensure!(watch.site.held().await? == (workers, workers), "the leader knows of {:?}", watch.site.held().await?);
    let first = watch.site.size().await?;
    let flood = watch.phase(Pace::Speak, FLAT_OUT).await?;
    let work = watch.phase(Pace::Work(TASK), WORKING).await?;
    let rush = watch.phase(Pace::AtOnce, FLAT_OUT).await?;
    watch.crowd.go(Pace::Hold);
    watch.crowd.all_busy().await?;
    sleep(SETTLING).await;
    ensure!(watch.site.held().await? == (workers, workers), "the leader knows of {:?}", watch.site.held().await?);
    let loss = watch.lose().await?;
    let Watch { mut site, crowd, lost, .. } = watch;
    let sizes = [first, site.size().await?, site.compacted().await?];
    Ok(Measured {
        workers,
        tasks,
        connections: crowd.connections,
        version: site.version.clone(),
        planning,
        gathering,
        resident,
        peak: usage::peak(coordinator)?,
        alone,
        beats,
        work,
        flood,
        rush,
        loss,
        sizes,
        limit,
        lost,
    })
}

struct Watch<'a> {
    site: Site,
    crowd: Crowd,
    report: &'a mut Report,
    lost: usize,
}

impl Watch<'_> {
    /// Lets the workers go at a pace and, when that has settled, looks at them for a while.
    async fn phase(&mut self, pace: Pace, time: Duration) -> Result<Phase> {
        self.crowd.go(pace);
        sleep(SETTLING).await;
        let (coordinator, store, me) = (self.site.coordinator.process(), self.site.store, std::process::id());
        self.see();
        let before = ([coordinator, store, me].map(usage::cpu), self.site.revision().await?);
        let began = Instant::now();
        sleep(time).await;
        let seconds = began.elapsed().as_secs_f64();
        let seen = self.see();
        let after = ([coordinator, store, me].map(usage::cpu), self.site.revision().await?);
        let mut cores = Vec::with_capacity(3);
        for (before, after) in before.0.into_iter().zip(after.0) {
            cores.push(after?.saturating_sub(before?).as_secs_f64() / seconds);
        }
        let phase = Phase {
            rate: seen.beats.len() as f64 / seconds,
            beat: (percentile(&seen.beats, 50), percentile(&seen.beats, 99)),
            claims: seen.claims.len() as f64 / seconds,
            claim: (percentile(&seen.claims, 50), percentile(&seen.claims, 99)),
            transactions: (after.1 - before.1) as f64 / seconds,
            cpu: cores[0],
            store_cpu: cores[1],
            crowd_cpu: cores[2],
        };
        self.report.say(format!(
            "    {pace:?}: {} heartbeats/s, p99 {}; {} claims/s, p99 {}; {} cores, {:.0} MiB",
            rounded(phase.rate),
            millis(phase.beat.1),
            rounded(phase.claims),
            millis(phase.claim.1),
            rounded(phase.cpu),
            mebibytes(usage::resident(coordinator)?)
        ));
        Ok(phase)
    }

    async fn lose(&mut self) -> Result<Loss> {
        let all = self.crowd.workers();
        let began = Instant::now();
        let workers = self.crowd.lose_each(LOST_EACH);
        let left = all - workers;
        while self.site.held().await? != (left, left) {
            ensure!(began.elapsed() < PATIENCE, "the leader knows of {:?} and not of {left}", self.site.held().await?);
            sleep(LOOK_EVERY).await;
        }
        let taken_back = began.elapsed().saturating_sub(LEASE);
        let began = Instant::now();
        self.crowd.join(all..all + workers).await?;
        let (joined, began) = (began.elapsed(), Instant::now());
        self.crowd.all_busy().await?;
        Ok(Loss { workers, taken_back, joined, given: began.elapsed() })
    }

    fn see(&mut self) -> super::tally::Seen {
        let seen = self.crowd.tally.take();
        self.lost += seen.lost.len();
        if let Some(first) = seen.lost.first() {
            self.report.say(format!("    {} times: {first}", seen.lost.len()));
        }
        seen
    }
}

impl Limit {
    /// Before there is anything else to do for it.
    async fn of(site: &mut Site) -> Result<Self> {
        let mut raw = Raw::new(site.etcd.clone(), vec![b'x'; 256]);
        let rate = |times: &[Duration]| times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
        let limit = Self {
            single: rate(&raw.put(SINGLES, 1).await?),
            many: raw.put_side_by_side(SINGLES * 5, 64).await?,
            batched: rate(&raw.put(BATCHES, BATCH).await?),
            keep_alives: raw.keep_alive(SINGLES * 5).await?,
        };
        raw.clear().await?;
        site.compacted().await?;
        Ok(limit)
    }
}

//! What a claim costs: one a transaction and a hundred, through the leader's own ledger, on the embedded store and on
//! etcd; beside bare etcd transactions of the same size through the same client; contested; and as workers see it.

mod contest;
mod dispatch;
mod led;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use etcd_client::Client;
use tokio::time::Instant;
use windrow_common::id::{TaskId, WorkerId};
use windrow_coordinator::store::{EmbeddedStore, EtcdStore, MetaStore};
use windrow_tests::etcd::Etcd;

use self::led::Led;
use crate::{
    Settings,
    raw::Raw,
    report::{Goal, Report, grouped, millis, rounded},
    sample::{median, median_time, percentile},
};

const ROUNDS: usize = 5;
/// Transactions of one claim in a round.
const SINGLES: usize = 400;
/// Transactions of a hundred claims in a round.
const BATCHES: usize = 40;
/// Claims in one transaction, as the controller makes them.
const BATCH: usize = windrow_coordinator::core::assign::MAX_CLAIMS;

pub(crate) fn run(runtime: &tokio::runtime::Runtime, _: &Settings, report: &mut Report) -> Result<()> {
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let store: Arc<dyn MetaStore> = Arc::new(EmbeddedStore::open(&folder.path().join("ledger.redb"))?);
        report.say("the embedded store");
        on(&store, None, report).await?;
        for members in [1, 3] {
            let etcd = Etcd::start(members).await?.context("there is no etcd; `make tools` installs it")?;
            let mut client = Client::connect(etcd.endpoints(), None).await?;
            let version = client.status().await?.version().to_owned();
            let store: Arc<dyn MetaStore> = Arc::new(EtcdStore::from_client(client.clone()));
            report.say(format!("etcd {version}, {members} member(s) on this machine"));
            on(&store, Some(client), report).await?;
        }
        Ok(())
    })
}

/// Times of transactions, round by round.
#[derive(Default)]
struct Rounds(Vec<Vec<Duration>>);

async fn on(store: &Arc<dyn MetaStore>, etcd: Option<Client>, report: &mut Report) -> Result<()> {
    let tasks = ROUNDS * (SINGLES + BATCHES * BATCH);
    let mut led = Led::start(store, "claims", tasks).await?;
    let worker: WorkerId = "bench".parse()?;
    let mut pending = led.pending().into_iter();
    let mut raw = match etcd {
        Some(client) => Some(Raw::new(client, led.record_of_a_claim(store).await?)),
        None => None,
    };
    let (mut single, mut batched) = (Rounds::default(), Rounds::default());
    let (mut raw_single, mut raw_batched) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        if let Some(raw) = &mut raw {
            raw_single.0.push(raw.put(SINGLES, 1).await?);
        }
        single.0.push(claim(&mut led, &mut pending, (SINGLES, 1), &worker).await?);
        if let Some(raw) = &mut raw {
            raw_batched.0.push(raw.put(BATCHES, BATCH).await?);
        }
        batched.0.push(claim(&mut led, &mut pending, (BATCHES, BATCH), &worker).await?);
    }
    led.check().await?;

    tell(report, "one claim a transaction", &single, 1);
    tell(report, &format!("{BATCH} claims a transaction"), &batched, BATCH);
    report.goal("  batched to single, claims/s", ratio((&batched, BATCH), (&single, 1)), Goal::AtLeast(8.0), "x");
    if let Some(raw) = &mut raw {
        tell(report, "bare etcd: one put a transaction", &raw_single, 1);
        tell(report, &format!("bare etcd: {BATCH} puts a transaction"), &raw_batched, BATCH);
        let many = raw.put_side_by_side(SINGLES * ROUNDS, 64).await?;
        report.figure("bare etcd: one put a transaction, 64 at a time", rate(many));
        let (one, hundred) = (ratio((&single, 1), (&raw_single, 1)), ratio((&batched, BATCH), (&raw_batched, BATCH)));
        report.goal("  single to bare single", one, Goal::AtLeast(0.8), "x");
        report.goal("  batched to bare batched", hundred, Goal::AtLeast(0.8), "x");
    }
    contest::run(store, report).await?;
    dispatch::run(store, report).await
}

/// Claims the next pending tasks in so many transactions of so many claims.
async fn claim(
    led: &mut Led,
    pending: &mut impl Iterator<Item = TaskId>,
    (transactions, claims): (usize, usize),
    worker: &WorkerId,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(transactions);
    for _ in 0..transactions {
        let tasks: Vec<TaskId> = pending.by_ref().take(claims).collect();
        let began = Instant::now();
        led.claim(&tasks, worker).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn tell(report: &mut Report, what: &str, rounds: &Rounds, claims: usize) {
    let rates = (0..rounds.0.len()).map(|round| rounds.rate(round, claims));
    let all = rounds.0.concat();
    let (middle, tail) = (millis(median_time(&all)), millis(percentile(&all, 99)));
    report.figure(what, format!("{}, p50 {middle}, p99 {tail}", rate(median(rates))));
}

fn rate(rate: f64) -> String {
    format!("{}/s", grouped(rate as u64))
}

/// The median of the rounds' ratios.
fn ratio((mine, claims): (&Rounds, usize), (theirs, puts): (&Rounds, usize)) -> f64 {
    median((0..mine.0.len()).map(|round| mine.rate(round, claims) / theirs.rate(round, puts)))
}

impl Rounds {
    /// Claims a second in one round.
    fn rate(&self, round: usize, claims: usize) -> f64 {
        (self.0[round].len() * claims) as f64 / self.0[round].iter().sum::<Duration>().as_secs_f64()
    }
}

fn percent(part: usize, whole: usize) -> String {
    format!("{} %", rounded(part as f64 * 100.0 / whole as f64))
}

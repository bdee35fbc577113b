//! All the workers and how fast they work.

use std::{collections::BTreeMap, fs, ops::Range, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep},
};
use tonic::transport::{Channel, Endpoint};

use super::{
    site::PATIENCE,
    tally::Tally,
    worker::{Greeting, Pace, Worker},
};

/// Workers that connect at a time.
const AT_A_TIME: usize = 64;
/// Descriptors that are left to everything else.
const SPARE: usize = 1_000;
/// Of so many workers one stages and commits as well.
const SINK_WORKER_EACH: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the module. They end when it is dropped.
pub(super) struct Crowd {
    pub(super) tally: Arc<Tally>,
    pub(super) connections: usize,
    address: String,
    pace: watch::Sender<Pace>,
    /// By the worker's number.
    sessions: BTreeMap<usize, AbortHandle>,
}

impl Crowd {
    pub(super) fn none(address: String) -> Self {
        let (tally, pace) = (Arc::default(), watch::Sender::new(Pace::Hold));
        Self { tally, connections: 0, address, pace, sessions: BTreeMap::new() }
    }

    /// More workers connect and say hello, with a connection each where there are descriptors for it.
    pub(super) async fn join(&mut self, numbers: Range<usize>) -> Result<()> {
        let each = numbers.end.div_ceil(descriptors()?.saturating_sub(SPARE).max(1));
        let (first, workers) = (numbers.start, numbers.len());
        let connections: Vec<Channel> = stream::iter(0..workers.div_ceil(each))
            .map(|_| async { Endpoint::from_shared(self.address.clone())?.connect().await })
            .buffer_unordered(AT_A_TIME)
            .try_collect()
            .await?;
        self.connections += connections.len();
        let greet = |number: usize| {
            let channel = connections[(number - first) / each].clone();
            let share = (number - first) as f64 / workers as f64;
            let greeting = Greeting { number, share, stages: number.is_multiple_of(SINK_WORKER_EACH) };
            let worker = Worker::greet(channel, greeting, self.tally.clone(), self.pace.subscribe());
            async move { anyhow::Ok((number, worker.await?)) }
        };
        let mut greeted = stream::iter(numbers.map(greet).collect::<Vec<_>>()).buffer_unordered(AT_A_TIME);
        while let Some(worker) = greeted.next().await {
            let (number, worker) = worker?;
            self.sessions.insert(number, tokio::spawn(worker.run()).abort_handle());
        }
        Ok(())
    }

    /// One worker of so many is gone at once, and says nothing; none of those that commit. How many went.
    pub(super) fn lose_each(&mut self, of: usize) -> usize {
        let lost = self.sessions.extract_if(.., |number, _| number % of == 1);
        lost.inspect(|(_, session)| session.abort()).count()
    }

    pub(super) fn workers(&self) -> usize {
        self.sessions.len()
    }

    /// Waits until every worker has a task in hand.
    pub(super) async fn all_busy(&mut self) -> Result<()> {
        let (began, workers) = (Instant::now(), self.workers());
        while self.tally.held() < workers {
            if began.elapsed() > PATIENCE {
                bail!("{} of {workers} workers have a task", self.tally.held());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    pub(super) fn go(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }
}

/// How many files this process may have open.
fn descriptors() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of open files")?;
    let soft = line.split_whitespace().nth(3).context("no number")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

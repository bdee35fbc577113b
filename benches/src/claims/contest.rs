//! Two claimers with the same knowledge want tasks of which a tenth is the same: each of those has one winner.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, ensure};
use tokio::time::Instant;
use windrow_common::id::{TaskId, WorkerId};
use windrow_coordinator::{ledger::LedgerError, store::MetaStore};

use super::{BATCH, led::Led, percent, rate};
use crate::report::{Goal, Report};

const TASKS: usize = 10_000;
const SINGLES: usize = 1_000;

pub(super) async fn run(store: &Arc<dyn MetaStore>, report: &mut Report) -> Result<()> {
    let led = Led::start(store, "contest", TASKS).await?;
    let tasks = led.pending();
    let (some, rest) = tasks.split_at(SINGLES);
    let led = contest(led, some, 1, report).await?;
    contest(led, rest, BATCH, report).await?;
    Ok(())
}

/// One claimer goes from the front, the other from the back, and both cover the tenth in the middle.
async fn contest(led: Led, tasks: &[TaskId], batch: usize, report: &mut Report) -> Result<Led> {
    let (most, least) = (tasks.len() * 55 / 100, tasks.len() * 45 / 100);
    let front = Claimer::new(&led, "front", tasks[..most].to_vec())?;
    let back = Claimer::new(&led, "back", tasks[least..].iter().rev().copied().collect())?;
    let began = Instant::now();
    let (front, back) = tokio::join!(tokio::spawn(front.run(batch)), tokio::spawn(back.run(batch)));
    let took = began.elapsed().as_secs_f64();
    let (front, back) = (front??, back??);

    let won = |claimer: &Claimer| claimer.led.won.iter().map(|(task, ..)| *task).collect::<BTreeSet<_>>();
    let doubled = won(&front).intersection(&won(&back)).count();
    let winners = won(&front).union(&won(&back)).count();
    ensure!(winners == tasks.len(), "{winners} of {} tasks were won", tasks.len());
    let stored = led.ledger.lock().await.load().await?;
    let all = led.won.iter().chain(&front.led.won).chain(&back.led.won).cloned().collect();
    let led = front.led.knowing(stored, all);
    led.check().await?;
    let refused = front.refused + back.refused;
    report.figure(
        &format!("two claimers, a tenth contested, {batch} a transaction"),
        format!(
            "{}, {} of transactions refused",
            rate(winners as f64 / took),
            percent(refused, front.made + back.made)
        ),
    );
    report.goal("  tasks won twice", doubled as f64, Goal::AtMost(0.0), "");
    Ok(led)
}

struct Claimer {
    led: Led,
    worker: WorkerId,
    tasks: Vec<TaskId>,
    /// Transactions, and those of them that were refused.
    made: usize,
    refused: usize,
}

impl Claimer {
    fn new(led: &Led, worker: &str, tasks: Vec<TaskId>) -> Result<Self> {
        Ok(Self { led: led.twin(), worker: worker.parse()?, tasks, made: 0, refused: 0 })
    }

    /// Claims everything it wants in batches; a batch that is refused is halved until it is known who was the faster.
    async fn run(mut self, batch: usize) -> Result<Self> {
        let mut batches: Vec<Vec<TaskId>> = self.tasks.chunks(batch).rev().map(<[_]>::to_vec).collect();
        while let Some(tasks) = batches.pop() {
            self.made += 1;
            match self.led.claim(&tasks, &self.worker).await {
                Ok(()) => {}
                Err(LedgerError::Conflict) => {
                    self.refused += 1;
                    if tasks.len() > 1 {
                        let (left, right) = tasks.split_at(tasks.len() / 2);
                        batches.extend([right.to_vec(), left.to_vec()]);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self)
    }
}

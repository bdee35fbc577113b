//! A ledger that is led and full of pending tasks, planned and claimed by the coordinator's own decisions.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::sync::{Mutex, watch};
use windrow_common::{
    clock::{Clock, SystemClock},
    id::{TaskId, WorkerId},
    pipeline::Pipeline,
    shutdown::Shutdown,
    task::{TaskPhase, TaskState},
};
use windrow_coordinator::{
    core::{
        apply, lifecycle,
        lifecycle::Now,
        plan,
        table::{Change, Table},
    },
    leader::{self, Leadership},
    ledger::{Keys, Ledger, LedgerError},
    store::{MetaStore, Range},
};

use crate::pass;

/// See the module.
pub(super) struct Led {
    /// A leadership has one writer, which knows the revision in force.
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) table: Table,
    /// What was claimed, by whom, with which token.
    pub(super) won: Vec<(TaskId, WorkerId, i64)>,
    keys: Keys,
    clock: Arc<dyn Clock>,
    leadership: Arc<Leadership>,
}

impl Led {
    /// Wins the leadership of a new cluster and plans at least so many tasks.
    pub(super) async fn start(store: &Arc<dyn MetaStore>, cluster: &str, tasks: usize) -> Result<Self> {
        let (keys, clock): (_, Arc<dyn Clock>) = (Keys::of_cluster(cluster), Arc::new(SystemClock::new()));
        let context = (&watch::Sender::new(String::new()), &Shutdown::new());
        let leadership = leader::campaign(store, &keys, "bench", &clock, context).await?.context("nobody leads")?;
        let ledger = Ledger::new(store.clone(), keys.clone(), leadership.guard.clone());
        let table = ledger.load().await?;
        let (ledger, leadership) = (Arc::new(Mutex::new(ledger)), Arc::new(leadership));
        let mut led = Self { ledger, table, won: Vec::new(), keys, clock, leadership };
        let pipelines: Vec<Pipeline> = (0..tasks.div_ceil(plan::MAX_OPEN)).map(pipeline).collect::<Result<_>>()?;
        for some in pipelines.chunks(apply::MAX_PIPELINES) {
            let (change, _) = apply::apply(&led.table, some)?;
            led.write(&change).await?;
        }
        loop {
            let changes = plan::plan(&led.table, led.now());
            if changes.is_empty() {
                return Ok(led);
            }
            for change in &changes {
                led.write(change).await?;
            }
        }
    }

    /// The same ledger in the hands of somebody who knows what is known now.
    pub(super) fn twin(&self) -> Self {
        Self {
            ledger: self.ledger.clone(),
            table: self.table.clone(),
            won: Vec::new(),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
            leadership: self.leadership.clone(),
        }
    }

    /// The ledger for somebody else to lead with, and what has to be kept for as long.
    pub(super) fn hand_over(self) -> Result<(Ledger, Arc<Leadership>)> {
        let ledger = Arc::into_inner(self.ledger).context("a twin has the ledger, too")?;
        Ok((ledger.into_inner(), self.leadership))
    }

    /// The same ledger with what became of it.
    pub(super) fn knowing(self, table: Table, won: Vec<(TaskId, WorkerId, i64)>) -> Self {
        Self { table, won, ..self }
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.clock.now(), jitter: 0.5 }
    }

    pub(super) fn pending(&self) -> Vec<TaskId> {
        let pending = self.table.tasks().filter(|task| task.value.state.phase() == TaskPhase::Pending);
        pending.map(|task| task.value.id).collect()
    }

    /// Claims tasks for a worker, all or none, as the controller does it.
    pub(super) async fn claim(&mut self, tasks: &[TaskId], worker: &WorkerId) -> Result<(), LedgerError> {
        let now = self.now();
        let claims = tasks.iter().filter_map(|task| lifecycle::claim(&self.table, task, worker, now).ok());
        let change = claims.fold(Change::default(), Change::and);
        let revision = self.write(&change).await?;
        self.won.extend(tasks.iter().map(|task| (*task, worker.clone(), revision)));
        Ok(())
    }

    async fn write(&mut self, change: &Change) -> Result<i64, LedgerError> {
        let revision = self.ledger.lock().await.write(change).await?;
        self.table.apply(change, revision);
        Ok(revision)
    }

    /// Whether the store has every claim as it was won, and nothing else is claimed.
    pub(super) async fn check(&self) -> Result<()> {
        let stored = self.ledger.lock().await.load().await?;
        for (task, worker, revision) in &self.won {
            let entry = stored.task(task).context("a claimed task is gone")?;
            let holds = matches!(&entry.value.state, TaskState::Claimed { worker: holder, .. } if holder == worker);
            ensure!(holds && entry.revision == *revision, "task {task} was won by {worker} and is not his: {entry:?}");
        }
        let claimed = stored.tasks().filter(|task| task.value.state.phase() == TaskPhase::Claimed).count();
        ensure!(claimed == self.won.len(), "{claimed} tasks are claimed, {} were won", self.won.len());
        Ok(())
    }

    /// The stored form of a task, the size of which is what a claim writes.
    pub(super) async fn record_of_a_claim(&self, store: &Arc<dyn MetaStore>) -> Result<Vec<u8>> {
        let prefix = format!("{}t/", self.keys.prefix());
        let page = store.range(Range { limit: 1, ..Range::prefix(prefix) }).await?;
        Ok(page.entries.into_iter().next().context("there is no task")?.value)
    }
}

/// A pipeline with more hourly windows due than it may have open tasks.
fn pipeline(number: usize) -> Result<Pipeline> {
    let mut pipeline = pass::pipeline("/lake".as_ref(), "delta", "replace_window", json!({}));
    pipeline["name"] = json!(format!("bench-{number}"));
    pipeline["window"] = json!({ "every": "1h", "start": "2013-01-01T00:00", "per_task": 1 });
    pipeline["limits"] = json!({ "concurrency": 1_000_000 });
    Ok(serde_json::from_value(pipeline)?)
}

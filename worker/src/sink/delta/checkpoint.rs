//! Checkpoints: made after a commit has returned, in the background, one at a time. Readers need them, commits do not, so a
//! failure is logged and no more. What they make superfluous in the log goes with a cleaning, which knows what is pinned.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use deltalake_core::checkpoints::create_checkpoint;
use tokio::sync::Mutex;

use super::{
    log::{Log, broken},
    table::Table,
};
use crate::error::Result;

/// Commits between two checkpoints when the table does not say.
const INTERVAL: u64 = 100;

/// See the module.
pub(super) struct Checkpoints {
    log: Log,
    /// The version of the newest checkpoint, or of the table when it was first seen.
    newest: AtomicU64,
    running: Arc<Mutex<()>>,
}

const UNKNOWN: u64 = u64::MAX;

impl Checkpoints {
    pub(super) fn of(log: Log) -> Self {
        Self { log, newest: AtomicU64::new(UNKNOWN), running: Arc::default() }
    }

    /// To be told of every commit of ours; starts a checkpoint when it is time.
    pub(super) fn after(&self, table: &Table) {
        let interval = interval(table);
        let newest = match self.newest.load(Ordering::Relaxed) {
            UNKNOWN => (table.version - 1) / interval * interval,
            newest => newest,
        };
        let due = table.version >= newest.saturating_add(interval);
        self.newest.store(if due { table.version } else { newest }, Ordering::Relaxed);
        if !due {
            return;
        }
        let Ok(running) = self.running.clone().try_lock_owned() else { return };
        let (log, version) = (self.log.clone(), table.version);
        tokio::spawn(async move {
            if let Err(error) = checkpoint(&log, version).await {
                tracing::warn!(version, error = %error, "no checkpoint was made; the next one makes up for it");
            }
            drop(running);
        });
    }

    /// Waits for a checkpoint under way.
    #[cfg(test)]
    pub(super) async fn settled(&self) {
        drop(self.running.lock().await);
    }
}

async fn checkpoint(log: &Log, version: u64) -> Result<()> {
    let Some(table) = log.open(Some(version)).await? else { return Ok(()) };
    create_checkpoint(&table, None).await.map_err(broken)
}

fn interval(table: &Table) -> u64 {
    let told = table.configuration.get("delta.checkpointInterval").and_then(|text| text.parse().ok());
    told.filter(|interval| *interval > 0).unwrap_or(INTERVAL)
}

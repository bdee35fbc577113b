//! Stopping in order: one signal everyone hears, and a wait until everyone has stopped.

use std::{future::Future, time::Duration};

use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};

/// Spawns background work and stops it. Clones share the signal and the count of running work.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    signal: CancellationToken,
    running: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells everyone to stop; returns at once.
    pub fn begin(&self) {
        self.signal.cancel();
        self.running.close();
    }

    pub fn has_begun(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Resolves when stopping has begun.
    pub fn begun(&self) -> WaitForCancellationFuture<'_> {
        self.signal.cancelled()
    }

    pub fn token(&self) -> &CancellationToken {
        &self.signal
    }

    /// Runs `work` until it is done; it must watch the signal itself. [`Self::finish`] waits for it.
    pub fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.spawn(work);
    }

    /// Begins stopping and waits for all spawned work; whether it ended within `grace`.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.begin();
        tokio::time::timeout(grace, self.running.wait()).await.is_ok()
    }
}

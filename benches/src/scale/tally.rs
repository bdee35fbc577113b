//! What the workers saw, all together.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use windrow_common::id::TaskId;

/// Filled by the workers, emptied by whoever measures.
#[derive(Default)]
pub(super) struct Tally(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    seen: Seen,
    held: BTreeSet<TaskId>,
}

/// Since it was last asked for. Bounded by the rates of a few seconds.
#[derive(Default)]
pub(super) struct Seen {
    /// From a heartbeat to its answer.
    pub(super) beats: Vec<Duration>,
    /// From the moment a worker said that its slot is free to the next task in its hand.
    pub(super) claims: Vec<Duration>,
    pub(super) seals: usize,
    /// Claims taken back, seals refused, sessions broken, tasks that two workers held at once.
    pub(super) lost: Vec<String>,
}

impl Tally {
    pub(super) fn beat(&self, took: Duration) {
        self.inner().seen.beats.push(took);
    }

    pub(super) fn claimed(&self, task: TaskId, took: Duration) {
        let mut inner = self.inner();
        inner.seen.claims.push(took);
        if !inner.held.insert(task) {
            inner.seen.lost.push(format!("task {task} was given out twice"));
        }
    }

    /// The worker says that it is done with it.
    pub(super) fn let_go(&self, task: &TaskId) {
        self.inner().held.remove(task);
    }

    pub(super) fn sealed(&self) {
        self.inner().seen.seals += 1;
    }

    pub(super) fn lost(&self, what: String) {
        self.inner().seen.lost.push(what);
    }

    /// Tasks in workers' hands.
    pub(super) fn held(&self) -> usize {
        self.inner().held.len()
    }

    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut self.inner().seen)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

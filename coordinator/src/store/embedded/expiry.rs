//! Ends leases when their time is up.
//!
//! One task sleeps until the next deadline and revokes what is past its own. It may not touch the state except to
//! look at deadlines: ending a lease is a command like any other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{LeaseId, StoreError};
use super::command::Command;
use super::door::WeakDoor;
use super::state::SharedState;

/// Pause before trying again when leases could not be ended, because the queue or the disk is full.
const RETRY: Duration = Duration::from_millis(200);

/// Owns the task. Dropping it stops the task.
pub(super) struct Expiry {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: SharedState,
    door: WeakDoor,
    earlier_deadline: Notify,
}

impl Expiry {
    pub(super) fn new(state: SharedState, door: WeakDoor) -> Self {
        let shared = Shared { state, door, earlier_deadline: Notify::new() };
        Self { shared: Arc::new(shared), task: Mutex::new(None) }
    }

    /// Starts the task if there is a lease and no task. A simulated host may have died with the task, or a test
    /// runtime been replaced; so every call of the store comes here.
    pub(super) fn keep_running(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) || self.shared.state.lock().leases.is_empty() {
            return;
        }
        // Without a runtime there is no time that could run out.
        if let Ok(runtime) = Handle::try_current() {
            *task = Some(runtime.spawn(end_leases(self.shared.clone())));
        }
    }

    /// To be called after a grant: the new lease may be the first to end.
    pub(super) fn deadlines_changed(&self) {
        self.keep_running();
        self.shared.earlier_deadline.notify_one();
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

async fn end_leases(shared: Arc<Shared>) {
    loop {
        let next = shared.state.lock().leases.next_deadline();
        let Some(next) = next else {
            shared.earlier_deadline.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = sleep_until(next) => end_expired(&shared).await,
            () = shared.earlier_deadline.notified() => {}
        }
    }
}

async fn end_expired(shared: &Shared) {
    let expired = shared.state.lock().leases.expired(Instant::now());
    // All are offered before any is awaited, so that they share commits.
    let offered: Vec<_> = expired.into_iter().map(|id| (id, shared.door.offer(Command::Revoke { id }))).collect();
    for (id, answer) in offered {
        let ended = match answer {
            Some(answer) => matches!(answer.await, Ok(Ok(_) | Err(StoreError::LeaseNotFound(_)))),
            None => false,
        };
        if !ended {
            return back_off(id).await;
        }
    }
}

async fn back_off(id: LeaseId) {
    tracing::warn!(lease = id.0, "expired lease could not be ended yet");
    sleep(RETRY).await;
}

//! Watches: replay the log from a revision on, then follow what is published.
//!
//! A watch reads the log at its own pace and keeps no queue of its own beyond the channel to its reader, so a slow
//! reader costs nothing but its own place. It may not change the state.

use tokio::sync::{mpsc, watch as signal};

use super::super::{Revision, StoreError, Watch, WatchBatch};
use super::state::{Replay, SharedState};

/// Batches a reader may lag behind before its watch waits for it.
const BUFFER: usize = 64;
/// Revisions looked at while holding the state's lock.
const STEP: i64 = 64;

/// Starts a watch of `prefix` from `from` on, or from the next revision on.
pub(super) fn start(
    state: SharedState,
    published: signal::Receiver<Revision>,
    prefix: Vec<u8>,
    from: Option<Revision>,
) -> Watch {
    let next = from.unwrap_or_else(|| Revision(state.lock().visible().0 + 1)).max(Revision(1));
    let (sender, batches) = mpsc::channel(BUFFER);
    tokio::spawn(Watcher { state, published, prefix, next, sender }.run());
    Watch { batches }
}

struct Watcher {
    state: SharedState,
    published: signal::Receiver<Revision>,
    prefix: Vec<u8>,
    /// Everything below was sent.
    next: Revision,
    sender: mpsc::Sender<Result<WatchBatch, StoreError>>,
}

/// The reader or the store is gone.
struct Ended;

impl Watcher {
    async fn run(mut self) {
        while let Ok(()) = self.step().await {}
    }

    async fn step(&mut self) -> Result<(), Ended> {
        let replay = self.state.lock().replay(&self.prefix, self.next, STEP);
        match replay {
            Replay::Compacted { oldest } => {
                let error = StoreError::Compacted { requested: self.next, oldest };
                let _ = self.sender.send(Err(error)).await;
                return Err(Ended);
            }
            Replay::Batches(batches, next) => {
                for batch in batches {
                    self.sender.send(Ok(batch)).await.map_err(|_| Ended)?;
                }
                self.next = next;
            }
        }
        self.wait_for_more().await
    }

    async fn wait_for_more(&mut self) -> Result<(), Ended> {
        if *self.published.borrow_and_update() >= self.next {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.sender.closed() => Err(Ended),
            changed = self.published.changed() => changed.map_err(|_| Ended),
        }
    }
}

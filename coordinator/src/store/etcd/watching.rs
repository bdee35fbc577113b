//! Watches that survive a broken stream: each resumes behind the last revision it delivered.
//!
//! May not skip a revision, whatever happens; what cannot be resumed ends with an error.

use std::time::Duration;

use etcd_client::{WatchClient, WatchOptions, WatchResponse, WatchStream};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::{Event, Revision, StoreError, Watch, WatchBatch};
use super::assembly::{Assembly, revision_of};
use super::errors::Refusal;
use super::{in_time, wire};

/// Batches a reader may lag behind before the stream is left unread.
const BUFFER: usize = 64;
/// How long a broken watch tries to come back before it gives up.
const RESUME_WITHIN: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The horizon is asked for to explain an error; it is not worth more.
const HORIZON_ATTEMPTS: usize = 5;
const HORIZON_PATIENCE: Duration = Duration::from_millis(300);

/// Starts a watch; it is in place at the server when this returns.
pub(super) async fn start(
    client: WatchClient,
    prefix: Vec<u8>,
    from: Revision,
    timeout: Duration,
) -> Result<Watch, StoreError> {
    let (sender, batches) = mpsc::channel(BUFFER);
    let next = from.max(Revision(1));
    let stream = open(client.clone(), &prefix, next, timeout).await?;
    tokio::spawn(Watcher { client, prefix, timeout, next, sender }.run(stream));
    Ok(Watch { batches })
}

/// The compaction horizon, known to be at least `at_least`: etcd tells it to a watch that starts below.
pub(super) async fn horizon(client: WatchClient, prefix: &[u8], at_least: Revision) -> Option<Revision> {
    for _ in 0..HORIZON_ATTEMPTS {
        let horizon = told_horizon(client.clone(), prefix).await;
        // A member that lags behind knows an older one, or none.
        if horizon.is_some_and(|horizon| horizon >= at_least) {
            return horizon;
        }
    }
    None
}

async fn told_horizon(client: WatchClient, prefix: &[u8]) -> Option<Revision> {
    let mut stream = open(client, prefix, Revision(1), HORIZON_PATIENCE).await.ok()?;
    let answer = in_time(HORIZON_PATIENCE, stream.message()).await.ok()??;
    (answer.compact_revision() > 0).then_some(Revision(answer.compact_revision()))
}

struct Watcher {
    client: WatchClient,
    prefix: Vec<u8>,
    timeout: Duration,
    /// Everything below was delivered.
    next: Revision,
    sender: mpsc::Sender<Result<WatchBatch, StoreError>>,
}

/// Why a stream is followed no longer.
enum Ending {
    /// It may be opened again.
    Broken(String),
    /// The reader has to be told.
    Final(StoreError),
    ReaderGone,
}

impl Watcher {
    async fn run(mut self, mut stream: WatchStream) {
        loop {
            let ending = match self.follow(stream).await {
                Ending::Broken(reason) => match self.reopen(reason).await {
                    Ok(reopened) => {
                        stream = reopened;
                        continue;
                    }
                    Err(ending) => ending,
                },
                ending => ending,
            };
            if let Ending::Final(error) = ending {
                let _ = self.sender.send(Err(error)).await;
            }
            return;
        }
    }

    async fn follow(&mut self, mut stream: WatchStream) -> Ending {
        // A revision received in part is received again by the next stream.
        let mut assembly = Assembly::default();
        loop {
            let message = tokio::select! {
                biased;
                () = self.sender.closed() => return Ending::ReaderGone,
                message = stream.message() => message,
            };
            let taken = match message {
                Ok(Some(response)) => self.take(response, &mut assembly).await,
                Ok(None) => Err(Ending::Broken("stream ended".into())),
                Err(error) => Err(ending_of(Refusal::from(error).into_error())),
            };
            if let Err(ending) = taken {
                return ending;
            }
        }
    }

    async fn take(&mut self, response: WatchResponse, assembly: &mut Assembly) -> Result<(), Ending> {
        if response.canceled() {
            return Err(self.canceled(&response));
        }
        let newest = wire::revision(response.header()).map_err(Ending::Final)?;
        let wire = response.0;
        if wire.events.is_empty() && !wire.created && assembly.is_empty() {
            // A sign of life: nothing happened here up to this revision, so a resume need not look back further.
            self.next = self.next.max(Revision(newest.0 + 1));
        }
        let next = self.next;
        let events = wire.events.into_iter().filter_map(event).filter(|event| revision_of(event) >= next).collect();
        for batch in assembly.add(events, wire.fragment) {
            self.next = Revision(batch.revision.0 + 1);
            self.sender.send(Ok(batch)).await.map_err(|_| Ending::ReaderGone)?;
        }
        Ok(())
    }

    fn canceled(&self, response: &WatchResponse) -> Ending {
        if response.compact_revision() > 0 {
            let oldest = Revision(response.compact_revision() + 1);
            return Ending::Final(StoreError::Compacted { requested: self.next, oldest });
        }
        cancelation(response.cancel_reason())
    }

    async fn reopen(&self, reason: String) -> Result<WatchStream, Ending> {
        let give_up = Instant::now() + RESUME_WITHIN;
        let mut pause = FIRST_PAUSE;
        tracing::debug!(reason, next = self.next.0, "watch broke, resuming");
        loop {
            tokio::select! {
                biased;
                () = self.sender.closed() => return Err(Ending::ReaderGone),
                () = sleep(jittered(pause)) => {}
            }
            match open(self.client.clone(), &self.prefix, self.next, self.timeout).await {
                Ok(stream) => return Ok(stream),
                Err(StoreError::Unavailable(reason)) if Instant::now() >= give_up => {
                    let error = format!("watch could not be resumed within {RESUME_WITHIN:?}: {reason}");
                    return Err(Ending::Final(StoreError::Unavailable(error)));
                }
                Err(StoreError::Unavailable(_)) => pause = (pause * 2).min(LONGEST_PAUSE),
                Err(error) => return Err(Ending::Final(error)),
            }
        }
    }
}

/// Opens a stream and waits until the server has created the watch.
async fn open(
    mut client: WatchClient,
    prefix: &[u8],
    from: Revision,
    timeout: Duration,
) -> Result<WatchStream, StoreError> {
    // One earlier than needed, and dropped again: from the horizon itself etcd starts a watch without complaint, but
    // may have forgotten deletions at it.
    let start = (from.0 - 1).max(1);
    let options = WatchOptions::new().with_prefix().with_start_revision(start).with_fragment().with_progress_notify();
    let opened = async {
        let mut stream = client.watch(prefix, Some(options)).await?;
        let first = stream.message().await?;
        Ok((stream, first))
    };
    let (stream, first) = in_time(timeout, opened).await.map_err(Refusal::into_error)?;
    let first = first.ok_or_else(|| StoreError::Unavailable("watch stream ended at once".into()))?;
    if first.canceled() {
        return Err(match cancelation(first.cancel_reason()) {
            Ending::Final(error) => error,
            _ => StoreError::Unavailable(format!("watch was refused: {}", first.cancel_reason())),
        });
    }
    Ok(stream)
}

fn cancelation(reason: &str) -> Ending {
    if reason.contains("permission denied") {
        return Ending::Final(StoreError::Broken(format!("etcd refuses the watch: {reason}")));
    }
    Ending::Broken(format!("canceled: {reason}"))
}

fn ending_of(error: StoreError) -> Ending {
    match error {
        StoreError::Unavailable(reason) => Ending::Broken(reason),
        error => Ending::Final(error),
    }
}

fn event(event: etcd_client::proto::PbEvent) -> Option<Event> {
    /// As in etcd's `mvccpb.Event`.
    const DELETE: i32 = 1;
    let entry = event.kv?;
    Some(match event.r#type {
        DELETE => Event::Delete { revision: Revision(entry.mod_revision), key: entry.key },
        _ => Event::Put(wire::owned_entry(entry)),
    })
}

/// Between half the pause and all of it, so that watches broken together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

//! How commands reach the committer: through a queue to its own thread, or right here.
//!
//! Commands that arrive while a commit is under way wait in the queue and share the next one (group commit).
//! It may not depend on what the commands mean.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::super::StoreError;
use super::command::Command;
use super::committer::{Answer, Committer, Job};

/// Most commands waiting; more callers wait for room.
const QUEUE: usize = 1024;
/// Most commands, and roughly most bytes, in one commit.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

pub(super) enum Door {
    Inline(Arc<Mutex<Committer>>),
    Thread(WriterThread),
}

/// A way in that does not keep the door open.
pub(super) enum WeakDoor {
    Inline(Weak<Mutex<Committer>>),
    Thread(mpsc::WeakSender<Job>),
}

/// The thread that owns the committer. Dropping it lets the thread finish what was submitted and waits for that, so
/// that the file is free afterwards.
pub(super) struct WriterThread {
    queue: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Door {
    pub(super) fn inline(committer: Committer) -> Self {
        Self::Inline(Arc::new(Mutex::new(committer)))
    }

    pub(super) fn thread(committer: Committer) -> Result<Self, StoreError> {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("windrow-store".into())
            .spawn(move || write_batches(receiver, committer))
            .map_err(|error| StoreError::Broken(format!("writer thread did not start: {error}")))?;
        Ok(Self::Thread(WriterThread { queue: Some(queue), thread: Some(thread) }))
    }

    pub(super) fn downgrade(&self) -> WeakDoor {
        match self {
            Self::Inline(committer) => WeakDoor::Inline(Arc::downgrade(committer)),
            Self::Thread(writer) => {
                WeakDoor::Thread(writer.queue.as_ref().map_or_else(closed_queue, mpsc::Sender::downgrade))
            }
        }
    }

    pub(super) async fn submit(&self, command: Command) -> Answer {
        let (reply, answer) = oneshot::channel();
        let job = Job { command, reply };
        match self {
            Self::Inline(committer) => run_here(committer, job),
            Self::Thread(writer) => {
                let queue = writer.queue.as_ref().ok_or_else(stopped)?;
                queue.send(job).await.map_err(|_| stopped())?;
            }
        }
        // The writer answers everything it takes; silence means that it died on the way.
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer died".into())))
    }
}

impl WeakDoor {
    /// Submits a command if there is room right now, without waiting.
    pub(super) fn offer(&self, command: Command) -> Option<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        let job = Job { command, reply };
        match self {
            Self::Inline(committer) => run_here(&*committer.upgrade()?, job),
            Self::Thread(queue) => queue.upgrade()?.try_send(job).ok()?,
        }
        Some(answer)
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("store writer panicked");
        }
    }
}

fn run_here(committer: &Mutex<Committer>, job: Job) {
    committer.lock().unwrap_or_else(PoisonError::into_inner).run(vec![job]);
}

fn write_batches(mut queue: mpsc::Receiver<Job>, mut committer: Committer) {
    while let Some(first) = queue.blocking_recv() {
        committer.run(batch(first, &mut queue));
    }
}

/// `first` and what else is waiting, within the bounds.
fn batch(first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.command.bytes();
    let mut jobs = vec![first];
    while jobs.len() < BATCH && bytes < BATCH_BYTES {
        let Ok(job) = queue.try_recv() else { break };
        bytes += job.command.bytes();
        jobs.push(job);
    }
    jobs
}

fn closed_queue() -> mpsc::WeakSender<Job> {
    mpsc::channel(1).0.downgrade()
}

fn stopped() -> StoreError {
    StoreError::Broken("the writer has stopped".into())
}

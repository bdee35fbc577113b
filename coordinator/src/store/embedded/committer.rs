//! Takes batches of commands: applies them, makes them durable in one commit, publishes them, answers.
//!
//! The only writer of the state and of the disk. It may not depend on how the batches get to it.

use tokio::sync::{oneshot, watch as signal};
use tokio::time::Instant;

use super::super::{Revision, StoreError, TxnOutcome};
use super::changes::Changes;
use super::command::Command;
use super::disk::{Counters, Disk};
use super::keyspace::Retention;
use super::state::{SharedState, State};

pub(super) type Answer = Result<TxnOutcome, StoreError>;

/// A command and where its answer goes. Nobody has to wait for the answer.
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Answer>,
}

pub(super) struct Committer {
    state: SharedState,
    /// Absent for a store in memory only.
    disk: Option<Disk>,
    retention: Retention,
    published: signal::Sender<Revision>,
}

impl Committer {
    /// A committer, and the signal that tells every newly visible revision.
    pub(super) fn new(
        state: SharedState,
        disk: Option<Disk>,
        retention: Retention,
    ) -> (Self, signal::Receiver<Revision>) {
        let (published, receiver) = signal::channel(state.lock().visible());
        (Self { state, disk, retention, published }, receiver)
    }

    /// Runs one batch. The answers are given once everything in it is durable and visible, so no answer can tell of
    /// something that a crash takes back.
    pub(super) fn run(&mut self, jobs: Vec<Job>) {
        if let Err(error) = self.resolve_doubt() {
            return jobs.into_iter().for_each(|job| answer(job.reply, Err(error.clone())));
        }
        let mut changes = Changes::default();
        let (answers, counters) = self.apply(jobs, &mut changes);
        match self.persist(&changes, counters) {
            Ok(()) => {
                self.publish();
                answers.into_iter().for_each(|(reply, result)| answer(reply, result));
            }
            // Even a refusal may rest on a change that is now undone, so the whole batch fails alike.
            Err(error) => answers.into_iter().for_each(|(reply, _)| answer(reply, Err(error.clone()))),
        }
    }

    fn apply(&self, jobs: Vec<Job>, changes: &mut Changes) -> (Vec<(oneshot::Sender<Answer>, Answer)>, Counters) {
        let mut state = self.state.lock();
        let answers = jobs.into_iter().map(|job| (job.reply, state.apply(job.command, changes))).collect();
        state.trim(self.retention, changes);
        (answers, Counters { revision: state.revision(), next_lease: state.leases.next_id() })
    }

    fn persist(&mut self, changes: &Changes, counters: Counters) -> Result<(), StoreError> {
        let Some(disk) = self.disk.as_mut().filter(|_| !changes.is_empty()) else { return Ok(()) };
        disk.commit(changes, counters).or_else(|error| self.find_out(error))
    }

    fn publish(&self) {
        let visible = self.state.lock().publish();
        self.published.send_if_modified(|published| std::mem::replace(published, visible) != visible);
    }

    /// A commit that failed may have happened all the same. The disk is the truth: memory is built anew from it.
    fn find_out(&mut self, error: StoreError) -> Result<(), StoreError> {
        tracing::error!(error = %error, "store commit failed, reading the store again");
        let attempted = self.disk.as_ref().map(Disk::next_commit);
        self.state.lock().in_doubt = true;
        match self.reload() {
            Ok(commits) if Some(commits) == attempted => Ok(()),
            Ok(_) => Err(error),
            Err(second) => Err(StoreError::Unavailable(format!("{error}; then, reading it again: {second}"))),
        }
    }

    /// Before anything new is applied, memory has to be what the disk holds.
    fn resolve_doubt(&mut self) -> Result<(), StoreError> {
        let in_doubt = self.state.lock().in_doubt;
        if in_doubt {
            self.reload()?;
            self.publish();
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<i64, StoreError> {
        let Some(disk) = self.disk.as_mut() else { return Ok(0) };
        let loaded = disk.load()?;
        let commits = loaded.commits;
        let fresh = State::restore(loaded, Instant::now())?;
        *self.state.lock() = fresh;
        Ok(commits)
    }
}

fn answer(reply: oneshot::Sender<Answer>, result: Answer) {
    // A caller that went away is not told.
    let _ = reply.send(result);
}

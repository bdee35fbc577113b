//! The embedded store: one process, one file, the behaviour of etcd.
//!
//! The whole key space and its recent history live in memory ([`keyspace`]); redb holds the same on disk ([`disk`]).
//! One writer applies transactions in batches and makes each batch durable with one commit before anybody sees it
//! ([`committer`], [`door`]). Reads and watches look at the durable state only and never touch the disk.
//! It may not depend on etcd or on anything above the store.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch as signal;
use tokio::time::Instant;

use self::command::Command;
use self::committer::Committer;
use self::disk::Disk;
use self::door::Door;
use self::expiry::Expiry;
use self::keyspace::Retention;
use self::state::{SharedState, State};
use super::{Compare, LeaseId, MetaStore, Op, Page, Range, Revision, StoreError, TxnOutcome, Watch, limits};

mod changes;
mod command;
mod committer;
mod disk;
mod door;
mod expiry;
mod keyspace;
mod leases;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod watching;

/// A [`MetaStore`] in this process, kept in one file or in memory only.
///
/// Everything acknowledged is on disk. Dropping the store ends its watches, finishes what was submitted and releases
/// the file. Leases count tokio's time.
pub struct EmbeddedStore {
    // Dropped first: the expiry must not submit to a closing door.
    expiry: Expiry,
    door: Door,
    state: SharedState,
    /// The newest visible revision, for watches that wait for the next one.
    published: signal::Receiver<Revision>,
    next_lease: AtomicI64,
}

impl EmbeddedStore {
    /// Opens the store at `path`, creating it if it is absent. One store at a time may have the file open.
    ///
    /// Leases start over with their full time to live: nobody could keep them alive while the store was closed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::on_disk(Disk::at_path(path)?, Retention::default())
    }

    /// A store that forgets everything when dropped. It uses no thread and no file: calls finish without waiting, so
    /// that tests with paused time and simulations see the same run every time.
    pub fn in_memory() -> Self {
        Self::in_memory_keeping(Retention::default())
    }

    fn in_memory_keeping(retention: Retention) -> Self {
        let state = State::empty().shared();
        let (committer, published) = Committer::new(state.clone(), None, retention);
        Self::assemble(state, Door::inline(committer), published)
    }

    fn on_disk(mut disk: Disk, retention: Retention) -> Result<Self, StoreError> {
        let state = State::restore(disk.load()?, Instant::now())?.shared();
        let (committer, published) = Committer::new(state.clone(), Some(disk), retention);
        Ok(Self::assemble(state, Door::thread(committer)?, published))
    }

    fn assemble(state: SharedState, door: Door, published: signal::Receiver<Revision>) -> Self {
        let next_lease = state.lock().leases.next_id();
        let expiry = Expiry::new(state.clone(), door.downgrade());
        Self { expiry, door, state, published, next_lease: AtomicI64::new(next_lease) }
    }

    async fn submit(&self, command: Command) -> Result<TxnOutcome, StoreError> {
        self.expiry.keep_running();
        self.door.submit(command).await
    }
}

#[async_trait]
impl MetaStore for EmbeddedStore {
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError> {
        limits::check_txn(&compares, &ops)?;
        self.submit(Command::Txn { compares, ops }).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.expiry.keep_running();
        if let Some(at) = range.at {
            limits::check_state_revision(at)?;
        }
        self.state.lock().range(&range)
    }

    async fn watch(&self, prefix: Vec<u8>, from: Option<Revision>) -> Result<Watch, StoreError> {
        self.expiry.keep_running();
        Ok(watching::start(self.state.clone(), self.published.clone(), prefix, from))
    }

    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError> {
        let ttl_seconds = limits::check_ttl(ttl_seconds)?;
        let id = LeaseId(self.next_lease.fetch_add(1, Ordering::Relaxed));
        self.submit(Command::Grant { id, ttl_seconds, deadline: deadline(ttl_seconds) }).await?;
        self.expiry.deadlines_changed();
        Ok(id)
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<i64, StoreError> {
        self.expiry.keep_running();
        let in_doubt = self.state.lock().in_doubt;
        if in_doubt {
            // An empty transaction makes the writer find out what is on disk, or fails.
            self.door.submit(Command::Txn { compares: vec![], ops: vec![] }).await?;
        }
        // Time to live is not part of the durable state: a restart re-arms every lease anyway.
        self.state.lock().leases.keep_alive(lease, Instant::now()).ok_or(StoreError::LeaseNotFound(lease))
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.submit(Command::Revoke { id: lease }).await.map(drop)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        limits::check_state_revision(revision)?;
        self.submit(Command::Compact { revision }).await.map(drop)
    }
}

fn deadline(ttl_seconds: i64) -> Instant {
    leases::deadline(Instant::now(), Duration::from_secs(ttl_seconds.unsigned_abs()))
}

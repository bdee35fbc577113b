//! The store's state: applies one command at a time and answers reads.
//!
//! Applying is deterministic and in memory. What is applied stays invisible until it is published, which happens when
//! it is durable. It may not depend on the disk, on threads or on a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::super::{Compare, LeaseId, Op, Page, Range, Revision, StoreError, TxnOutcome, WatchBatch, limits};
use super::changes::{Changes, LeaseChange};
use super::command::Command;
use super::disk::Loaded;
use super::keyspace::{FIRST_REVISION, Keyspace, Retention};
use super::leases::{self, Leases};
use super::record::{Body, Live, Record};

/// Most revisions one commit forgets, so that no single commit pays for a long history. More than a batch can add.
const COMPACTION_STEP: usize = 512;

pub(super) struct State {
    keyspace: Keyspace,
    pub(super) leases: Leases,
    /// The newest revision readers may see: everything up to it is durable.
    visible: Revision,
    /// Set while it is unknown how a commit ended: what is applied but not visible may never become so.
    pub(super) in_doubt: bool,
}

/// The state behind its lock. Held for memory work only, never across an await or a disk access.
#[derive(Clone)]
pub(super) struct SharedState(Arc<Mutex<State>>);

impl SharedState {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while applying leaves at worst changes that were not published; the writer is gone then and nobody
        // will publish them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one step of a watch found.
pub(super) enum Replay {
    /// Changes in order, and the revision to go on from. None are left when it lies above the newest visible one.
    Batches(Vec<WatchBatch>, Revision),
    Compacted {
        oldest: Revision,
    },
}

impl State {
    pub(super) fn empty() -> Self {
        let keyspace = Keyspace::starting_after(FIRST_REVISION);
        Self { visible: keyspace.revision(), keyspace, leases: Leases::starting_at(1), in_doubt: false }
    }

    /// Rebuilds what the disk holds. Leases are armed with their full time to live.
    pub(super) fn restore(loaded: Loaded, now: Instant) -> Result<Self, StoreError> {
        let mut leases = Leases::starting_at(loaded.next_lease);
        for (id, ttl_seconds) in loaded.leases {
            let ttl = std::time::Duration::from_secs(ttl_seconds.unsigned_abs());
            leases.insert(id, ttl_seconds, leases::deadline(now, ttl));
        }
        let mut keyspace = Keyspace::starting_after(loaded.compacted);
        let mut log: BTreeMap<Revision, Vec<Arc<Record>>> = BTreeMap::new();
        for record in loaded.records {
            if record.mod_revision > loaded.compacted {
                log.entry(record.mod_revision).or_default().push(record);
            } else {
                keyspace.insert(record);
            }
        }
        for (revision, records) in log {
            if revision.0 != keyspace.revision().0 + 1 {
                return Err(StoreError::Broken(format!("revision {} is missing", keyspace.revision().0 + 1)));
            }
            keyspace.append(records);
        }
        if keyspace.revision() != loaded.revision {
            return Err(StoreError::Broken(format!("revision {} is missing", loaded.revision)));
        }
        attach_all(&keyspace, &mut leases)?;
        Ok(Self { visible: keyspace.revision(), keyspace, leases, in_doubt: false })
    }

    pub(super) fn shared(self) -> SharedState {
        SharedState(Arc::new(Mutex::new(self)))
    }

    /// Applies `command` and notes in `changes` what has to become durable before the answer may be given.
    pub(super) fn apply(&mut self, command: Command, changes: &mut Changes) -> Result<TxnOutcome, StoreError> {
        match command {
            Command::Txn { compares, ops } => return self.apply_txn(&compares, ops, changes),
            Command::Grant { id, ttl_seconds, deadline } => {
                self.leases.insert(id, ttl_seconds, deadline);
                changes.leases.push(LeaseChange::Granted { id, ttl_seconds });
            }
            Command::Revoke { id } => self.revoke(id, changes)?,
            Command::Compact { revision } => self.compact(revision, changes)?,
        }
        Ok(self.outcome(true))
    }

    /// Forgets history `retention` does not ask to keep.
    pub(super) fn trim(&mut self, retention: Retention, changes: &mut Changes) {
        if let Some(horizon) = self.keyspace.due_horizon(retention, self.visible, COMPACTION_STEP) {
            changes.dropped.extend(self.keyspace.compact(horizon));
            changes.compacted = Some(horizon);
        }
    }

    /// Makes everything applied so far visible and returns the newest revision.
    pub(super) fn publish(&mut self) -> Revision {
        self.visible = self.keyspace.revision();
        self.visible
    }

    pub(super) fn visible(&self) -> Revision {
        self.visible
    }

    /// The newest applied revision, published or not.
    pub(super) fn revision(&self) -> Revision {
        self.keyspace.revision()
    }

    pub(super) fn range(&self, range: &Range) -> Result<Page, StoreError> {
        let revision = range.at.unwrap_or(self.visible);
        if revision > self.visible {
            return Err(StoreError::FutureRevision(revision));
        }
        if revision < self.keyspace.compacted() {
            return Err(StoreError::Compacted { requested: revision, oldest: self.keyspace.compacted() });
        }
        let (entries, more) = self.keyspace.read(range, revision, limits::page_limit(range));
        Ok(Page { entries, revision, more })
    }

    /// The visible changes under `prefix` from `from` on, looking at no more than `most` revisions.
    pub(super) fn replay(&self, prefix: &[u8], from: Revision, most: i64) -> Replay {
        if from <= self.keyspace.compacted() && self.keyspace.compacted() > FIRST_REVISION {
            return Replay::Compacted { oldest: Revision(self.keyspace.compacted().0 + 1) };
        }
        let last = self.visible.0.min(from.0.saturating_add(most - 1));
        let batches = (from.0..=last).filter_map(|revision| self.keyspace.changes_at(Revision(revision), prefix));
        Replay::Batches(batches.collect(), Revision(from.0.max(last + 1)))
    }

    fn apply_txn(
        &mut self,
        compares: &[Compare],
        ops: Vec<Op>,
        changes: &mut Changes,
    ) -> Result<TxnOutcome, StoreError> {
        if !compares.iter().all(|compare| self.holds(compare)) {
            return Ok(self.outcome(false));
        }
        self.check_leases_exist(&ops)?;
        self.write(ops, changes);
        Ok(self.outcome(true))
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::CreateRevision { key, equals } => {
                let create_revision = self.keyspace.newest(key).and_then(|r| r.live()).map(|live| live.create_revision);
                create_revision.unwrap_or_default() == *equals
            }
            Compare::ModRevision { key, equals } => {
                self.keyspace.newest(key).map(|record| record.mod_revision).unwrap_or_default() == *equals
            }
            Compare::Value { key, equals } => {
                self.keyspace.newest(key).and_then(|record| record.live()).is_some_and(|live| live.value == *equals)
            }
        }
    }

    fn check_leases_exist(&self, ops: &[Op]) -> Result<(), StoreError> {
        for op in ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains(*lease)
            {
                return Err(StoreError::LeaseNotFound(*lease));
            }
        }
        Ok(())
    }

    /// Writes the next revision, unless `ops` change nothing.
    fn write(&mut self, ops: Vec<Op>, changes: &mut Changes) {
        let revision = Revision(self.keyspace.revision().0 + 1);
        let mut records: Vec<_> = ops.into_iter().filter_map(|op| self.next_version(op, revision)).collect();
        if records.is_empty() {
            return;
        }
        records.sort_by(|a, b| a.key.cmp(&b.key));
        for record in &records {
            self.move_lease(record);
        }
        changes.written.extend(records.iter().cloned());
        self.keyspace.append(records);
    }

    /// What `op` makes of its key at `revision`; nothing for the deletion of an absent key.
    fn next_version(&self, op: Op, mod_revision: Revision) -> Option<Arc<Record>> {
        let (key, body) = match op {
            Op::Put { key, value, lease } => {
                let before = self.keyspace.newest(&key).and_then(|record| record.live());
                let create_revision = before.map_or(mod_revision, |live| live.create_revision);
                let version = before.map_or(1, |live| live.version + 1);
                (key, Body::Live(Live { value, create_revision, version, lease }))
            }
            Op::Delete { key } => {
                self.keyspace.newest(&key)?;
                (key, Body::Deleted)
            }
        };
        Some(Arc::new(Record { key, mod_revision, body }))
    }

    /// A key is under the lease of its newest version only.
    fn move_lease(&mut self, record: &Record) {
        if let Some(before) = self.keyspace.newest(&record.key).and_then(|before| before.lease()) {
            self.leases.detach(before, &record.key);
        }
        if let Some(lease) = record.lease() {
            self.leases.attach(lease, &record.key);
        }
    }

    fn revoke(&mut self, id: LeaseId, changes: &mut Changes) -> Result<(), StoreError> {
        let keys = self.leases.remove(id).ok_or(StoreError::LeaseNotFound(id))?;
        changes.leases.push(LeaseChange::Ended { id });
        self.write(keys.into_iter().map(|key| Op::Delete { key }).collect(), changes);
        Ok(())
    }

    fn compact(&mut self, revision: Revision, changes: &mut Changes) -> Result<(), StoreError> {
        if revision > self.visible {
            return Err(StoreError::FutureRevision(revision));
        }
        let oldest = self.keyspace.compacted();
        if revision < oldest || (revision == oldest && oldest > FIRST_REVISION) {
            return Err(StoreError::Compacted { requested: revision, oldest });
        }
        changes.dropped.extend(self.keyspace.compact(revision));
        changes.compacted = Some(revision);
        Ok(())
    }

    fn outcome(&self, succeeded: bool) -> TxnOutcome {
        TxnOutcome { succeeded, revision: self.keyspace.revision() }
    }
}

fn attach_all(keyspace: &Keyspace, leases: &mut Leases) -> Result<(), StoreError> {
    for record in keyspace.newest_of_all() {
        let Some(lease) = record.lease() else { continue };
        if !leases.contains(lease) {
            let key = record.key.escape_ascii();
            return Err(StoreError::Broken(format!("key {key} is under lease {}, which is missing", lease.0)));
        }
        leases.attach(lease, &record.key);
    }
    Ok(())
}

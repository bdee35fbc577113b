//! The ledger: the table's records in the store. Every write is one transaction, guarded by leadership, the epoch and the
//! revisions of what the decision was based on.
//!
//! It may not decide anything; decisions come from `core` as changes.

mod keys;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use windrow_common::failpoint::Injected;
use windrow_proto::convert::Malformed;

pub use self::{
    keys::{Keys, SCHEMA},
    record::{choice_in, choice_out, declared_out, order_in, order_out, phase_in, phase_out},
};
use crate::{
    core::table::{Change, Key, Table},
    store::{Compare, KeyValue, MAX_TXN_OPS, MetaStore, Op, Range, Revision, StoreError, range_all},
};

/// Most bytes of a record; what does not fit lies in object storage and is named by its digest.
pub const MAX_RECORD_BYTES: usize = 8 * 1024;
/// Most bytes of a pipeline's record, which is written when it is applied and never on the way of data.
pub const MAX_PIPELINE_BYTES: usize = 256 * 1024;
/// Most bytes of a pipeline's coverage: planning stops at 1,000 stretches of some 20 bytes, and what is open then may
/// still add some.
pub const MAX_COVERAGE_BYTES: usize = 128 * 1024;
/// Compares and operations a change may have: the guard takes two of the transaction's compares.
pub const MAX_CHANGE: usize = MAX_TXN_OPS - 2;

/// How often a write is tried when the store does not answer, before the leader gives up leading.
const TRIES: usize = 3;

/// The right to write: leadership as won in one transaction, in one epoch.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The create revision of the leader's key.
    pub leader: Revision,
    pub epoch: i64,
}

/// Reads and writes the records of one cluster, for as long as this coordinator leads it.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn MetaStore>,
    keys: Keys,
    guard: Guard,
}

/// Why a change was not written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another coordinator leads; this one must stop at once.
    #[error("leadership is lost")]
    NotLeader,
    /// The records are not what the decision was based on. The table has to be read again.
    #[error("the ledger has changed under the leader")]
    Conflict,
    /// A record is larger than its kind may be. Nothing was written.
    #[error("{what} takes {size} bytes, the limit is {limit}")]
    TooLarge { what: String, size: usize, limit: usize },
    #[error("a record of the ledger makes no sense: {key}")]
    Malformed { key: String, source: Malformed },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Injected> for LedgerError {
    fn from(injected: Injected) -> Self {
        Self::Store(StoreError::Unavailable(injected.to_string()))
    }
}

impl Ledger {
    pub fn new(store: Arc<dyn MetaStore>, keys: Keys, guard: Guard) -> Self {
        Self { store, keys, guard }
    }

    pub fn epoch(&self) -> i64 {
        self.guard.epoch
    }

    /// What no other leader of the epoch has.
    pub fn leadership(&self) -> Revision {
        self.guard.leader
    }

    /// Reads all records at one revision, after which nobody else can have written: one at or behind the election.
    pub async fn load(&self) -> Result<Table, LedgerError> {
        let mut table = Table::default();
        for entry in self.entries().await? {
            let Some(key) = self.keys.parse(&entry.key) else { continue };
            let record = record::decode(key, &entry.value).map_err(|source| LedgerError::Malformed {
                key: String::from_utf8_lossy(&entry.key).into_owned(),
                source,
            })?;
            table.put(record, entry.mod_revision.0);
        }
        Ok(table)
    }

    /// Stores have shown older states than they should to reads. Since everything former leaders wrote lies before this
    /// one's election, a state from before it is told apart, and read again.
    async fn entries(&self) -> Result<Vec<KeyValue>, LedgerError> {
        for _ in 0..TRIES {
            let (entries, revision) = range_all(self.store.as_ref(), self.keys.prefix().as_bytes()).await?;
            if revision >= self.guard.leader {
                return Ok(entries);
            }
            tracing::warn!(%revision, elected = %self.guard.leader, "the store shows a state older than this leader");
        }
        Err(StoreError::Unavailable("the store shows only states older than this leader".to_owned()).into())
    }

    /// Writes a change; the revision it was written at.
    pub async fn write(&self, change: &Change) -> Result<i64, LedgerError> {
        let txn = self.encode(change)?;
        let mut last = None;
        for _ in 0..TRIES {
            match self.store.txn(txn.compares.clone(), txn.ops.clone()).await {
                Ok(outcome) if outcome.succeeded => return Ok(outcome.revision.0),
                Ok(_) => return self.explain_refusal(&txn).await,
                // Unknown: it may be applied already, or yet to be. Trying again is safe, since the compares of the change
                // hold for one of the tries at most.
                Err(StoreError::Unavailable(cause)) => last = Some(StoreError::Unavailable(cause)),
                Err(cause) => return Err(cause.into()),
            }
        }
        Err(last.unwrap_or_else(|| StoreError::Unavailable("no answer".to_owned())).into())
    }

    /// Writes a change and raises the epoch with it. This leadership ends there: whatever it gave out is of another life
    /// of the ledger.
    pub async fn write_and_raise(&self, change: &Change, epoch: i64) -> Result<(), LedgerError> {
        let mut txn = self.encode(change)?;
        txn.ops.push(Op::Put { key: self.keys.epoch(), value: epoch.to_string().into_bytes(), lease: None });
        match self.store.txn(txn.compares, txn.ops).await?.succeeded {
            true => Ok(()),
            false if self.still_leads().await? => Err(LedgerError::Conflict),
            false => Err(LedgerError::NotLeader),
        }
    }

    /// A compare failed: because an earlier try was applied after all, because leadership is lost, or because the records
    /// differ from the table.
    async fn explain_refusal(&self, txn: &Encoded) -> Result<i64, LedgerError> {
        if !self.still_leads().await? {
            return Err(LedgerError::NotLeader);
        }
        let mut written = None;
        for op in &txn.ops {
            let (key, wanted) = match op {
                Op::Put { key, value, .. } => (key, Some(value)),
                Op::Delete { key } => (key, None),
            };
            let found = self.get(key).await?;
            match (found, wanted) {
                (None, None) => {}
                (Some(found), Some(wanted)) if found.value == *wanted => match written {
                    None => written = Some(found.mod_revision.0),
                    Some(revision) if revision == found.mod_revision.0 => {}
                    Some(_) => return Err(LedgerError::Conflict),
                },
                _ => return Err(LedgerError::Conflict),
            }
        }
        written.ok_or(LedgerError::Conflict)
    }

    /// Whether this coordinator leads still, asked of the store: what was read before the answer was true under it.
    pub async fn still_leads(&self) -> Result<bool, LedgerError> {
        let outcome = self.store.txn(self.guards(), Vec::new()).await?;
        Ok(outcome.succeeded)
    }

    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, LedgerError> {
        // Keys of records are no prefixes of each other, but a prefix read may return more than the key itself.
        let page = self.store.range(Range { limit: 1, ..Range::prefix(key) }).await?;
        Ok(page.entries.into_iter().find(|entry| entry.key == key))
    }

    fn guards(&self) -> Vec<Compare> {
        vec![
            Compare::CreateRevision { key: self.keys.leader(), equals: self.guard.leader },
            Compare::Value { key: self.keys.epoch(), equals: self.guard.epoch.to_string().into_bytes() },
        ]
    }

    fn encode(&self, change: &Change) -> Result<Encoded, LedgerError> {
        let mut compares = self.guards();
        compares.extend(change.expect.iter().map(|(key, revision)| match revision {
            None => Compare::CreateRevision { key: self.keys.of(key), equals: Revision(0) },
            Some(revision) => Compare::ModRevision { key: self.keys.of(key), equals: Revision(*revision) },
        }));
        let mut ops: Vec<Op> = change.delete.iter().map(|key| Op::Delete { key: self.keys.of(key) }).collect();
        for put in &change.put {
            let key = put.key();
            let value =
                record::encode(put).map_err(|source| LedgerError::Malformed { key: format!("{key:?}"), source })?;
            let limit = match key {
                Key::Pipeline(_) => MAX_PIPELINE_BYTES,
                Key::Coverage(_) => MAX_COVERAGE_BYTES,
                _ => MAX_RECORD_BYTES,
            };
            if value.len() > limit {
                return Err(LedgerError::TooLarge { what: format!("{key:?}"), size: value.len(), limit });
            }
            ops.push(Op::Put { key: self.keys.of(&key), value, lease: None });
        }
        Ok(Encoded { compares, ops })
    }
}

struct Encoded {
    compares: Vec<Compare>,
    ops: Vec<Op>,
}

//! The ledger: the table's records in the store. Every write is one transaction, guarded by leadership, the epoch and the
//! revisions of what the decision was based on.
//!
//! It may not decide anything; decisions come from `core` as changes.

mod fence;
mod keys;
mod patience;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use windrow_common::{
    count::{counted, grouped},
    failpoint::Injected,
};
use windrow_proto::convert::Malformed;

use self::patience::{Patience, not_older};
pub use self::{
    keys::{Keys, SCHEMA},
    record::{choice_in, choice_out, declared_out, order_in, order_out, phase_in, phase_out},
};
use crate::{
    core::table::{Change, Key, Table},
    store::{Compare, KeyValue, MAX_TXN_OPS, MetaStore, Op, Revision, StoreError, range_all},
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

/// The right to write: leadership as won in one transaction, in one epoch.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The create revision of the leader's key.
    pub leader: Revision,
    pub epoch: i64,
    /// What put the key there, and puts it again.
    pub take: Op,
}

/// Reads and writes the records of one cluster, for as long as this coordinator leads it. There is one of a leadership,
/// since it alone knows how the leader's key was changed.
pub struct Ledger {
    store: Arc<dyn MetaStore>,
    keys: Keys,
    guard: Guard,
    /// The mod revision of the leader's key; every write compares it.
    in_force: Revision,
    /// Whether something that was sent may arrive yet.
    unanswered: bool,
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
    #[error("{what} takes {}, the limit is {}", counted(*size, "byte"), grouped(*limit))]
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

/// Reads all records at one revision, which is not older than `since`.
pub async fn load(store: &dyn MetaStore, keys: &Keys, since: Revision) -> Result<Table, LedgerError> {
    let mut table = Table::default();
    for entry in entries(store, keys, since).await? {
        let Some(key) = keys.parse(&entry.key) else { continue };
        let record = record::decode(key, &entry.value).map_err(|source| LedgerError::Malformed {
            key: String::from_utf8_lossy(&entry.key).into_owned(),
            source,
        })?;
        table.put(record, entry.mod_revision.0);
    }
    Ok(table)
}

/// Stores have shown older states than they should to reads; such a one is read again.
async fn entries(store: &dyn MetaStore, keys: &Keys, since: Revision) -> Result<Vec<KeyValue>, LedgerError> {
    let mut patience = Patience::default();
    loop {
        let all = range_all(store, keys.prefix().as_bytes()).await;
        let all = all.and_then(|(entries, revision)| not_older(revision, since).map(|()| entries));
        if let Some(entries) = patience.hear(all)? {
            return Ok(entries);
        }
    }
}

impl Ledger {
    pub fn new(store: Arc<dyn MetaStore>, keys: Keys, guard: Guard) -> Self {
        Self { store, keys, in_force: guard.leader, guard, unanswered: false }
    }

    pub fn epoch(&self) -> i64 {
        self.guard.epoch
    }

    /// What no other leader of the epoch has.
    pub fn leadership(&self) -> Revision {
        self.guard.leader
    }

    /// Reads all records, after which nobody else can have written: everything former leaders wrote lies before this one's
    /// election.
    pub async fn load(&self) -> Result<Table, LedgerError> {
        load(self.store.as_ref(), &self.keys, self.guard.leader).await
    }

    /// Writes a change; the revision it was written at.
    pub async fn write(&mut self, change: &Change) -> Result<i64, LedgerError> {
        let txn = self.encode(change)?;
        self.write_encoded(&txn).await
    }

    /// Writes a change and raises the epoch with it. This leadership ends there: whatever it gave out is of another life
    /// of the ledger.
    pub async fn write_and_raise(&mut self, change: &Change, epoch: i64) -> Result<(), LedgerError> {
        let mut txn = self.encode(change)?;
        txn.ops.push(Op::Put { key: self.keys.epoch(), value: epoch.to_string().into_bytes(), lease: None });
        self.write_encoded(&txn).await.map(drop)
    }

    async fn write_encoded(&mut self, txn: &Encoded) -> Result<i64, LedgerError> {
        let mut patience = Patience::default();
        let outcome = self.send(txn, &mut patience).await?;
        match outcome.succeeded {
            true => Ok(outcome.revision.0),
            false => self.explain_refusal(txn, outcome.revision, patience).await,
        }
    }

    /// A compare failed: because an earlier try was applied after all, because leadership is lost, or because the records
    /// differ from the table.
    async fn explain_refusal(
        &self,
        txn: &Encoded,
        refused: Revision,
        mut patience: Patience,
    ) -> Result<i64, LedgerError> {
        if !self.still_leads().await? {
            return Err(LedgerError::NotLeader);
        }
        let mut written = None;
        for op in &txn.ops {
            let (key, wanted) = match op {
                Op::Put { key, value, .. } => (key, Some(value)),
                Op::Delete { key } => (key, None),
            };
            let found = self.read(key, refused, &mut patience).await?;
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

    fn encode(&self, change: &Change) -> Result<Encoded, LedgerError> {
        let compares = change.expect.iter().map(|(key, revision)| match revision {
            None => Compare::CreateRevision { key: self.keys.of(key), equals: Revision(0) },
            Some(revision) => Compare::ModRevision { key: self.keys.of(key), equals: Revision(*revision) },
        });
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
        Ok(Encoded { compares: compares.collect(), ops })
    }
}

/// A change in the store's words, without the guard.
struct Encoded {
    compares: Vec<Compare>,
    ops: Vec<Op>,
}

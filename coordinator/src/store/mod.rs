//! The store under the ledger: a small, linearizable, multi-version key space with transactions, leases and watches.
//!
//! etcd and the embedded store implement it with the same observable behaviour; one conformance suite holds both
//! to it. The store knows keys and bytes only. It may not depend on the ledger, on tasks or on anything above it.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;
use windrow_common::error::{self, ErrorCode};

pub mod conformance;
mod embedded;
mod etcd;
mod limits;
#[cfg(test)]
mod lying;

pub use embedded::EmbeddedStore;
pub use etcd::{EtcdCredentials, EtcdIdentity, EtcdOptions, EtcdStore, EtcdTls};
#[cfg(test)]
pub(crate) use lying::{Fate, LyingStore};

/// Most compares, and most operations, one transaction may hold (etcd's default).
pub const MAX_TXN_OPS: usize = 128;
/// Most bytes of keys and values one transaction may carry (etcd's default request limit, 1.5 MiB), counting 32 bytes
/// for each compare and operation and 256 for the transaction.
pub const MAX_TXN_BYTES: usize = 1_572_864;
/// Most entries a page of [`MetaStore::range`] may hold.
pub const MAX_PAGE: usize = 1_000;

/// A store revision: grows by exactly one with every transaction that changes something. The first write has 2,
/// as in etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease's id. Keys put under a lease are deleted, in one transaction, when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// One precondition of a transaction. An absent key has create and mod revision 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    CreateRevision {
        key: Vec<u8>,
        equals: Revision,
    },
    ModRevision {
        key: Vec<u8>,
        equals: Revision,
    },
    /// False for an absent key, whatever the value.
    Value {
        key: Vec<u8>,
        equals: Vec<u8>,
    },
}

/// One write of a transaction. A transaction may name a key in one operation only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    },
    /// Deleting an absent key is allowed and changes nothing.
    Delete {
        key: Vec<u8>,
    },
}

/// How a transaction ended. `succeeded == false` means a compare did not hold and nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    pub succeeded: bool,
    /// The store's revision after the transaction; the revision of what it wrote, if it wrote something.
    pub revision: Revision,
}

/// A key with its value and its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// Writes since the key was created; 1 after the creating put.
    pub version: i64,
    pub lease: Option<LeaseId>,
}

/// One page of a range read, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<KeyValue>,
    /// The revision the page was read at; pass it on to read the following pages of the same state.
    pub revision: Revision,
    /// Whether the range holds more keys behind the last entry.
    pub more: bool,
}

/// What to read: the keys with a prefix, behind a key, at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub prefix: Vec<u8>,
    /// Only keys strictly greater than this one, to read the next page.
    pub after: Option<Vec<u8>>,
    /// The state to read; the newest if absent. [`StoreError::Compacted`] if it is gone.
    pub at: Option<Revision>,
    /// Most entries to return, at most [`MAX_PAGE`]; 0 means [`MAX_PAGE`].
    pub limit: usize,
}

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put(KeyValue),
    Delete { key: Vec<u8>, revision: Revision },
}

/// All changes of watched keys one transaction made, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// A running watch. Dropping it ends it. The channel is bounded: a watcher that falls behind slows nothing down, and
/// ends with [`StoreError::Compacted`] when what it has not read yet is gone.
pub struct Watch {
    pub batches: mpsc::Receiver<Result<WatchBatch, StoreError>>,
}

/// Why a store call did not give its answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The outcome of the call is unknown: it may or may not have been applied. Read and compare before acting.
    #[error("store did not answer: {0}")]
    Unavailable(String),
    #[error("lease {0:?} does not exist or has ended")]
    LeaseNotFound(LeaseId),
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {0} lies in the future")]
    FutureRevision(Revision),
    #[error("transaction names the key {0} twice")]
    DuplicateKey(String),
    #[error("{what} is {size}, the limit is {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("empty key")]
    EmptyKey,
    /// The store is full (etcd's NOSPACE, a full disk). Nothing was written.
    #[error("store has no space left: {0}")]
    NoSpace(String),
    /// Another process has the store; it has to end first.
    #[error("another windrow process uses {0}")]
    Locked(String),
    /// The store's files or answers do not make sense; an operator has to look.
    #[error("store is broken: {0}")]
    Broken(String),
}

impl StoreError {
    /// The code of the catalogue.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Locked(_) => error::STORE_LOCKED,
            Self::NoSpace(_) => error::STORE_FULL,
            Self::Broken(_) => error::STORE_BROKEN,
            _ => error::STORE_UNAVAILABLE,
        }
    }
}

/// The store's contract. All methods are linearizable and may be called from many tasks at once.
#[async_trait]
pub trait MetaStore: Send + Sync + 'static {
    /// Applies `ops` in one revision if every compare holds, else nothing.
    ///
    /// Errors are found before anything is applied, except [`StoreError::Unavailable`], after which the outcome is
    /// unknown. Limits: [`MAX_TXN_OPS`] compares, as many operations, [`MAX_TXN_BYTES`]. A transaction without
    /// operations reads the compares only and does not raise the revision; nor does one that only deletes absent keys.
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError>;

    /// Reads one page of keys in byte order.
    async fn range(&self, range: Range) -> Result<Page, StoreError>;

    /// Streams the changes of keys with `prefix` from revision `from` on (inclusive), or from now on if `None`.
    /// Every revision's changes come in one batch, in revision order, without gaps. A revision in the future is waited
    /// for. That history is gone which the watch still needs is said by the watch itself, as its last item.
    async fn watch(&self, prefix: Vec<u8>, from: Option<Revision>) -> Result<Watch, StoreError>;

    /// A new lease of `ttl_seconds` (1 to 9,000,000,000). The store may raise a short one; see the keep-alive's answer.
    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError>;

    /// Re-arms a lease to its full time to live and returns it in seconds.
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<i64, StoreError>;

    /// Ends a lease and deletes its keys in one transaction.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets the changes up to `revision` and keeps the state at it: reads below it, and watches from it or below,
    /// then fail with [`StoreError::Compacted`]. Revisions that are compacted already fail the same way.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
}

impl Range {
    /// Everything under `prefix`, newest state, first page.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }
}

/// Reads a whole prefix at one revision, page by page.
pub async fn range_all(store: &dyn MetaStore, prefix: &[u8]) -> Result<(Vec<KeyValue>, Revision), StoreError> {
    let mut all = Vec::new();
    let mut range = Range::prefix(prefix);
    loop {
        let page = store.range(range.clone()).await?;
        range.at = Some(page.revision);
        range.after = page.entries.last().map(|entry| entry.key.clone());
        all.extend(page.entries);
        if !page.more {
            return Ok((all, page.revision));
        }
    }
}

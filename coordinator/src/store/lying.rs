//! For tests: a store that answers as stores have been seen to, late or with an older state than they should.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{Compare, EmbeddedStore, LeaseId, MetaStore, Op, Page, Range, Revision, StoreError, TxnOutcome, Watch};

/// See the module. What it holds is as it should be.
pub(crate) struct LyingStore {
    inner: EmbeddedStore,
    /// How many reads are shown the store as it was before its first write.
    pub(crate) old_reads: AtomicUsize,
    /// The end of a key whose next write is answered with an error, and arrives with the transaction after it.
    pub(crate) late_key: Mutex<Option<&'static str>>,
    late: Mutex<Option<(Vec<Compare>, Vec<Op>)>>,
}

impl LyingStore {
    pub(crate) fn new() -> Self {
        let inner = EmbeddedStore::in_memory();
        Self { inner, old_reads: AtomicUsize::new(0), late_key: Mutex::default(), late: Mutex::default() }
    }

    fn is_late(&self, ops: &[Op]) -> bool {
        let puts = |end: &str| ops.iter().any(|op| matches!(op, Op::Put { key, .. } if key.ends_with(end.as_bytes())));
        self.late_key.lock().unwrap().take_if(|end| puts(end)).is_some()
    }
}

#[async_trait]
impl MetaStore for LyingStore {
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError> {
        let late = self.late.lock().unwrap().take();
        if let Some((compares, ops)) = late {
            self.inner.txn(compares, ops).await?;
        }
        if self.is_late(&ops) {
            *self.late.lock().unwrap() = Some((compares, ops));
            return Err(StoreError::Unavailable("no answer".to_owned()));
        }
        self.inner.txn(compares, ops).await
    }

    async fn range(&self, mut range: Range) -> Result<Page, StoreError> {
        let old = self.old_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if old.is_ok() {
            range.at = Some(Revision(1));
        }
        self.inner.range(range).await
    }

    async fn watch(&self, prefix: Vec<u8>, from: Option<Revision>) -> Result<Watch, StoreError> {
        self.inner.watch(prefix, from).await
    }

    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant(ttl_seconds).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<i64, StoreError> {
        self.inner.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.compact(revision).await
    }
}

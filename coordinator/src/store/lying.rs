//! For tests: a store that answers as stores have been seen to, late or with an older state than they should.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use super::{Compare, EmbeddedStore, LeaseId, MetaStore, Op, Page, Range, Revision, StoreError, TxnOutcome, Watch};

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Answered,
    /// It is done, and nobody is told.
    ReplyLost,
    /// It is answered with an error, and arrives just before so many transactions later, 1 being the next.
    Late(usize),
}

/// See the module. What it holds is as it should be.
pub(crate) struct LyingStore {
    pub(crate) inner: EmbeddedStore,
    /// How many reads are shown the store as it was before its first write.
    pub(crate) old_reads: AtomicUsize,
    /// What becomes of the next transactions that write; those behind are answered.
    pub(crate) fates: Mutex<VecDeque<Fate>>,
    late: Mutex<Vec<Late>>,
}

struct Late {
    left: usize,
    compares: Vec<Compare>,
    ops: Vec<Op>,
}

impl LyingStore {
    pub(crate) fn new() -> Self {
        let inner = EmbeddedStore::in_memory();
        Self { inner, old_reads: AtomicUsize::new(0), fates: Mutex::default(), late: Mutex::default() }
    }

    /// What is late by so many transactions arrives.
    pub(crate) async fn arrive(&self, after: usize) {
        let arrived: Vec<Late> = {
            let mut late = self.late.lock().unwrap();
            late.iter_mut().for_each(|of| of.left = of.left.saturating_sub(after));
            late.extract_if(.., |of| of.left == 0).collect()
        };
        for Late { compares, ops, .. } in arrived {
            let _ = self.inner.txn(compares, ops).await;
        }
    }
}

#[async_trait]
impl MetaStore for LyingStore {
    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError> {
        self.arrive(1).await;
        let fate = if ops.is_empty() { None } else { self.fates.lock().unwrap().pop_front() };
        match fate {
            None | Some(Fate::Answered) => return self.inner.txn(compares, ops).await,
            Some(Fate::ReplyLost) => self.inner.txn(compares, ops).await.map(drop)?,
            Some(Fate::Late(left)) => self.late.lock().unwrap().push(Late { left, compares, ops }),
        }
        Err(StoreError::Unavailable("no answer".to_owned()))
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

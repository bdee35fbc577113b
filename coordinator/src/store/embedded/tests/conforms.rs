//! The contract, held by the store in memory and on disk.

use std::sync::Arc;

use super::super::super::conformance;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_store_in_memory_conforms() {
    assert_conforms(EmbeddedStore::in_memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    assert_conforms(EmbeddedStore::open(&dir.path().join("store.redb")).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_breaks_a_promise_is_reported_by_name() {
    let results = conformance::run(Arc::new(Endless(EmbeddedStore::in_memory()))).await;
    let failed: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).map(|(name, _)| *name).collect();
    assert_eq!(failed, ["a_limit_that_fits_exactly_says_there_is_no_more", "deleted_keys_do_not_count_for_the_limit"]);
}

/// Says that there is more behind a page that is exactly full.
struct Endless(EmbeddedStore);

#[async_trait]
impl MetaStore for Endless {
    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        let mut page = self.0.range(range.clone()).await?;
        page.more |= !page.entries.is_empty() && page.entries.len() == range.limit;
        Ok(page)
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError> {
        self.0.txn(compares, ops).await
    }

    async fn watch(&self, prefix: Vec<u8>, from: Option<Revision>) -> Result<Watch, StoreError> {
        self.0.watch(prefix, from).await
    }

    async fn lease_grant(&self, ttl_seconds: i64) -> Result<LeaseId, StoreError> {
        self.0.lease_grant(ttl_seconds).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<i64, StoreError> {
        self.0.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.lease_revoke(lease).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.0.compact(revision).await
    }
}

async fn assert_conforms(store: EmbeddedStore) {
    let results = conformance::run(Arc::new(store)).await;
    assert!(results.len() > 100, "the suite is there");
    let failed: Vec<_> = results.into_iter().filter_map(|(name, result)| Some((name, result.err()?))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

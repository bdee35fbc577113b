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

async fn assert_conforms(store: EmbeddedStore) {
    let results = conformance::run(Arc::new(store)).await;
    assert!(results.len() > 100, "the suite is there");
    let failed: Vec<_> = results.into_iter().filter_map(|(name, result)| Some((name, result.err()?))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

//! The store: the contract on real etcd, and embedded against etcd.

use std::sync::Arc;

use windrow_coordinator::store::{EmbeddedStore, EtcdOptions, EtcdStore, MetaStore, Op, Revision, conformance};
use windrow_tests::etcd::Etcd;
use windrow_tests::skip::skip;

mod differential;
mod failures;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_in_memory_conforms() {
    assert_conforms(EmbeddedStore::in_memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_on_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    assert_conforms(EmbeddedStore::open(&dir.path().join("store.redb")).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_etcd_conforms() {
    let Some(etcd) = cluster("one_etcd_conforms", 1).await else { return };
    assert_conforms(connect(&etcd).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_etcds_conform() {
    let Some(etcd) = cluster("three_etcds_conform", 3).await else { return };
    assert_conforms(connect(&etcd).await).await;
}

async fn assert_conforms(store: impl MetaStore) {
    let results = conformance::run(Arc::new(store)).await;
    let count = results.len();
    let failed: Vec<_> = results.into_iter().filter_map(|(name, result)| Some((name, result.err()?))).collect();
    assert!(failed.is_empty(), "{} of {count} cases failed: {failed:#?}", failed.len());
}

/// A cluster, or a skipped test.
async fn cluster(test: &str, members: usize) -> Option<Etcd> {
    let etcd = Etcd::start(members).await.unwrap();
    if etcd.is_none() {
        skip(test, "there is no etcd: neither WINDROW_ETCD nor the path names one");
    }
    etcd
}

async fn connect(etcd: &Etcd) -> EtcdStore {
    EtcdStore::connect(EtcdOptions { endpoints: etcd.endpoints(), ..EtcdOptions::default() }).await.unwrap()
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.into(), lease: None }
}

async fn write(store: &EtcdStore, key: &str, value: &str) -> Revision {
    store.txn(vec![], vec![put(key, value)]).await.unwrap().revision
}

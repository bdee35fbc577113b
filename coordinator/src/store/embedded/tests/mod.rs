//! What only the embedded store promises: persistence, crash safety, bounded history, group commit.
//!
//! What it shares with etcd is in `store::conformance`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use tokio::time::{Duration, timeout};

use super::*;
use crate::store::{Event, KeyValue, WatchBatch, range_all};

mod conforms;
mod crash;
mod disk_full;
mod history;
mod image;
mod leases;
mod reopen;

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: value.into(), lease: None }
}

fn put_under(key: &str, lease: LeaseId) -> Op {
    Op::Put { key: key.into(), value: b"leased".to_vec(), lease: Some(lease) }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.into() }
}

async fn write(store: &EmbeddedStore, ops: Vec<Op>) -> Revision {
    let outcome = store.txn(vec![], ops).await.unwrap();
    assert!(outcome.succeeded);
    outcome.revision
}

async fn all(store: &EmbeddedStore) -> Vec<KeyValue> {
    range_all(store, b"").await.unwrap().0
}

async fn keys(store: &EmbeddedStore) -> Vec<String> {
    all(store).await.into_iter().map(|entry| String::from_utf8(entry.key).unwrap()).collect()
}

/// The next batch of a watch; real time bounds the wait.
async fn next(watch: &mut Watch) -> Result<WatchBatch, StoreError> {
    timeout(Duration::from_secs(10), watch.batches.recv()).await.expect("a batch in time").expect("a running watch")
}

/// Waits in real time until the store holds exactly `expected`.
async fn wait_for_keys(store: &EmbeddedStore, expected: &[&str]) {
    for _ in 0..500 {
        if keys(store).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(keys(store).await, expected);
}

//! Loading from a store that shows older states than it should.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use super::*;
use crate::{
    core::table::{Change, Record},
    store::LyingStore,
};

/// Leads, writes one record, and loads with so many reads being old.
async fn loaded(old_reads: usize) -> Result<Table, LedgerError> {
    let store = Arc::new(LyingStore::new());
    let keys = Keys::of_cluster("test");
    let put = |key: Vec<u8>, value: &str| Op::Put { key, value: value.as_bytes().to_vec(), lease: None };
    store.txn(Vec::new(), vec![put(keys.epoch(), "1")]).await?;
    let leader = store.txn(Vec::new(), vec![put(keys.leader(), "http://c1")]).await?.revision;
    let ledger = Ledger::new(store.clone(), keys, Guard { leader, epoch: 1 });
    ledger.write(&Change::create(Record::Committer("lake".parse().unwrap(), "w1".parse().unwrap()))).await?;
    store.old_reads.store(old_reads, Ordering::SeqCst);
    ledger.load().await
}

/// A table read from before the election lacks what former leaders wrote; a sweep, above all, would take away the files
/// of attempts it does not know of.
#[tokio::test]
async fn a_state_from_before_the_election_is_read_again() {
    assert_eq!(loaded(0).await.unwrap().sinks().count(), 1);
    assert_eq!(loaded(2).await.unwrap().sinks().count(), 1);
    assert!(matches!(loaded(100).await, Err(LedgerError::Store(StoreError::Unavailable(_)))));
}

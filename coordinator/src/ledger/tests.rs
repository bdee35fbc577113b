//! A ledger over a store that shows older states than it should, loses answers and is late.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::atomic::Ordering};

use rand::{Rng, SeedableRng, rngs::StdRng};
use windrow_common::id::{SinkId, WorkerId};

use super::*;
use crate::{
    core::table::Record,
    store::{Fate, LyingStore},
};

/// Makes somebody lead who knows nothing of who led before.
async fn elect(store: &Arc<LyingStore>) -> Ledger {
    let keys = Keys::of_cluster("test");
    let put = |key: Vec<u8>, value: &str| Op::Put { key, value: value.as_bytes().to_vec(), lease: None };
    let take = put(keys.leader(), "http://c1");
    let vacate = Op::Delete { key: keys.leader() };
    store.inner.txn(Vec::new(), vec![put(keys.epoch(), "1"), vacate]).await.unwrap();
    let leader = store.inner.txn(Vec::new(), vec![take.clone()]).await.unwrap().revision;
    Ledger::new(store.clone(), keys, Guard { leader, epoch: 1, take })
}

fn sink(name: &str) -> SinkId {
    name.parse().unwrap()
}

/// A record that is as simple as any.
fn committer(of: &SinkId, worker: &str) -> Record {
    Record::Committer(of.clone(), worker.parse().unwrap())
}

fn gone(of: &SinkId, revision: i64) -> Change {
    let key = Key::Committer(of.clone());
    Change { expect: vec![(key.clone(), Some(revision))], put: Vec::new(), delete: vec![key] }
}

/// The records, and the revisions they have.
async fn stored(store: &LyingStore) -> BTreeMap<SinkId, (WorkerId, i64)> {
    let table = load(&store.inner, &Keys::of_cluster("test"), Revision(0)).await.unwrap();
    let committers = table.sinks().filter_map(|(sink, entry)| {
        let found = entry.committer.as_ref()?;
        Some((sink.clone(), (found.value.clone(), found.revision)))
    });
    committers.collect()
}

/// Leads, writes one record, and loads with so many reads being old.
async fn loaded(old_reads: usize) -> Result<Table, LedgerError> {
    let store = Arc::new(LyingStore::new());
    let mut ledger = elect(&store).await;
    ledger.write(&Change::create(committer(&sink("lake"), "w1"))).await?;
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

/// Its first try is on its way until the record is gone, and what it expects is so again.
#[tokio::test]
async fn what_is_deleted_is_not_created_again_by_a_late_try() {
    let store = Arc::new(LyingStore::new());
    let mut ledger = elect(&store).await;
    let lake = sink("lake");
    store.fates.lock().unwrap().push_back(Fate::Late(100));
    let revision = ledger.write(&Change::create(committer(&lake, "w1"))).await.unwrap();
    ledger.write(&gone(&lake, revision)).await.unwrap();
    store.arrive(100).await;
    assert_eq!(stored(&store).await, BTreeMap::new());
}

/// The same for the only try of somebody who gave up, and leads on.
#[tokio::test]
async fn nothing_is_written_beside_what_may_arrive_yet() {
    let store = Arc::new(LyingStore::new());
    let mut ledger = elect(&store).await;
    let lake = sink("lake");
    store.fates.lock().unwrap().extend([Fate::Late(100); 3]);
    let unknown = ledger.write(&Change::create(committer(&lake, "w1"))).await;
    assert!(matches!(unknown, Err(LedgerError::Store(StoreError::Unavailable(_)))), "{unknown:?}");
    ledger.write(&Change::create(committer(&sink("other"), "w1"))).await.unwrap();
    store.arrive(100).await;
    assert_eq!(stored(&store).await.keys().collect::<Vec<_>>(), [&sink("other")]);
}

/// A fence that was put by a try nobody was told of is the one in force, also where the store shows an older one.
#[tokio::test]
async fn a_fence_whose_answer_is_lost_is_found() {
    let store = Arc::new(LyingStore::new());
    let mut ledger = elect(&store).await;
    store.fates.lock().unwrap().extend([Fate::Late(100), Fate::ReplyLost]);
    let revision = ledger.write(&Change::create(committer(&sink("lake"), "w1"))).await.unwrap();
    let written = BTreeMap::from([(sink("lake"), ("w1".parse().unwrap(), revision))]);
    assert_eq!(stored(&store).await, written);
    store.arrive(100).await;
    assert_eq!(stored(&store).await, written);
    assert!(ledger.still_leads().await.unwrap());
}

/// Whoever was followed cannot fence, and does not take the key back.
#[tokio::test]
async fn a_former_leader_cannot_fence() {
    let store = Arc::new(LyingStore::new());
    let mut former = elect(&store).await;
    let leader = elect(&store).await;
    store.fates.lock().unwrap().push_back(Fate::Late(100));
    let refused = former.write(&Change::create(committer(&sink("lake"), "w1"))).await;
    assert!(matches!(refused, Err(LedgerError::NotLeader)), "{refused:?}");
    assert!(leader.still_leads().await.unwrap());
}

/// What a leader knows is what is stored, whatever was not answered and arrives whenever it likes, over changes of leader.
#[tokio::test]
async fn whatever_comes_late_the_leader_knows_what_is_stored() {
    let mut given_up = 0;
    for seed in 0..200 {
        given_up += walk(seed).await;
    }
    assert!(given_up > 10, "{given_up}");
}

/// Creates, changes and deletes records at random; how often a leader gave up.
async fn walk(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let store = Arc::new(LyingStore::new());
    let mut ledger = elect(&store).await;
    let mut known = BTreeMap::new();
    let mut given_up = 0;
    for step in 0..60 {
        store.fates.lock().unwrap().push_back(match rng.random_range(0..10) {
            0..=1 => Fate::ReplyLost,
            2..=4 => Fate::Late(rng.random_range(1..12)),
            _ => Fate::Answered,
        });
        store.old_reads.store(usize::from(rng.random_bool(0.1)), Ordering::SeqCst);
        let of = sink(["a", "b", "c"][rng.random_range(0..3)]);
        // Twice the same value, so that two tries cannot be told apart by it.
        let record = committer(&of, ["w1", "w2"][step % 2]);
        let change = match known.get(&of) {
            None => Change::create(record),
            Some((_, revision)) if rng.random_bool(0.6) => gone(&of, *revision),
            Some((_, revision)) => Change::replace(record, *revision),
        };
        match ledger.write(&change).await {
            Ok(revision) => {
                known.remove(&of);
                known.extend(change.put.iter().filter_map(|record| match record {
                    Record::Committer(sink, worker) => Some((sink.clone(), (worker.clone(), revision))),
                    _ => None,
                }));
            }
            Err(_) => {
                given_up += 1;
                ledger = elect(&store).await;
                known = stored(&store).await;
            }
        }
        assert_eq!(stored(&store).await, known, "seed {seed}, step {step}: {change:?}");
    }
    given_up
}

//! The same random history on the embedded store and on etcd has to look the same.
//!
//! Revisions and lease ids differ between the two, so histories name them by where they came from, and what is seen
//! is compared relative to where each store began.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::time::timeout;
use windrow_coordinator::store::{Compare, Event, KeyValue, LeaseId, Range, StoreError, WatchBatch, range_all};

use super::*;

const KEYS: u8 = 4;
const LEASES: u8 = 3;

#[test]
fn a_random_history_looks_the_same_on_the_embedded_store_and_on_etcd() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let name = "a_random_history_looks_the_same_on_the_embedded_store_and_on_etcd";
    let Some(etcd) = runtime.block_on(cluster(name, 1)) else { return };
    let etcd_store: Arc<dyn MetaStore> = Arc::new(runtime.block_on(connect(&etcd)));
    let embedded: Arc<dyn MetaStore> = Arc::new(EmbeddedStore::in_memory());
    let config = Config { failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..40);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let (here, there) = runtime.block_on(async {
                tokio::join!(observe(embedded.clone(), &steps), observe(etcd_store.clone(), &steps))
            });
            prop_assert_eq!(here, there);
            Ok(())
        })
        .unwrap();
}

/// One act of a history.
#[derive(Clone, Debug)]
enum Step {
    Txn { compares: Vec<Condition>, ops: Vec<Act> },
    Revoke { lease: u8 },
    Grant { lease: u8 },
    KeepAlive { lease: u8 },
}

#[derive(Clone, Debug)]
enum Condition {
    Create { key: u8, equals: Source },
    Mod { key: u8, equals: Source },
    Value { key: u8, equals: u8 },
}

/// Where a compared revision comes from.
#[derive(Clone, Debug)]
enum Source {
    Zero,
    /// What the last read showed for a key.
    CreateOf(u8),
    ModOf(u8),
    /// The outcome of an earlier transaction, counted from the last, and a little off.
    Outcome {
        back: usize,
        off: i64,
    },
}

#[derive(Clone, Debug)]
enum Act {
    Put { key: u8, value: u8, lease: Option<u8> },
    Delete { key: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let txn = (proptest::collection::vec(condition(), 0..3), proptest::collection::vec(act(), 0..4))
        .prop_map(|(compares, ops)| Step::Txn { compares, ops });
    prop_oneof![
        12 => txn,
        1 => (0..LEASES).prop_map(|lease| Step::Revoke { lease }),
        1 => (0..LEASES).prop_map(|lease| Step::Grant { lease }),
        1 => (0..LEASES).prop_map(|lease| Step::KeepAlive { lease }),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (0..KEYS, source()).prop_map(|(key, equals)| Condition::Create { key, equals }),
        (0..KEYS, source()).prop_map(|(key, equals)| Condition::Mod { key, equals }),
        (0..KEYS).prop_map(|key| Condition::Mod { key, equals: Source::ModOf(key) }),
        (0..KEYS).prop_map(|key| Condition::Create { key, equals: Source::CreateOf(key) }),
        (0..KEYS, 0..3_u8).prop_map(|(key, equals)| Condition::Value { key, equals }),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Zero),
        (0..KEYS).prop_map(Source::CreateOf),
        (0..KEYS).prop_map(Source::ModOf),
        (0..6_usize, -1..=1_i64).prop_map(|(back, off)| Source::Outcome { back, off }),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..KEYS, 0..3_u8).prop_map(|(key, value)| Act::Put { key, value, lease: None }),
        1 => (0..KEYS, 0..3_u8, 0..LEASES).prop_map(|(key, value, lease)| Act::Put { key, value, lease: Some(lease) }),
        3 => (0..KEYS).prop_map(|key| Act::Delete { key }),
    ]
}

/// Everything a history shows, with revisions relative to its start.
#[derive(Debug, PartialEq)]
struct Observed {
    answers: Vec<Answer>,
    /// The state after every step.
    states: Vec<Vec<Entry>>,
    /// The states again, read at the end at their revisions.
    replayed: Vec<Vec<Entry>>,
    events: Vec<(i64, Vec<Change>)>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Txn { succeeded: bool, revision: i64 },
    Done,
    Refused(&'static str),
}

#[derive(Debug, PartialEq)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
    create: i64,
    modified: i64,
    version: i64,
    lease: Option<u8>,
}

#[derive(Debug, PartialEq)]
enum Change {
    Put(Entry),
    Delete(Vec<u8>, i64),
}

async fn observe(store: Arc<dyn MetaStore>, steps: &[Step]) -> Observed {
    let mut history = History::begin(store).await;
    let (mut answers, mut states, mut revisions) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        answers.push(history.take(step).await);
        history.read().await;
        states.push(history.entries.iter().map(|entry| history.entry(entry)).collect());
        revisions.push(history.newest);
    }
    let mut replayed = Vec::new();
    for revision in revisions {
        let range = Range { at: Some(revision), ..Range::prefix(history.prefix.clone()) };
        let page = history.store.range(range).await.unwrap();
        replayed.push(page.entries.iter().map(|entry| history.entry(entry)).collect());
    }
    let events = history.events().await;
    history.end().await;
    Observed { answers, states, replayed, events }
}

/// A history as it goes on in one store.
struct History {
    store: Arc<dyn MetaStore>,
    prefix: Vec<u8>,
    /// The revision before the first step.
    base: Revision,
    newest: Revision,
    entries: Vec<KeyValue>,
    outcomes: Vec<Revision>,
    leases: [LeaseId; LEASES as usize],
    /// Every lease ever granted, by number.
    lease_numbers: HashMap<LeaseId, u8>,
}

impl History {
    async fn begin(store: Arc<dyn MetaStore>) -> Self {
        let prefix = format!("differential/{:016x}/", rand::random::<u64>()).into_bytes();
        let base = store.range(Range::prefix(prefix.clone())).await.unwrap().revision;
        // The last lease is one that nobody was ever granted.
        let unknown = LeaseId(0x7fff_ffff_0000_0002);
        let (first, second) = (store.lease_grant(600).await.unwrap(), store.lease_grant(600).await.unwrap());
        let lease_numbers = HashMap::from([(first, 0), (second, 1)]);
        let leases = [first, second, unknown];
        let (entries, outcomes) = (Vec::new(), Vec::new());
        Self { store, prefix, base, newest: base, entries, outcomes, leases, lease_numbers }
    }

    async fn take(&mut self, step: &Step) -> Answer {
        match step {
            Step::Txn { compares, ops } => {
                let compares = compares.iter().map(|compare| self.compare(compare)).collect();
                let ops = ops.iter().map(|op| self.op(op)).collect();
                match self.store.txn(compares, ops).await {
                    Ok(outcome) => {
                        self.outcomes.push(outcome.revision);
                        Answer::Txn { succeeded: outcome.succeeded, revision: outcome.revision.0 - self.base.0 }
                    }
                    Err(error) => Answer::Refused(kind(&error)),
                }
            }
            Step::Revoke { lease } => answer(self.store.lease_revoke(self.lease(*lease)).await),
            Step::KeepAlive { lease } => answer(self.store.lease_keep_alive(self.lease(*lease)).await),
            Step::Grant { lease } => {
                let granted = self.store.lease_grant(600).await.unwrap();
                self.lease_numbers.insert(granted, *lease);
                self.leases[usize::from(*lease)] = granted;
                Answer::Done
            }
        }
    }

    async fn read(&mut self) {
        (self.entries, self.newest) = range_all(self.store.as_ref(), &self.prefix).await.unwrap();
    }

    /// What a watch from the first revision on tells of the history.
    async fn events(&self) -> Vec<(i64, Vec<Change>)> {
        let mut watch = self.store.watch(self.prefix.clone(), Some(Revision(self.base.0 + 1))).await.unwrap();
        // Every revision since the beginning is one of this history.
        let mut batches = Vec::new();
        for _ in self.base.0..self.newest.0 {
            let batch = timeout(Duration::from_secs(10), watch.batches.recv()).await.unwrap().unwrap().unwrap();
            batches.push((batch.revision.0 - self.base.0, self.changes(batch)));
        }
        batches
    }

    async fn end(&self) {
        for lease in self.lease_numbers.keys() {
            let _ = self.store.lease_revoke(*lease).await;
        }
    }

    fn changes(&self, batch: WatchBatch) -> Vec<Change> {
        let change = |event| match event {
            Event::Put(entry) => Change::Put(self.entry(&entry)),
            Event::Delete { key, revision } => Change::Delete(self.name(&key), revision.0 - self.base.0),
        };
        batch.events.into_iter().map(change).collect()
    }

    fn entry(&self, entry: &KeyValue) -> Entry {
        Entry {
            key: self.name(&entry.key),
            value: entry.value.clone(),
            create: entry.create_revision.0 - self.base.0,
            modified: entry.mod_revision.0 - self.base.0,
            version: entry.version,
            lease: entry.lease.map(|lease| self.lease_numbers[&lease]),
        }
    }

    fn compare(&self, condition: &Condition) -> Compare {
        match condition {
            Condition::Create { key, equals } => {
                Compare::CreateRevision { key: self.key(*key), equals: self.resolve(equals) }
            }
            Condition::Mod { key, equals } => {
                Compare::ModRevision { key: self.key(*key), equals: self.resolve(equals) }
            }
            Condition::Value { key, equals } => Compare::Value { key: self.key(*key), equals: value(*equals) },
        }
    }

    fn resolve(&self, source: &Source) -> Revision {
        let shown = |key: u8| self.entries.iter().find(|entry| entry.key == self.key(key));
        match source {
            Source::Zero => Revision(0),
            Source::CreateOf(key) => shown(*key).map(|entry| entry.create_revision).unwrap_or_default(),
            Source::ModOf(key) => shown(*key).map(|entry| entry.mod_revision).unwrap_or_default(),
            Source::Outcome { back, off } => {
                let outcome = self.outcomes.iter().rev().nth(*back).copied().unwrap_or(self.base);
                Revision(outcome.0 + off)
            }
        }
    }

    fn op(&self, act: &Act) -> Op {
        match act {
            Act::Put { key, value: number, lease } => {
                let lease = lease.map(|lease| self.lease(lease));
                Op::Put { key: self.key(*key), value: value(*number), lease }
            }
            Act::Delete { key } => Op::Delete { key: self.key(*key) },
        }
    }

    fn key(&self, number: u8) -> Vec<u8> {
        [self.prefix.as_slice(), &[b'a' + number]].concat()
    }

    fn name(&self, key: &[u8]) -> Vec<u8> {
        key[self.prefix.len()..].to_vec()
    }

    fn lease(&self, number: u8) -> LeaseId {
        self.leases[usize::from(number)]
    }
}

/// Number 0 is the empty value.
fn value(number: u8) -> Vec<u8> {
    vec![b'v'; usize::from(number)]
}

fn answer<T>(result: Result<T, StoreError>) -> Answer {
    result.map_or_else(|error| Answer::Refused(kind(&error)), |_| Answer::Done)
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::LeaseNotFound(_) => "lease not found",
        StoreError::DuplicateKey(_) => "duplicate key",
        StoreError::TooLarge { .. } => "too large",
        StoreError::EmptyKey => "empty key",
        StoreError::Compacted { .. } => "compacted",
        StoreError::FutureRevision(_) => "future revision",
        other => panic!("no history provokes this: {other}"),
    }
}

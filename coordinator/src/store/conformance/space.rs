//! A case's own corner of the store, with short names for what cases do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::super::{
    Compare, Event, KeyValue, LeaseId, MetaStore, Op, Page, Range, Revision, StoreError, TxnOutcome, Watch, WatchBatch,
    range_all,
};

/// How long to wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait for something that must not come.
const QUIET: Duration = Duration::from_millis(150);

#[derive(Clone)]
pub(super) struct Space {
    pub(super) store: Arc<dyn MetaStore>,
    prefix: String,
}

impl Space {
    pub(super) fn new(store: Arc<dyn MetaStore>) -> Self {
        Self { store, prefix: format!("conformance/{}/", uuid::Uuid::new_v4().simple()) }
    }

    pub(super) fn key(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        self.prefix.clone().into_bytes()
    }

    pub(super) fn put(&self, name: &str, value: &str) -> Op {
        Op::Put { key: self.key(name), value: value.into(), lease: None }
    }

    pub(super) fn put_under(&self, name: &str, lease: LeaseId) -> Op {
        Op::Put { key: self.key(name), value: b"leased".to_vec(), lease: Some(lease) }
    }

    pub(super) fn delete(&self, name: &str) -> Op {
        Op::Delete { key: self.key(name) }
    }

    pub(super) fn created(&self, name: &str, equals: Revision) -> Compare {
        Compare::CreateRevision { key: self.key(name), equals }
    }

    pub(super) fn modified(&self, name: &str, equals: Revision) -> Compare {
        Compare::ModRevision { key: self.key(name), equals }
    }

    pub(super) fn value(&self, name: &str, equals: &str) -> Compare {
        Compare::Value { key: self.key(name), equals: equals.into() }
    }

    pub(super) async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, StoreError> {
        self.store.txn(compares, ops).await
    }

    /// Writes without conditions.
    pub(super) async fn write(&self, ops: Vec<Op>) -> Revision {
        let outcome = self.txn(vec![], ops).await.unwrap();
        assert!(outcome.succeeded, "a transaction without compares succeeds");
        outcome.revision
    }

    /// Whether `compare` holds now.
    pub(super) async fn holds(&self, compare: Compare) -> bool {
        self.txn(vec![compare], vec![]).await.unwrap().succeeded
    }

    /// The store's newest revision.
    pub(super) async fn revision(&self) -> Revision {
        self.page(Range::prefix(self.prefix())).await.revision
    }

    pub(super) async fn page(&self, range: Range) -> Page {
        self.store.range(range).await.unwrap()
    }

    /// The whole space, newest state.
    pub(super) async fn all(&self) -> Vec<KeyValue> {
        range_all(self.store.as_ref(), &self.prefix()).await.unwrap().0
    }

    /// The names of the keys that exist.
    pub(super) async fn names(&self) -> Vec<String> {
        self.names_of(&self.all().await)
    }

    pub(super) async fn names_at(&self, revision: Revision) -> Vec<String> {
        let page = self.page(Range { at: Some(revision), ..Range::prefix(self.prefix()) }).await;
        self.names_of(&page.entries)
    }

    pub(super) fn names_of(&self, entries: &[KeyValue]) -> Vec<String> {
        entries.iter().map(|entry| self.name(&entry.key)).collect()
    }

    pub(super) async fn get(&self, name: &str) -> Option<KeyValue> {
        let key = self.key(name);
        self.all().await.into_iter().find(|entry| entry.key == key)
    }

    pub(super) async fn get_at(&self, name: &str, revision: Revision) -> Option<KeyValue> {
        let key = self.key(name);
        let page = self.page(Range { at: Some(revision), ..Range::prefix(key.clone()) }).await;
        page.entries.into_iter().find(|entry| entry.key == key)
    }

    pub(super) async fn watch(&self, from: Option<Revision>) -> Watch {
        self.store.watch(self.prefix(), from).await.unwrap()
    }

    /// Puts and deletes of a batch as `+name` and `-name`.
    pub(super) fn shape(&self, batch: &WatchBatch) -> Vec<String> {
        let shape = |event: &Event| match event {
            Event::Put(entry) => format!("+{}", self.name(&entry.key)),
            Event::Delete { key, .. } => format!("-{}", self.name(key)),
        };
        batch.events.iter().map(shape).collect()
    }

    /// Waits until `name` is gone.
    pub(super) async fn wait_until_gone(&self, name: &str) {
        let gone = async {
            while self.get(name).await.is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("the key goes away in time");
    }

    fn name(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(key).strip_prefix(&self.prefix).expect("a key of this space").to_owned()
    }
}

pub(super) async fn next(watch: &mut Watch) -> WatchBatch {
    next_item(watch).await.expect("a batch, not an error")
}

pub(super) async fn next_item(watch: &mut Watch) -> Result<WatchBatch, StoreError> {
    timeout(PATIENCE, watch.batches.recv()).await.expect("an item in time").expect("the watch goes on")
}

pub(super) async fn assert_quiet(watch: &mut Watch) {
    let item = timeout(QUIET, watch.batches.recv()).await;
    assert!(item.is_err(), "nothing was to come, but {item:?} came");
}

pub(super) fn plus(revision: Revision, more: i64) -> Revision {
    Revision(revision.0 + more)
}

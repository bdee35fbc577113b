//! The ledger's semantics over a map: compares, one revision per transaction, the store's limits and the leader's guard.

use std::collections::BTreeMap;

use windrow_common::invariant::{self, Violation};

use crate::core::table::{Change, Key, Record, Table};

pub(super) type Records = BTreeMap<Key, (Record, i64)>;

/// What one transaction may hold (etcd's 128, less the two compares of the leader's guard).
const MAX_OPERATIONS: usize = 126;

#[derive(Clone, Debug)]
pub(super) struct Store {
    pub records: Records,
    pub revision: i64,
    /// The revision of the newest election.
    pub leader: i64,
    /// Revision and leader of every write.
    pub writes: Vec<(i64, i64)>,
    /// Off only to show that the walks see it.
    pub guarded: bool,
}

impl Store {
    pub(super) fn new() -> Self {
        Self { records: Records::new(), revision: 1, leader: 1, writes: Vec::new(), guarded: true }
    }

    /// A new leader is elected; returns the revision it leads from.
    pub(super) fn elect(&mut self) -> i64 {
        self.revision += 1;
        self.leader = self.revision;
        self.leader
    }

    /// The new revision if everything expected holds and `leader` leads, else `None`.
    pub(super) fn write(&mut self, leader: i64, change: &Change) -> Result<Option<i64>, Violation> {
        invariant::stays_within("operations of a transaction", change.size(), MAX_OPERATIONS)?;
        let mut written: Vec<Key> = change.put.iter().map(Record::key).chain(change.delete.iter().cloned()).collect();
        let writes = written.len();
        written.sort();
        written.dedup();
        invariant::stays_within("writes of one key in a transaction", writes, written.len())?;
        let holds = |(key, expected): &(Key, Option<i64>)| self.records.get(key).map(|found| found.1) == *expected;
        if (self.guarded && leader != self.leader) || !change.expect.iter().all(holds) {
            return Ok(None);
        }
        self.revision += 1;
        self.writes.push((self.revision, leader));
        change.delete.iter().for_each(|key| {
            self.records.remove(key);
        });
        let revision = self.revision;
        self.records.extend(change.put.iter().map(|record| (record.key(), (record.clone(), revision))));
        Ok(Some(revision))
    }

    /// The table a new leader reads.
    pub(super) fn load(&self) -> Table {
        let mut table = Table::default();
        self.records.values().for_each(|(record, revision)| table.put(record.clone(), *revision));
        table
    }
}

/// Every record the table holds, as the store would.
pub(super) fn records_of(table: &Table) -> Records {
    let mut records = Vec::new();
    for (name, entry) in table.pipelines() {
        records.push((Record::Pipeline(entry.state.value.clone()), entry.state.revision));
        records.push((Record::Cursor(name.clone(), entry.cursor.value), entry.cursor.revision));
        records.push((Record::Coverage(name.clone(), entry.coverage.value.clone()), entry.coverage.revision));
    }
    records.extend(table.all_tasks().map(|task| (Record::Task(task.value.clone()), task.revision)));
    records.extend(table.backfills().map(|backfill| (Record::Backfill(backfill.value.clone()), backfill.revision)));
    records.extend(table.recovery().map(|recovery| (Record::Recovery(recovery.value), recovery.revision)));
    for (sink, entry) in table.sinks() {
        let head = entry.head.iter().map(|head| (Record::Head(sink.clone(), head.value), head.revision));
        let intent =
            entry.intent.iter().map(|found| (Record::Intent(sink.clone(), found.value.clone()), found.revision));
        let com = entry.committer.iter().map(|com| (Record::Committer(sink.clone(), com.value.clone()), com.revision));
        let back = entry.rollback.iter().map(|of| (Record::Rollback(sink.clone(), of.value.clone()), of.revision));
        let pins = entry.pins.values().map(|pin| (Record::Pin(sink.clone(), pin.value.clone()), pin.revision));
        let told = entry.told.iter().map(|told| (Record::Told(sink.clone(), told.value), told.revision));
        let spent = entry.spent.iter().map(|spent| (Record::Spent(sink.clone(), spent.value), spent.revision));
        let told = told.chain(spent);
        records.extend(head.chain(intent).chain(com).chain(back).chain(pins).chain(told));
    }
    records.into_iter().map(|(record, revision)| (record.key(), (record, revision))).collect()
}

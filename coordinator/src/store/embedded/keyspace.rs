//! Every key's versions and the log of recent revisions, in memory.
//!
//! Pure: no clock, no file, no lock, and nothing here can fail for a reason outside of it. Revisions up to the newest
//! one are kept here whether they are visible yet or not; who reads says at which revision.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::super::{KeyValue, Range, Revision, WatchBatch};
use super::record::Record;

/// The revision of a store nothing was ever written to, as in etcd.
pub(super) const FIRST_REVISION: Revision = Revision(1);

/// How much history is kept for reads and watches that lag behind. The newest state is always kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) revisions: usize,
    pub(super) bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { revisions: 10_000, bytes: 256 * 1024 * 1024 }
    }
}

/// A multi-version key space.
#[derive(Debug)]
pub(super) struct Keyspace {
    /// Per key its versions, oldest first; never empty.
    keys: BTreeMap<Vec<u8>, Vec<Arc<Record>>>,
    /// What each revision above the horizon wrote, in key order. `log[0]` is revision `compacted + 1`.
    log: VecDeque<Vec<Arc<Record>>>,
    log_bytes: usize,
    /// The horizon: the state at this revision can still be read, the changes up to it are forgotten.
    compacted: Revision,
}

impl Keyspace {
    /// A key space whose history starts after `compacted`.
    pub(super) fn starting_after(compacted: Revision) -> Self {
        Self { keys: BTreeMap::new(), log: VecDeque::new(), log_bytes: 0, compacted }
    }

    /// The newest revision, visible or not.
    pub(super) fn revision(&self) -> Revision {
        Revision(self.compacted.0 + self.log.len() as i64)
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The newest version of `key`, absent if it was never written or is deleted.
    pub(super) fn newest(&self, key: &[u8]) -> Option<&Arc<Record>> {
        self.keys.get(key).and_then(|versions| versions.last()).filter(|record| record.live().is_some())
    }

    /// The newest version of every key that is not deleted.
    pub(super) fn newest_of_all(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.keys.values().filter_map(|versions| versions.last()).filter(|record| record.live().is_some())
    }

    /// Takes in the records of the next revision; they are in key order and at least one.
    pub(super) fn append(&mut self, records: Vec<Arc<Record>>) {
        debug_assert!(!records.is_empty(), "a revision changes something");
        debug_assert!(records.is_sorted_by(|a, b| a.key < b.key), "a revision names a key once");
        for record in &records {
            self.log_bytes += record.bytes();
            self.insert(record.clone());
        }
        self.log.push_back(records);
        debug_assert!(self.log.back().is_none_or(|written| written[0].mod_revision == self.revision()));
    }

    /// Takes in a record from below the horizon: part of the oldest readable state. In order of revision.
    pub(super) fn insert(&mut self, record: Arc<Record>) {
        let versions = self.keys.entry(record.key.clone()).or_default();
        debug_assert!(versions.last().is_none_or(|last| last.mod_revision < record.mod_revision));
        versions.push(record);
    }

    /// The keys of `range` as they were at `at`, and whether more follow after `limit` of them.
    pub(super) fn read(&self, range: &Range, at: Revision, limit: usize) -> (Vec<KeyValue>, bool) {
        let mut entries = Vec::new();
        let live = self
            .keys
            .range::<[u8], _>((start_of(range), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&range.prefix))
            .filter_map(|(_, versions)| version_at(versions, at)?.to_key_value());
        for entry in live {
            if entries.len() == limit {
                return (entries, true);
            }
            entries.push(entry);
        }
        (entries, false)
    }

    /// What `revision` changed under `prefix`, if it changed anything. It must lie above the horizon.
    pub(super) fn changes_at(&self, revision: Revision, prefix: &[u8]) -> Option<WatchBatch> {
        let index = usize::try_from(revision.0 - self.compacted.0 - 1).ok()?;
        let records = self.log.get(index)?;
        let events: Vec<_> =
            records.iter().filter(|record| record.key.starts_with(prefix)).map(|record| record.to_event()).collect();
        (!events.is_empty()).then_some(WatchBatch { revision, events })
    }

    /// The horizon `retention` asks for now, moving it by at most `step` revisions and never past `visible`.
    pub(super) fn due_horizon(&self, retention: Retention, visible: Revision, step: usize) -> Option<Revision> {
        let mut bytes = self.log_bytes;
        let mut revisions = self.log.len();
        let mut horizon = self.compacted;
        for records in self.log.iter().take(step) {
            if (revisions <= retention.revisions && bytes <= retention.bytes) || horizon >= visible {
                break;
            }
            revisions -= 1;
            bytes -= records.iter().map(|record| record.bytes()).sum::<usize>();
            horizon.0 += 1;
        }
        (horizon > self.compacted).then_some(horizon)
    }

    /// Moves the horizon up to `horizon` and returns the records no reader can see any more.
    pub(super) fn compact(&mut self, horizon: Revision) -> Vec<Arc<Record>> {
        let mut dropped = Vec::new();
        while self.compacted < horizon {
            let Some(records) = self.log.pop_front() else { break };
            self.compacted.0 += 1;
            for record in records {
                self.log_bytes -= record.bytes();
                self.drop_before(&record, &mut dropped);
            }
        }
        dropped
    }

    /// `record` is now the oldest version of its key that can be read: drops older ones, and itself if a deletion.
    fn drop_before(&mut self, record: &Arc<Record>, dropped: &mut Vec<Arc<Record>>) {
        let Some(versions) = self.keys.get_mut(&record.key) else { return };
        let kept = record.mod_revision.0 + i64::from(record.live().is_none());
        let gone = versions.partition_point(|version| version.mod_revision.0 < kept);
        dropped.extend(versions.drain(..gone));
        if versions.is_empty() {
            self.keys.remove(&record.key);
        }
    }
}

/// The version of a key a reader at `at` sees.
fn version_at(versions: &[Arc<Record>], at: Revision) -> Option<&Arc<Record>> {
    let after = versions.partition_point(|version| version.mod_revision <= at);
    after.checked_sub(1).map(|newest| &versions[newest])
}

fn start_of(range: &Range) -> Bound<&[u8]> {
    match &range.after {
        Some(after) if *after >= range.prefix => Bound::Excluded(after),
        _ => Bound::Included(&range.prefix),
    }
}

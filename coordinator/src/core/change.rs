//! What changes are made of: records under their keys, one put together from others, its size, and what may follow from it.

use windrow_common::task::{Lane, Task, TaskState};

use super::table::{Key, Record};

/// One transaction: what must hold, and what it writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// Records and the revisions they must have; `None` means absent.
    pub expect: Vec<(Key, Option<i64>)>,
    pub put: Vec<Record>,
    pub delete: Vec<Key>,
}

impl Change {
    /// Replaces a record: it must still have `revision`.
    pub fn replace(record: Record, revision: i64) -> Self {
        Self { expect: vec![(record.key(), Some(revision))], put: vec![record], delete: Vec::new() }
    }

    /// Creates a record: there must be none.
    pub fn create(record: Record) -> Self {
        Self { expect: vec![(record.key(), None)], put: vec![record], delete: Vec::new() }
    }

    /// Joins another change into the same transaction.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.expect.extend(other.expect);
        self.put.extend(other.put);
        self.delete.extend(other.delete);
        self
    }

    /// The first of the changes as one of at most that size, or the very first; `None` if there is none.
    pub fn up_to(size: usize, changes: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut all: Option<Self> = None;
        for change in changes {
            all = match all {
                None => Some(change),
                Some(all) if all.size() + change.size() > size => return Some(all),
                Some(all) => Some(all.and(change)),
            };
        }
        all
    }

    /// The larger of its numbers of compares and of writes, each of which the store limits.
    pub fn size(&self) -> usize {
        self.expect.len().max(self.put.len() + self.delete.len())
    }

    /// The records it rests on and those it writes; some twice.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let expected = self.expect.iter().map(|(key, _)| key.clone());
        expected.chain(self.put.iter().map(Record::key)).chain(self.delete.iter().cloned())
    }

    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    /// Whether tasks may be planned because of it, or a backfill settled. Claims and seals, most of all changes, are not
    /// among these.
    pub fn may_be_followed_by_tasks(&self) -> bool {
        let may = |record: &Record| match record {
            Record::Task(task) => matches!(task.state, TaskState::Quarantined { .. }),
            Record::Head(..) | Record::Intent(..) | Record::Committer(..) => false,
            Record::Rollback(..) | Record::Pin(..) | Record::Told(..) | Record::Spent(..) => false,
            _ => true,
        };
        !self.delete.is_empty() || self.put.iter().any(may)
    }
}

impl Key {
    /// Where a task's record lies.
    pub fn of(task: &Task) -> Self {
        match task.lane {
            Lane::Compact => Self::Group(task.pipeline.clone(), task.id),
            Lane::Compare => Self::Comparison(task.pipeline.clone(), task.id),
            Lane::Live | Lane::Backfill(_) | Lane::Recount => Self::Task(task.pipeline.clone(), task.id),
        }
    }
}

impl Record {
    pub fn key(&self) -> Key {
        match self {
            Self::Pipeline(state) => Key::Pipeline(state.pipeline.name.clone()),
            Self::Cursor(name, _) => Key::Cursor(name.clone()),
            Self::Coverage(name, _) => Key::Coverage(name.clone()),
            Self::Task(task) => Key::of(task),
            Self::Head(sink, _) => Key::Head(sink.clone()),
            Self::Intent(sink, _) => Key::Intent(sink.clone()),
            Self::Committer(sink, _) => Key::Committer(sink.clone()),
            Self::Rollback(sink, _) => Key::Rollback(sink.clone()),
            Self::Pin(sink, pin) => Key::Pin(sink.clone(), pin.id.clone()),
            Self::Told(sink, _) => Key::Told(sink.clone()),
            Self::Spent(sink, _) => Key::Spent(sink.clone()),
            Self::Backfill(backfill) => Key::Backfill(backfill.id.clone()),
            Self::Recovery(_) => Key::Recovery,
        }
    }
}

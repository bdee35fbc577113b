//! The ledger's records in a few bytes, and one transaction on them.

/// Most tasks of a model.
pub(crate) const MAX_TASKS: usize = 3;
/// Keys: the tasks, the head, the intent, the committer, the coverage.
pub(crate) const KEYS: usize = MAX_TASKS + 4;
pub(crate) const HEAD: usize = MAX_TASKS;
pub(crate) const INTENT: usize = MAX_TASKS + 1;
pub(crate) const COMMITTER: usize = MAX_TASKS + 2;
pub(crate) const COVERAGE: usize = MAX_TASKS + 3;

/// Every record; a revision of 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    pub(crate) tasks: [TaskRecord; MAX_TASKS],
    pub(crate) head: HeadRecord,
    pub(crate) intent: IntentRecord,
    /// Which of two workers commits.
    pub(crate) committer: u8,
    pub(crate) committer_revision: u8,
    /// Published tasks, a bit each.
    pub(crate) covered: u8,
    pub(crate) covered_revision: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TaskRecord {
    pub(crate) phase: Phase,
    pub(crate) revision: u8,
    /// The token it was sealed with.
    pub(crate) epoch: u8,
    pub(crate) token: u8,
    /// The attempt whose manifest was sealed, counted from 1.
    pub(crate) manifest: u8,
    pub(crate) attempts: u8,
    pub(crate) errors: u8,
    pub(crate) lost: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// No record.
    #[default]
    Gone,
    Pending,
    Claimed,
    Sealed,
    Quarantined,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct HeadRecord {
    pub(crate) revision: u8,
    pub(crate) seq: u8,
    pub(crate) digest: u8,
    pub(crate) aborted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct IntentRecord {
    pub(crate) revision: u8,
    pub(crate) seq: u8,
    pub(crate) digest: u8,
    pub(crate) previous: u8,
    /// Revisions of the seals of its tasks; 0 for tasks that are not in it.
    pub(crate) seals: [u8; MAX_TASKS],
}

/// A transaction: compares and writes by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Txn {
    pub(crate) expect: [Expect; KEYS],
    pub(crate) write: [Write; KEYS],
    /// Holds what is put.
    pub(crate) after: Ledger,
    /// The invariant this transaction breaks by itself; 0 if none.
    pub(crate) broken: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Anything,
    /// 0 stands for no record.
    Revision(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Nothing,
    Put,
    Delete,
}

impl Ledger {
    pub(crate) fn revision(&self, key: usize) -> u8 {
        match key {
            HEAD => self.head.revision,
            INTENT => self.intent.revision,
            COMMITTER => self.committer_revision,
            COVERAGE => self.covered_revision,
            task => self.tasks[task].revision,
        }
    }

    /// Whether all a transaction expects is so.
    pub(crate) fn meets(&self, txn: &Txn) -> bool {
        (0..KEYS).all(|key| match txn.expect[key] {
            Expect::Anything => true,
            Expect::Revision(revision) => self.revision(key) == revision,
        })
    }

    pub(crate) fn apply(&mut self, txn: &Txn, revision: u8) {
        for key in 0..KEYS {
            let (from, revision) = match txn.write[key] {
                Write::Nothing => continue,
                Write::Put => (&txn.after, revision),
                Write::Delete => (&Self::default(), 0),
            };
            match key {
                HEAD => self.head = HeadRecord { revision, ..from.head },
                INTENT => self.intent = IntentRecord { revision, ..from.intent },
                COMMITTER => (self.committer, self.committer_revision) = (from.committer, revision),
                COVERAGE => (self.covered, self.covered_revision) = (from.covered, revision),
                task => self.tasks[task] = TaskRecord { revision, ..from.tasks[task] },
            }
        }
    }

    pub(crate) fn each_revision(&mut self, visit: &mut impl FnMut(&mut u8)) {
        for task in &mut self.tasks {
            visit(&mut task.revision);
            visit(&mut task.token);
        }
        for revision in [
            &mut self.head.revision,
            &mut self.intent.revision,
            &mut self.committer_revision,
            &mut self.covered_revision,
        ] {
            visit(revision);
        }
        self.intent.seals.iter_mut().for_each(visit);
    }
}

impl Txn {
    pub(crate) fn new() -> Self {
        let (expect, write) = ([Expect::Anything; KEYS], [Write::Nothing; KEYS]);
        Self { expect, write, after: Ledger::default(), broken: 0 }
    }
}

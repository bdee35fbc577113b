//! Files of a table that others write: which there are and whose rows each holds, small ones that are to become one, and another
//! writer who takes one away meanwhile. A row is lost, doubled or back from the dead as soon as the files say so.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::{
    compaction::GroupRef,
    id::{SinkId, TaskId},
    invariant::Violation,
    manifest::Digest,
};

use super::{Outcome, World};
use crate::core::compact::{self, Asked};

/// A commit's rows of one task: they live and die together.
pub(super) type Rows = (TaskId, u64);

/// The files of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// By number, and the rows of each.
    all: BTreeMap<u64, BTreeSet<Rows>>,
    /// The rows there should be.
    expected: BTreeSet<Rows>,
    next: u64,
}

/// What a group's list says, and what whoever rewrites it reads.
#[derive(Clone, Debug)]
pub(super) struct ModelGroup {
    files: Vec<u64>,
    rows: BTreeSet<Rows>,
}

impl Files {
    pub(super) fn add(&mut self, rows: Rows) {
        self.expected.insert(rows);
        self.all.insert(self.next, BTreeSet::from([rows]));
        self.next += 1;
    }

    pub(super) fn have(&self, group: &ModelGroup) -> bool {
        group.files.iter().all(|file| self.all.contains_key(file))
    }

    /// The group's files go, and one with the rows that were read from them comes.
    pub(super) fn regroup(&mut self, group: &ModelGroup) -> Result<(), Violation> {
        for file in &group.files {
            if self.all.remove(file).is_none() {
                let message = format!("file {file} is taken away twice");
                return Err(Violation { id: "INV-15", message });
            }
        }
        self.all.insert(self.next, group.rows.clone());
        self.next += 1;
        Ok(())
    }

    /// Every row that should be there is in one file, and no other is.
    pub(super) fn check(&self) -> Result<(), Violation> {
        let mut found = BTreeSet::new();
        let doubled = self.all.values().flatten().find(|rows| !found.insert(**rows));
        match doubled.is_none() && found == self.expected {
            true => Ok(()),
            false => {
                let message = format!("the files hold {:?} instead of {:?}", self.all, self.expected);
                Err(Violation { id: "INV-15", message })
            }
        }
    }
}

impl World {
    /// The committer finds small files, and the leader decides on some of them; some lists are of a while ago.
    pub(super) fn plan_groups(&mut self, arg: usize) -> Outcome {
        let sinks: Vec<SinkId> = compact::owners(&self.leader.table).into_keys().cloned().collect();
        for sink in sinks {
            let files = self.sinks.entry(sink.clone()).or_default().files.clone();
            let numbers: Vec<u64> = files.all.keys().skip(arg % 3).copied().collect();
            let fresh: Vec<GroupRef> = numbers
                .chunks(2 + arg / 4 % 3)
                .filter(|chunk| chunk.len() > 1)
                .map(|chunk| self.group(&files, chunk))
                .collect();
            let known = self.groups.keys().filter(|_| arg.is_multiple_of(5)).take(3);
            let old: Vec<GroupRef> = known.map(|sha256| told(*sha256, self.groups[sha256].files.len())).collect();
            let asked = if arg.is_multiple_of(2) { Asked::ByHand } else { Asked::ByItself };
            let groups: Vec<GroupRef> = fresh.into_iter().chain(old).take(4).collect();
            let (now, mut spent) = (self.now(), compact::Spent::default());
            let made = compact::plan(&self.leader.table, &sink, &groups, (asked, &mut spent), now);
            let Some((change, _)) = made else { continue };
            if self.write(&change)?.is_none() && !change.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn group(&mut self, files: &Files, chunk: &[u64]) -> GroupRef {
        let text = format!("{chunk:?}");
        let sha256 = Digest(*blake3::hash(text.as_bytes()).as_bytes());
        let rows = chunk.iter().flat_map(|file| &files.all[file]).copied().collect();
        self.groups.insert(sha256, ModelGroup { files: chunk.to_vec(), rows });
        told(sha256, chunk.len())
    }

    /// Somebody else deletes the rows of a file.
    pub(super) fn delete_a_file(&mut self, arg: usize) {
        let mut models: Vec<_> = self.sinks.values_mut().filter(|model| !model.files.all.is_empty()).collect();
        if models.is_empty() {
            return;
        }
        let count = models.len();
        let files = &mut models[arg % count].files;
        let number = *files.all.keys().nth(arg / 4 % files.all.len()).unwrap();
        for rows in files.all.remove(&number).unwrap() {
            files.expected.remove(&rows);
        }
    }

    /// The group of a task, if it is one that rewrites files.
    pub(super) fn group_of(&self, task: &TaskId) -> Option<(TaskId, Digest)> {
        let group = self.leader.table.task(task)?.value.group()?;
        Some((*task, group.sha256))
    }
}

fn told(sha256: Digest, files: usize) -> GroupRef {
    GroupRef { sha256, files: files as u64, bytes: 100, makes: 1, window: None, place: String::new(), major: None }
}

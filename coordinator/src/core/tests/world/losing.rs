//! The store is restored from a backup, or lost as a whole, and the ledger is made good from what the sinks hold.

use std::collections::BTreeMap;

use windrow_common::{
    id::{PipelineName, SinkId},
    intent::Effect,
    window::Window,
};

use super::{Leader, Outcome, World};
use crate::core::{
    coverage::IntervalSet,
    recovery::{self, PastCommit, PastTask, Step},
    tests::store::Records,
    workers::Workers,
};

/// What a backup of the store holds, and what of the world it knew.
#[derive(Clone, Debug, Default)]
pub(super) struct Backup {
    records: Records,
    revision: i64,
    withdrawn: BTreeMap<PipelineName, IntervalSet>,
}

impl World {
    pub(super) fn back_up(&mut self) {
        // Restoring again while the ledger is made good would begin from there; that is no other case.
        self.backup = Some(Backup {
            records: self.store.records.clone(),
            revision: self.store.revision,
            withdrawn: self.withdrawn.clone(),
        });
    }

    /// The store is as it was at the backup, or empty; its revisions repeat. Workers know nothing of it.
    pub(super) fn lose_the_store(&mut self, wholly: bool) -> Outcome {
        let backup = self.backup.clone().filter(|_| !wholly).unwrap_or_default();
        (self.store.records, self.store.revision) = (backup.records, backup.revision);
        self.store.writes.retain(|write| write.0 <= backup.revision);
        self.withdrawn = backup.withdrawn;
        // No sink knows of versions without rows of their own.
        for (name, entry) in self.leader.table.pipelines() {
            let withdrawn = self.withdrawn.entry(name.clone()).or_default();
            entry.coverage.value.unchanged.iter().for_each(|(start, end)| withdrawn.insert(start, end));
        }
        self.epoch += 1;
        self.intents.clear();
        self.mail.clear();
        // What was asked for is forgotten with the store, so nobody repeats it.
        self.rollbacks += 1;
        self.former = None;
        for worker in &mut self.workers {
            worker.session = false;
            self.ghosts.append(&mut worker.held);
        }
        self.leader = Leader::elected(&mut self.store, self.elapsed);
        self.forget_what_heads_do_not_know();
        while self.leader.table.recovery().is_none() {
            let change = recovery::begin(&self.leader.table, &self.pipelines, self.now()).expect("they are sound");
            self.write(&change)?;
        }
        while self.leader.table.recovery().is_some() {
            self.make_good()?;
        }
        // What no sink knows of may be given out once more.
        for (name, entry) in self.leader.table.pipelines() {
            let withdrawn = self.withdrawn.entry(name.clone()).or_default();
            withdrawn.remove(entry.cursor.value.next, i64::MAX);
        }
        (self.leader.workers, self.leader.runs) = (Workers::default(), BTreeMap::new());
        Ok(())
    }

    /// What is known to be published goes as far as the heads do.
    fn forget_what_heads_do_not_know(&mut self) {
        self.published.clear();
        for (name, entry) in self.leader.table.pipelines() {
            self.published.insert(name.clone(), entry.coverage.value.unchanged.clone());
        }
        for (id, model) in &self.sinks {
            let head = self.leader.table.sink(id).and_then(|entry| entry.head.as_ref());
            let known = head.map_or(0, |head| head.value.seq);
            for moved in model.log.iter().filter(|entry| entry.0.seq <= known).flat_map(|entry| &entry.2) {
                let published = self.published.entry(moved.pipeline.clone()).or_default();
                moved.windows.iter().for_each(|window| published.insert(window.start(), window.end()));
            }
        }
    }

    /// One go at it; a lost answer of the store ends the leadership, and the next leader goes on.
    fn make_good(&mut self) -> Outcome {
        while let Some(change) = recovery::drop_claims(&self.leader.table, self.now()) {
            if self.write(&change)?.is_none() {
                return Ok(());
            }
        }
        let sinks: Vec<SinkId> = self.sinks.keys().cloned().collect();
        for sink in sinks {
            while let Some(commit) = self.next_unknown(&sink) {
                let step = recovery::replay(&self.leader.table, &sink, &commit, self.now());
                let (Step::More(change) | Step::Last(change)) = step.expect("it follows from the head");
                if self.write(&change)?.is_none() {
                    return Ok(());
                }
            }
        }
        while let Some(change) = recovery::drop_seals(&self.leader.table, self.now()) {
            if self.write(&change)?.is_none() {
                return Ok(());
            }
        }
        let change = recovery::finish(&self.leader.table).expect("it is under way");
        self.write(&change).map(drop)
    }

    /// The sink's first commit that the ledger does not know of.
    fn next_unknown(&self, sink: &SinkId) -> Option<PastCommit> {
        let head = self.leader.table.sink(sink).and_then(|entry| entry.head.as_ref());
        let seq = head.map_or(0, |head| head.value.seq) + 1;
        let (link, effect, moved) = self.sinks.get(sink)?.log.iter().find(|entry| entry.0.seq == seq)?;
        let task = |moved: &super::Moved| {
            let (first, last) = (moved.windows.first()?, moved.windows.last()?);
            Some(PastTask {
                task: moved.task,
                pipeline: moved.pipeline.clone(),
                window: Window::new(first.axis(), first.start(), last.end()).ok()?,
                revision: moved.revision,
                epoch: self.epoch - 1,
                counts: moved.counts,
            })
        };
        Some(PastCommit {
            seq,
            digest: link.digest,
            previous: link.previous,
            aborted: matches!(effect, Effect::Aborted(_)),
            tasks: moved.iter().filter_map(task).collect(),
        })
    }
}

//! A model of a sink's storage: commits by compare-and-set on seq, following the one rule of committing.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::{
    id::{PipelineName, TaskId},
    intent::{self, Committed, Effect, Fingerprint, Seq, Verdict},
    invariant::{self, Link, Violation},
    manifest::{Counts, Digest, Proof},
    window::{Axis, Window},
};

use super::{
    Sabotage,
    compacting::{Files, ModelGroup},
};
use crate::core::rollback::Known;

/// What an intent moves of one task.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moved {
    pub task: TaskId,
    pub pipeline: PipelineName,
    pub windows: Vec<Window>,
    pub revision: u32,
    pub counts: Counts,
    pub shard: u32,
    /// How many shards its window was cut into; 1 if it was not.
    pub of: u32,
    /// What its source was proven to hold.
    pub proof: Option<Proof>,
}

/// What a committer worked out; whoever knows its digest finds it.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub seq: Seq,
    pub previous: Option<Digest>,
    pub tasks: Vec<Moved>,
    /// Groups of files that are rewritten.
    pub groups: Vec<(TaskId, ModelGroup)>,
    /// The version a rollback shows, and its request.
    pub shows: Option<(u32, String)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ModelSink {
    /// Commits from seq 1 on.
    pub log: Vec<(Link, Effect, Vec<Moved>)>,
    pub files: Files,
    /// How often each window was moved at each revision.
    moves: BTreeMap<(PipelineName, Window, u32, u32), u32>,
    tasks: Vec<TaskId>,
    /// Versions that were loaded, in order, and the one readers see.
    loaded: BTreeSet<u32>,
    pub shown: Option<u32>,
    rolled_back: Vec<String>,
}

impl ModelSink {
    pub(super) fn seq(&self) -> Seq {
        self.log.len() as Seq
    }

    pub(super) fn judge(&self, body: &Body, digest: &Digest, sabotage: Sabotage) -> Verdict {
        let found = self.log.last().map(|(link, effect, _)| Committed { seq: link.seq, effect: *effect });
        match sabotage {
            Sabotage::CommitBlind => Verdict::Apply,
            Sabotage::JudgeBySeq if found.is_some_and(|found| found.seq == body.seq) => Verdict::Done,
            _ => intent::judge(body.seq, digest, found),
        }
    }

    /// Applies or aborts what was judged to be next.
    pub(super) fn apply(&mut self, body: &Body, digest: Digest, abort: bool) -> Result<(), Violation> {
        let link = Link { seq: body.seq, digest, previous: body.previous };
        let fingerprint = Fingerprint::of(&digest);
        let effect = if abort { Effect::Aborted(fingerprint) } else { Effect::Applied(fingerprint) };
        let tasks = if abort { Vec::new() } else { body.tasks.clone() };
        for moved in &tasks {
            let same = |other: &&Moved| {
                (&other.pipeline, &other.windows, other.revision) == (&moved.pipeline, &moved.windows, moved.revision)
            };
            let beside = tasks.iter().filter(same);
            let shards: BTreeSet<u32> = beside.filter(|other| other.of == moved.of).map(|other| other.shard).collect();
            if !shards.iter().copied().eq(0..moved.of) {
                let message = format!("{shards:?} of {} shards of {} go in one commit", moved.of, moved.pipeline);
                return Err(Violation { id: "INV-18", message });
            }
            self.tasks.push(moved.task);
            self.files.add((moved.task, body.seq));
            for window in &moved.windows {
                let times =
                    self.moves.entry((moved.pipeline.clone(), *window, moved.revision, moved.shard)).or_default();
                *times += 1;
                invariant::stays_within("moves of a window at a revision", *times as usize, 1)?;
            }
        }
        if !abort {
            for (task, group) in &body.groups {
                self.tasks.push(*task);
                self.files.regroup(group)?;
            }
            self.files.check()?;
            self.show(body)?;
        }
        self.log.push((link, effect, tasks));
        let mut newest = self.log.iter().rev().map(|entry| &entry.0);
        if let Some(commit) = newest.next() {
            // The chain up to the one before was checked when that was made.
            invariant::commit_follows(newest.next(), commit)?;
        }
        invariant::committed_once(&self.tasks)
    }

    /// What readers see from now on.
    fn show(&mut self, body: &Body) -> Result<(), Violation> {
        if let Some((version, request)) = &body.shows {
            invariant::shows_what_was_published(*version, &self.loaded)?;
            self.rolled_back.push(request.clone());
            invariant::rolled_back_once(&self.rolled_back)?;
            self.shown = Some(*version);
        }
        for window in body.tasks.iter().flat_map(|moved| &moved.windows) {
            if window.axis() == Axis::Version {
                let version = u32::try_from(window.start()).unwrap();
                self.loaded.insert(version);
                self.shown = Some(version);
            }
        }
        Ok(())
    }

    /// The versions a committer would list.
    pub(super) fn versions(&self) -> Vec<Known> {
        let known = |version: &u32| Known { version: *version, shown: self.shown == Some(*version), gone: None };
        self.loaded.iter().map(known).collect()
    }

    /// Whether the newest commit is the intent of this seq, applied.
    pub(super) fn is_applied(&self, seq: Seq) -> bool {
        self.log.last().is_some_and(|(link, effect, _)| link.seq == seq && matches!(effect, Effect::Applied(_)))
    }

    /// In which revision a window was loaded last, and from what.
    pub(super) fn holds(&self, pipeline: &PipelineName, window: &Window) -> Option<(u32, Option<Digest>)> {
        let moved = self.log.iter().rev().flat_map(|entry| entry.2.iter().rev());
        let mut of_window =
            moved.filter(|moved| moved.pipeline == *pipeline && moved.shard == 0 && moved.windows.contains(window));
        let proof_of = |moved: &Moved| {
            let proof = moved.proof.as_ref()?;
            let at = moved.windows.iter().position(|moved| moved == window)?;
            proof.windows.get(at).copied().or(Some(proof.whole))
        };
        of_window.next().map(|moved| (moved.revision, proof_of(moved)))
    }

    pub(super) fn has_rolled_back(&self, request: &str) -> bool {
        self.rolled_back.iter().any(|done| done == request)
    }

    /// What the commit of a seq published; nothing if it was an abort.
    pub(super) fn published(&self, seq: Seq) -> Option<(&Link, &[Moved])> {
        let entry = self.log.iter().find(|entry| entry.0.seq == seq)?;
        Some((&entry.0, &entry.2))
    }
}

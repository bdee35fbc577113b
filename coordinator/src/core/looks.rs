//! What was seen when somebody last looked at what windows wait for: how far each condition holds. It is no record: a leader that
//! begins has it looked at anew. One look is for all windows of a pipeline, however many wait.

use std::collections::BTreeMap;

use windrow_common::{
    id::PipelineName,
    task::{Task, TaskPhase},
    window::{Axis, Window},
};

use super::{
    lifecycle::Now,
    table::{PipelineEntry, Table},
    upstream,
};

/// How far a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// For windows that end by then, in microseconds since 1970; for those of a full load only if that is for ever.
    pub to: i64,
    /// What keeps the others.
    pub words: String,
}

/// By pipeline, and in it by the places of its conditions.
#[derive(Clone, Debug, Default)]
pub struct Looks(BTreeMap<PipelineName, Vec<Seen>>);

impl Looks {
    pub fn seen(&self, pipeline: &PipelineName, place: usize) -> Option<&Seen> {
        self.0.get(pipeline)?.get(place)
    }

    pub(super) fn note(&mut self, pipeline: PipelineName, seen: Vec<Seen>) {
        self.0.insert(pipeline, seen);
    }

    /// The pipeline waits for something else now.
    pub(super) fn forget(&mut self, pipeline: &PipelineName) {
        self.0.remove(pipeline);
    }
}

/// What keeps a window, by what was seen of a condition.
pub(super) fn lacks(seen: Option<&Seen>, window: &Window) -> Option<String> {
    let Some(seen) = seen else { return Some("nobody has looked yet whether its input is complete".to_owned()) };
    let holds = match window.axis() {
        Axis::Time => window.end() <= seen.to,
        Axis::Version => seen.to == i64::MAX,
    };
    (!holds).then(|| seen.words.clone())
}

/// The pipelines some of whose windows wait for what has to be looked at, each once.
pub fn wanted(table: &Table, now: Now) -> Vec<PipelineName> {
    let looks = table.pipelines().filter(|(_, entry)| is_looked_for(entry) && entry.state.value.paused.is_none());
    let waits = |task: &Task| task.state.phase() == TaskPhase::Pending && upstream::lacks(table, task, now).is_some();
    let waiting = looks.filter(|(name, _)| table.tasks_of(name).any(|task| waits(&task.value)));
    waiting.map(|(name, _)| name.clone()).collect()
}

/// Whether what keeps a task is that nobody has looked yet.
pub fn is_unseen(table: &Table, task: &Task) -> bool {
    let Some(entry) = table.pipeline(&task.pipeline).filter(|_| task.declared.is_none()) else { return false };
    let conditions = entry.spec().readiness.require.conditions().enumerate();
    let mut looked_at = conditions.filter(|(_, condition)| condition.is_looked_at());
    looked_at.any(|(place, _)| table.looks().seen(&task.pipeline, place).is_none())
}

fn is_looked_for(entry: &PipelineEntry) -> bool {
    entry.spec().readiness.require.conditions().any(windrow_common::readiness::Condition::is_looked_at)
}

//! Which span each open task was last tried in, as its worker told. The next attempt links it, and so does the commit; the
//! span that settles the task follows it. It is in the leader's memory only: after a change of leaders such links are
//! missing until workers speak again, and nothing else is.

use std::collections::BTreeMap;

use tracing::Span;
use windrow_common::{
    id::TaskId,
    intent::Seq,
    task::{Lane, Task},
};

use super::Controller;
use crate::{
    core::{
        backfill, plan,
        table::{Change, Record, Table},
    },
    trace::{self, Ending, Origins},
};

/// `traceparent`s of newest attempts; at most one per open task.
#[derive(Default)]
pub(super) struct Attempts(BTreeMap<TaskId, String>);

impl Attempts {
    pub(super) fn heard(&mut self, task: TaskId, trace: Option<String>) {
        if let Some(trace) = trace {
            self.0.insert(task, trace);
        }
    }

    pub(super) fn of(&self, task: &TaskId) -> Option<&str> {
        self.0.get(task).map(String::as_str)
    }

    /// What a run was split into goes on from the run's attempt.
    pub(super) fn inherit(&mut self, run: &TaskId, change: &Change) {
        let Some(trace) = self.0.get(run).cloned() else { return };
        for record in &change.put {
            if let Record::Task(part) = record {
                self.0.entry(part.id).or_insert_with(|| trace.clone());
            }
        }
    }

    /// Lets go of tasks that are open no more.
    pub(super) fn keep_open(&mut self, table: &Table) {
        self.0.retain(|task, _| table.task(task).is_some());
    }
}

/// Every task of a schedule begins a trace; those of a backfill carry the one of its request.
pub(super) fn begin(change: &mut Change) {
    for record in &mut change.put {
        if let Record::Task(task) = record
            && matches!(task.lane, Lane::Live | Lane::Compact | Lane::Compare)
            && task.trace.is_none()
        {
            task.trace = trace::publish_due(task);
        }
    }
}

impl Controller {
    /// Whether what happens inside attempts at the task goes to traces of their own.
    pub(super) fn is_apart(&self, task: &Task) -> bool {
        self.table.pipeline(&task.pipeline).is_some_and(|entry| backfill::is_apart(&self.table, entry, task))
    }

    /// What is done for these tasks belongs to the trace of the first, unless that is to be kept small, and links where
    /// the others come from.
    pub(super) fn origins<'a>(&self, tasks: impl Iterator<Item = &'a Task>) -> Origins {
        let mut origins = Origins::default();
        for (index, task) in tasks.take(plan::MAX_PLANNED).enumerate() {
            let Some(trace) = task.trace.clone() else { continue };
            if index == 0 && !self.is_apart(task) {
                origins.parent = Some(trace);
            } else if origins.parent.as_ref() != Some(&trace) && !origins.links.contains(&trace) {
                origins.links.push(trace);
            }
        }
        origins
    }

    /// The same for tasks that were tried: the attempts are linked.
    pub(super) fn outcomes<'a>(&self, tasks: impl Iterator<Item = &'a Task> + Clone) -> Origins {
        let attempts = tasks.clone().take(plan::MAX_PLANNED).filter_map(|task| self.attempts.of(&task.id));
        let mut origins = self.origins(tasks.take(1));
        origins.links.extend(attempts.map(str::to_owned));
        origins
    }

    /// The span in which a task's windows are published by the commit `seq`.
    pub(super) fn settle(&self, task: &Task, seq: Seq, commit: Option<&str>) -> Span {
        let attempt = self.attempts.of(&task.id);
        let origin = task.trace.as_deref().filter(|_| !self.is_apart(task));
        trace::settle(task, Ending { parent: origin.or(attempt), attempt, commit, seq })
    }
}

//! What was seen when somebody last looked at what windows wait for: how far each condition holds, or for which windows. It is no
//! record: a leader that begins has it looked at anew. One look is for all windows of a pipeline, however many wait.

use std::collections::BTreeMap;

use windrow_common::{
    id::PipelineName,
    readiness::Condition,
    task::{Task, TaskPhase},
    window::{Axis, Window},
};

use super::{
    coverage::IntervalSet,
    lifecycle::Now,
    table::{PipelineEntry, Table},
    upstream,
};

/// Most windows one look is asked about; the next one goes on with those behind them.
pub const MOST_WINDOWS: usize = 1_000;

/// How far a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// For windows that end by then, in microseconds since 1970; for those of a full load only if that is for ever.
    pub to: i64,
    /// And for these, where each window has objects of its own.
    pub holds: IntervalSet,
    /// What keeps the others.
    pub words: String,
}

/// By pipeline.
#[derive(Clone, Debug, Default)]
pub struct Looks(BTreeMap<PipelineName, Looked>);

/// What was seen for a pipeline.
#[derive(Clone, Debug, Default)]
struct Looked {
    /// The windows that were asked about and not given out since.
    windows: IntervalSet,
    /// By the places of its conditions.
    seen: Vec<Seen>,
}

impl Looks {
    /// What was seen of a condition; `None` if nobody has looked at it for the window yet.
    fn seen(&self, pipeline: &PipelineName, (place, condition): (usize, &Condition), window: &Window) -> Option<&Seen> {
        let looked = self.0.get(pipeline)?;
        let asked = !condition.is_about_objects() || looked.windows.covers(window.start(), window.end());
        looked.seen.get(place).filter(|_| asked)
    }

    pub(super) fn note(&mut self, pipeline: PipelineName, windows: &[Window], mut seen: Vec<Seen>) {
        let before = self.0.entry(pipeline).or_default();
        for (seen, before) in seen.iter_mut().zip(&mut before.seen) {
            windows.iter().for_each(|window| before.holds.remove(window.start(), window.end()));
            before.holds.iter().for_each(|(start, end)| seen.holds.insert(start, end));
        }
        before.seen = seen;
        windows.iter().for_each(|window| before.windows.insert(window.start(), window.end()));
    }

    /// The pipeline waits for something else now.
    pub(super) fn forget(&mut self, pipeline: &PipelineName) {
        self.0.remove(pipeline);
    }

    /// A window's task was given out, or is gone: what was seen is no answer to the next one over it.
    pub(super) fn used(&mut self, task: &Task) {
        let Some(looked) = self.0.get_mut(&task.pipeline) else { return };
        let (start, end) = (task.window.start(), task.window.end());
        looked.windows.remove(start, end);
        looked.seen.iter_mut().for_each(|seen| seen.holds.remove(start, end));
    }
}

/// What keeps a window, by what was seen of a condition.
pub(super) fn lacks(looks: &Looks, own: &PipelineName, at: (usize, &Condition), window: &Window) -> Option<String> {
    let Some(seen) = looks.seen(own, at, window) else {
        return Some("nobody has looked yet whether its input is complete".to_owned());
    };
    let holds = match window.axis() {
        Axis::Time => window.end() <= seen.to,
        Axis::Version => seen.to == i64::MAX,
    };
    (!holds && !seen.holds.covers(window.start(), window.end())).then(|| seen.words.clone())
}

/// The pipelines some of whose windows wait for what has to be looked at, each once; and whether it was not looked at yet for all of
/// them.
pub fn wanted(table: &Table, now: Now) -> Vec<(PipelineName, bool)> {
    let looks = table.pipelines().filter(|(_, entry)| is_looked_for(entry) && entry.state.value.paused.is_none());
    let wanted = looks.filter_map(|(name, _)| {
        let mut waiting = waiting(table, name, now).peekable();
        waiting.peek()?;
        Some((name.clone(), waiting.any(|task| is_unseen(table, task))))
    });
    wanted.collect()
}

/// The windows a look is to be asked about: those that wait, from one on and round; only those that were not looked at yet, if that is
/// all there is to know.
pub fn windows(table: &Table, name: &PipelineName, (from, only_unseen): (i64, bool), now: Now) -> Vec<Window> {
    let Some(entry) = table.pipeline(name) else { return Vec::new() };
    if !entry.spec().readiness.require.conditions().any(Condition::is_about_objects) {
        return Vec::new();
    }
    let waiting = waiting(table, name, now).filter(|task| !only_unseen || is_unseen(table, task));
    let mut windows: Vec<Window> = waiting.flat_map(Task::each_window).collect();
    windows.sort_unstable_by_key(|window| (window.start() < from, window.start()));
    windows.truncate(MOST_WINDOWS);
    windows
}

/// Whether what keeps a task is that nobody has looked yet.
pub fn is_unseen(table: &Table, task: &Task) -> bool {
    let Some(entry) = table.pipeline(&task.pipeline).filter(|_| task.declared.is_none()) else { return false };
    let mut looked_at =
        entry.spec().readiness.require.conditions().enumerate().filter(|(_, condition)| condition.is_looked_at());
    looked_at.any(|at| table.looks().seen(&task.pipeline, at, &task.window).is_none())
}

fn waiting<'a>(table: &'a Table, name: &'a PipelineName, now: Now) -> impl Iterator<Item = &'a Task> {
    let tasks = table.tasks_of(name).map(|task| &task.value);
    let unclaimed = tasks.filter(|task| matches!(task.state.phase(), TaskPhase::Pending | TaskPhase::Waiting));
    unclaimed.filter(move |task| upstream::lacks(table, task, now).is_some())
}

fn is_looked_for(entry: &PipelineEntry) -> bool {
    entry.spec().readiness.require.conditions().any(Condition::is_looked_at)
}

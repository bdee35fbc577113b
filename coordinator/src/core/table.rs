//! The ledger as the leader sees it: every record in memory, and the only way it changes.
//!
//! A decision is a [`Change`]: what must still hold, what to put, what to delete. The ledger writes it as one guarded
//! transaction; then, and only then, [`Table::apply`] takes it over with the revision the store gave it. So the table
//! always equals the records in the store at one revision.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use windrow_common::{
    id::{BackfillId, PinId, PipelineName, SinkId, SourceId, TaskId, WorkerId},
    intent::{IntentRef, Seq},
    manifest::{Counts, Digest},
    pipeline::Pipeline,
    task::{Lane, Task, TaskPhase},
    window::{Axis, Window},
};

pub use super::change::Change;
use super::{
    backfill::Backfill,
    calendar::Tiling,
    closed::DeclaredWindow,
    compact::Spent,
    compare,
    coverage::IntervalSet,
    index::Index,
    looks::{Looks, Seen},
    pins::Pin,
    revised::Revisions,
    rollback::Rollback,
    unchanged::Loaded,
};

/// A record and the revision of the transaction that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    pub value: T,
    pub revision: i64,
}

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Pipeline(PipelineName),
    Cursor(PipelineName),
    Coverage(PipelineName),
    Task(PipelineName, TaskId),
    /// A task that rewrites files, apart from those that move windows.
    Group(PipelineName, TaskId),
    Comparison(PipelineName, TaskId),
    Head(SinkId),
    Intent(SinkId),
    Committer(SinkId),
    Rollback(SinkId),
    Pin(SinkId, PinId),
    Told(SinkId),
    Spent(SinkId),
    Backfill(BackfillId),
    Recovery,
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Pipeline(PipelineState),
    Cursor(PipelineName, Cursor),
    Coverage(PipelineName, Coverage),
    Task(Task),
    Head(SinkId, Head),
    Intent(SinkId, IntentRef),
    Committer(SinkId, WorkerId),
    Rollback(SinkId, Rollback),
    Pin(SinkId, Pin),
    Told(SinkId, Seq),
    Spent(SinkId, Spent),
    Backfill(Backfill),
    Recovery(Recovery),
}

/// A pipeline as applied.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineState {
    pub pipeline: Pipeline,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
}

/// How far a pipeline is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Where the next window to plan starts.
    pub next: i64,
    /// The last revision given to windows that are moved again.
    pub revision: u32,
}

/// What of a pipeline is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    pub axis: Axis,
    pub published: IntervalSet,
    /// Everything ever published, repeats included.
    pub totals: Counts,
    /// What the newest full load was loaded from, if that was proven.
    pub loaded: Option<Loaded>,
    /// Published versions of a full load that brought no rows of their own: what was loaded before them was found unchanged.
    pub unchanged: IntervalSet,
    /// Which windows of time were loaded more than once; `None` where that was not noted.
    pub revisions: Option<Revisions>,
    /// The windows that were last declared complete, oldest first.
    pub declared: Vec<DeclaredWindow>,
}

/// A sink's newest finalized commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub seq: Seq,
    pub digest: Option<Digest>,
    /// Whether the sink holds that commit's abort.
    pub aborted: bool,
}

/// The ledger was restored or lost, and is being made good from what the sinks know. Until that is done nothing is
/// planned, given out or committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub since: Timestamp,
}

/// Everything kept about one pipeline.
#[derive(Clone, Debug)]
pub struct PipelineEntry {
    pub state: Versioned<PipelineState>,
    pub cursor: Versioned<Cursor>,
    pub coverage: Versioned<Coverage>,
    pub sink: SinkId,
    pub source: SourceId,
    /// Where its keys are read when they are compared.
    pub keys: SourceId,
    /// How its time is cut; absent for full loads.
    pub tiling: Option<Tiling>,
}

/// Everything kept about one sink.
#[derive(Clone, Debug, Default)]
pub struct SinkEntry {
    pub head: Option<Versioned<Head>>,
    pub intent: Option<Versioned<IntentRef>>,
    pub committer: Option<Versioned<WorkerId>>,
    /// The newest one, settled or not.
    pub rollback: Option<Versioned<Rollback>>,
    /// Held or asked for.
    pub pins: BTreeMap<PinId, Versioned<Pin>>,
    /// The last commit receivers have heard of; absent where nobody is told.
    pub told: Option<Versioned<Seq>>,
    /// What compaction has taken on a day, where that is bounded.
    pub spent: Option<Versioned<Spent>>,
}

/// The ledger in memory.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pipelines: BTreeMap<PipelineName, PartialPipeline>,
    /// Those that stand for windows.
    tasks: BTreeMap<TaskId, Versioned<Task>>,
    /// Those that were cut off one of them. Whoever asks for the tasks of a pipeline asks for windows and does not see these.
    shards: BTreeMap<TaskId, Versioned<Task>>,
    /// Those that rewrite files. Whoever asks for windows does not see these either.
    groups: BTreeMap<TaskId, Versioned<Task>>,
    /// Those that compare keys, nor these.
    comparisons: BTreeMap<TaskId, Versioned<Task>>,
    /// By the task that stands for their window, in their order.
    cut: BTreeMap<TaskId, BTreeMap<u32, TaskId>>,
    sinks: BTreeMap<SinkId, SinkEntry>,
    backfills: BTreeMap<BackfillId, Versioned<Backfill>>,
    recovery: Option<Versioned<Recovery>>,
    index: Index,
    /// No record: what was last seen of what windows wait for.
    looks: Looks,
}

/// A pipeline's three records, which one transaction writes first but which are read one by one.
#[derive(Clone, Debug, Default)]
struct PartialPipeline {
    state: Option<Versioned<PipelineState>>,
    cursor: Option<Versioned<Cursor>>,
    coverage: Option<Versioned<Coverage>>,
    whole: Option<Box<PipelineEntry>>,
}

impl Table {
    pub fn pipeline(&self, name: &PipelineName) -> Option<&PipelineEntry> {
        self.pipelines.get(name)?.whole.as_deref()
    }

    pub fn pipelines(&self) -> impl Iterator<Item = (&PipelineName, &PipelineEntry)> {
        self.pipelines.iter().filter_map(|(name, partial)| Some((name, partial.whole.as_deref()?)))
    }

    /// A task of whatever kind.
    pub fn task(&self, id: &TaskId) -> Option<&Versioned<Task>> {
        let beside = || self.groups.get(id).or_else(|| self.comparisons.get(id));
        self.tasks.get(id).or_else(|| self.shards.get(id)).or_else(beside)
    }

    /// All tasks, of whatever kind.
    pub fn all_tasks(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.whole_tasks().chain(self.shards.values())
    }

    /// All but shards, which go with the task they were cut off.
    pub fn whole_tasks(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.tasks.values().chain(self.groups.values()).chain(self.comparisons.values())
    }

    /// The tasks that rewrite files.
    pub fn groups(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.groups.values()
    }

    /// The tasks that compare keys.
    pub fn comparisons(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.comparisons.values()
    }

    /// The task that compares the keys of a pipeline, if it has one.
    pub fn comparison_of(&self, pipeline: &PipelineName) -> Option<&Versioned<Task>> {
        let phases = self.index.lanes.get(pipeline).and_then(|lanes| lanes.get(&Lane::Compare)).into_iter().flatten();
        phases.flat_map(|(_, tasks)| tasks).find_map(|(_, id)| self.comparisons.get(id))
    }

    /// The tasks that rewrite files of a sink.
    pub fn groups_of<'a>(&'a self, sink: &'a SinkId) -> impl Iterator<Item = &'a Versioned<Task>> {
        self.groups.values().filter(move |task| task.value.sink == *sink)
    }

    /// The shards that were cut off a task, in their order.
    pub fn shards_of(&self, first: &TaskId) -> impl Iterator<Item = &Versioned<Task>> {
        let shards = self.cut.get(first).into_iter().flatten();
        shards.filter_map(|(_, id)| self.shards.get(id))
    }

    /// The tasks that shards were cut off.
    pub fn cut(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.cut.keys().filter_map(|first| self.tasks.get(first))
    }

    /// Every shard that was cut off.
    pub fn shards(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.shards.values()
    }

    /// The tasks that stand for windows.
    pub fn tasks(&self) -> impl Iterator<Item = &Versioned<Task>> {
        self.tasks.values()
    }

    pub fn sink(&self, id: &SinkId) -> Option<&SinkEntry> {
        self.sinks.get(id)
    }

    pub fn sinks(&self) -> impl Iterator<Item = (&SinkId, &SinkEntry)> {
        self.sinks.iter()
    }

    pub fn backfill(&self, id: &BackfillId) -> Option<&Versioned<Backfill>> {
        self.backfills.get(id)
    }

    pub fn backfills(&self) -> impl Iterator<Item = &Versioned<Backfill>> {
        self.backfills.values()
    }

    /// Whether the ledger is being made good.
    pub fn recovery(&self) -> Option<&Versioned<Recovery>> {
        self.recovery.as_ref()
    }

    /// What was last seen of what windows wait for.
    pub fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Somebody has looked, on behalf of these windows.
    pub fn note_look(&mut self, pipeline: PipelineName, windows: &[Window], seen: Vec<Seen>) {
        self.looks.note(pipeline, windows, seen);
    }

    /// Every lane that has tasks.
    pub fn lanes(&self) -> impl Iterator<Item = (&PipelineName, &Lane)> {
        self.index.lanes.iter().flat_map(|(pipeline, lanes)| lanes.keys().map(move |lane| (pipeline, lane)))
    }

    /// The tasks of a lane in a phase in window order, if there are any.
    pub fn tasks_in(&self, pipeline: &PipelineName, lane: &Lane, phase: TaskPhase) -> Option<&BTreeSet<(i64, TaskId)>> {
        self.index.lanes.get(pipeline)?.get(lane)?.get(&phase)
    }

    /// How many tasks of a lane are in a phase.
    pub fn count(&self, pipeline: &PipelineName, lane: &Lane, phase: TaskPhase) -> usize {
        self.tasks_in(pipeline, lane, phase).map_or(0, BTreeSet::len)
    }

    /// How many tasks of a pipeline that move windows are in a phase, in all lanes.
    pub fn count_all(&self, pipeline: &PipelineName, phase: TaskPhase) -> usize {
        let lanes = self.index.lanes.get(pipeline).into_iter().flatten().filter(|(lane, _)| **lane != Lane::Compact);
        lanes.filter_map(|(_, phases)| phases.get(&phase)).map(BTreeSet::len).sum()
    }

    /// How many tasks a lane has.
    pub fn open(&self, pipeline: &PipelineName, lane: &Lane) -> usize {
        let phases = self.index.lanes.get(pipeline).and_then(|lanes| lanes.get(lane));
        phases.into_iter().flatten().map(|(_, tasks)| tasks.len()).sum()
    }

    /// The open tasks of a pipeline that load windows, by lane and phase, in window order within them.
    pub fn tasks_of(&self, pipeline: &PipelineName) -> impl Iterator<Item = &Versioned<Task>> {
        let lanes = self.index.lanes.get(pipeline).into_iter().flatten().filter(|(lane, _)| **lane != Lane::Recount);
        let tasks = lanes.flat_map(|(_, phases)| phases).flat_map(|(_, tasks)| tasks);
        tasks.filter_map(|(_, id)| self.tasks.get(id))
    }

    /// The tasks that count published windows of a pipeline again, by phase, in window order within them.
    pub fn recounts_of(&self, pipeline: &PipelineName) -> impl Iterator<Item = &Versioned<Task>> {
        let phases = self.index.lanes.get(pipeline).and_then(|lanes| lanes.get(&Lane::Recount)).into_iter().flatten();
        phases.flat_map(|(_, tasks)| tasks).filter_map(|(_, id)| self.tasks.get(id))
    }

    /// How many sealed tasks a sink has.
    pub fn count_sealed(&self, sink: &SinkId) -> usize {
        self.index.sealed.get(sink).map_or(0, BTreeSet::len)
    }

    /// The sealed tasks of a sink that rewrite files, in the order of their seals.
    pub fn sealed_groups(&self, sink: &SinkId) -> impl Iterator<Item = &Versioned<Task>> {
        self.sealed_among(&self.groups, sink)
    }

    /// The sealed tasks of a sink that compare keys, in the order of their seals.
    pub fn sealed_comparisons(&self, sink: &SinkId) -> impl Iterator<Item = &Versioned<Task>> {
        self.sealed_among(&self.comparisons, sink)
    }

    /// The sealed tasks of a sink that move windows, in the order of their seals.
    pub fn sealed(&self, sink: &SinkId) -> impl Iterator<Item = &Versioned<Task>> {
        self.sealed_among(&self.tasks, sink)
    }

    fn sealed_among<'a>(
        &'a self,
        tasks: &'a BTreeMap<TaskId, Versioned<Task>>,
        sink: &SinkId,
    ) -> impl Iterator<Item = &'a Versioned<Task>> + use<'a> {
        self.index.sealed.get(sink).into_iter().flatten().filter_map(|(_, id)| tasks.get(id))
    }

    /// Takes over a change that the store has accepted in the transaction with `revision`.
    pub fn apply(&mut self, change: &Change, revision: i64) {
        for key in &change.delete {
            self.forget(key);
        }
        for record in &change.put {
            self.put(record.clone(), revision);
        }
    }

    /// Takes in one record, as read from the store or just written.
    pub fn put(&mut self, record: Record, revision: i64) {
        match record {
            Record::Pipeline(state) => {
                let name = state.pipeline.name.clone();
                self.looks.forget(&name);
                self.complete(&name, |partial| partial.state = Some(Versioned { value: state, revision }));
            }
            Record::Cursor(name, value) => {
                self.complete(&name, |partial| partial.cursor = Some(Versioned { value, revision }));
            }
            Record::Coverage(name, value) => {
                self.complete(&name, |partial| partial.coverage = Some(Versioned { value, revision }));
            }
            Record::Task(task) => {
                self.forget_task(&task.id);
                if task.lane == Lane::Compact {
                    self.index.insert(&task, revision);
                    self.groups.insert(task.id, Versioned { value: task, revision });
                } else if task.lane == Lane::Compare {
                    self.index.insert(&task, revision);
                    self.comparisons.insert(task.id, Versioned { value: task, revision });
                } else if task.shard == 0 {
                    if task.state.phase() == TaskPhase::Claimed {
                        self.looks.used(&task);
                    }
                    self.index.insert(&task, revision);
                    self.tasks.insert(task.id, Versioned { value: task, revision });
                } else {
                    self.cut.entry(task.first()).or_default().insert(task.shard, task.id);
                    self.shards.insert(task.id, Versioned { value: task, revision });
                }
            }
            Record::Head(sink, value) => self.sinks.entry(sink).or_default().head = Some(Versioned { value, revision }),
            Record::Intent(sink, value) => {
                self.sinks.entry(sink).or_default().intent = Some(Versioned { value, revision });
            }
            Record::Committer(sink, value) => {
                self.sinks.entry(sink).or_default().committer = Some(Versioned { value, revision });
            }
            Record::Rollback(sink, value) => {
                self.sinks.entry(sink).or_default().rollback = Some(Versioned { value, revision });
            }
            Record::Pin(sink, value) => {
                let pins = &mut self.sinks.entry(sink).or_default().pins;
                pins.insert(value.id.clone(), Versioned { value, revision });
            }
            Record::Told(sink, value) => self.sinks.entry(sink).or_default().told = Some(Versioned { value, revision }),
            Record::Spent(sink, value) => {
                self.sinks.entry(sink).or_default().spent = Some(Versioned { value, revision });
            }
            Record::Backfill(value) => {
                self.backfills.insert(value.id.clone(), Versioned { value, revision });
            }
            Record::Recovery(value) => self.recovery = Some(Versioned { value, revision }),
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Key::Task(_, id) = key
            && let Some(task) = self.tasks.get(id)
        {
            self.looks.used(&task.value);
        }
        match key {
            Key::Pipeline(name) => self.complete(name, |partial| partial.state = None),
            Key::Cursor(name) => self.complete(name, |partial| partial.cursor = None),
            Key::Coverage(name) => self.complete(name, |partial| partial.coverage = None),
            Key::Task(_, id) | Key::Group(_, id) | Key::Comparison(_, id) => self.forget_task(id),
            Key::Head(sink) => self.sinks.entry(sink.clone()).or_default().head = None,
            Key::Intent(sink) => self.sinks.entry(sink.clone()).or_default().intent = None,
            Key::Committer(sink) => self.sinks.entry(sink.clone()).or_default().committer = None,
            Key::Rollback(sink) => self.sinks.entry(sink.clone()).or_default().rollback = None,
            Key::Pin(sink, id) => {
                self.sinks.entry(sink.clone()).or_default().pins.remove(id);
            }
            Key::Told(sink) => self.sinks.entry(sink.clone()).or_default().told = None,
            Key::Spent(sink) => self.sinks.entry(sink.clone()).or_default().spent = None,
            Key::Backfill(id) => {
                self.backfills.remove(id);
            }
            Key::Recovery => self.recovery = None,
        }
    }

    fn forget_task(&mut self, id: &TaskId) {
        let mut beside = || self.groups.remove(id).or_else(|| self.comparisons.remove(id));
        if let Some(before) = self.tasks.remove(id).or_else(&mut beside) {
            self.index.remove(&before.value, before.revision);
        }
        if let Some(before) = self.shards.remove(id) {
            let first = before.value.first();
            if let Some(shards) = self.cut.get_mut(&first) {
                shards.remove(&before.value.shard);
                if shards.is_empty() {
                    self.cut.remove(&first);
                }
            }
        }
    }

    fn complete(&mut self, name: &PipelineName, set: impl FnOnce(&mut PartialPipeline)) {
        let partial = self.pipelines.entry(name.clone()).or_default();
        set(partial);
        match (&partial.state, &partial.cursor, &partial.coverage) {
            (Some(state), Some(cursor), Some(coverage)) => {
                let sink = state.value.pipeline.sink.id();
                let source = state.value.pipeline.source.id();
                let keys = compare::source(&state.value.pipeline);
                let tiling = state.value.pipeline.window.as_ref().and_then(|window| Tiling::new(window).ok());
                let (state, cursor, coverage) = (state.clone(), cursor.clone(), coverage.clone());
                partial.whole = Some(Box::new(PipelineEntry { state, cursor, coverage, sink, source, keys, tiling }));
            }
            (None, None, None) => {
                self.pipelines.remove(name);
            }
            _ => partial.whole = None,
        }
    }
}

impl PipelineEntry {
    pub fn spec(&self) -> &Pipeline {
        &self.state.value.pipeline
    }
}

//! Which sealed windows wait for more of them before they are committed: those of a pipeline that [gathers](Gather), until they
//! have its size, about, or fill an intent, until the first of them has waited long enough, or until nothing else is to come.
//!
//! It is a question of when, and of nothing else: what an intent may be made of and who makes it does not depend on it. When
//! a window was sealed its record knows, so the next leader lets it wait no longer than this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::{
    count::{counted, either},
    gather::Gather,
    id::{PipelineName, SinkId},
    quantity::ByteSize,
    task::{Lane, Task, TaskPhase, TaskState},
};

use super::{
    assign,
    lifecycle::{Now, later},
    plan, shards,
    table::{PipelineEntry, Table, Versioned},
    upstream,
};

/// When it is decided what is committed, and what is to be expected after that.
#[derive(Clone, Copy, Debug)]
pub struct When {
    pub now: Now,
    /// By the monotonic clock.
    pub elapsed: Duration,
    /// Whether this windrow is gone as soon as what is due is published: then nothing is to come that is not due by now.
    pub leaves: bool,
}

/// What is sealed of a pipeline and waits for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    pub windows: usize,
    pub bytes: u64,
    /// When the first of it was sealed.
    pub since: Timestamp,
    /// What it waits for.
    pub size: ByteSize,
    /// When it is committed at the latest.
    pub until: Timestamp,
}

/// What gathers for a sink, by pipeline. So many tasks fill an intent.
pub fn gathering<'a>(
    table: &'a Table,
    sink: &SinkId,
    fill: usize,
    when: When,
) -> BTreeMap<&'a PipelineName, Gathering> {
    // No task is given out until some of it is committed.
    if assign::is_full(table, sink) {
        return BTreeMap::new();
    }
    let mut heaps: BTreeMap<&PipelineName, Heap<'_>> = BTreeMap::new();
    for first in table.sealed(sink) {
        let Some(entry) = table.pipeline(&first.value.pipeline) else { continue };
        let Some(gather) = entry.spec().sink.gather else { continue };
        let Some(all) = shards::published_with(table, first) else { continue };
        heaps.entry(&first.value.pipeline).or_insert_with(|| Heap::new(entry, gather)).add(&all);
    }
    heaps.into_iter().filter_map(|(name, heap)| Some((name, heap.gathers(table, fill, when)?))).collect()
}

/// All that is sealed of a pipeline. It goes or waits as one: what goes takes nothing along that others would have been
/// merged with.
struct Heap<'a> {
    entry: &'a PipelineEntry,
    gather: Gather,
    windows: usize,
    tasks: usize,
    bytes: u64,
    /// Of one task, the most.
    largest: u64,
    first: Timestamp,
    last: Timestamp,
    lanes: BTreeSet<&'a Lane>,
    /// Somebody has said that a window is complete, and waits for its marker.
    declared: bool,
}

impl<'a> Heap<'a> {
    fn new(entry: &'a PipelineEntry, gather: Gather) -> Self {
        Self {
            entry,
            gather,
            windows: 0,
            tasks: 0,
            bytes: 0,
            largest: 0,
            first: Timestamp::MAX,
            last: Timestamp::MIN,
            lanes: BTreeSet::new(),
            declared: false,
        }
    }

    /// A sealed task and what was cut off it.
    fn add(&mut self, all: &[&'a Versioned<Task>]) {
        let Some(first) = all.first().map(|first| &first.value) else { return };
        self.windows += first.windows();
        self.tasks += all.len();
        self.lanes.insert(&first.lane);
        self.declared |= first.declared.is_some();
        let before = self.bytes;
        for task in all {
            let TaskState::Sealed { manifest, since, .. } = &task.value.state else { continue };
            self.bytes += manifest.counts.bytes_written;
            self.first = self.first.min(*since);
            self.last = self.last.max(*since);
        }
        self.largest = self.largest.max(self.bytes - before);
    }

    fn gathers(&self, table: &Table, fill: usize, when: When) -> Option<Gathering> {
        let until = later(self.first, self.gather.longest_wait());
        // What was sealed in times to come was so by a clock that has been set back since: nobody knows how long it has waited.
        let in_time = self.last <= when.now.wall && when.now.wall < until;
        // With one more of them there would be more than a file is to have, and the rest a small one.
        let has_room = self.bytes + self.largest <= self.gather.size.0 && self.tasks < fill;
        let waits = in_time && has_room && !self.declared;
        let comes = || self.lanes.iter().all(|lane| more_comes(table, self.entry, lane, until, when));
        (waits && comes()).then_some(Gathering {
            windows: self.windows,
            bytes: self.bytes,
            since: self.first,
            size: self.gather.size,
            until,
        })
    }
}

/// Whether more of a lane may be sealed before `until`. Each lane by itself: whoever waits for the end of a backfill does not wait
/// for windows that time brings.
fn more_comes(table: &Table, entry: &PipelineEntry, lane: &Lane, until: Timestamp, when: When) -> bool {
    let name = &entry.spec().name;
    if table.count(name, lane, TaskPhase::Claimed) > 0 {
        return true;
    }
    if assign::paused(table, name, lane).is_some() {
        return false;
    }
    let open =
        [TaskPhase::Pending, TaskPhase::Waiting].into_iter().filter_map(|phase| table.tasks_in(name, lane, phase));
    let mut open = open.flatten().filter_map(|(_, id)| table.task(id));
    open.any(|task| may_go(table, &task.value, until, when))
        || match lane {
            Lane::Live => is_planned(entry, until, when),
            Lane::Backfill(id) => table.backfill(id).is_some_and(|found| !found.value.todo.is_empty()),
            Lane::Recount | Lane::Compact | Lane::Compare => false,
        }
}

/// Whether a task may be given out before `until`. Whoever leaves does not wait for what its input has to come first.
fn may_go(table: &Table, task: &Task, until: Timestamp, when: When) -> bool {
    match &task.state {
        TaskState::Pending { not_before, .. } => {
            *not_before < until && !(when.leaves && upstream::lacks(table, task, when.now).is_some())
        }
        TaskState::Waiting { until: asked_again, .. } => *asked_again < until && !when.leaves,
        _ => false,
    }
}

/// Whether time brings a window before `until`.
fn is_planned(entry: &PipelineEntry, until: Timestamp, when: When) -> bool {
    let closes = || plan::next_due(entry, when.now).is_some_and(|at| at < until);
    plan::unplanned(entry, when.now) > 0 || !when.leaves && !plan::plans_nothing(entry) && closes()
}

impl Gathering {
    /// What a sealed task waits for, in words.
    pub fn in_words(&self) -> String {
        let Self { windows, bytes, size, until, .. } = *self;
        let (are, they) =
            (either(windows, "is", "are"), either(windows, "is committed when it has", "are committed when they have"));
        let (windows, bytes) = (counted(windows, "window"), counted(bytes, "byte"));
        format!("it gathers: {windows} of {bytes} {are} sealed, and {they} about {size}, at {until} at the latest")
    }
}

//! Who works on what: pending tasks to free slots.
//!
//! Lanes (a pipeline's live windows, each of its backfills) take turns: the next slot goes to the lane that holds the
//! fewest, and among equals to the one that has waited longest. So live windows and backfills share whatever there is,
//! and neither can starve the other, down to a single slot.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    iter::Peekable,
    rc::Rc,
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::{
    count::{counted, either},
    id::{PipelineName, SinkId, SourceId, TaskId, WorkerId},
    task::{Lane, Task, TaskPhase, TaskState},
};

use super::{
    backfill::{Order, Phase},
    compact, compare,
    lifecycle::{self, Now},
    recount, shards, sources,
    table::Table,
    upstream,
    workers::Workers,
};

/// Most claims one round makes: what fits one transaction.
pub const MAX_CLAIMS: usize = 100;
/// A sink with more sealed tasks than this gets no new ones until its committer has caught up.
pub const MAX_SEALED: usize = 512;

/// As how many tasks that move windows one that rewrites files counts when slots are shared out: windows that wait get most of
/// them, and files that wait are never without one for long.
const COMPACT_WEIGHS: usize = 4;

/// A task and the worker that is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub task: TaskId,
    pub worker: WorkerId,
}

/// Fills free slots, at most [`MAX_CLAIMS`] of them.
pub fn assign(table: &Table, workers: &mut Workers, now: Now) -> Vec<Assignment> {
    // Each claim takes the worker with the most room, so that load spreads. None of them can come from further down: before
    // that each of these would have been taken once.
    let knows = |worker: &WorkerId| table.shards().next().is_none() || shards::are_known_to(workers, worker);
    let roomiest = workers.roomiest().filter(|(_, worker)| knows(worker)).take(MAX_CLAIMS);
    let mut slots: BinaryHeap<(usize, WorkerId)> = roomiest.cloned().collect();
    if slots.is_empty() {
        return Vec::new();
    }
    workers.retain_lanes(|pipeline, lane| table.open(pipeline, lane) > 0);
    let mut lanes = Lanes::gather(table, workers, now);
    let mut assignments = Vec::new();
    while assignments.len() < MAX_CLAIMS {
        let Some((free, worker)) = slots.pop() else { break };
        // What this one may not have, another may.
        let Some(task) = lanes.next(workers, &worker) else { continue };
        if free > 1 {
            slots.push((free - 1, worker.clone()));
        }
        assignments.push(Assignment { task, worker });
    }
    assignments
}

/// Why a pending task is not being worked on, in words.
pub fn obstacles(table: &Table, workers: &Workers, task: &Task, now: Now) -> Vec<String> {
    let mut found = Vec::new();
    match &task.state {
        TaskState::Pending { not_before, .. }
            if !has_come(*not_before, now.wall, lifecycle::longest_pause(table, task)) =>
        {
            found.push(format!("it is tried again at {not_before}, after a pause"));
        }
        TaskState::Waiting { until, .. } if task.lane == Lane::Recount => {
            found.push(format!("its window is published and counted again at {until}"));
        }
        TaskState::Waiting { until, reason } if task.lane == Lane::Compare => {
            found.push(format!("{reason}; keys are compared at {until}"));
        }
        TaskState::Waiting { until, reason } => {
            found.push(format!("its source is not ready: {reason}; asked again at {until}"))
        }
        _ => {}
    }
    found.extend(upstream::lacks(table, task, now));
    if let Some(reason) = paused(table, &task.pipeline, &task.lane) {
        found.push(reason);
    }
    if !has_committer(table, workers, &task.sink) {
        found.push("no worker with the role `sink` is connected".to_owned());
    }
    if is_full(table, &task.sink) {
        found.push("its sink has too many sealed tasks waiting to be committed".to_owned());
    }
    if workers.roomiest().next().is_none() {
        found.push("no worker has a free slot".to_owned());
    }
    let (limit, own) = (pipeline_limit(table, &task.pipeline), limit(table, &task.pipeline, &task.lane));
    if task.lane == Lane::Compact {
        let protocol = compact::protocol(table, &task.pipeline);
        if !workers.roomiest().any(|(_, worker)| compact::rewrites(workers, worker, protocol)) {
            found.push("no worker that has the sink's credentials has a free slot: give it the roles `ingest,sink`, or `compact`".to_owned());
        }
        if running(table, &task.pipeline, &task.lane) >= own {
            let (groups, are) = (counted(own, "group"), either(own, "is", "are"));
            found.push(format!("{groups} of its table {are} rewritten already, the limit of its `compaction`"));
        }
        return found;
    }
    if all_running(table, &task.pipeline) >= limit {
        found.push(format!("{} already, the pipeline's limit", run(limit, "of its pipeline")));
    } else if running(table, &task.pipeline, &task.lane) >= own {
        found.push(match &task.lane {
            Lane::Recount => "another window of its pipeline is counted again".to_owned(),
            _ => format!("{} already, the backfill's limit", run(own, "of its backfill")),
        });
    }
    if let Some(entry) = table.pipeline(&task.pipeline)
        && let source = sources::read_by(entry, &task.lane)
        && let Some(most) = sources::limits(table, source).connections
        && sources::reading(table, source) >= most.get() as usize
    {
        let compares = entry.spec().deletes.as_ref().filter(|_| task.lane == Lane::Compare);
        let from = compares.and_then(|deletes| deletes.from.as_deref()).unwrap_or(&entry.spec().source.from);
        let name = &from.name;
        let (tasks, read) = (counted(most.get(), "task"), either(most.get(), "reads", "read"));
        found.push(format!("{tasks} {read} from its source already, the limit of connection {name}"));
    }
    found
}

/// `1 task of its pipeline runs`.
fn run(tasks: usize, whose: &str) -> String {
    format!("{} {whose} {}", counted(tasks, "task"), either(tasks, "runs", "run"))
}

/// The lanes that want slots, and what each may take next.
struct Lanes<'a> {
    lanes: Vec<LaneQueue<'a>>,
    /// How many more tasks each pipeline may run.
    room: BTreeMap<&'a PipelineName, usize>,
    /// How many more may read from each place that limits them.
    sources: BTreeMap<SourceId, usize>,
}

struct LaneQueue<'a> {
    pipeline: &'a PipelineName,
    source: SourceId,
    lane: &'a Lane,
    running: usize,
    limit: usize,
    /// Of the session, that whoever rewrites files has to speak.
    protocol: u32,
    /// The turn in which it was last given something.
    served: u64,
    ready: Ready<'a>,
}

/// A lane's tasks that may run, looked for one by one: of thousands that wait, a round takes a few.
struct Ready<'a> {
    /// What was cut off a task that waits for it goes first, also while the lane is paused: it has begun.
    shards: Queue<'a>,
    queues: [Queue<'a>; 2],
    newest_first: bool,
}

type Queue<'a> = Peekable<Box<dyn Iterator<Item = (i64, TaskId)> + 'a>>;

impl<'a> Lanes<'a> {
    fn gather(table: &'a Table, workers: &Workers, now: Now) -> Self {
        let sinks: BTreeSet<&SinkId> = table.pipelines().map(|(_, entry)| &entry.sink).collect();
        let open = sinks.into_iter().filter(|sink| has_committer(table, workers, sink) && !is_full(table, sink));
        let open: Rc<BTreeSet<&SinkId>> = Rc::new(open.collect());
        let may_run = move |task: &Task| {
            open.contains(&task.sink) && is_due(table, task, now.wall) && upstream::lacks(table, task, now).is_none()
        };
        let lanes = table.lanes().filter(|_| table.recovery().is_none());
        let recounts = recount::are_known_to_all(workers);
        let lanes = lanes.filter(move |(_, lane)| recounts || **lane != Lane::Recount);
        let noted = |pipeline: &PipelineName| compare::can_be_noted(table, workers, pipeline);
        let lanes = lanes.filter(move |(pipeline, lane)| **lane != Lane::Compare || noted(pipeline));
        let lanes = lanes.filter_map(|(pipeline, lane)| {
            Some(LaneQueue {
                pipeline,
                source: sources::read_by(table.pipeline(pipeline)?, lane),
                lane,
                running: running(table, pipeline, lane),
                limit: limit(table, pipeline, lane),
                protocol: if *lane == Lane::Compact { compact::protocol(table, pipeline) } else { 0 },
                served: workers.last_served(pipeline, lane),
                ready: Ready::of(table, (pipeline, lane), may_run.clone()),
            })
        });
        let room = table
            .pipelines()
            .map(|(name, _)| (name, pipeline_limit(table, name).saturating_sub(all_running(table, name))));
        Self { lanes: lanes.collect(), room: room.collect(), sources: sources::room(table) }
    }

    /// The next task by turns that the worker may have, and the turn is taken.
    fn next(&mut self, workers: &mut Workers, worker: &WorkerId) -> Option<TaskId> {
        let ingests = compact::ingests(workers, worker);
        let compares = ingests && compare::are_known_to(workers, worker);
        let (room, sources) = (&mut self.room, &mut self.sources);
        let mut wanting: Option<&mut LaneQueue<'a>> = None;
        for lane in &mut self.lanes {
            let has_room = || {
                room.get(lane.pipeline).is_some_and(|room| *room > 0)
                    && sources.get(&lane.source).is_none_or(|room| *room > 0)
            };
            let may = match lane.lane {
                Lane::Compact => lane.running < lane.limit && compact::rewrites(workers, worker, lane.protocol),
                Lane::Compare => compares && lane.running < lane.limit && has_room(),
                Lane::Live | Lane::Backfill(_) | Lane::Recount => ingests && lane.running < lane.limit && has_room(),
            };
            let sooner = wanting.as_ref().is_none_or(|other| lane.turn() < other.turn());
            if may && sooner && lane.ready.has_next() {
                wanting = Some(lane);
            }
        }
        let lane = wanting?;
        let task = lane.ready.next()?;
        lane.running += 1;
        lane.served = workers.serve(lane.pipeline, lane.lane);
        if *lane.lane == Lane::Compact {
            return Some(task);
        }
        *room.get_mut(lane.pipeline)? -= 1;
        if let Some(room) = sources.get_mut(&lane.source) {
            *room -= 1;
        }
        Some(task)
    }
}

impl LaneQueue<'_> {
    /// The smallest is next.
    fn turn(&self) -> (usize, u64) {
        match self.lane {
            Lane::Compact => (self.running * COMPACT_WEIGHS, self.served),
            Lane::Live | Lane::Backfill(_) | Lane::Recount | Lane::Compare => (self.running, self.served),
        }
    }
}

impl<'a> Ready<'a> {
    fn of(
        table: &'a Table,
        (pipeline, lane): (&'a PipelineName, &'a Lane),
        may_run: impl Fn(&Task) -> bool + Clone + 'a,
    ) -> Self {
        let newest_first = newest_first(table, lane);
        let waiting = paused(table, pipeline, lane).is_some();
        let shards = table.shards().filter(|shard| shard.value.pipeline == *pipeline && shard.value.lane == *lane);
        let due = may_run.clone();
        let shards = shards.filter(move |shard| due(&shard.value));
        let shards: Box<dyn Iterator<Item = (i64, TaskId)> + 'a> =
            Box::new(shards.map(|shard| (shard.value.window.start(), shard.value.id)));
        let queues = [TaskPhase::Pending, TaskPhase::Waiting].map(|phase| {
            let may_run = may_run.clone();
            let tasks = table.tasks_in(pipeline, lane, phase).filter(|_| !waiting).into_iter().flatten().copied();
            // Thousands of recounts may wait for their time, which comes in the order of their windows.
            let may_run = move |(_, id): &(i64, TaskId)| table.task(id).is_some_and(|task| may_run(&task.value));
            let ready: Box<dyn Iterator<Item = (i64, TaskId)> + 'a> = match newest_first {
                true => Box::new(tasks.filter(may_run).rev()),
                false if *lane == Lane::Recount => Box::new(tasks.take(MAX_CLAIMS).filter(may_run)),
                false => Box::new(tasks.filter(may_run)),
            };
            ready.peekable()
        });
        Self { shards: shards.peekable(), queues, newest_first }
    }

    fn has_next(&mut self) -> bool {
        self.shards.peek().is_some() || self.queues.iter_mut().any(|queue| queue.peek().is_some())
    }

    fn next(&mut self) -> Option<TaskId> {
        if let Some((_, shard)) = self.shards.next() {
            return Some(shard);
        }
        let [pending, waiting] = &mut self.queues;
        let from_pending = match (pending.peek(), waiting.peek()) {
            (Some(pending), Some(waiting)) => (pending < waiting) != self.newest_first,
            (pending, _) => pending.is_some(),
        };
        let (_, task) = if from_pending { pending.next() } else { waiting.next() }?;
        Some(task)
    }
}

fn is_due(table: &Table, task: &Task, now: Timestamp) -> bool {
    match &task.state {
        TaskState::Pending { not_before: at, .. } | TaskState::Waiting { until: at, .. } => {
            // Most have; the pause takes looking the pipeline up.
            *at <= now || has_come(*at, now, lifecycle::longest_pause(table, task))
        }
        _ => false,
    }
}

/// A time further ahead than the longest pause was told by a clock that has been set back since; waiting for it would be
/// waiting for that clock to be wrong again.
fn has_come(time: Timestamp, now: Timestamp, longest: Duration) -> bool {
    time <= now || now.checked_add(longest).is_ok_and(|latest| time > latest)
}

pub(super) fn is_full(table: &Table, sink: &SinkId) -> bool {
    table.count_sealed(sink) > MAX_SEALED
}

/// Rows are staged on the sink's committer, so without one there is nowhere to send them.
fn has_committer(table: &Table, workers: &Workers, sink: &SinkId) -> bool {
    let committer = table.sink(sink).and_then(|entry| entry.committer.as_ref());
    committer.is_some_and(|committer| workers.can_commit(&committer.value))
}

fn running(table: &Table, pipeline: &PipelineName, lane: &Lane) -> usize {
    let whole = table.count(pipeline, lane, TaskPhase::Claimed);
    whole + shards::count_claimed(table, |task| task.pipeline == *pipeline && task.lane == *lane)
}

/// How many tasks of a pipeline are claimed, in all lanes.
fn all_running(table: &Table, pipeline: &PipelineName) -> usize {
    table.count_all(pipeline, TaskPhase::Claimed) + shards::count_claimed(table, |task| task.pipeline == *pipeline)
}

fn pipeline_limit(table: &Table, pipeline: &PipelineName) -> usize {
    table.pipeline(pipeline).map_or(0, |entry| entry.spec().limits.concurrency as usize)
}

pub(super) fn limit(table: &Table, pipeline: &PipelineName, lane: &Lane) -> usize {
    let most = pipeline_limit(table, pipeline);
    match lane {
        Lane::Live => most,
        Lane::Recount => most.min(recount::MOST_AT_A_TIME),
        Lane::Compare => most.min(compare::MOST_AT_A_TIME),
        Lane::Compact => table.pipeline(pipeline).map_or(0, |entry| compact::concurrency(entry.spec())),
        Lane::Backfill(id) => match table.backfill(id).map(|entry| entry.value.concurrency as usize) {
            None | Some(0) => most,
            Some(own) => own.min(most),
        },
    }
}

fn newest_first(table: &Table, lane: &Lane) -> bool {
    match lane {
        Lane::Live | Lane::Recount | Lane::Compact | Lane::Compare => false,
        Lane::Backfill(id) => table.backfill(id).is_some_and(|entry| entry.value.order == Order::NewestFirst),
    }
}

pub(super) fn paused(table: &Table, pipeline: &PipelineName, lane: &Lane) -> Option<String> {
    if table.recovery().is_some() {
        return Some("the ledger is being made good from what the sinks know".to_owned());
    }
    if let Some(note) = table.pipeline(pipeline).and_then(|entry| entry.state.value.paused.as_ref()) {
        return Some(format!("the pipeline is paused: {note}"));
    }
    match lane {
        Lane::Live | Lane::Recount | Lane::Compact | Lane::Compare => None,
        Lane::Backfill(id) => match table.backfill(id).map(|entry| entry.value.phase) {
            Some(Phase::Paused) => Some(format!("backfill {id} is paused")),
            Some(Phase::Cancelled) => Some(format!("backfill {id} is cancelled")),
            _ => None,
        },
    }
}

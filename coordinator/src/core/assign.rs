//! Who works on what: pending tasks to free slots.
//!
//! Lanes (a pipeline's live windows, each of its backfills) take turns: the next slot goes to the lane that holds the
//! fewest, and among equals to the one that has waited longest. So live windows and backfills share whatever there is,
//! and neither can starve the other, down to a single slot.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::{
    id::{PipelineName, SinkId, TaskId, WorkerId},
    task::{Lane, Task, TaskPhase, TaskState},
};

use super::{
    backfill::{Order, Phase},
    lifecycle::{self, Now},
    table::{Table, Versioned},
    workers::Workers,
};

/// Most claims one round makes: what fits one transaction.
pub const MAX_CLAIMS: usize = 100;
/// A sink with more sealed tasks than this gets no new ones until its committer has caught up.
pub const MAX_SEALED: usize = 512;

/// A task and the worker that is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub task: TaskId,
    pub worker: WorkerId,
}

/// Fills free slots, at most [`MAX_CLAIMS`] of them.
pub fn assign(table: &Table, workers: &mut Workers, now: Now) -> Vec<Assignment> {
    let mut slots: Vec<(usize, WorkerId)> =
        workers.iter().map(|worker| (worker.free_slots(), worker.info.id.clone())).filter(|slot| slot.0 > 0).collect();
    if slots.is_empty() {
        return Vec::new();
    }
    workers.retain_lanes(|pipeline, lane| table.open(pipeline, lane) > 0);
    let mut lanes = Lanes::gather(table, workers, now);
    let mut assignments = Vec::new();
    while assignments.len() < MAX_CLAIMS {
        // The worker with the most room, so that load spreads.
        let Some(slot) = slots.iter_mut().max_by_key(|slot| slot.0).filter(|slot| slot.0 > 0) else { break };
        let Some((pipeline, lane, task)) = lanes.next(workers) else { break };
        workers.serve(&pipeline, &lane);
        slot.0 -= 1;
        assignments.push(Assignment { task, worker: slot.1.clone() });
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
        TaskState::Waiting { until, reason } => {
            found.push(format!("its source is not ready: {reason}; asked again at {until}"))
        }
        _ => {}
    }
    if let Some(reason) = paused(table, &task.pipeline, &task.lane) {
        found.push(reason);
    }
    if !has_committer(table, workers, &task.sink) {
        found.push("no worker with the role `sink` is connected".to_owned());
    }
    if is_full(table, &task.sink) {
        found.push("its sink has too many sealed tasks waiting to be committed".to_owned());
    }
    if workers.iter().all(|worker| worker.free_slots() == 0) {
        found.push("no worker has a free slot".to_owned());
    }
    let (limit, own) = (pipeline_limit(table, &task.pipeline), limit(table, &task.pipeline, &task.lane));
    if all_running(table, &task.pipeline) >= limit {
        found.push(format!("{limit} tasks of its pipeline run already, the pipeline's limit"));
    } else if running(table, &task.pipeline, &task.lane) >= own {
        found.push(format!("{own} tasks of its backfill run already, the backfill's limit"));
    }
    found
}

/// The lanes that want slots, and what each may take next.
struct Lanes {
    lanes: Vec<LaneQueue>,
    /// How many more tasks each pipeline may run.
    room: BTreeMap<PipelineName, usize>,
}

struct LaneQueue {
    pipeline: PipelineName,
    lane: Lane,
    running: usize,
    limit: usize,
    /// In reverse: the next one is the last.
    queue: Vec<TaskId>,
}

impl Lanes {
    fn gather(table: &Table, workers: &Workers, now: Now) -> Self {
        let sinks: BTreeSet<&SinkId> = table.pipelines().map(|(_, entry)| &entry.sink).collect();
        let open = sinks.into_iter().filter(|sink| has_committer(table, workers, sink) && !is_full(table, sink));
        let open: BTreeSet<&SinkId> = open.collect();
        let may_run = |task: &Versioned<Task>| is_due(table, &task.value, now.wall) && open.contains(&task.value.sink);
        let mut lanes: BTreeMap<(&PipelineName, &Lane), BTreeSet<(i64, TaskId)>> = BTreeMap::new();
        for phase in [TaskPhase::Pending, TaskPhase::Waiting] {
            for (pipeline, lane, tasks) in table.lanes_in(phase) {
                if paused(table, pipeline, lane).is_some() {
                    continue;
                }
                let ready = tasks.iter().filter(|(_, id)| table.task(id).is_some_and(may_run));
                let queue = lanes.entry((pipeline, lane)).or_default();
                match newest_first(table, lane) {
                    true => queue.extend(ready.rev().take(MAX_CLAIMS)),
                    false => queue.extend(ready.take(MAX_CLAIMS)),
                }
            }
        }
        let lanes = lanes.into_iter().map(|((pipeline, lane), ready)| LaneQueue {
            pipeline: pipeline.clone(),
            lane: lane.clone(),
            running: running(table, pipeline, lane),
            limit: limit(table, pipeline, lane),
            queue: match newest_first(table, lane) {
                true => ready.into_iter().map(|(_, id)| id).collect(),
                false => ready.into_iter().rev().map(|(_, id)| id).collect(),
            },
        });
        let room = table
            .pipelines()
            .map(|(name, _)| (name.clone(), pipeline_limit(table, name).saturating_sub(all_running(table, name))));
        Self { lanes: lanes.collect(), room: room.collect() }
    }

    /// The next task by turns.
    fn next(&mut self, workers: &Workers) -> Option<(PipelineName, Lane, TaskId)> {
        let room = &mut self.room;
        let open = |lane: &&mut LaneQueue| {
            !lane.queue.is_empty()
                && lane.running < lane.limit
                && room.get(&lane.pipeline).is_some_and(|room| *room > 0)
        };
        let turn = |lane: &LaneQueue| (lane.running, workers.last_served(&lane.pipeline, &lane.lane));
        let lane = self.lanes.iter_mut().filter(open).min_by_key(|lane| turn(lane))?;
        let task = lane.queue.pop()?;
        lane.running += 1;
        *room.get_mut(&lane.pipeline)? -= 1;
        Some((lane.pipeline.clone(), lane.lane.clone(), task))
    }
}

fn is_due(table: &Table, task: &Task, now: Timestamp) -> bool {
    match &task.state {
        TaskState::Pending { not_before, .. } => has_come(*not_before, now, lifecycle::longest_pause(table, task)),
        TaskState::Waiting { until, .. } => has_come(*until, now, lifecycle::longest_pause(table, task)),
        _ => false,
    }
}

/// A time further ahead than the longest pause was told by a clock that has been set back since; waiting for it would be
/// waiting for that clock to be wrong again.
fn has_come(time: Timestamp, now: Timestamp, longest: Duration) -> bool {
    time <= now || now.checked_add(longest).is_ok_and(|latest| time > latest)
}

fn is_full(table: &Table, sink: &SinkId) -> bool {
    table.sealed(sink).count() > MAX_SEALED
}

/// Rows are staged on the sink's committer, so without one there is nowhere to send them.
fn has_committer(table: &Table, workers: &Workers, sink: &SinkId) -> bool {
    let committer = table.sink(sink).and_then(|entry| entry.committer.as_ref());
    committer.is_some_and(|committer| workers.can_commit(&committer.value))
}

fn running(table: &Table, pipeline: &PipelineName, lane: &Lane) -> usize {
    table.count(pipeline, lane, TaskPhase::Claimed)
}

/// How many tasks of a pipeline are claimed, in all lanes.
fn all_running(table: &Table, pipeline: &PipelineName) -> usize {
    table.lanes(pipeline).iter().map(|lane| running(table, pipeline, lane)).sum()
}

fn pipeline_limit(table: &Table, pipeline: &PipelineName) -> usize {
    table.pipeline(pipeline).map_or(0, |entry| entry.spec().limits.concurrency as usize)
}

fn limit(table: &Table, pipeline: &PipelineName, lane: &Lane) -> usize {
    let most = pipeline_limit(table, pipeline);
    match lane {
        Lane::Live => most,
        Lane::Backfill(id) => match table.backfill(id).map(|entry| entry.value.concurrency as usize) {
            None | Some(0) => most,
            Some(own) => own.min(most),
        },
    }
}

fn newest_first(table: &Table, lane: &Lane) -> bool {
    match lane {
        Lane::Live => false,
        Lane::Backfill(id) => table.backfill(id).is_some_and(|entry| entry.value.order == Order::NewestFirst),
    }
}

fn paused(table: &Table, pipeline: &PipelineName, lane: &Lane) -> Option<String> {
    if table.recovery().is_some() {
        return Some("the ledger is being made good from what the sinks know".to_owned());
    }
    if let Some(note) = table.pipeline(pipeline).and_then(|entry| entry.state.value.paused.as_ref()) {
        return Some(format!("the pipeline is paused: {note}"));
    }
    match lane {
        Lane::Live => None,
        Lane::Backfill(id) => match table.backfill(id).map(|entry| entry.value.phase) {
            Some(Phase::Paused) => Some(format!("backfill {id} is paused")),
            Some(Phase::Cancelled) => Some(format!("backfill {id} is cancelled")),
            _ => None,
        },
    }
}

//! The workers the leader hears of, and the leases of their claims. A lease is the leader's promise and lives in its
//! memory alone: the ledger knows who claimed what, never until when.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use windrow_common::{
    id::{PipelineName, TaskId, WorkerId},
    task::Lane,
};

/// What a worker may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Ingest,
    Compact,
    Sink,
}

/// A worker as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    pub id: WorkerId,
    pub roles: BTreeSet<Role>,
    pub slots: u32,
    pub version: String,
    /// Where its Flight service is; empty without the sink role.
    pub flight_endpoint: String,
}

/// A worker and what it holds.
#[derive(Clone, Debug)]
pub struct WorkerState {
    pub info: WorkerInfo,
    pub claims: BTreeSet<TaskId>,
    /// On the leader's monotonic clock.
    pub heard: Duration,
    /// Whether a session is open; without one it is given nothing new, but keeps its claims for the lease.
    pub connected: bool,
    /// Whether it wants no more work because it stops.
    pub draining: bool,
}

/// All workers, and whose turn it is.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    workers: BTreeMap<WorkerId, WorkerState>,
    /// When each lane was last given something; the longest waiting goes first.
    served: BTreeMap<(PipelineName, Lane), u64>,
    turn: u64,
}

impl Workers {
    pub fn get(&self, id: &WorkerId) -> Option<&WorkerState> {
        self.workers.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &WorkerState> {
        self.workers.values()
    }

    /// A worker opened a session. What it held before, it holds still.
    pub fn connect(&mut self, info: WorkerInfo, now: Duration) {
        let claims = self.workers.remove(&info.id).map(|before| before.claims).unwrap_or_default();
        let state = WorkerState { info, claims, heard: now, connected: true, draining: false };
        self.workers.insert(state.info.id.clone(), state);
    }

    pub fn disconnect(&mut self, id: &WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.connected = false;
        }
    }

    pub fn heard(&mut self, id: &WorkerId, now: Duration) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.heard = now;
        }
    }

    pub fn drain(&mut self, id: &WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.draining = true;
        }
    }

    /// The worker claimed the task, or was found to hold it.
    pub fn hold(&mut self, id: &WorkerId, task: TaskId, now: Duration) {
        match self.workers.get_mut(id) {
            Some(worker) => {
                worker.claims.insert(task);
            }
            // A claim found in the ledger by a new leader: its worker has one full lease to appear.
            None => {
                let info = WorkerInfo {
                    id: id.clone(),
                    roles: BTreeSet::new(),
                    slots: 0,
                    version: String::new(),
                    flight_endpoint: String::new(),
                };
                let claims = BTreeSet::from([task]);
                let state = WorkerState { info, claims, heard: now, connected: false, draining: false };
                self.workers.insert(id.clone(), state);
            }
        }
    }

    pub fn release(&mut self, id: &WorkerId, task: &TaskId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.claims.remove(task);
        }
    }

    /// Workers not heard of for a lease are dropped; returns what they held.
    pub fn expire(&mut self, now: Duration, lease: Duration) -> Vec<(WorkerId, BTreeSet<TaskId>)> {
        let gone = |worker: &WorkerState| now.saturating_sub(worker.heard) > lease;
        let lost: Vec<WorkerId> =
            self.workers.values().filter(|worker| gone(worker)).map(|worker| worker.info.id.clone()).collect();
        lost.into_iter().filter_map(|id| self.workers.remove(&id).map(|worker| (id, worker.claims))).collect()
    }

    /// Takes a worker out; returns what it held.
    pub fn remove(&mut self, id: &WorkerId) -> BTreeSet<TaskId> {
        self.workers.remove(id).map(|worker| worker.claims).unwrap_or_default()
    }

    /// The turn in which the lane was last given something; 0 if it never was.
    pub fn last_served(&self, pipeline: &PipelineName, lane: &Lane) -> u64 {
        self.served.get(&(pipeline.clone(), lane.clone())).copied().unwrap_or(0)
    }

    pub fn serve(&mut self, pipeline: &PipelineName, lane: &Lane) {
        self.turn += 1;
        self.served.insert((pipeline.clone(), lane.clone()), self.turn);
    }

    /// Forgets the turns of lanes that have nothing to do any more.
    pub fn retain_lanes(&mut self, keep: impl Fn(&PipelineName, &Lane) -> bool) {
        self.served.retain(|(pipeline, lane), _| keep(pipeline, lane));
    }

    /// Whether a worker may stage and commit.
    pub fn can_commit(&self, id: &WorkerId) -> bool {
        self.workers.get(id).is_some_and(WorkerState::can_commit)
    }

    /// The worker to commit to a sink: the one with the sink role that does so for the fewest.
    pub fn best_committer(&self, load: impl Fn(&WorkerId) -> usize) -> Option<WorkerId> {
        let able = self.workers.values().filter(|worker| worker.can_commit() && !worker.draining);
        able.min_by_key(|worker| (load(&worker.info.id), worker.info.id.clone())).map(|worker| worker.info.id.clone())
    }
}

impl WorkerState {
    pub fn free_slots(&self) -> usize {
        match self.connected && !self.draining && self.info.roles.contains(&Role::Ingest) {
            true => usize::try_from(self.info.slots).unwrap_or(0).saturating_sub(self.claims.len()),
            false => 0,
        }
    }

    fn can_commit(&self) -> bool {
        self.connected && self.info.roles.contains(&Role::Sink)
    }
}

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

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Compact => "compact",
            Self::Sink => "sink",
        }
    }
}

/// A worker as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    pub id: WorkerId,
    pub roles: BTreeSet<Role>,
    pub slots: u32,
    pub version: String,
    /// The version of the session protocol that was agreed on.
    pub protocol: u32,
    /// Where its Flight service is; empty without the sink role.
    pub flight_endpoint: String,
}

/// A worker and what it holds.
#[derive(Clone, Debug)]
pub struct WorkerState {
    pub info: WorkerInfo,
    pub claims: BTreeSet<TaskId>,
    /// Those of them that wait for others and take no slot.
    pub resting: BTreeSet<TaskId>,
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
    /// Those with free slots, by how many: to find one among thousands that are busy is not to look at all of them.
    roomy: BTreeSet<(usize, WorkerId)>,
    /// When each lane was last given something; the longest waiting goes first.
    served: BTreeMap<PipelineName, BTreeMap<Lane, u64>>,
    turn: u64,
    /// Which sink worker the rows of a claim are sent to, where that is another than the one that reads them.
    ways: BTreeMap<TaskId, WorkerId>,
    /// Sink workers that their peers could not reach lately.
    unreached: BTreeMap<WorkerId, Unreached>,
}

/// What peers said of a sink worker since one of them last got through to it.
#[derive(Clone, Copy, Debug, Default)]
struct Unreached {
    broken: u32,
    last: Duration,
}

/// So many broken streams in a row make a sink worker one to avoid: one may be a coincidence.
const SHUN_AFTER: u32 = 2;
/// How long it is avoided after the last of them; then it may be tried again.
const SHUN_FOR: Duration = Duration::from_secs(60);

impl Workers {
    pub fn get(&self, id: &WorkerId) -> Option<&WorkerState> {
        self.workers.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &WorkerState> {
        self.workers.values()
    }

    /// The workers with free slots and how many each has, those with the most first.
    pub fn roomiest(&self) -> impl Iterator<Item = &(usize, WorkerId)> {
        self.roomy.iter().rev()
    }

    /// A worker opened a session. What it held before, it holds still.
    pub fn connect(&mut self, info: WorkerInfo, now: Duration) {
        let before = self.take(&info.id);
        let (claims, resting) = before.map(|before| (before.claims, before.resting)).unwrap_or_default();
        self.unreached.remove(&info.id);
        self.insert(WorkerState { info, claims, resting, heard: now, connected: true, draining: false });
    }

    pub fn disconnect(&mut self, id: &WorkerId) {
        self.change(id, |worker| worker.connected = false);
    }

    pub fn heard(&mut self, id: &WorkerId, now: Duration) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.heard = now;
        }
    }

    pub fn drain(&mut self, id: &WorkerId) {
        self.change(id, |worker| worker.draining = true);
    }

    /// The worker claimed the task, or was found to hold it.
    pub fn hold(&mut self, id: &WorkerId, task: TaskId, now: Duration) {
        if self.workers.contains_key(id) {
            self.change(id, |worker| {
                worker.claims.insert(task);
            });
            return;
        }
        // A claim found in the ledger by a new leader: its worker has one full lease to appear.
        let info = WorkerInfo {
            id: id.clone(),
            roles: BTreeSet::new(),
            slots: 0,
            version: String::new(),
            protocol: 0,
            flight_endpoint: String::new(),
        };
        let (claims, resting) = (BTreeSet::from([task]), BTreeSet::new());
        self.insert(WorkerState { info, claims, resting, heard: now, connected: false, draining: false });
    }

    pub fn release(&mut self, id: &WorkerId, task: &TaskId) {
        self.change(id, |worker| {
            worker.claims.remove(task);
            worker.resting.remove(task);
        });
        self.ways.remove(task);
    }

    /// The worker has done its part of a claim, and waits for others to do theirs.
    pub fn rest(&mut self, id: &WorkerId, task: TaskId) {
        self.change(id, |worker| {
            if worker.claims.contains(&task) {
                worker.resting.insert(task);
            }
        });
    }

    /// Whether a worker speaks a version of the session protocol: an older one would take what it does not know for
    /// something else.
    pub fn speaks(&self, id: &WorkerId, protocol: u32) -> bool {
        self.get(id).is_some_and(|worker| worker.info.protocol >= protocol)
    }

    /// Whether all that are here do.
    pub fn all_speak(&self, protocol: u32) -> bool {
        self.workers.values().filter(|worker| worker.connected).all(|worker| worker.info.protocol >= protocol)
    }

    /// The rows of a claim go to another worker.
    pub fn send_by(&mut self, task: TaskId, sink_worker: WorkerId) {
        self.ways.insert(task, sink_worker);
    }

    /// Whom the rows of a claim go to, if that is another worker.
    pub fn way_of(&self, task: &TaskId) -> Option<WorkerId> {
        self.ways.get(task).cloned()
    }

    /// A peer's stream to a sink worker broke.
    pub fn hop_broke(&mut self, sink_worker: &WorkerId, now: Duration) {
        if self.workers.contains_key(sink_worker) {
            let unreached = self.unreached.entry(sink_worker.clone()).or_default();
            // What was long ago has been forgiven.
            let before = if unreached.is_recent(now) { unreached.broken } else { 0 };
            *unreached = Unreached { broken: before.saturating_add(1), last: now };
        }
    }

    /// A peer got through to a sink worker.
    pub fn hop_held(&mut self, sink_worker: &WorkerId) {
        self.unreached.remove(sink_worker);
    }

    /// Workers not heard of for a lease are dropped; returns what they held.
    pub fn expire(&mut self, now: Duration, lease: Duration) -> Vec<(WorkerId, BTreeSet<TaskId>)> {
        let gone = |worker: &WorkerState| now.saturating_sub(worker.heard) > lease;
        let lost: Vec<WorkerId> =
            self.workers.values().filter(|worker| gone(worker)).map(|worker| worker.info.id.clone()).collect();
        let taken = lost.into_iter().map(|id| {
            let claims = self.remove(&id);
            (id, claims)
        });
        taken.collect()
    }

    /// Takes a worker out; returns what it held.
    pub fn remove(&mut self, id: &WorkerId) -> BTreeSet<TaskId> {
        let claims = self.take(id).map(|worker| worker.claims).unwrap_or_default();
        self.unreached.remove(id);
        claims.iter().for_each(|task| {
            self.ways.remove(task);
        });
        claims
    }

    /// Changes a worker where that may change how much room it has.
    fn change(&mut self, id: &WorkerId, change: impl FnOnce(&mut WorkerState)) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let before = worker.free_slots();
        change(worker);
        let after = worker.free_slots();
        if before != after {
            self.roomy.remove(&(before, id.clone()));
            self.note_room(after, id);
        }
    }

    fn insert(&mut self, worker: WorkerState) {
        self.note_room(worker.free_slots(), &worker.info.id);
        self.workers.insert(worker.info.id.clone(), worker);
    }

    fn take(&mut self, id: &WorkerId) -> Option<WorkerState> {
        let worker = self.workers.remove(id)?;
        self.roomy.remove(&(worker.free_slots(), id.clone()));
        Some(worker)
    }

    fn note_room(&mut self, free: usize, id: &WorkerId) {
        if free > 0 {
            self.roomy.insert((free, id.clone()));
        }
    }

    /// The turn in which the lane was last given something; 0 if it never was.
    pub fn last_served(&self, pipeline: &PipelineName, lane: &Lane) -> u64 {
        self.served.get(pipeline).and_then(|lanes| lanes.get(lane)).copied().unwrap_or(0)
    }

    /// Gives the lane its turn; which one that is.
    pub fn serve(&mut self, pipeline: &PipelineName, lane: &Lane) -> u64 {
        self.turn += 1;
        self.served.entry(pipeline.clone()).or_default().insert(lane.clone(), self.turn);
        self.turn
    }

    /// Forgets the turns of lanes that have nothing to do any more.
    pub fn retain_lanes(&mut self, keep: impl Fn(&PipelineName, &Lane) -> bool) {
        self.served.retain(|pipeline, lanes| {
            lanes.retain(|lane, _| keep(pipeline, lane));
            !lanes.is_empty()
        });
    }

    /// Whether a worker may stage and commit.
    pub fn can_commit(&self, id: &WorkerId) -> bool {
        self.workers.get(id).is_some_and(WorkerState::can_commit)
    }

    /// The worker to commit to a sink: the one with the sink role that does so for the fewest, of those that their peers
    /// can reach if there are any.
    pub fn best_committer(&self, load: impl Fn(&WorkerId) -> usize, now: Duration) -> Option<WorkerId> {
        let able = self.workers.values().filter(|worker| worker.can_commit() && !worker.draining);
        let rank = |id: &WorkerId| (self.is_shunned(id, now), load(id), id.clone());
        able.map(|worker| &worker.info.id).min_by_key(|id| rank(id)).cloned()
    }

    /// Whether a committer is to be replaced although it is there: it stops, or its peers cannot reach it; and there is one
    /// that stays and can be reached.
    pub fn gives_way(&self, id: &WorkerId, now: Duration) -> bool {
        let stops = self.workers.get(id).is_some_and(|worker| worker.draining);
        let could = |other: &WorkerState| {
            other.can_commit() && !other.draining && other.info.id != *id && !self.is_shunned(&other.info.id, now)
        };
        (stops || self.is_shunned(id, now)) && self.workers.values().any(could)
    }

    fn is_shunned(&self, id: &WorkerId, now: Duration) -> bool {
        self.unreached.get(id).is_some_and(|unreached| unreached.broken >= SHUN_AFTER && unreached.is_recent(now))
    }
}

impl Unreached {
    fn is_recent(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) < SHUN_FOR
    }
}

impl WorkerInfo {
    /// `ingest,sink`.
    pub fn roles_in_words(&self) -> String {
        self.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl WorkerState {
    pub fn free_slots(&self) -> usize {
        let works = self.info.roles.contains(&Role::Ingest) || self.info.roles.contains(&Role::Compact);
        match self.connected && !self.draining && works {
            true => {
                let busy = self.claims.len().saturating_sub(self.resting.len());
                usize::try_from(self.info.slots).unwrap_or(0).saturating_sub(busy)
            }
            false => 0,
        }
    }

    fn can_commit(&self) -> bool {
        self.connected && self.info.roles.contains(&Role::Sink)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::{collection::vec, prelude::*};
    use windrow_common::window::Window;

    use super::*;

    fn task(number: u32) -> TaskId {
        TaskId::of(&"flights".parse().unwrap(), 0, &Window::version(number), 0)
    }

    fn info(id: &WorkerId, roles: &[Role], slots: u32) -> WorkerInfo {
        let roles = roles.iter().copied().collect();
        WorkerInfo { id: id.clone(), roles, slots, version: String::new(), protocol: 2, flight_endpoint: String::new() }
    }

    proptest! {
        /// Whatever happens to workers, those that are said to have room are those that have it.
        #[test]
        fn whoever_has_room_is_known_to(steps in vec((0..9_usize, 0..4_u32, 0..6_u32), 0..200)) {
            let mut workers = Workers::default();
            for (now, (step, worker, number)) in (0..).zip(steps) {
                let (id, task, now) = (format!("w{worker}").parse().unwrap(), task(number), Duration::from_secs(now));
                match step {
                    0 => workers.connect(info(&id, &[Role::Ingest], number), now),
                    1 => workers.connect(info(&id, &[Role::Sink], number), now),
                    2 => workers.disconnect(&id),
                    3 => workers.drain(&id),
                    4 => workers.hold(&id, task, now),
                    5 => workers.release(&id, &task),
                    6 => workers.rest(&id, task),
                    7 => drop(workers.expire(now, Duration::from_secs(20))),
                    _ => drop(workers.remove(&id)),
                }
                let room = workers.iter().map(|worker| (worker.free_slots(), worker.info.id.clone()));
                let mut expected: Vec<_> = room.filter(|(free, _)| *free > 0).collect();
                expected.sort_unstable();
                expected.reverse();
                prop_assert_eq!(workers.roomiest().cloned().collect::<Vec<_>>(), expected);
            }
        }
    }
}

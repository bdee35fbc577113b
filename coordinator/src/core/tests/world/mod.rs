//! The whole core at work without store, network or clock: one leader (and the one before it), workers that finish, fail,
//! fall silent and rise again, committers that crash and repeat themselves, sinks whose answers get lost. Every act is
//! followed by a look at the invariants.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use windrow_common::{
    claim::Token,
    id::{PipelineName, SinkId, TaskId, WorkerId},
    intent::{IntentRef, Seq},
    invariant::Violation,
    manifest::{Digest, Proof},
    pipeline::Pipeline,
};

use super::{
    bench::{EPOCH, applied, hour, worker},
    store::Store,
};
use crate::core::{
    audit::audit,
    commit::{Draft, SinkRun},
    coverage::IntervalSet,
    lifecycle::{HeldClaim, Now},
    table::{Change, Key, Record, Table},
    workers::{Role, WorkerInfo, Workers},
};

mod acts;
mod check;
mod committing;
mod compacting;
mod leading;
mod losing;
mod proving;
mod sink;

use compacting::ModelGroup;
use sink::{Body, ModelSink, Moved};

pub(super) use acts::Act;

pub(super) type Outcome<T = ()> = Result<T, Violation>;

/// A guard left out, to show that the walks see what it guards against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    /// Seals are taken from whoever claimed the task once.
    SealUnguarded,
    /// The sink takes its seq for done whatever its digest.
    JudgeBySeq,
    /// The sink commits without looking at its seq.
    CommitBlind,
    /// The store takes writes of former leaders.
    LeaderUnguarded,
    /// The leader takes any committer's answer for the one it waits for.
    AnyAnswer,
}

/// What of the data is bad, by window start.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Fails every attempt.
    pub poison: Vec<i64>,
    /// Kills every worker that tries it.
    pub killer: Vec<i64>,
    /// Cannot be made part of an intent.
    pub unpreparable: Vec<i64>,
    /// Makes the sink refuse the intent it is in.
    pub refused: Vec<i64>,
}

/// What goes wrong once, at the next occasion.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NextFault {
    /// The store does not answer the next write; whether it was applied all the same.
    pub write_lost: Option<bool>,
    pub staged_files_bad: bool,
    pub conflict: bool,
    /// The sink's next answer is lost; whether it had committed by then.
    pub commit_lost: Option<bool>,
}

#[derive(Debug)]
pub(super) struct World {
    pub store: Store,
    leader: Leader,
    former: Option<Leader>,
    wall: Timestamp,
    elapsed: Duration,
    workers: Vec<SimWorker>,
    born: u32,
    /// Claims whose holders were given up; they may speak up any time.
    ghosts: Vec<HeldClaim>,
    mail: Vec<Mail>,
    bodies: BTreeMap<Digest, Body>,
    sinks: BTreeMap<SinkId, ModelSink>,
    /// Lists of files that were written down, by their digests.
    groups: BTreeMap<Digest, ModelGroup>,
    faults: Faults,
    next: NextFault,
    sabotage: Sabotage,
    /// The newest token of each task, given or sealed with.
    tokens: BTreeMap<TaskId, Token>,
    /// What the sinks published of each pipeline, as far as their heads go.
    published: BTreeMap<PipelineName, IntervalSet>,
    /// What operators withdrew: the only windows that may be missing.
    withdrawn: BTreeMap<PipelineName, IntervalSet>,
    intents: BTreeMap<SinkId, IntentRef>,
    checked: i64,
    backfills: u32,
    rollbacks: u32,
    pipelines: Vec<Pipeline>,
    /// Raised with every restored or lost store.
    epoch: i64,
    backup: Option<losing::Backup>,
    /// How often each source was written to: of a full load, or of a window.
    written: BTreeMap<(String, i64), u64>,
}

#[derive(Clone, Debug)]
struct Leader {
    elected: i64,
    table: Table,
    workers: Workers,
    runs: BTreeMap<SinkId, SinkRun>,
    requests: u64,
}

#[derive(Clone, Debug)]
struct SimWorker {
    info: WorkerInfo,
    /// Whether it has a session with the present leader.
    session: bool,
    /// Whether it is stopped: the session is open, nothing is heard.
    silent: bool,
    held: Vec<HeldClaim>,
}

/// A message between leader and committer; it may arrive late, twice or never.
#[derive(Clone, Debug)]
enum Mail {
    Prepare { to: WorkerId, request: u64, sink: SinkId, draft: Draft, moves: Moves, rolls_back: Option<String> },
    Prepared { from: WorkerId, request: u64, sink: SinkId, outcome: Result<Digest, Unprepared> },
    Commit { to: WorkerId, request: u64, sink: SinkId, seq: Seq, digest: Digest, abort: bool },
    Settled { from: WorkerId, request: u64, sink: SinkId, answer: crate::core::commit::Answer },
    Proven { from: WorkerId, claim: HeldClaim, proof: Proof, seq: Seq },
}

/// What the tasks of a draft do: move windows, or rewrite files.
#[derive(Clone, Debug, Default)]
struct Moves {
    tasks: Vec<Moved>,
    groups: Vec<(TaskId, Digest)>,
}

#[derive(Clone, Debug)]
enum Unprepared {
    /// The rows do not fit; nobody knows whose.
    Unfit,
    /// A task's files are damaged.
    FilesBad(TaskId),
}

const LEASE: Duration = Duration::from_secs(30);

impl World {
    pub(super) fn new(pipelines: Vec<Pipeline>, faults: Faults, sabotage: Sabotage) -> Outcome<Self> {
        let mut store = Store::new();
        store.guarded = sabotage != Sabotage::LeaderUnguarded;
        let leader = Leader::elected(&mut store, Duration::ZERO);
        let mut world = Self {
            store,
            leader,
            former: None,
            wall: Timestamp::from_microsecond(hour(6)).unwrap(),
            elapsed: Duration::from_secs(1_000),
            workers: Vec::new(),
            born: 0,
            ghosts: Vec::new(),
            mail: Vec::new(),
            bodies: BTreeMap::new(),
            sinks: BTreeMap::new(),
            groups: BTreeMap::new(),
            faults,
            next: NextFault::default(),
            sabotage,
            tokens: BTreeMap::new(),
            published: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            intents: BTreeMap::new(),
            checked: 0,
            backfills: 0,
            rollbacks: 0,
            pipelines: pipelines.clone(),
            epoch: EPOCH,
            backup: None,
            written: BTreeMap::new(),
        };
        for pipeline in pipelines {
            world.write(&applied(pipeline))?;
        }
        for _ in 0..3 {
            world.give_birth();
        }
        Ok(world)
    }

    fn now(&self) -> Now {
        Now { wall: self.wall, jitter: 0.5 }
    }

    fn pass(&mut self, by: Duration) {
        self.wall = self.wall.checked_add(by).unwrap();
        self.elapsed += by;
    }

    fn give_birth(&mut self) {
        self.born += 1;
        let info = worker(&format!("w{}", self.born), &[Role::Ingest, Role::Sink], 2);
        self.workers.push(SimWorker { info, session: false, silent: false, held: Vec::new() });
    }

    /// Writes a change of the present leader. Its table is exact and nobody else writes, so it must be taken. `None`: the
    /// store did not answer, and the leader stepped down.
    fn write(&mut self, change: &Change) -> Outcome<Option<i64>> {
        if change.is_empty() {
            return Ok(None);
        }
        let lost = self.next.write_lost.take();
        if lost == Some(false) {
            self.restart(false);
            return Ok(None);
        }
        audit(&self.leader.table, EPOCH, change)?;
        let Some(revision) = self.store.write(self.leader.elected, change)? else {
            let message = format!("the store refused its only leader {change:?}");
            return Err(Violation { id: "INV-14", message });
        };
        self.leader.table.apply(change, revision);
        self.release(change);
        self.look_at(change)?;
        if lost == Some(true) {
            self.restart(false);
            return Ok(None);
        }
        Ok(Some(revision))
    }

    /// Whoever held a task that is written holds it no more; claiming sets the new holder afterwards.
    fn release(&mut self, change: &Change) {
        let put = change.put.iter().map(Record::key);
        for key in put.chain(change.delete.iter().cloned()) {
            let (Key::Task(_, task) | Key::Group(_, task) | Key::Comparison(_, task)) = key else { continue };
            for worker in &self.workers {
                self.leader.workers.release(&worker.info.id, &task);
            }
        }
    }
}

impl Leader {
    fn elected(store: &mut Store, now: Duration) -> Self {
        let elected = store.elect();
        let table = store.load();
        let mut workers = Workers::default();
        for task in table.all_tasks() {
            if let windrow_common::task::TaskState::Claimed { worker, .. } = &task.value.state {
                workers.hold(worker, task.value.id, now);
            }
        }
        let requests = u64::try_from(elected).unwrap() << 32;
        Self { elected, table, workers, runs: BTreeMap::new(), requests }
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

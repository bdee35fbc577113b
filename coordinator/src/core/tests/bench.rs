//! A table on the bench: decisions are made, written with the ledger's checks, and applied, one by one.

use std::{collections::BTreeSet, time::Duration};

use jiff::{Timestamp, ToSpan};
use windrow_common::{
    claim::Token,
    error::{self, ErrorCode},
    id::{BackfillId, PipelineName, SinkId, TaskId, WorkerId},
    manifest::{Counts, Digest, ManifestRef, Proof},
    pipeline::{Pipeline, WindowSpec},
    task::{Failure, Lane, Retry, Task, TaskPhase},
    window::{Axis, Window},
};

use super::store::{Store, records_of};
use crate::core::{
    apply,
    backfill::{self, Choice, Order, Origin, Request},
    commit::{self, Draft, SinkRun, Todo},
    gather::When,
    lifecycle::{self, HeldClaim, Now, Refused, Seal},
    plan,
    table::{Change, Record, Table},
    workers::{Role, WorkerInfo, Workers},
};

pub(super) const HOUR: i64 = 3_600_000_000;
pub(super) const EPOCH: i64 = 1;

#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub table: Table,
    pub store: Store,
    pub wall: Timestamp,
}

/// 2024-01-01T00:00:00Z, where the windows of [`hourly`] start.
pub(super) fn origin() -> Timestamp {
    "2024-01-01T00:00:00Z".parse().unwrap()
}

/// The `k`th hour behind [`origin`].
pub(super) fn hour(k: i64) -> i64 {
    origin().as_microsecond() + k * HOUR
}

pub(super) fn hours(from: i64, to: i64) -> Window {
    Window::new(Axis::Time, hour(from), hour(to)).unwrap()
}

/// A full load; two with the same path share a sink.
pub(super) fn full(name: &str, path: &str) -> Pipeline {
    serde_json::from_value(serde_json::json!({
        "name": name, "pattern": "full",
        "source": { "from": { "name": "in", "type": "synthetic" } },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "delta", "write": "replace_all", "path": path,
        },
        "retries": { "attempts": 3, "lost_leases": 2, "backoff": "1s", "max_backoff": "10s" },
    }))
    .unwrap()
}

/// A pipeline of hourly windows from [`origin`] on.
pub(super) fn hourly(name: &str, path: &str) -> Pipeline {
    let window: WindowSpec =
        serde_json::from_value(serde_json::json!({ "every": "1h", "start": "2024-01-01T00:00:00" })).unwrap();
    let mut pipeline = full(name, path);
    pipeline.pattern = windrow_common::pipeline::Pattern::Incremental;
    pipeline.window = Some(WindowSpec { per_task: 1, ..window });
    pipeline
}

pub(super) fn edit(mut pipeline: Pipeline, change: impl FnOnce(&mut WindowSpec)) -> Pipeline {
    change(pipeline.window.as_mut().unwrap());
    pipeline
}

/// The change that makes a pipeline known.
pub(super) fn applied(pipeline: Pipeline) -> Change {
    apply::apply(&Table::default(), &[pipeline]).unwrap().0
}

pub(super) fn failure(retry: Retry, at: Timestamp) -> Failure {
    failure_with(error::TOO_MANY_REJECTED, retry, at)
}

pub(super) fn failure_with(code: ErrorCode, retry: Retry, at: Timestamp) -> Failure {
    Failure {
        code: code.code.to_owned(),
        message: code.meaning.to_owned(),
        retry,
        at,
        took: Duration::ZERO,
        worker: None,
    }
}

/// A manifest of as many rows as the task has windows, different for every token.
pub(super) fn manifest(task: &Task, token: Token) -> ManifestRef {
    let mut sha256 = Digest([0; 32]);
    sha256.0[..16].copy_from_slice(task.id.as_bytes());
    sha256.0[16..24].copy_from_slice(&token.revision.to_be_bytes());
    let rows = task.windows() as u64;
    let counts =
        Counts { rows_read: rows, rows_written: rows, bytes_written: 10 * rows, files: 1, ..Counts::default() };
    ManifestRef { path: format!("{}-{token}.json", task.id.short()), sha256, counts, proof: None }
}

pub(super) fn worker(id: &str, roles: &[Role], slots: u32) -> WorkerInfo {
    WorkerInfo {
        id: id.parse().unwrap(),
        roles: roles.iter().copied().collect(),
        slots,
        version: "test".to_owned(),
        protocol: windrow_proto::version::NEWEST,
        flight_endpoint: String::new(),
    }
}

/// Workers of both roles with so many slots each.
pub(super) fn fleet(slots: &[u32]) -> Workers {
    let mut workers = Workers::default();
    for (i, slots) in slots.iter().enumerate() {
        workers.connect(worker(&format!("w{i}"), &[Role::Ingest, Role::Sink], *slots), Duration::ZERO);
    }
    workers
}

pub(super) fn request(pipeline: &str, range: Option<Window>, choice: Choice) -> Request {
    let pipeline = pipeline.parse().unwrap();
    Request { pipeline, range, choice, order: Order::OldestFirst, concurrency: 0, force: false, accept: false }
}

impl Bench {
    /// A bench with pipelines applied, so many hours behind [`origin`].
    pub(super) fn new(hours: i64, pipelines: impl IntoIterator<Item = Pipeline>) -> Self {
        let mut bench = Self {
            table: Table::default(),
            store: Store::new(),
            wall: Timestamp::from_microsecond(hour(hours)).unwrap(),
        };
        pipelines.into_iter().for_each(|pipeline| {
            bench.apply(&applied(pipeline));
        });
        bench
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.wall, jitter: 0.5 }
    }

    /// So many seconds by the monotonic clock.
    pub(super) fn when(&self, seconds: u64) -> When {
        When { now: self.now(), elapsed: Duration::from_secs(seconds), leaves: false }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.wall = self.wall.checked_add(seconds.seconds()).unwrap();
    }

    /// Writes a change that must hold, applies it and compares table and store.
    pub(super) fn apply(&mut self, change: &Change) -> i64 {
        let revision = self.store.write(self.store.leader, change).unwrap().expect("the store refused the change");
        self.table.apply(change, revision);
        assert_eq!(records_of(&self.table), self.store.records);
        revision
    }

    /// Whether the store would take a change.
    pub(super) fn takes(&self, change: &Change) -> bool {
        self.store.clone().write(self.store.leader, change).unwrap().is_some()
    }

    /// Plans until nothing is due.
    pub(super) fn plan(&mut self) {
        loop {
            let changes = plan::plan(&self.table, self.now());
            if changes.is_empty() {
                return;
            }
            changes.iter().for_each(|change| {
                self.apply(change);
            });
        }
    }

    pub(super) fn advance(&mut self) -> usize {
        let changes = backfill::advance(&self.table, self.now());
        changes.iter().for_each(|change| {
            self.apply(change);
        });
        changes.len()
    }

    pub(super) fn task(&self, id: &TaskId) -> &Task {
        &self.table.task(id).unwrap().value
    }

    /// The tasks of a pipeline in a phase, by window.
    pub(super) fn tasks(&self, pipeline: &str, phase: TaskPhase) -> Vec<Task> {
        let name: PipelineName = pipeline.parse().unwrap();
        let tasks = self.table.tasks_of(&name).map(|task| task.value.clone());
        let mut tasks: Vec<Task> = tasks.filter(|task| task.state.phase() == phase).collect();
        tasks.sort_by_key(|task| (task.window.start(), task.revision));
        tasks
    }

    /// The hours, counted from [`origin`], that the pending tasks of a pipeline cover.
    pub(super) fn pending(&self, pipeline: &str) -> Vec<(i64, i64)> {
        let hours = |at: i64| (at - hour(0)) / HOUR;
        let tasks = self.tasks(pipeline, TaskPhase::Pending);
        tasks.iter().map(|task| (hours(task.window.start()), hours(task.window.end()))).collect()
    }

    pub(super) fn claim(&mut self, id: &TaskId) -> HeldClaim {
        let worker: WorkerId = "w0".parse().unwrap();
        let revision = self.apply(&lifecycle::claim(&self.table, id, &worker, self.now()).unwrap());
        HeldClaim { task: *id, token: Token { epoch: EPOCH, revision } }
    }

    pub(super) fn seal(&mut self, claim: &HeldClaim) -> Result<(), Refused> {
        let manifest = match self.table.task(&claim.task) {
            Some(task) => manifest(&task.value, claim.token),
            None => return Err(Refused::Gone(claim.task)),
        };
        if let Seal::Change(change) = lifecycle::seal(&self.table, EPOCH, claim, manifest, self.now())? {
            self.apply(&change);
        }
        Ok(())
    }

    /// Seals what was proven of the source.
    pub(super) fn seal_proven(&mut self, claim: &HeldClaim, proof: impl Into<Proof>) {
        let manifest = ManifestRef { proof: Some(proof.into()), ..manifest(self.task(&claim.task), claim.token) };
        match lifecycle::seal(&self.table, EPOCH, claim, manifest, self.now()).unwrap() {
            Seal::Change(change) => self.apply(&change),
            other => panic!("expected a change, found {other:?}"),
        };
    }

    /// Publishes what is sealed for a sink.
    pub(super) fn publish_sealed(&mut self, sink: &SinkId) {
        while self.table.sealed(sink).next().is_some() {
            self.record(sink);
            self.apply(&commit::finalize(&self.table, sink, self.now()).unwrap());
        }
    }

    pub(super) fn fail(&mut self, claim: &HeldClaim, retry: Retry) -> Result<(), Refused> {
        self.fail_with(claim, failure(retry, self.wall))
    }

    pub(super) fn fail_with(&mut self, claim: &HeldClaim, failure: Failure) -> Result<(), Refused> {
        let change = lifecycle::fail(&self.table, EPOCH, claim, failure, self.now())?;
        self.apply(&change);
        Ok(())
    }

    /// Claims and seals all pending tasks of a pipeline.
    pub(super) fn seal_all(&mut self, pipeline: &str) {
        for task in self.tasks(pipeline, TaskPhase::Pending) {
            let claim = self.claim(&task.id);
            self.seal(&claim).unwrap();
        }
    }

    /// Makes w0 the committer of every sink that has none.
    pub(super) fn name_committers(&mut self) {
        let sinks: BTreeSet<SinkId> = self.table.pipelines().map(|(_, entry)| entry.sink.clone()).collect();
        for sink in sinks {
            if self.table.sink(&sink).is_none_or(|entry| entry.committer.is_none()) {
                self.apply(&Change::create(Record::Committer(sink, "w0".parse().unwrap())));
            }
        }
    }

    /// What a sink's next intent would be made of.
    pub(super) fn draft(&self, sink: &SinkId) -> Draft {
        match commit::next(&self.table, &fleet(&[1]), sink, &SinkRun::default(), self.when(0)) {
            Some(Todo::Prepare { draft, .. }) => draft,
            other => panic!("expected a draft, found {other:?}"),
        }
    }

    /// Records the intent of a draft; its digest is its seq.
    pub(super) fn record_as(&mut self, sink: &SinkId, draft: &Draft) {
        let digest = Digest([u8::try_from(draft.seq).unwrap(); 32]);
        self.apply(&commit::record(&self.table, sink, draft, ("intent".to_owned(), digest), &[]).unwrap());
    }

    /// Records the next intent of a sink.
    pub(super) fn record(&mut self, sink: &SinkId) {
        self.name_committers();
        self.record_as(sink, &self.draft(sink));
    }

    /// Takes every pending task of a pipeline through to published.
    pub(super) fn publish_all(&mut self, pipeline: &str) {
        let sink = self.table.pipeline(&pipeline.parse().unwrap()).unwrap().sink.clone();
        self.seal_all(pipeline);
        self.publish_sealed(&sink);
    }

    pub(super) fn backfill(&mut self, id: &str, request: &Request) -> Lane {
        let id: BackfillId = id.parse().unwrap();
        let made = backfill::create(&self.table, request, id.clone(), Origin::default(), self.now()).unwrap();
        self.apply(&backfill::record(&self.table, made).unwrap());
        Lane::Backfill(id)
    }
}

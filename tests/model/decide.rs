//! The leader's decisions, made by the real core on a real table, and kept: a ledger of the model is turned into the
//! coordinator's table, the core decides, and the change it makes is turned into a transaction of the model.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use windrow_common::{
    claim::Token,
    id::{PipelineName, SinkId, TaskId, WorkerId},
    intent::IntentRef,
    manifest::{Counts, Digest, ManifestRef},
    pipeline::Pipeline,
    task::{Failure, Lane, Outage, Retry, Seams, Task, TaskState},
    window::{Axis, Window},
};
use windrow_coordinator::core::{
    apply,
    commit::{self, SinkRun, Todo},
    gather::When,
    lifecycle::{self, HeldClaim, Now, Seal},
    recovery::{self, PastCommit, PastTask, Step},
    table::{Change, Coverage, Head, Key, Record, Recovery, Table},
    workers::{Role, WorkerInfo, Workers},
};

use crate::{
    invariants,
    ledger::{
        COMMITTER, COVERAGE, Expect, HEAD, HeadRecord, INTENT, IntentRecord, KEYS, Ledger, MAX_TASKS, Phase,
        TaskRecord, Txn, Write,
    },
    state::{Body, Draft},
};

/// What a leader is to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    Claim(u8),
    /// Task, the claimant's token and its manifest.
    Seal(u8, (u8, u8), u8),
    Fail(u8, (u8, u8)),
    Reap(u8),
    Cancel(u8),
    Unseal(u8),
    /// The draft, and the digest of its body.
    Record(Draft, u8),
    Finalize,
    FinalizeAbort,
    DropClaims,
    /// A commit of the sink that the ledger does not know of, and its digest.
    Replay(Body, u8),
    DropSeals,
    /// What the sink needs: which committer is connected, the most tasks of an intent, whether to abort.
    Next(u8, u8, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Refused, or nothing to do.
    Nothing,
    Write(Txn),
    AskToPrepare(Draft),
    AskToCommit {
        digest: u8,
        abort: bool,
    },
}

/// What all questions are asked under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Setting {
    /// Errors and lost leases a task may have.
    pub(crate) attempts: u8,
    pub(crate) lost_leases: u8,
}

thread_local! {
    static KNOWN: RefCell<HashMap<(Setting, Ledger, u8, Question), Decision>> = RefCell::default();
    static WORDS: Words = Words::new();
}

/// What the core decides on this table in this epoch.
pub(crate) fn decide(setting: Setting, table: &Ledger, epoch: u8, question: Question) -> Decision {
    let key = (setting, *table, epoch, question);
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
        return known;
    }
    let decision = WORDS.with(|words| words.decide(setting, table, epoch, question));
    KNOWN.with_borrow_mut(|known| known.insert(key, decision));
    decision
}

/// The names the model's numbers stand for.
struct Words {
    pipeline: PipelineName,
    sink: SinkId,
    tasks: [Task; MAX_TASKS],
    workers: [WorkerId; 2],
    reader: WorkerId,
}

const NOW: Now = Now { wall: Timestamp::UNIX_EPOCH, jitter: 0.0 };

impl Words {
    fn new() -> Self {
        let pipeline = pipeline(Setting { attempts: 1, lost_leases: 1 });
        let (name, sink) = (pipeline.name.clone(), pipeline.sink.id());
        Self {
            tasks: std::array::from_fn(|at| task(&name, &sink, at as i64)),
            workers: ["c0", "c1"].map(|id| id.parse().unwrap()),
            reader: "reader".parse().unwrap(),
            pipeline: name,
            sink,
        }
    }

    fn decide(&self, setting: Setting, ledger: &Ledger, epoch: u8, question: Question) -> Decision {
        let mut table = self.table(setting, ledger);
        if let Question::Replay(..) = question {
            table.put(Record::Recovery(Recovery { since: NOW.wall }), 1);
        }
        let id = |task: u8| self.tasks[usize::from(task)].id;
        let claim = |task, (epoch, token): (u8, u8)| HeldClaim { task: id(task), token: token_of(epoch, token) };
        let epoch = i64::from(epoch);
        let change = match question {
            Question::Claim(task) => lifecycle::claim(&table, &id(task), &self.reader, NOW).ok(),
            Question::Seal(task, token, manifest) => {
                match lifecycle::seal(&table, epoch, &claim(task, token), manifest_of(manifest), NOW) {
                    Ok(Seal::Change(change)) => Some(*change),
                    Ok(Seal::AlreadySealed | Seal::Waits) | Err(_) => None,
                }
            }
            Question::Fail(task, token) => lifecycle::fail(&table, epoch, &claim(task, token), failure(), NOW).ok(),
            Question::Reap(task) => lifecycle::reap(&table, &id(task), NOW).ok(),
            Question::Cancel(task) => lifecycle::cancel(&table, &id(task)).ok(),
            Question::Unseal(task) => lifecycle::unseal(&table, &id(task), failure(), NOW).ok(),
            Question::Record(draft, digest) => {
                let draft = self.draft(&draft);
                commit::record(&table, &self.sink, &draft, (digest.to_string(), digest_of(digest)), &[])
            }
            Question::DropClaims => recovery::drop_claims(&table, NOW),
            Question::DropSeals => recovery::drop_seals(&table, NOW),
            Question::Replay(body, digest) => self.replay(&table, &body, digest),
            Question::Finalize => commit::finalize(&table, &self.sink, NOW),
            Question::FinalizeAbort => commit::finalize_abort(&table, &self.sink, &failure(), NOW),
            Question::Next(connected, batch, abort) => {
                return self.next(&table, ledger, (connected, epoch), (batch, abort));
            }
        };
        change.map_or(Decision::Nothing, |change| Decision::Write(self.txn(&change, &table, epoch)))
    }

    fn next(
        &self,
        table: &Table,
        ledger: &Ledger,
        (connected, epoch): (u8, i64),
        (batch, abort): (u8, bool),
    ) -> Decision {
        let mut workers = Workers::default();
        workers.connect(sink_worker(&self.workers[usize::from(connected)]), Duration::ZERO);
        let mut run = SinkRun::default();
        run.aborted(2 * usize::from(batch));
        if abort {
            run.abort_next(failure(), Duration::ZERO);
        }
        match commit::next(table, &workers, &self.sink, &run, When { now: NOW, elapsed: Duration::ZERO, leaves: false })
        {
            None => Decision::Nothing,
            Some(Todo::Take(change)) => Decision::Write(self.txn(&change, table, epoch)),
            Some(Todo::Prepare { draft, .. }) => {
                let mut small = Draft {
                    seq: draft.seq as u8,
                    previous: draft.previous.map_or(0, |digest| digest.0[0]),
                    ..Draft::default()
                };
                for (task, seal) in &draft.tasks {
                    let at = self.place(task);
                    small.seals[at] = *seal as u8;
                    small.manifests[at] = ledger.tasks[at].manifest;
                }
                Decision::AskToPrepare(small)
            }
            Some(Todo::Commit { intent, abort, .. }) => Decision::AskToCommit { digest: intent.digest.0[0], abort },
        }
    }

    fn replay(&self, table: &Table, body: &Body, digest: u8) -> Option<Change> {
        let published = self.tasks.iter().zip(body.manifests).filter(|(_, manifest)| *manifest != 0);
        let past = |(task, manifest): (&Task, u8)| PastTask {
            task: task.id,
            pipeline: task.pipeline.clone(),
            window: task.window,
            revision: task.revision,
            epoch: 0,
            counts: manifest_of(manifest).counts,
        };
        let commit = PastCommit {
            seq: body.seq.into(),
            digest: digest_of(digest),
            previous: (body.previous != 0).then(|| digest_of(body.previous)),
            aborted: body.aborted,
            tasks: published.map(past).collect(),
        };
        match recovery::replay(table, &self.sink, &commit, NOW) {
            Ok(Step::More(change) | Step::Last(change)) => Some(change),
            Err(_) => None,
        }
    }

    fn place(&self, id: &TaskId) -> usize {
        self.tasks.iter().position(|task| task.id == *id).unwrap()
    }

    fn draft(&self, draft: &Draft) -> commit::Draft {
        commit::Draft {
            seq: draft.seq.into(),
            previous: (draft.previous != 0).then(|| digest_of(draft.previous)),
            // Only the body takes it over.
            previous_aborted: false,
            tasks: self.seals(&draft.seals),
            shows: None,
            only: None,
        }
    }

    /// Tasks and their seals, in the order of the seals.
    fn seals(&self, seals: &[u8; MAX_TASKS]) -> Vec<(TaskId, i64)> {
        let mut found: Vec<(TaskId, i64)> =
            (0..MAX_TASKS).filter(|at| seals[*at] != 0).map(|at| (self.tasks[at].id, seals[at].into())).collect();
        found.sort_unstable_by_key(|(_, seal)| *seal);
        found
    }

    fn table(&self, setting: Setting, ledger: &Ledger) -> Table {
        let mut table = Table::default();
        let (applied, _) = apply::apply(&Table::default(), &[pipeline(setting)]).unwrap();
        table.apply(&applied, 1);
        for (at, record) in ledger.tasks.iter().enumerate() {
            if let Some(task) = self.task(at, record) {
                table.put(Record::Task(task), record.revision.into());
            }
        }
        let HeadRecord { revision, seq, digest, aborted } = ledger.head;
        if revision != 0 {
            let head = Head { seq: seq.into(), digest: (digest != 0).then(|| digest_of(digest)), aborted };
            table.put(Record::Head(self.sink.clone(), head), revision.into());
        }
        if ledger.intent.revision != 0 {
            table.put(Record::Intent(self.sink.clone(), self.intent(&ledger.intent)), ledger.intent.revision.into());
        }
        if ledger.committer_revision != 0 {
            let worker = self.workers[usize::from(ledger.committer)].clone();
            table.put(Record::Committer(self.sink.clone(), worker), ledger.committer_revision.into());
        }
        if ledger.covered_revision != 0 {
            let mut coverage = table.pipeline(&self.pipeline).unwrap().coverage.value.clone();
            for (at, task) in self.tasks.iter().enumerate().filter(|(at, _)| ledger.covered & (1 << at) != 0) {
                coverage.published.insert(task.window.start(), task.window.end());
                coverage.totals += manifest_of(at as u8).counts;
            }
            table.put(Record::Coverage(self.pipeline.clone(), coverage), ledger.covered_revision.into());
        }
        table
    }

    fn task(&self, at: usize, record: &TaskRecord) -> Option<Task> {
        let state = match record.phase {
            Phase::Gone => return None,
            Phase::Pending => TaskState::Pending { not_before: NOW.wall, last_failure: None },
            Phase::Claimed => TaskState::Claimed { worker: self.reader.clone(), since: NOW.wall },
            Phase::Sealed => TaskState::Sealed {
                worker: self.reader.clone(),
                token: token_of(record.epoch, record.token),
                manifest: manifest_of(record.manifest),
                since: NOW.wall,
            },
            Phase::Quarantined => TaskState::Quarantined { failure: failure() },
        };
        Some(Task {
            attempts: record.attempts.into(),
            errors: record.errors.into(),
            lost_leases: record.lost.into(),
            state,
            ..self.tasks[at].clone()
        })
    }

    fn intent(&self, record: &IntentRecord) -> IntentRef {
        IntentRef {
            seq: record.seq.into(),
            previous: (record.previous != 0).then(|| digest_of(record.previous)),
            path: record.digest.to_string(),
            digest: digest_of(record.digest),
            tasks: self.seals(&record.seals),
            counts: Counts::default(),
            files: BTreeMap::new(),
        }
    }

    fn txn(&self, change: &Change, table: &Table, epoch: i64) -> Txn {
        let mut txn = Txn::new();
        for (key, revision) in &change.expect {
            txn.expect[self.key(key)] = Expect::Revision(revision.unwrap_or(0) as u8);
        }
        for key in &change.delete {
            txn.write[self.key(key)] = Write::Delete;
        }
        for record in &change.put {
            txn.write[self.key(&record.key())] = Write::Put;
            self.put(record, &mut txn.after);
        }
        txn.broken = invariants::of_change(change, table, epoch);
        txn
    }

    fn key(&self, key: &Key) -> usize {
        match key {
            Key::Task(_, id) => self.place(id),
            Key::Head(_) => HEAD,
            Key::Intent(_) => INTENT,
            Key::Committer(_) => COMMITTER,
            Key::Coverage(_) => COVERAGE,
            Key::Pipeline(_)
            | Key::Cursor(_)
            | Key::Group(..)
            | Key::Comparison(..)
            | Key::Rollback(_)
            | Key::Pin(..)
            | Key::Told(_)
            | Key::Spent(_)
            | Key::Backfill(_)
            | Key::Recovery => {
                panic!("the life cycle does not write {key:?}")
            }
        }
    }

    fn put(&self, record: &Record, after: &mut Ledger) {
        match record {
            Record::Task(task) => after.tasks[self.place(&task.id)] = small_task(task),
            Record::Head(_, head) => {
                after.head = HeadRecord {
                    revision: 0,
                    seq: head.seq as u8,
                    digest: head.digest.map_or(0, |digest| digest.0[0]),
                    aborted: head.aborted,
                };
            }
            Record::Intent(_, intent) => {
                after.intent = IntentRecord {
                    revision: 0,
                    seq: intent.seq as u8,
                    digest: intent.digest.0[0],
                    previous: intent.previous.map_or(0, |digest| digest.0[0]),
                    seals: [0; MAX_TASKS],
                };
                for (task, seal) in &intent.tasks {
                    after.intent.seals[self.place(task)] = *seal as u8;
                }
            }
            Record::Committer(_, worker) => after.committer = u8::from(*worker == self.workers[1]),
            Record::Coverage(_, coverage) => after.covered = self.covered(coverage),
            Record::Pipeline(_)
            | Record::Cursor(..)
            | Record::Rollback(..)
            | Record::Pin(..)
            | Record::Told(..)
            | Record::Spent(..)
            | Record::Backfill(_)
            | Record::Recovery(_) => {
                panic!("the life cycle does not write {record:?}")
            }
        }
    }

    fn covered(&self, coverage: &Coverage) -> u8 {
        let covers = |task: &Task| coverage.published.covers(task.window.start(), task.window.end());
        (0..MAX_TASKS).filter(|at| covers(&self.tasks[*at])).map(|at| 1 << at).sum()
    }
}

fn small_task(task: &Task) -> TaskRecord {
    let (phase, epoch, token, manifest) = match &task.state {
        TaskState::Pending { .. } | TaskState::Waiting { .. } => (Phase::Pending, 0, 0, 0),
        TaskState::Claimed { .. } => (Phase::Claimed, 0, 0, 0),
        TaskState::Sealed { token, manifest, .. } => {
            (Phase::Sealed, token.epoch as u8, token.revision as u8, manifest.sha256.0[0])
        }
        TaskState::Quarantined { .. } => (Phase::Quarantined, 0, 0, 0),
        TaskState::Cancelled => panic!("a withdrawn task has no record"),
    };
    let (attempts, errors, lost) = (task.attempts as u8, task.errors as u8, task.lost_leases as u8);
    TaskRecord { phase, revision: 0, epoch, token, manifest, attempts, errors, lost }
}

fn pipeline(setting: Setting) -> Pipeline {
    serde_json::from_value(serde_json::json!({
        "name": "model", "pattern": "incremental",
        "source": { "from": { "name": "in", "type": "synthetic" } },
        "window": { "every": "1h", "start": "1970-01-01T00:00:00", "per_task": 1 },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "delta", "write": "replace_window", "path": "model",
        },
        "retries": {
            "attempts": setting.attempts, "lost_leases": setting.lost_leases,
            "backoff": "1s", "max_backoff": "10s",
        },
    }))
    .unwrap()
}

fn task(pipeline: &PipelineName, sink: &SinkId, at: i64) -> Task {
    // Apart, so that covering one never joins another.
    let window = Window::new(Axis::Time, 10 * at, 10 * at + 5).unwrap();
    Task {
        id: TaskId::of(pipeline, 0, &window, 0),
        pipeline: pipeline.clone(),
        sink: sink.clone(),
        shard: 0,
        part: None,
        window,
        seams: Seams::None,
        revision: 0,
        lane: Lane::Live,
        created: NOW.wall,
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        proof: None,
        loaded: None,
        declared: None,
        outage: Outage::default(),
        trace: None,
        state: TaskState::Pending { not_before: NOW.wall, last_failure: None },
    }
}

fn sink_worker(id: &WorkerId) -> WorkerInfo {
    WorkerInfo {
        id: id.clone(),
        roles: [Role::Sink].into(),
        slots: 1,
        version: String::new(),
        protocol: 2,
        flight_endpoint: String::new(),
    }
}

fn failure() -> Failure {
    Failure {
        code: windrow_common::error::STAGED_FILE_BAD.code.to_owned(),
        message: String::new(),
        retry: Retry::Later,
        at: NOW.wall,
        took: Duration::ZERO,
        worker: None,
    }
}

pub(crate) fn token_of(epoch: u8, revision: u8) -> Token {
    Token { epoch: epoch.into(), revision: revision.into() }
}

pub(crate) fn digest_of(number: u8) -> Digest {
    Digest([number; 32])
}

fn manifest_of(attempt: u8) -> ManifestRef {
    let counts = Counts { rows_read: 1, rows_written: 1, bytes_written: 1, files: 1, ..Counts::default() };
    ManifestRef { path: attempt.to_string(), sha256: digest_of(attempt), counts, proof: None }
}

/// The task a number stands for, for reports of the predicates.
pub(crate) fn task_id(at: usize) -> TaskId {
    WORDS.with(|words| words.tasks[at].id)
}

const _: () = assert!(KEYS == COVERAGE + 1);

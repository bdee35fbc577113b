//! Rounds of a leader on a real store, spoken to as workers speak.
#![allow(clippy::unwrap_used)]

mod cleaning;
mod looking;

use std::rc::Rc;

use tokio::task::JoinHandle;
use windrow_common::{
    clock::SystemClock,
    gather::Gather,
    manifest::{Counts, Digest, ManifestRef},
    pipeline::Pipeline,
    quantity::{ByteSize, Pause},
    task::TaskPhase,
};
use windrow_proto::v1::session_response::Message as Out;

use super::*;
use crate::{
    core::{
        lifecycle::HeldClaim,
        workers::{Role, WorkerInfo},
    },
    ledger::{self, Guard, Keys},
    store::{Compare, EmbeddedStore, MetaStore, Op, Range, Revision},
};

/// A leader, and one worker that holds four tasks.
struct Led {
    store: Arc<dyn MetaStore>,
    handle: Handle,
    leading: JoinHandle<Stopped>,
    answers: mpsc::Receiver<Box<v1::SessionResponse>>,
    claims: Vec<HeldClaim>,
}

const SLOTS: usize = 4;

impl Led {
    async fn begin() -> Self {
        Self::begin_with(Timing::default(), windrow_proto::version::NEWEST).await
    }

    fn info(protocol: u32) -> WorkerInfo {
        WorkerInfo {
            id: worker(),
            roles: [Role::Ingest, Role::Sink].into(),
            slots: u32::try_from(SLOTS).unwrap(),
            version: "test".to_owned(),
            protocol,
            flight_endpoint: String::new(),
        }
    }

    /// The same with a worker that speaks this version.
    async fn begin_with(timing: Timing, protocol: u32) -> Self {
        Self::begin_of(hourly(), timing, protocol).await
    }

    async fn begin_of(pipeline: Pipeline, timing: Timing, protocol: u32) -> Self {
        let mut led = Self::lead(pipeline, timing, protocol).await;
        while led.claims.len() < SLOTS {
            if let Out::Assign(assign) = led.hear().await {
                let task = TaskId::from_bytes(assign.task.try_into().unwrap());
                led.claims.push(HeldClaim { task, token: assign.token.unwrap().into() });
            }
        }
        led
    }

    /// A worker that holds nothing, and its leader.
    async fn lead(pipeline: Pipeline, timing: Timing, protocol: u32) -> Self {
        let store: Arc<dyn MetaStore> = Arc::new(EmbeddedStore::in_memory());
        let keys = Keys::of_cluster("test");
        let put = |key: Vec<u8>, value: &str| Op::Put { key, value: value.as_bytes().to_vec(), lease: None };
        store.txn(Vec::new(), vec![put(keys.epoch(), "1")]).await.unwrap();
        let take = put(keys.leader(), "http://c1");
        let leader = store.txn(Vec::new(), vec![take.clone()]).await.unwrap().revision;
        let ledger = Ledger::new(store.clone(), keys, Guard { leader, epoch: 1, take });
        let (handle, running) = start(ledger, Arc::new(SystemClock::new()), timing).await.unwrap();
        let leading = tokio::spawn(running.run(std::future::pending()));
        let apply = |reply| Command::Apply { pipelines: vec![pipeline], validate_only: false, reply };
        handle.command(apply).await.unwrap();
        let (out, answers) = mpsc::channel(64);
        let info = Self::info(protocol);
        handle.session(worker(), 1, SessionEvent::Hello { info, protocol: 1, held: Vec::new(), out }).await.unwrap();
        Self { store, handle, leading, answers, claims: Vec::new() }
    }

    async fn hear(&mut self) -> Out {
        let answer = tokio::time::timeout(Duration::from_secs(20), self.answers.recv()).await;
        answer.expect("no answer").expect("the session was closed").message.unwrap()
    }

    /// Without the leader coming in between: there is one thread, and the inbox has room.
    async fn seal(&self, request: u64, claim: HeldClaim) {
        let manifest =
            ManifestRef { path: "m.json".to_owned(), sha256: Digest([7; 32]), counts: Counts::default(), proof: None };
        let seal = SessionEvent::Seal { request, claim, manifest, trace: None };
        self.handle.session(worker(), 1, seal).await.unwrap();
    }

    /// What came of the seals, by request.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, bool> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            if let Out::Seal(reply) = self.hear().await {
                answers.insert(reply.request, reply.accepted);
            }
        }
        answers
    }

    /// The records, as the store has them.
    async fn stored(&self) -> Table {
        ledger::load(self.store.as_ref(), &Keys::of_cluster("test"), Revision(0)).await.unwrap()
    }

    /// The revisions that sealed these tasks.
    async fn seals(&self) -> Vec<Option<i64>> {
        let stored = self.stored().await;
        let sealed = |claim: &HeldClaim| {
            let entry = stored.task(&claim.task).unwrap();
            (entry.value.state.phase() == TaskPhase::Sealed).then_some(entry.revision)
        };
        self.claims.iter().map(sealed).collect()
    }
}

fn worker() -> WorkerId {
    "w1".parse().unwrap()
}

fn hourly() -> Pipeline {
    serde_json::from_value(serde_json::json!({
        "name": "flights", "pattern": "incremental",
        "source": { "from": { "name": "in", "type": "synthetic" }, "cursor": "at" },
        "window": { "every": "1h", "start": "2013-01-01T00:00", "per_task": 1 },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "delta", "write": "replace_window", "path": "flights",
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn the_seals_of_a_round_are_one_transaction_and_one_that_is_fenced_takes_no_other_with_it() {
    let mut led = Led::begin().await;
    let claims = led.claims.clone();
    let stale = HeldClaim { token: Token { revision: claims[1].token.revision - 1, ..claims[1].token }, ..claims[1] };
    led.seal(1, claims[0]).await;
    led.seal(2, stale).await;
    let heartbeat = SessionEvent::Heartbeat { number: 1, draining: false, progress: Vec::new(), traces: Vec::new() };
    led.handle.session(worker(), 1, heartbeat).await.unwrap();
    led.seal(3, claims[2]).await;
    led.seal(4, claims[3]).await;
    // Said again because the answer was lost, or so the worker thinks.
    led.seal(5, claims[0]).await;
    let answers = led.answers(5).await;
    assert_eq!(answers, BTreeMap::from([(1, true), (2, false), (3, true), (4, true), (5, true)]));
    let seals = led.seals().await;
    assert!(seals[0].is_some(), "{seals:?}");
    assert_eq!(seals, [seals[0], None, seals[0], seals[0]]);
}

/// A store that is not what the leader knows ends the leader; that is no reason for good seals to be lost.
#[tokio::test]
async fn a_seal_that_the_store_refuses_takes_no_other_with_it() {
    let mut led = Led::begin().await;
    let claims = led.claims.clone();
    // Somebody writes one of the records again behind the leader's back.
    let page = led.store.range(Range::prefix(Keys::of_cluster("test").prefix())).await.unwrap();
    let id = claims[1].task.to_string();
    let record = page.entries.into_iter().find(|entry| entry.key.ends_with(id.as_bytes())).unwrap();
    let unchanged = Compare::ModRevision { key: record.key.clone(), equals: record.mod_revision };
    let again = Op::Put { key: record.key, value: record.value, lease: None };
    assert!(led.store.txn(vec![unchanged], vec![again]).await.unwrap().succeeded);
    for (request, claim) in (1..).zip(&claims) {
        led.seal(request, *claim).await;
    }
    assert_eq!(led.answers(3).await, BTreeMap::from([(1, true), (3, true), (4, true)]));
    let stopped = tokio::time::timeout(Duration::from_secs(20), &mut led.leading).await.unwrap().unwrap();
    assert!(matches!(stopped, Stopped::Ledger(LedgerError::Conflict)), "{stopped:?}");
    let sealed: Vec<bool> = led.seals().await.iter().map(Option::is_some).collect();
    assert_eq!(sealed, [true, false, true, true]);
}

/// Every sealed task that is shown asks what gathers for its sink, and the answer goes over all that is sealed.
#[tokio::test]
async fn what_gathers_for_a_sink_is_worked_out_once_a_view() {
    let mut pipeline = hourly();
    pipeline.sink.gather = Some(Gather { wait: Pause(Gather::MAX_WAIT), size: ByteSize(1 << 30) });
    let (name, sink) = (pipeline.name.clone(), pipeline.sink.id());
    let mut led = Led::begin_of(pipeline, Timing::default(), windrow_proto::version::NEWEST).await;
    led.seal(1, led.claims[0]).await;
    assert_eq!(led.answers(1).await, BTreeMap::from([(1, true)]));
    let look = move |view: &View<'_>| {
        let found = view.gathering(&sink);
        (found.get(&name).map(|found| found.windows), Rc::ptr_eq(&found, &view.gathering(&sink)))
    };
    assert_eq!(led.handle.read(look).await.unwrap(), (Some(1), true));
}

//! Attempts from claim to answer, against a scripted coordinator: with sources that misbehave on purpose, and with real
//! files.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use windrow_common::{
    clock::SystemClock,
    manifest::Input,
    ticket::{Ticket, TicketKey, TicketKeys, sha256},
    window::{Axis, Window},
};
use windrow_proto::v1::{self, session_request::Message, session_response::Message as Heard};

use super::*;
use crate::{
    compact::Compact,
    flight::StageService,
    ingest::Hops,
    open::{BuiltIn, Connectors},
    session::{
        self, Identity, Order, Role,
        tests::fake::{Fake, Peer, task, token},
    },
    source::{Chunk, Reject, RowStream, Slice, Source},
};

mod files;
mod proving;
mod stopping;

/// A worker with everything but the dispatching loop of [`crate::run`].
struct Bench {
    fake: Fake,
    keys: TicketKeys,
    connectors: Arc<Connectors>,
    /// How each attempt ended, as it ends.
    results: mpsc::UnboundedReceiver<AttemptResult>,
    lake: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let (fake, dialer) = Fake::start();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let id: WorkerId = "w1".parse().unwrap();
        let identity = Identity { id: id.clone(), roles: vec![Role::Ingest], slots: 2, flight_endpoint: None };
        let (session, mut ends) = session::open(identity, dialer, clock.clone());
        let keys = TicketKeys::new(vec![TicketKey::random()]);
        let connectors = Arc::new(Connectors::new(Arc::new(BuiltIn), clock.clone()));
        let opened = connectors.clone();
        let resolver = Arc::new(move |pipeline: &Pipeline| opened.sink(pipeline));
        let service = Arc::new(StageService::new(resolver, keys.clone(), clock.clone(), 1));
        let ingest = Ingest::new(connectors.clone(), Hops::new(Some(service), None, None), None);
        let attempts = Arc::new(Attempts::new(
            (ingest, Compact::new(connectors.clone(), None)),
            ends.reports,
            2,
            clock,
            (id, Metrics::new()),
        ));
        let (ended, results) = mpsc::unbounded_channel();
        tokio::spawn(session.run(CancellationToken::new(), Duration::ZERO));
        tokio::spawn(async move {
            while let Some(Order::Attempt(task, claim)) = ends.orders.recv().await {
                let (attempts, ended) = (attempts.clone(), ended.clone());
                tokio::spawn(async move { ended.send(attempts.run(&task, claim).await) });
            }
        });
        Self { fake, keys, connectors, results, lake: tempfile::tempdir().unwrap() }
    }

    /// A pipeline from `source` into JSON lines in the lake; `more` is laid over it.
    fn pipeline(&self, source: Value, more: &Value) -> Pipeline {
        let mut spec = json!({
            "name": "flights", "pattern": "incremental", "source": source,
            "sink": {
                "to": { "name": "lake", "type": "local", "root": self.lake.path() },
                "format": "json", "write": "append", "path": "flights",
            },
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    /// A pipeline whose source is `source`.
    fn pipeline_of(&self, source: impl Source, more: &Value) -> Pipeline {
        let pipeline = self.pipeline(json!({ "from": { "name": "s", "type": "stand-in" }, "cursor": "at" }), more);
        self.connectors.stand_in_source(&pipeline, Arc::new(source));
        pipeline
    }

    /// A claim on the window `[0, 10)` with a ticket that opens the sink.
    fn assign(&self, number: u8, pipeline: &Pipeline) -> v1::Assign {
        let json = serde_json::to_vec(pipeline).unwrap();
        let window = Window::new(Axis::Time, 0, 10).unwrap();
        let ticket = Ticket {
            task: task(number),
            token: token(7),
            attempt: 1,
            pipeline: pipeline.name.clone(),
            sink: pipeline.sink.id(),
            window,
            pipeline_sha256: sha256(&json),
            expires_unix_ms: i64::MAX,
        };
        v1::Assign {
            ticket: self.keys.sign(&ticket).unwrap(),
            pipeline: json,
            window: Some(window.into()),
            ..session::tests::fake::assign(number, 7)
        }
    }

    /// The result of one attempt that the coordinator hears a failure of.
    async fn failure(&mut self, assign: v1::Assign) -> (v1::Fail, AttemptResult) {
        let (mut peer, _) = self.fake.welcomed().await;
        peer.say(Heard::Assign(assign)).await;
        let fail = match peer.hear_news().await.unwrap() {
            Message::Fail(fail) => fail,
            other => panic!("not a failure: {other:?}"),
        };
        peer.say(Heard::Fail(v1::FailReply { request: fail.request, accepted: true })).await;
        (fail, self.results.recv().await.unwrap())
    }

    /// Runs a claim that must come to a seal.
    async fn sealed(&mut self, assign: v1::Assign) -> v1::Seal {
        let (mut peer, _) = self.fake.welcomed().await;
        peer.say(Heard::Assign(assign)).await;
        let seal = hear_seal(&mut peer).await;
        peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;
        assert_eq!(self.results.recv().await, Some(AttemptResult::Sealed));
        seal
    }

    /// What was sealed, as it lies in the sink's storage.
    async fn manifest(&mut self, assign: v1::Assign) -> windrow_common::manifest::Manifest {
        let pipeline: Pipeline = serde_json::from_slice(&assign.pipeline).unwrap();
        let sealed = self.sealed(assign).await.manifest.unwrap();
        let folder = self.lake.path().join(pipeline.sink.params["path"].as_str().unwrap());
        serde_json::from_slice(&std::fs::read(folder.join(sealed.path)).unwrap()).unwrap()
    }
}

async fn hear_seal(peer: &mut Peer) -> v1::Seal {
    match peer.hear_news().await.unwrap() {
        Message::Seal(seal) => seal,
        other => panic!("not a seal: {other:?}"),
    }
}

fn code_of(fail: &v1::Fail) -> (&str, v1::RetryAdvice) {
    let failure = fail.failure.as_ref().unwrap();
    (&failure.code, failure.retry())
}

/// A source of three rows, and then of whatever `then` is.
struct Odd {
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    End,
    Panic,
    Hang,
    Reject(usize),
    Fail(fn() -> WorkerError),
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("at", DataType::Int64, false)]))
}

#[async_trait]
impl Source for Odd {
    async fn schema(&self) -> Result<SchemaRef, WorkerError> {
        Ok(schema())
    }

    async fn resolve(&self, _: &Window) -> Result<Vec<Slice>, WorkerError> {
        Ok(vec![Input { name: "odd".to_owned(), bytes: 0, version: None, into: None }.into()])
    }

    async fn read(&self, _: &Slice, _: &Window) -> Result<RowStream, WorkerError> {
        let rows = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        let first = stream::iter([Ok(Chunk::Rows(RecordBatch::try_new(schema(), vec![rows]).unwrap()))]);
        let then = self.then;
        let rest = stream::iter([then]).filter_map(|then| async move {
            match then {
                Then::End => None,
                Then::Panic => panic!("a bug in the source"),
                Then::Hang => std::future::pending().await,
                Then::Reject(count) => Some(Ok(Chunk::Rejected(vec![reject(); count]))),
                Then::Fail(error) => Some(Err(error())),
            }
        });
        Ok(first.chain(rest).boxed())
    }
}

fn reject() -> Reject {
    Reject {
        input: "odd".to_owned(),
        position: 4,
        code: error::VALUE_MALFORMED.code,
        reason: "no number".to_owned(),
        raw: "my secret".to_owned(),
    }
}

fn read_all(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => text.push_str(&read_all(&path)),
            false => text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap())),
        }
    }
    text
}

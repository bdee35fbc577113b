//! Two whole workers against a scripted coordinator: one reads, the other stages over Flight and commits.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use windrow_common::{
    clock::SystemClock,
    pipeline::Pipeline,
    ticket::{Ticket, sha256},
    window::{Axis, Window},
};
use windrow_proto::v1::{Settlement, prepared, session_request::Message, session_response::Message as Heard};

use super::*;
use crate::session::tests::fake::{Fake, assign, task, token};

fn config(roles: Vec<Role>, coordinators: Dialer) -> WorkerConfig {
    let flight = roles.contains(&Role::Sink).then(|| FlightConfig {
        bind: "127.0.0.1:0".parse().unwrap(),
        advertised: None,
        tls: None,
    });
    WorkerConfig {
        id: "w1".parse().unwrap(),
        roles,
        slots: 2,
        coordinators,
        opener: Arc::new(crate::open::BuiltIn),
        flight,
        network: None,
        peer_tls: None,
        spill_dir: None,
        max_puts: 4,
        drain: Duration::from_secs(5),
    }
}

fn start(roles: Vec<Role>) -> (Fake, Shutdown, tokio::task::JoinHandle<Result<()>>) {
    let (fake, dialer) = Fake::start();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(run(config(roles, dialer), Arc::new(SystemClock::new()), shutdown.clone()));
    (fake, shutdown, running)
}

fn pipeline(lake: &std::path::Path, drop: &std::path::Path) -> Pipeline {
    let spec: Value = json!({
        "name": "flights", "pattern": "incremental",
        "source": {
            "from": { "name": "drop", "type": "local", "root": drop },
            "cursor": "at", "path": "in.csv", "schema": { "at": "timestamp", "n": "int64" },
        },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": lake },
            "format": "json", "write": "append", "path": "t",
        },
    });
    serde_json::from_value(spec).unwrap()
}

fn signed(key: &TicketKey, pipeline: &Pipeline) -> Vec<u8> {
    let ticket = Ticket {
        task: task(1),
        token: token(7),
        attempt: 1,
        pipeline: pipeline.name.clone(),
        sink: pipeline.sink.id(),
        window: Window::new(Axis::Time, 0, 10).unwrap(),
        pipeline_sha256: sha256(&serde_json::to_vec(pipeline).unwrap()),
        expires_unix_ms: i64::MAX,
    };
    TicketKeys::new(vec![key.clone()]).sign(&ticket).unwrap()
}

/// Proves CL13, CL6. The workers stop by themselves when they are told to.
#[tokio::test]
async fn rows_read_by_one_worker_are_staged_by_another_and_published_by_its_commit() {
    let (lake, drop) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(drop.path().join("in.csv"), "at,n\n1970-01-01T00:00:00.000003Z,3\n").unwrap();
    let pipeline = pipeline(lake.path(), drop.path());
    let json = serde_json::to_vec(&pipeline).unwrap();
    let sink = pipeline.sink.id().to_string();
    let key = TicketKey::random();

    let (mut sinks, stop_sink, sink_running) = start(vec![Role::Sink]);
    let (mut committer, hello) = sinks.next().await;
    let given = v1::TicketKey { id: key.id().to_owned(), key: key.reveal().to_vec() };
    committer.welcome(vec![given]).await;
    let (mut readers, stop_reader, reader_running) = start(vec![Role::Ingest]);
    let (mut reader, _) = readers.welcomed().await;
    reader
        .say(Heard::Assign(v1::Assign {
            pipeline: json.clone(),
            ticket: signed(&key, &pipeline),
            flight_endpoint: hello.flight_endpoint,
            ..assign(1, 7)
        }))
        .await;
    let Some(Message::Seal(seal)) = reader.hear_news().await else { panic!("not a seal") };
    reader.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;

    let sealed = v1::SealedTask {
        task: seal.task,
        pipeline: "flights".to_owned(),
        window: assign(1, 7).window,
        revision: 0,
        token: seal.token,
        manifest: seal.manifest,
        shard: 0,
        compaction: false,
        comparison: false,
        guard: None,
        declared: None,
    };
    let asked = v1::Prepare {
        request: 1,
        sink: sink.clone(),
        pipeline: json.clone(),
        seq: 1,
        tasks: vec![sealed],
        ..v1::Prepare::default()
    };
    committer.say(Heard::Prepare(asked)).await;
    let Some(Message::Prepared(prepared)) = committer.hear_news().await else { panic!("not a draft") };
    let Some(prepared::Outcome::Draft(draft)) = prepared.outcome else { panic!("{prepared:?}") };
    let v1::IntentDraft { path, digest, .. } = draft;
    let asked = v1::Commit { request: 2, sink, pipeline: json, seq: 1, path, digest, ..v1::Commit::default() };
    // A repeat changes nothing.
    for _ in 0..2 {
        committer.say(Heard::Commit(asked.clone())).await;
        let Some(Message::Settled(settled)) = committer.hear_news().await else { panic!("not settled") };
        assert_eq!(settled.settlement(), Settlement::Committed, "{settled:?}");
    }
    let published: Vec<String> = std::fs::read_dir(lake.path().join("t"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(published.len(), 1);
    assert!(published[0].contains("\"n\":3"), "{published:?}");

    stop_reader.begin();
    stop_sink.begin();
    assert!(matches!(reader.hear_news().await, Some(Message::Goodbye(_))));
    assert!(matches!(committer.hear_news().await, Some(Message::Goodbye(_))));
    std::mem::drop((reader, committer));
    reader_running.await.unwrap().unwrap();
    sink_running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_before_anything_runs() {
    let dialer = || Dialer::tcp(Vec::new(), None);
    let with_flight =
        |roles| WorkerConfig { flight: config(vec![Role::Sink], dialer()).flight, ..config(roles, dialer()) };
    for (wrong, what) in [
        (config(Vec::new(), dialer()), "no role"),
        (WorkerConfig { slots: 0, ..config(vec![Role::Ingest], dialer()) }, "no slots"),
        (WorkerConfig { slots: 101, ..config(vec![Role::Ingest], dialer()) }, "too many slots"),
        (WorkerConfig { max_puts: 0, ..config(vec![Role::Sink], dialer()) }, "no puts"),
        (with_flight(vec![Role::Ingest]), "flight without sink"),
    ] {
        let clock = Arc::new(SystemClock::new());
        let error = run(wrong, clock, Shutdown::new()).await.unwrap_err();
        assert_eq!(error.code(), error::USAGE, "{what}");
    }
}

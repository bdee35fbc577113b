//! A worker that holds a claim, falls silent past its lease and speaks again, played by the test to the letter of the
//! protocol: what a stopped process does only if it wakes at the worst moment, this one always does.

use std::{fs, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use windrow_proto::v1::{
    self, SessionRequest, SessionResponse, session_request::Message as Say, session_response::Message as Heard,
    session_service_client::SessionServiceClient,
};
use windrow_tests::{cluster::Cluster, skip::skip};

use crate::{
    cluster::TURN,
    visits::{ROWS, Visits, WINDOWS, rows_of, told},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a session.
pub(crate) struct Session {
    say: mpsc::Sender<SessionRequest>,
    heard: Streaming<SessionResponse>,
}

impl Session {
    /// Begins a session with whichever coordinator leads.
    pub(crate) async fn open(cluster: &Cluster, held: Vec<v1::HeldClaim>) -> Self {
        let hello = v1::Hello {
            worker: "zombie-00000001".to_owned(),
            protocol: windrow_proto::version::NEWEST,
            oldest_protocol: windrow_proto::version::OLDEST,
            version: "0.1.0".to_owned(),
            roles: vec![v1::Role::Ingest.into()],
            slots: 1,
            flight_endpoint: String::new(),
            held,
        };
        let welcomed = async {
            loop {
                for coordinator in &cluster.coordinators {
                    if let Some(session) = Self::welcomed(&coordinator.address, hello.clone()).await {
                        return session;
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, welcomed).await.unwrap()
    }

    async fn welcomed(address: &str, hello: v1::Hello) -> Option<Self> {
        let mut client = SessionServiceClient::connect(format!("http://{address}")).await.ok()?;
        let (say, said) = mpsc::channel(16);
        say.send(SessionRequest { message: Some(Say::Hello(hello)) }).await.ok()?;
        let heard = client.session(ReceiverStream::new(said)).await.ok()?.into_inner();
        let mut session = Self { say, heard };
        matches!(session.hear().await?, Heard::Welcome(_)).then_some(session)
    }

    async fn hear(&mut self) -> Option<Heard> {
        let next = tokio::time::timeout(PATIENCE, self.heard.message());
        next.await.unwrap().ok().flatten().and_then(|response| response.message)
    }

    /// The next message that `pick` wants; others are left unanswered.
    async fn await_one<T>(&mut self, pick: impl Fn(Heard) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.hear().await.unwrap()) {
                return found;
            }
        }
    }

    /// The first claim; the worker is heard of until then, and never again.
    pub(crate) async fn assigned(&mut self) -> v1::Assign {
        for number in 1..=60 {
            let beat = v1::Heartbeat { number, free_slots: 1, ..v1::Heartbeat::default() };
            self.say(Say::Heartbeat(beat)).await;
            let assign = self.await_one(|heard| match heard {
                Heard::Assign(assign) => Some(assign),
                _ => None,
            });
            if let Ok(assign) = tokio::time::timeout(Duration::from_secs(1), assign).await {
                return assign;
            }
        }
        panic!("no claim within a minute");
    }

    pub(crate) async fn say(&self, message: Say) {
        self.say.send(SessionRequest { message: Some(message) }).await.unwrap();
    }
}

/// A seal of something that was never staged; it would poison the table if it counted.
fn seal(claim: &v1::HeldClaim, request: u64) -> Say {
    let counts = v1::Counts { rows_read: 99, rows_written: 99, bytes_written: 99, files: 1, ..v1::Counts::default() };
    let manifest = v1::ManifestRef {
        path: "_windrow/manifests/none.json".to_owned(),
        sha256: vec![7; 32],
        counts: Some(counts),
        proof: Vec::new(),
        window_proofs: Vec::new(),
    };
    let (task, manifest) = (claim.task.clone(), Some(manifest));
    Say::Seal(v1::Seal { request, task, token: claim.token, manifest, trace: String::new() })
}

/// Proves CL1, CL3, CL4, CL6. The claim passes on when its lease is over; the old holder is told so when it is back, and
/// what it seals is refused and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seal_of_a_worker_that_was_silent_past_its_lease_is_refused_and_counted() {
    let test = "the_seal_of_a_worker_that_was_silent_past_its_lease_is_refused_and_counted";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    let mut first = Session::open(&cluster, Vec::new()).await;
    // It reads and has no sink of its own, so nothing is claimed before there is one.
    cluster.add_worker("w1").unwrap();
    let assign = first.assigned().await;
    let claim = v1::HeldClaim { task: assign.task.clone(), token: assign.token };
    let published = async {
        while told(&cluster).is_none_or(|(published, _)| published < WINDOWS) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, published).await.is_ok(), "{}", cluster.logs());
    assert!(cluster.metric("windrow_lease_expired") >= 1, "{}", cluster.logs());
    assert_eq!(cluster.metric("windrow_fenced_writes"), 0);

    let mut back = Session::open(&cluster, vec![claim.clone()]).await;
    let revoked = back
        .await_one(|heard| match heard {
            Heard::Revoke(revoke) => Some(revoke),
            _ => None,
        })
        .await;
    assert_eq!((&revoked.task, revoked.token), (&claim.task, claim.token));
    back.say(seal(&claim, 1)).await;
    let reply = back
        .await_one(|heard| match heard {
            Heard::Seal(reply) => Some(reply),
            _ => None,
        })
        .await;
    assert!(!reply.accepted);
    assert_eq!(cluster.metric("windrow_fenced_writes"), 1);
    assert_eq!(told(&cluster), Some((WINDOWS, ROWS)));
    assert_eq!(rows_of(&visits.table()), ROWS);
}

/// Proves CL6. A worker fails, is given the task again, and loses its session before it hears of either: it comes back with
/// the claim it knows and reports once more. The newer claim, which nobody holds, is taken back all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_on_an_older_claim_leaves_no_newer_one_with_nobody() {
    let test = "a_report_on_an_older_claim_leaves_no_newer_one_with_nobody";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(1, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    let visits = Visits::new();
    let file = visits.path().join("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("per_task: 1", "per_task: 24").replace("attempts: 2", "attempts: 9")).unwrap();
    cluster.apply(visits.arg()).unwrap();
    let mut first = Session::open(&cluster, Vec::new()).await;
    cluster.add_worker_with("s1", &["--role", "sink"]).unwrap();
    let older = first.assigned().await;
    let claim = v1::HeldClaim { task: older.task.clone(), token: older.token };
    first.say(fail(&claim)).await;
    let newer = first.assigned().await;
    assert_eq!(newer.task, older.task);
    assert_ne!(newer.token, older.token);
    drop(first);

    let mut back = Session::open(&cluster, vec![claim.clone()]).await;
    back.say(fail(&claim)).await;
    let again = back.assigned().await;
    assert_eq!(again.task, older.task);
    assert!(again.token != newer.token && again.token != older.token);
}

fn fail(claim: &v1::HeldClaim) -> Say {
    let failure = v1::Failure {
        code: "WR-S001".to_owned(),
        message: "it is not there".to_owned(),
        retry: v1::RetryAdvice::Later.into(),
        ..v1::Failure::default()
    };
    let (task, failure) = (claim.task.clone(), Some(failure));
    Say::Fail(v1::Fail { request: 1, task, token: claim.token, failure, not_ready: false, trace: String::new() })
}

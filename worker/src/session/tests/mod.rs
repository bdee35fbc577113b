//! The session against a scripted coordinator, with time standing still unless somebody waits for it.
#![allow(clippy::unwrap_used)]

use windrow_common::{
    clock::SystemClock,
    manifest::{Counts, Digest, ManifestRef},
};

use super::*;

pub(crate) mod fake;

use fake::{Fake, Peer, assign, task, token};

struct Worker {
    fake: Fake,
    orders: mpsc::Receiver<Order>,
    reports: Reports,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

fn start() -> Worker {
    let (fake, dialer) = Fake::start();
    start_with(fake, dialer)
}

fn start_with(fake: Fake, dialer: Dialer) -> Worker {
    let identity = Identity { id: "w1".parse().unwrap(), roles: vec![Role::Ingest], slots: 2, flight_endpoint: None };
    let (session, ends) = open(identity, dialer, Arc::new(SystemClock::new()));
    let stop = CancellationToken::new();
    let running = tokio::spawn(session.run(stop.clone(), Duration::from_secs(10)));
    Worker { fake, orders: ends.orders, reports: ends.reports, stop, running }
}

impl Worker {
    async fn attempt(&mut self) -> (Assignment, ClaimGuard) {
        match self.orders.recv().await.unwrap() {
            Order::Attempt(assignment, guard) => (*assignment, guard),
            _ => panic!("the order is no attempt"),
        }
    }

    /// Seals in the background.
    fn seal(&self, guard: ClaimGuard) -> tokio::task::JoinHandle<Answer> {
        let reports = self.reports.clone();
        tokio::spawn(async move { reports.seal(guard.task(), guard.token(), manifest()).await })
    }
}

fn manifest() -> ManifestRef {
    ManifestRef {
        path: "_windrow/manifests/x.json".to_owned(),
        sha256: Digest([1; 32]),
        counts: Counts::default(),
        proof: None,
    }
}

async fn hear_seal(peer: &mut Peer) -> v1::Seal {
    match peer.hear_news().await.unwrap() {
        Message::Seal(seal) => seal,
        other => panic!("not a seal: {other:?}"),
    }
}

fn failure() -> Failure {
    Failure {
        code: error::SOURCE_MISSING.code.to_owned(),
        message: "nothing there".to_owned(),
        retry: Retry::Later,
        at: jiff::Timestamp::UNIX_EPOCH,
        took: Duration::ZERO,
        worker: None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_assigned_task_is_held_until_its_seal_is_accepted() {
    let mut worker = start();
    let (mut peer, hello) = worker.fake.welcomed().await;
    assert_eq!((hello.worker.as_str(), hello.slots, hello.held.len()), ("w1", 2, 0));
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (assignment, guard) = worker.attempt().await;
    assert_eq!((assignment.task, assignment.token), (task(1), token(7)));
    guard.progress().add_read(5);
    // The first heartbeat may have been on its way before the assignment.
    let early = peer.hear_heartbeat().await;
    peer.answer(&early).await;
    let beat = peer.hear_heartbeat().await;
    peer.answer(&beat).await;
    assert_eq!((beat.free_slots, beat.held.len(), beat.progress[0].rows_read), (1, 1, 5));
    let sealing = worker.seal(guard);
    let seal = hear_seal(&mut peer).await;
    peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;
    assert_eq!(sealing.await.unwrap(), Answer::Accepted);
    assert_eq!(peer.hear_heartbeat().await.held.len(), 0);
}

/// Proves CL5.
#[tokio::test(start_paused = true)]
async fn a_seal_whose_answer_was_lost_is_sent_again_on_the_next_stream() {
    let mut worker = start();
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    let sealing = worker.seal(guard);
    let first = hear_seal(&mut peer).await;
    drop(peer);
    let (mut peer, hello) = worker.fake.welcomed().await;
    assert_eq!(hello.held[0].task, task(1).as_bytes());
    let again = hear_seal(&mut peer).await;
    assert_eq!(again, first);
    peer.say(Heard::Seal(v1::SealReply { request: again.request, accepted: true })).await;
    assert_eq!(sealing.await.unwrap(), Answer::Accepted);
}

/// Proves CL5.
#[tokio::test(start_paused = true)]
async fn a_running_attempt_outlives_a_lost_coordinator_and_seals_with_the_next() {
    let mut worker = start();
    let (peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    drop(peer);
    let (mut peer, _) = worker.fake.welcomed().await;
    tokio::select! {
        ended = guard.ended() => panic!("the claim ended: {ended:?}"),
        news = peer.hear_news() => panic!("nothing was to be said: {news:?}"),
        () = tokio::time::sleep(Duration::from_secs(300)) => {}
    }
    let sealing = worker.seal(guard);
    let seal = hear_seal(&mut peer).await;
    peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: false })).await;
    assert_eq!(sealing.await.unwrap(), Answer::Refused);
}

/// Proves CL3. The worker lets go ten seconds before the coordinator may give its work away.
#[tokio::test(start_paused = true)]
async fn without_answers_to_its_heartbeats_an_attempt_ends_in_time() {
    let mut worker = start();
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    let answered = peer.hear_heartbeat().await;
    let sent = tokio::time::Instant::now();
    peer.answer(&answered).await;
    let silent = tokio::spawn(async move { while peer.hear().await.is_some() {} });
    assert_eq!(guard.ended().await, Ended::Lapsed);
    let after = sent.elapsed();
    assert!(after <= Duration::from_secs(20) && after > Duration::from_secs(19), "after {after:?}");
    silent.abort();
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_and_another_opened_before_the_claims_lapse() {
    let mut worker = start();
    let (peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    let (mut next, _) = worker.fake.welcomed().await;
    tokio::spawn(async move { while next.hear_news().await.is_some() {} });
    assert!(tokio::time::timeout(Duration::from_secs(60), guard.ended()).await.is_err());
    drop(peer);
}

/// Proves CL7. What was staged in time counts, however late it can be told.
#[tokio::test(start_paused = true)]
async fn a_seal_waits_out_an_outage_longer_than_the_lease() {
    let mut worker = start();
    let (peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    drop(peer);
    let (silent, _) = worker.fake.next().await;
    let sealing = worker.seal(guard);
    tokio::time::sleep(Duration::from_secs(600)).await;
    drop(silent);
    let mut seal = None;
    while seal.is_none() {
        // Streams that opened and timed out during the outage come first.
        let (mut peer, _) = worker.fake.welcomed().await;
        if let Some(Message::Seal(found)) = peer.hear_news().await {
            peer.say(Heard::Seal(v1::SealReply { request: found.request, accepted: true })).await;
            seal = Some((found, peer));
        }
    }
    assert_eq!(sealing.await.unwrap(), Answer::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_seal_nobody_answers_is_given_up_after_the_grace() {
    let (_fake, dialer) = Fake::start();
    let worker = start_with(_fake, dialer);
    let reports = worker.reports.clone();
    let begun = tokio::time::Instant::now();
    assert_eq!(reports.seal(task(1), token(1), manifest()).await, Answer::Unanswered);
    assert!(begun.elapsed() >= OUTAGE_GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_claim_ends_at_once_and_leaves_the_heartbeat() {
    let mut worker = start();
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    let revoke = v1::Revoke { task: task(1).as_bytes().to_vec(), token: Some(token(7).into()), reason: String::new() };
    peer.say(Heard::Revoke(revoke)).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(guard.ended().await, Ended::Revoked);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let early = peer.hear_heartbeat().await;
    peer.answer(&early).await;
    assert_eq!(peer.hear_heartbeat().await.held.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_tells_whether_the_source_is_merely_not_ready() {
    for not_ready in [false, true] {
        let mut worker = start();
        let (mut peer, _) = worker.fake.welcomed().await;
        let reports = worker.reports.clone();
        let failing = tokio::spawn(async move { reports.fail(task(1), token(1), failure(), not_ready).await });
        let Some(Message::Fail(fail)) = peer.hear_news().await else { panic!("not a failure") };
        assert_eq!((fail.not_ready, fail.failure.unwrap().code.as_str()), (not_ready, "WR-S001"));
        peer.say(Heard::Fail(v1::FailReply { request: fail.request, accepted: true })).await;
        assert_eq!(failing.await.unwrap(), Answer::Accepted);
    }
}

#[tokio::test(start_paused = true)]
async fn an_assignment_that_makes_no_sense_fails_without_an_attempt() {
    let mut worker = start();
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(v1::Assign { window: None, ..assign(1, 7) })).await;
    let Some(Message::Fail(fail)) = peer.hear_news().await else { panic!("not a failure") };
    assert_eq!(fail.failure.unwrap().code, error::VERSION_SKEW.code);
    assert!(worker.orders.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_crosses_to_another_stream_than_its_question_came_by() {
    let mut worker = start();
    let (peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Commit(v1::Commit { request: 5, ..v1::Commit::default() })).await;
    let Some(Order::Commit(_, old)) = worker.orders.recv().await else { panic!("not a commit") };
    drop(peer);
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Prepare(v1::Prepare { request: 5, ..v1::Prepare::default() })).await;
    let Some(Order::Prepare(_, new)) = worker.orders.recv().await else { panic!("not a question") };
    old.settled(v1::Settled { request: 5, ..v1::Settled::default() }).await;
    new.prepared(v1::Prepared { request: 5, ..v1::Prepared::default() }).await;
    assert!(matches!(peer.hear_news().await, Some(Message::Prepared(_))));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_does_not_lead_is_left_for_the_one_it_names() {
    let mut worker = start();
    let (peer, _) = worker.fake.next().await;
    peer.say(Heard::NotLeader(v1::NotLeader { leader: "http://leader:1".to_owned() })).await;
    let (mut peer, _) = worker.fake.welcomed().await;
    assert!(peer.hear_heartbeat().await.number > 0);
    // In the middle of a session, too.
    peer.say(Heard::NotLeader(v1::NotLeader::default())).await;
    worker.fake.welcomed().await;
}

#[tokio::test(start_paused = true)]
async fn the_named_leader_is_dialled_by_its_address() {
    let dialled = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut dialer = Dialer::recording(vec!["a".to_owned(), "b".to_owned()], dialled.clone());
    for leader in [None, Some("c".to_owned()), None] {
        assert!(dialer.dial(leader).await.is_err());
    }
    assert_eq!(*dialled.lock().unwrap(), ["a", "c", "b"]);
}

/// Proves CL6.
#[tokio::test(start_paused = true)]
async fn a_stopping_worker_finishes_what_runs_takes_nothing_new_and_says_goodbye() {
    let mut worker = start();
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    worker.stop.cancel();
    let told = async { while !peer.hear_heartbeat().await.draining {} };
    assert!(tokio::time::timeout(Duration::from_secs(1), told).await.is_ok(), "it says at once that it stops");
    peer.say(Heard::Assign(assign(2, 8))).await;
    let sealing = worker.seal(guard);
    let seal = hear_seal(&mut peer).await;
    peer.say(Heard::Seal(v1::SealReply { request: seal.request, accepted: true })).await;
    assert_eq!(sealing.await.unwrap(), Answer::Accepted);
    assert!(matches!(peer.hear_news().await, Some(Message::Goodbye(_))));
    drop(peer);
    worker.running.await.unwrap();
    assert!(worker.orders.recv().await.is_none(), "a task was taken while stopping");
}

/// Proves CL6.
#[tokio::test(start_paused = true)]
async fn what_does_not_finish_in_time_is_handed_back() {
    let mut worker = start();
    let (mut peer, _) = worker.fake.welcomed().await;
    peer.say(Heard::Assign(assign(1, 7))).await;
    let (_, guard) = worker.attempt().await;
    let begun = tokio::time::Instant::now();
    worker.stop.cancel();
    assert!(matches!(peer.hear_news().await, Some(Message::Goodbye(_))));
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert_eq!(guard.ended().await, Ended::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_coordinator_stops_as_well() {
    let (_, dialer) = Fake::start();
    let worker = start_with(Fake::start().0, dialer);
    tokio::time::sleep(Duration::from_secs(30)).await;
    worker.stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), worker.running).await.unwrap().unwrap();
}

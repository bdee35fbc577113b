//! Whose fault failures are: which count, how long tasks pause, and when they are given up.

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    error::{self, ErrorCode},
    id::{TaskId, WorkerId},
    task::{Failure, Outage, Retry, TaskPhase, TaskState},
};

use super::bench::{Bench, edit, failure_with, fleet, hourly};
use crate::core::{
    blame::{self, Blame},
    commit::{self, SinkRun, Todo},
    table::Record,
    workers::{Role, Workers},
};

/// One pending task whose pipeline allows two attempts with hardly a pause, and three hours of outage.
fn impatient(per_task: u32) -> (Bench, TaskId) {
    let mut pipeline = edit(hourly("flights", "lake"), |window| window.per_task = per_task);
    pipeline.retries = serde_json::from_str(
        r#"{"attempts": 2, "lost_leases": 2, "backoff": "10ms", "max_backoff": "10ms", "outage": "3h"}"#,
    )
    .unwrap();
    let mut bench = Bench::new(per_task.into(), [pipeline]);
    bench.plan();
    let id = bench.tasks("flights", TaskPhase::Pending)[0].id;
    (bench, id)
}

fn pause(bench: &Bench, id: &TaskId) -> Duration {
    match &bench.task(id).state {
        TaskState::Pending { not_before, .. } => Duration::try_from(not_before.duration_since(bench.wall)).unwrap(),
        other => panic!("expected a pending task, found {other:?}"),
    }
}

fn fail(bench: &mut Bench, id: &TaskId, code: ErrorCode) {
    fail_after(bench, id, code, Duration::ZERO);
}

fn fail_after(bench: &mut Bench, id: &TaskId, code: ErrorCode, took: Duration) {
    let claim = bench.claim(id);
    let failure = Failure { took, ..failure_with(code, Retry::Later, bench.wall) };
    bench.fail_with(&claim, failure).unwrap();
}

#[test]
fn what_could_not_be_reached_is_nobodys_error_and_what_cannot_be_mended_always_the_tasks() {
    let table = [
        (error::FLIGHT_BROKEN, Blame::Hop),
        (error::TICKET_REFUSED, Blame::Hop),
        (error::SOURCE_UNREADABLE, Blame::Place),
        (error::SINK_UNREACHABLE, Blame::Place),
        (error::SINK_FULL, Blame::Place),
        (error::SOURCE_MISSING, Blame::Task),
        (error::SOURCE_CORRUPT, Blame::Task),
        (error::SOURCE_CHANGED, Blame::Task),
        (error::TOO_MANY_REJECTED, Blame::Task),
        (error::SINK_FORBIDDEN, Blame::Task),
        (error::OUT_OF_MEMORY, Blame::Task),
        (error::DEADLINE, Blame::Task),
        (error::INTERNAL, Blame::Task),
    ];
    for (code, expected) in table {
        let at = Timestamp::UNIX_EPOCH;
        assert_eq!(blame::of(&failure_with(code, Retry::Later, at)), expected, "{code}");
        assert_eq!(blame::of(&failure_with(code, Retry::Never, at)), Blame::Task, "{code}, for good");
    }
}

#[test]
fn broken_hops_use_up_no_attempt_and_pauses_between_them_grow() {
    let (mut bench, id) = impatient(1);
    // Jitter 0.5: three quarters of a pause pass; it doubles from half a second up to half a minute.
    for (broken, expected) in [375, 750, 1_500, 3_000, 6_000, 12_000, 22_500, 22_500].into_iter().enumerate() {
        fail(&mut bench, &id, error::FLIGHT_BROKEN);
        assert_eq!(pause(&bench, &id), Duration::from_millis(expected), "after {broken}");
    }
    let task = bench.task(&id);
    assert_eq!((task.errors, task.outage.broken_hops, task.outage.attempts), (0, 8, 8));
    let claim = bench.claim(&id);
    bench.seal(&claim).unwrap();
    assert_eq!(bench.task(&id).outage, Outage::default(), "it got through");
}

#[test]
fn even_with_the_worst_luck_nothing_that_is_down_is_tried_in_a_hot_loop() {
    let (bench, id) = impatient(1);
    let retries = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().spec().retries.clone();
    for (code, least) in [(error::SINK_UNREACHABLE, 250), (error::TOO_MANY_REJECTED, 0)] {
        let mut task = bench.task(&id).clone();
        let now = crate::core::lifecycle::Now { wall: bench.wall, jitter: 0.0 };
        let pause = blame::count(&mut task, &retries, &failure_with(code, Retry::Later, bench.wall), now);
        assert_eq!(pause, Some(Duration::from_millis(least)), "{code}");
    }
}

#[test]
fn a_task_that_breaks_the_hop_every_time_ends_and_a_run_is_halved() {
    for (per_task, quarantined, pending) in [(1, 1, 0), (2, 0, 2)] {
        let (mut bench, id) = impatient(per_task);
        for _ in 1..Outage::MAX_BROKEN_HOPS {
            fail(&mut bench, &id, error::FLIGHT_BROKEN);
            assert_eq!(bench.task(&id).state.phase(), TaskPhase::Pending);
        }
        fail(&mut bench, &id, error::FLIGHT_BROKEN);
        let count = |phase| bench.tasks("flights", phase).len();
        assert_eq!((count(TaskPhase::Quarantined), count(TaskPhase::Pending)), (quarantined, pending));
        let halves = bench.tasks("flights", TaskPhase::Pending);
        assert!(halves.iter().all(|half| half.outage == Outage::default()), "each half starts anew");
    }
}

#[test]
fn a_task_outlives_an_outage_of_its_source_or_sink_as_long_as_its_pipeline_allows() {
    for code in [error::SOURCE_UNREADABLE, error::SINK_UNREACHABLE, error::SINK_FULL] {
        let (mut bench, id) = impatient(2);
        let (mut tries, mut waited) = (0, Duration::ZERO);
        loop {
            // Forty seconds until it gives up, and then the pause: half a minute less a quarter, shorter at first.
            fail_after(&mut bench, &id, code, Duration::from_secs(40));
            tries += 1;
            waited += Duration::from_secs(40);
            if bench.task(&id).state.phase() != TaskPhase::Pending {
                break;
            }
            waited += pause(&bench, &id);
            bench.pass(70);
        }
        let (allowed, cycle) = (Duration::from_secs(3 * 3_600), Duration::from_millis(62_500));
        assert!((allowed..allowed + cycle).contains(&waited), "given up after {waited:?}");
        assert_eq!(tries, 175);
        let task = bench.task(&id);
        assert_eq!((task.state.phase(), task.errors), (TaskPhase::Quarantined, 0), "the run is not taken to pieces");
    }
}

#[test]
fn a_wall_clock_that_jumps_makes_no_outage_longer_or_shorter() {
    let (mut bench, id) = impatient(1);
    for days in [1, -2, 7, -6] {
        fail_after(&mut bench, &id, error::SINK_UNREACHABLE, Duration::from_secs(1));
        assert_eq!(bench.task(&id).state.phase(), TaskPhase::Pending);
        bench.pass(days * 86_400);
    }
    fail_after(&mut bench, &id, error::SINK_UNREACHABLE, Duration::from_secs(3 * 3_600));
    assert_eq!(bench.task(&id).state.phase(), TaskPhase::Quarantined, "three hours have gone by, whatever the date");
}

#[test]
fn an_outage_is_over_when_an_attempt_gets_as_far_as_an_error_of_its_own() {
    let (mut bench, id) = impatient(1);
    fail(&mut bench, &id, error::SINK_UNREACHABLE);
    bench.pass(10_000);
    fail(&mut bench, &id, error::SOURCE_CHANGED);
    assert_eq!((bench.task(&id).errors, bench.task(&id).outage), (1, Outage::default()));
    bench.pass(10_000);
    fail(&mut bench, &id, error::SINK_UNREACHABLE);
    assert_eq!(bench.task(&id).state.phase(), TaskPhase::Pending, "the clock runs anew");
    fail(&mut bench, &id, error::SOURCE_CHANGED);
    assert_eq!(bench.task(&id).state.phase(), TaskPhase::Quarantined, "its own errors still count");
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the leader would do for the sink of `flights`, committed to by w0, at a time.
fn committer(bench: &Bench, workers: &Workers, at: u64) -> Option<String> {
    let sink = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().sink.clone();
    match commit::next(&bench.table, workers, &sink, &SinkRun::default(), bench.when(at)) {
        Some(Todo::Take(change)) => match &change.put[..] {
            [Record::Committer(_, worker)] => Some(worker.to_string()),
            other => panic!("expected a committer, found {other:?}"),
        },
        _ => None,
    }
}

#[test]
fn a_committer_its_peers_cannot_reach_gives_way_to_one_they_can() {
    let (mut bench, _) = impatient(1);
    bench.name_committers();
    let (w0, w1) = ("w0".parse().unwrap(), "w1".parse().unwrap());
    let mut workers = fleet(&[1, 1]);
    workers.hop_broke(&w0, seconds(10));
    assert_eq!(committer(&bench, &workers, 10), None, "once may be a coincidence");
    workers.hop_held(&w0);
    workers.hop_broke(&w0, seconds(11));
    assert_eq!(committer(&bench, &workers, 11), None, "somebody got through in between");
    workers.hop_broke(&w0, seconds(12));
    assert_eq!(committer(&bench, &workers, 12).as_deref(), Some("w1"));
    assert_eq!(committer(&bench, &workers, 73), None, "after a minute without complaints it may be tried again");
    workers.hop_broke(&w0, seconds(80));
    assert_eq!(committer(&bench, &workers, 80), None, "old complaints are forgiven");

    workers.hop_broke(&w0, seconds(81));
    for _ in 0..2 {
        workers.hop_broke(&w1, seconds(81));
    }
    assert_eq!(committer(&bench, &workers, 82), None, "nobody is better");
    workers.connect(super::bench::worker("w2", &[Role::Ingest], 1), seconds(82));
    assert_eq!(committer(&bench, &workers, 82), None, "nor can everybody commit");
    workers.connect(super::bench::worker("w3", &[Role::Sink], 1), seconds(82));
    assert_eq!(committer(&bench, &workers, 82).as_deref(), Some("w3"));
}

#[test]
fn a_sink_that_needs_a_committer_gets_one_that_can_be_reached_if_there_is_one() {
    let (bench, _) = impatient(1);
    let mut workers = fleet(&[1, 1]);
    for _ in 0..2 {
        workers.hop_broke(&"w0".parse().unwrap(), seconds(1));
    }
    assert_eq!(committer(&bench, &workers, 1).as_deref(), Some("w1"));
    workers.disconnect(&"w1".parse().unwrap());
    assert_eq!(committer(&bench, &workers, 1).as_deref(), Some("w0"), "rather that than none");
}

#[test]
fn the_way_of_a_claim_is_known_as_long_as_the_claim() {
    let mut workers = fleet(&[1, 1]);
    let [w0, w1] = ["w0", "w1"].map(|id| id.parse::<WorkerId>().unwrap());
    let [a, b] = [1, 2].map(|byte| TaskId::from_bytes([byte; 16]));
    for task in [a, b] {
        workers.hold(&w0, task, Duration::ZERO);
        workers.send_by(task, w1.clone());
    }
    assert_eq!(workers.way_of(&a).as_ref(), Some(&w1));
    workers.release(&w0, &a);
    assert_eq!(workers.way_of(&a), None);
    workers.remove(&w0);
    assert_eq!(workers.way_of(&b), None);
}

//! The life of a task, step by step, and who may make which.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use windrow_common::{
    claim::Token,
    id::TaskId,
    task::{Retry, Seams, Task, TaskPhase, TaskState},
};

use super::bench::{Bench, EPOCH, edit, failure, hour, hourly, hours, manifest};
use crate::core::{
    apply,
    lifecycle::{self, HeldClaim, Now, Refused, Seal},
    plan::MAX_OPEN,
    table::Key,
};

/// A bench with one planned run of so many windows.
fn with_run(windows: u32) -> (Bench, TaskId) {
    let pipeline = edit(hourly("flights", "lake"), |window| window.per_task = windows);
    let mut bench = Bench::new(windows.into(), [pipeline]);
    bench.plan();
    let id = bench.tasks("flights", TaskPhase::Pending)[0].id;
    (bench, id)
}

fn not_before(task: &Task) -> Timestamp {
    match &task.state {
        TaskState::Pending { not_before, .. } => *not_before,
        other => panic!("expected a pending task, found {other:?}"),
    }
}

fn quarantined(bench: &Bench) -> Vec<i64> {
    let tasks = bench.tasks("flights", TaskPhase::Quarantined);
    assert!(tasks.iter().all(|task| task.windows() == 1));
    tasks.iter().map(|task| (task.window.start() - hour(0)) / (hour(1) - hour(0))).collect()
}

/// Proves CL1.
#[test]
fn a_claimed_task_cannot_be_claimed_by_another_worker() {
    let (mut bench, id) = with_run(1);
    let worker = "w1".parse().unwrap();
    let late = lifecycle::claim(&bench.table, &id, &worker, bench.now()).unwrap();
    bench.claim(&id);
    let refused = lifecycle::claim(&bench.table, &id, &worker, bench.now());
    assert_eq!(refused, Err(Refused::WrongPhase { task: id, phase: TaskPhase::Claimed }));
    assert!(!bench.takes(&late), "nor by a change decided before");
    assert_eq!(bench.task(&id).attempts, 1);
}

/// Proves CL1, CL4.
#[test]
fn every_claim_has_a_greater_token_than_the_one_before() {
    let (mut bench, id) = with_run(1);
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(bench.claim(&id).token);
        bench.apply(&lifecycle::hand_back(&bench.table, &id, bench.now()).unwrap());
    }
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{tokens:?}");
}

/// Proves CL3, CL4.
#[test]
fn a_zombie_can_neither_seal_nor_fail_nor_wait_for_a_task_that_was_claimed_again() {
    let (mut bench, id) = with_run(1);
    let zombie = bench.claim(&id);
    bench.apply(&lifecycle::reap(&bench.table, &id, bench.now()).unwrap());
    let fenced = Err(Refused::Fenced(id));
    assert_eq!(bench.seal(&zombie), fenced, "while nobody holds it");
    let current = bench.claim(&id);
    assert_eq!(bench.seal(&zombie), fenced);
    assert_eq!(bench.fail(&zombie, Retry::Never), fenced);
    let waiting = lifecycle::not_ready(&bench.table, EPOCH, &zombie, String::new(), bench.now());
    assert_eq!(waiting, Err(Refused::Fenced(id)));
    bench.seal(&current).unwrap();
    assert_eq!(bench.seal(&zombie), fenced, "after the other one sealed");
}

#[test]
fn a_token_of_an_earlier_epoch_seals_nothing_even_at_the_same_revision() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    let manifest = manifest(bench.task(&id), claim.token);
    let restored = lifecycle::seal(&bench.table, EPOCH + 1, &claim, manifest, bench.now());
    assert_eq!(restored, Err(Refused::Fenced(id)));
}

#[test]
fn a_seal_whose_answer_was_lost_is_answered_again() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    bench.seal(&claim).unwrap();
    let before = bench.store.records.clone();
    let manifest = manifest(bench.task(&id), claim.token);
    assert_eq!(lifecycle::seal(&bench.table, EPOCH, &claim, manifest, bench.now()), Ok(Seal::AlreadySealed));
    assert_eq!(bench.store.records, before);
}

/// Proves CL7.
#[test]
fn a_slow_worker_whose_claim_still_stands_may_seal() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    bench.pass(86_400);
    bench.seal(&claim).unwrap();
    assert_eq!(bench.task(&id).state.phase(), TaskPhase::Sealed);
}

/// Proves IL10.
#[test]
fn a_task_whose_source_is_not_ready_waits_and_no_attempt_is_counted() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    let change = lifecycle::not_ready(&bench.table, EPOCH, &claim, "no _SUCCESS".to_owned(), bench.now()).unwrap();
    bench.apply(&change);
    let task = bench.task(&id);
    let until = bench.wall.checked_add(Duration::from_secs(30)).unwrap();
    assert_eq!(task.state, TaskState::Waiting { until, reason: "no _SUCCESS".to_owned() });
    assert_eq!((task.attempts, task.errors, task.lost_leases), (0, 0, 0));
    bench.claim(&id);
}

/// Proves CL6.
#[test]
fn a_claim_handed_back_costs_nothing_and_may_be_taken_at_once() {
    let (mut bench, id) = with_run(1);
    bench.claim(&id);
    bench.apply(&lifecycle::hand_back(&bench.table, &id, bench.now()).unwrap());
    let task = bench.task(&id);
    assert_eq!((task.errors, task.lost_leases, not_before(task)), (0, 0, bench.wall));
    let twice = lifecycle::hand_back(&bench.table, &id, bench.now());
    assert_eq!(twice, Err(Refused::WrongPhase { task: id, phase: TaskPhase::Pending }));
}

#[test]
fn a_window_that_kills_its_workers_is_quarantined_after_so_many_lost_leases() {
    let (mut bench, id) = with_run(1);
    for lost in 1..=2 {
        bench.claim(&id);
        bench.apply(&lifecycle::reap(&bench.table, &id, bench.now()).unwrap());
        assert_eq!(bench.task(&id).lost_leases, lost);
    }
    let TaskState::Quarantined { failure } = &bench.task(&id).state else { panic!("it is quarantined") };
    assert_eq!((failure.code.as_str(), &failure.worker), ("WR-N002", &Some("w0".parse().unwrap())));
}

#[test]
fn pauses_between_attempts_double_up_to_a_limit_and_are_spread_from_nothing_to_all_of_it() {
    // Three attempts: pauses after the first two errors, out of 1 s doubling up to 10 s.
    for (jitter, expected) in [(0.0, [0.0, 0.0]), (0.5, [0.5, 1.0]), (0.999, [0.999, 1.998]), (7.0, [1.0, 2.0])] {
        let (mut bench, id) = with_run(1);
        for seconds in expected {
            let claim = bench.claim(&id);
            let now = Now { wall: bench.wall, jitter };
            let failed = failure(Retry::Later, bench.wall);
            bench.apply(&lifecycle::fail(&bench.table, EPOCH, &claim, failed, now).unwrap());
            let pause = not_before(bench.task(&id)).duration_since(bench.wall);
            assert_eq!(pause, SignedDuration::from_secs_f64(seconds), "jitter {jitter}");
        }
    }
}

#[test]
fn the_longest_pause_is_the_limit_however_many_errors_there_were() {
    let mut patient = hourly("flights", "lake");
    patient.retries.attempts = 80;
    let mut bench = Bench::new(1, [patient]);
    bench.plan();
    let id = bench.tasks("flights", TaskPhase::Pending)[0].id;
    for _ in 0..79 {
        let claim = bench.claim(&id);
        let now = Now { wall: bench.wall, jitter: 1.0 };
        let failed = failure(Retry::Later, bench.wall);
        bench.apply(&lifecycle::fail(&bench.table, EPOCH, &claim, failed, now).unwrap());
    }
    assert_eq!(not_before(bench.task(&id)).duration_since(bench.wall), SignedDuration::from_secs(10));
}

#[test]
fn a_window_that_fails_too_often_or_hopelessly_is_quarantined() {
    for (retry, attempts) in [(Retry::Later, 3), (Retry::Never, 1)] {
        let (mut bench, id) = with_run(1);
        for attempt in 1..=attempts {
            assert_eq!(bench.task(&id).state.phase(), TaskPhase::Pending, "{retry:?}, before attempt {attempt}");
            let claim = bench.claim(&id);
            bench.fail(&claim, retry).unwrap();
        }
        assert_eq!(bench.task(&id).state.phase(), TaskPhase::Quarantined, "{retry:?}");
        assert_eq!(bench.task(&id).errors, attempts);
    }
}

#[test]
fn a_run_is_halved_down_to_its_poison_windows_and_all_others_are_published() {
    for (windows, poison) in [(2, vec![0]), (7, vec![3]), (16, vec![0, 15]), (13, vec![5, 6, 7]), (100, vec![77])] {
        let (mut bench, _) = with_run(windows);
        while let Some(task) = bench.tasks("flights", TaskPhase::Pending).into_iter().next() {
            let claim = bench.claim(&task.id);
            match poison.iter().any(|at| task.window.contains(hour(*at))) {
                true => bench.fail(&claim, Retry::Never).unwrap(),
                false => bench.seal(&claim).unwrap(),
            }
        }
        bench.publish_all("flights");
        assert_eq!(quarantined(&bench), poison);
        let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
        assert_eq!(entry.windows_published(), u64::from(windows) - poison.len() as u64);
    }
}

#[test]
fn a_run_that_kills_its_workers_is_halved_too() {
    let (mut bench, id) = with_run(4);
    for _ in 0..2 {
        bench.claim(&id);
        bench.apply(&lifecycle::reap(&bench.table, &id, bench.now()).unwrap());
    }
    assert_eq!(bench.pending("flights"), [(0, 2), (2, 4)]);
    assert!(bench.tasks("flights", TaskPhase::Pending).iter().all(|task| task.lost_leases == 0));
}

#[test]
fn the_halves_of_a_calendar_run_keep_their_bounds() {
    let calendar = edit(hourly("flights", "lake"), |window| {
        (window.every, window.timezone) = ("1d".parse().unwrap(), "Europe/Paris".to_owned());
        (window.start, window.per_task) = ("2024-03-29T00:00".parse().unwrap(), 100);
    });
    let mut bench = Bench::new(24 * 94, [calendar]);
    bench.plan();
    let run = bench.tasks("flights", TaskPhase::Pending).remove(0);
    assert!(matches!(run.seams, Seams::At(_)));
    let claim = bench.claim(&run.id);
    bench.fail(&claim, Retry::Never).unwrap();
    let halves = bench.tasks("flights", TaskPhase::Pending);
    let windows: Vec<_> = halves.iter().flat_map(Task::each_window).collect();
    assert_eq!(windows, run.each_window(), "with the day of 23 hours among them");
}

#[test]
fn runs_are_not_taken_to_pieces_when_everything_fails() {
    let pipeline = edit(hourly("flights", "lake"), |window| window.per_task = 100);
    let mut bench = Bench::new(100 * 100, [pipeline]);
    bench.plan();
    while let Some(task) = bench.tasks("flights", TaskPhase::Pending).into_iter().next() {
        let claim = bench.claim(&task.id);
        bench.fail(&claim, Retry::Never).unwrap();
    }
    let quarantined = bench.tasks("flights", TaskPhase::Quarantined);
    assert_eq!(quarantined.len(), MAX_OPEN);
    let windows: usize = quarantined.iter().map(Task::windows).sum();
    assert_eq!(windows, 100 * 100, "and none is lost");
}

#[test]
fn files_found_bad_send_a_sealed_task_back_unless_an_intent_may_name_it() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    let early = lifecycle::unseal(&bench.table, &id, failure(Retry::Later, bench.wall), bench.now());
    assert_eq!(early, Err(Refused::WrongPhase { task: id, phase: TaskPhase::Claimed }));
    bench.seal(&claim).unwrap();
    let unseal = lifecycle::unseal(&bench.table, &id, failure(Retry::Later, bench.wall), bench.now()).unwrap();
    let sink = bench.task(&id).sink.clone();
    let mut with_intent = bench.clone();
    with_intent.record(&sink);
    assert!(!with_intent.takes(&unseal));
    bench.apply(&unseal);
    assert_eq!((bench.task(&id).state.phase(), bench.task(&id).errors), (TaskPhase::Pending, 1));
    assert_eq!(bench.seal(&claim), Err(Refused::Fenced(id)), "the old seal does not count any more");
}

#[test]
fn files_found_bad_again_and_again_end_in_quarantine() {
    let (mut bench, id) = with_run(1);
    for _ in 0..3 {
        let claim = bench.claim(&id);
        bench.seal(&claim).unwrap();
        let failure = failure(Retry::Later, bench.wall);
        bench.apply(&lifecycle::unseal(&bench.table, &id, failure, bench.now()).unwrap());
    }
    assert_eq!(bench.task(&id).state.phase(), TaskPhase::Quarantined);
}

#[test]
fn a_cancelled_task_is_gone_and_its_workers_seal_finds_nothing() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    bench.apply(&lifecycle::cancel(&bench.table, &id).unwrap());
    assert_eq!(bench.seal(&claim), Err(Refused::Gone(id)));
    assert!(!bench.store.records.contains_key(&Key::Task("flights".parse().unwrap(), id)));
    assert_eq!(lifecycle::cancel(&bench.table, &id), Err(Refused::Gone(id)));
}

#[test]
fn a_sealed_task_cannot_be_cancelled() {
    let (mut bench, id) = with_run(1);
    let claim = bench.claim(&id);
    bench.seal(&claim).unwrap();
    let refused = lifecycle::cancel(&bench.table, &id);
    assert_eq!(refused, Err(Refused::WrongPhase { task: id, phase: TaskPhase::Sealed }));
}

#[test]
fn a_planned_run_moves_exactly_its_windows() {
    let (bench, id) = with_run(3);
    assert_eq!(bench.task(&id).each_window(), [hours(0, 1), hours(1, 2), hours(2, 3)]);
}

#[test]
fn nobody_can_act_on_a_task_that_never_was() {
    let (bench, id) = with_run(1);
    let other = TaskId::from_bytes([9; 16]);
    assert_ne!(id, other);
    let claim = HeldClaim { task: other, token: Token { epoch: EPOCH, revision: 1 } };
    let gone = Refused::Gone(other);
    assert_eq!(lifecycle::claim(&bench.table, &other, &"w0".parse().unwrap(), bench.now()), Err(gone.clone()));
    assert_eq!(lifecycle::reap(&bench.table, &other, bench.now()), Err(gone.clone()));
    let failed = lifecycle::fail(&bench.table, EPOCH, &claim, failure(Retry::Later, bench.wall), bench.now());
    assert_eq!(failed, Err(gone));
}

/// Proves CL8. Work is cut anew while it runs: the pipeline is applied with smaller runs while a larger one is claimed, that
/// one fails and is halved, and its old holder wakes up. Progress is kept by stretches of time, not by how they were cut.
#[test]
fn work_that_is_cut_anew_while_it_runs_moves_every_window_once() {
    let pipeline = |per_task| edit(hourly("flights", "lake"), |window| window.per_task = per_task);
    let mut bench = Bench::new(10, [pipeline(8)]);
    bench.plan();
    let [run, rest] = &bench.tasks("flights", TaskPhase::Pending)[..] else { panic!("8 windows and 2") };
    let (zombie, done) = (bench.claim(&run.id), bench.claim(&rest.id));
    let (change, _) = apply::apply(&bench.table, &[pipeline(3)]).unwrap();
    bench.apply(&change);
    bench.pass(5 * 3_600);
    bench.plan();
    bench.seal(&done).unwrap();
    bench.fail(&zombie, Retry::Never).unwrap();
    assert_eq!(bench.seal(&zombie), Err(Refused::Gone(zombie.task)), "its run is cut in two");
    let pending = bench.tasks("flights", TaskPhase::Pending);
    let sizes: Vec<usize> = pending.iter().map(Task::windows).collect();
    assert_eq!(sizes, [4, 4, 3, 2], "halves of the run, and what came due, cut as it is now");
    bench.publish_all("flights");
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert!(entry.is_published(&hours(0, 15)));
    assert_eq!(entry.coverage.value.totals.rows_written, 15, "a row a window, none of them twice");
}

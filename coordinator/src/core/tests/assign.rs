//! Who gets a slot: turns between live windows and backfills, limits, order, and why somebody gets none.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use windrow_common::{
    id::TaskId,
    pipeline::{Pipeline, SourceLimits},
    task::{Lane, Retry, TaskPhase},
};

use super::bench::{Bench, fleet, full, hour, hourly, hours, request, worker};
use crate::core::{
    assign::{self, Assignment, MAX_CLAIMS, MAX_SEALED},
    backfill::{self, Choice, Command, Order},
    lifecycle,
    sources::{self, Queues},
    table::{Change, Record},
    workers::{Role, Workers},
};

fn limited(name: &str, concurrency: u32) -> Pipeline {
    let mut pipeline = hourly(name, "lake");
    pipeline.limits.concurrency = concurrency;
    pipeline
}

/// Windows 0 to 20 published, 20 to 40 live and pending, and a backfill over the first twenty.
fn busy(concurrency: u32, order: Order, own: u32) -> Bench {
    let mut bench = Bench::new(20, [limited("flights", concurrency)]);
    bench.plan();
    bench.publish_all("flights");
    let asked = request("flights", Some(hours(0, 20)), Choice::All);
    bench.backfill("again", &backfill::Request { order, concurrency: own, ..asked });
    bench.advance();
    bench.pass(20 * 3_600);
    bench.plan();
    bench
}

/// Gives out slots and claims what was given.
fn give(bench: &mut Bench, workers: &mut Workers) -> Vec<TaskId> {
    let given = assign::assign(&bench.table, workers, bench.now());
    for Assignment { task, worker } in &given {
        bench.apply(&lifecycle::claim(&bench.table, task, worker, bench.now()).unwrap());
        workers.hold(worker, *task, Duration::ZERO);
    }
    given.into_iter().map(|given| given.task).collect()
}

fn is_live(bench: &Bench, task: &TaskId) -> bool {
    bench.task(task).lane == Lane::Live
}

fn hour_of(bench: &Bench, task: &TaskId) -> i64 {
    (bench.task(task).window.start() - hour(0)) / (hour(1) - hour(0))
}

#[test]
fn a_task_that_was_planned_by_a_clock_since_set_back_does_not_wait_for_that_clock() {
    let mut bench = Bench::new(1, [limited("flights", 8)]);
    bench.plan();
    bench.name_committers();
    let mut workers = fleet(&[1]);
    let a_day_earlier = lifecycle::Now { wall: bench.now().wall - jiff::SignedDuration::from_hours(24), jitter: 0.0 };
    assert_eq!(assign::assign(&bench.table, &mut workers, a_day_earlier).len(), 1);
    let mut workers = fleet(&[1]);
    let a_moment_earlier = lifecycle::Now { wall: bench.now().wall - jiff::SignedDuration::from_secs(5), jitter: 0.0 };
    assert!(assign::assign(&bench.table, &mut workers, a_moment_earlier).is_empty(), "a pause is kept to");
}

/// Proves CL11.
#[test]
fn live_windows_and_a_backfill_take_turns_at_a_single_slot() {
    let mut bench = busy(8, Order::OldestFirst, 0);
    let mut workers = fleet(&[1]);
    let mut lanes = Vec::new();
    for _ in 0..10 {
        let given = give(&mut bench, &mut workers);
        assert_eq!(given.len(), 1);
        lanes.push(is_live(&bench, &given[0]));
        bench.apply(&lifecycle::cancel(&bench.table, &given[0]).unwrap());
        workers.release(&"w0".parse().unwrap(), &given[0]);
    }
    assert!(lanes.windows(2).all(|pair| pair[0] != pair[1]), "{lanes:?}");
}

/// Proves CL11.
#[test]
fn live_windows_and_a_backfill_share_many_slots_evenly() {
    let mut bench = busy(8, Order::OldestFirst, 0);
    let given = give(&mut bench, &mut fleet(&[10, 10]));
    let live = given.iter().filter(|task| is_live(&bench, task)).count();
    assert_eq!((live, given.len()), (4, 8), "the pipeline's own limit holds for both together");
}

/// Proves CL10, CL11.
#[test]
fn a_backfill_keeps_to_its_own_limit_and_leaves_the_rest_to_live_windows() {
    let mut bench = busy(8, Order::OldestFirst, 1);
    let mut workers = fleet(&[20]);
    let given = give(&mut bench, &mut workers);
    assert_eq!(given.iter().filter(|task| !is_live(&bench, task)).count(), 1);
    assert_eq!(given.len(), 8);
    assert_eq!(give(&mut bench, &mut workers), [], "all limits are reached");
}

/// Proves CL10.
#[test]
fn a_backfill_starts_at_the_end_it_was_asked_to() {
    for (order, expected) in [(Order::OldestFirst, [0, 1, 2, 3]), (Order::NewestFirst, [19, 18, 17, 16])] {
        let mut bench = busy(8, order, 0);
        let given = give(&mut bench, &mut fleet(&[20]));
        let hours: Vec<i64> =
            given.iter().filter(|task| !is_live(&bench, task)).map(|task| hour_of(&bench, task)).collect();
        assert_eq!(hours, expected);
    }
}

#[test]
fn a_window_that_waited_for_its_source_goes_before_later_ones() {
    let mut bench = Bench::new(3, [limited("flights", 1)]);
    bench.plan();
    let first = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&first.id);
    let wait = lifecycle::not_ready(&bench.table, super::bench::EPOCH, &claim, String::new(), bench.now()).unwrap();
    bench.apply(&wait);
    bench.name_committers();
    let mut workers = fleet(&[1]);
    assert_eq!(assign::assign(&bench.table, &mut workers.clone(), bench.now())[0].task, second(&bench));
    bench.pass(30);
    assert_eq!(give(&mut bench, &mut workers), [first.id]);
}

fn second(bench: &Bench) -> TaskId {
    bench.tasks("flights", TaskPhase::Pending)[0].id
}

#[test]
fn every_pipeline_keeps_to_its_own_limit_and_they_share_the_slots() {
    let mut bench = Bench::new(20, [limited("flights", 3), limited("weather", 20)]);
    bench.plan();
    bench.name_committers();
    let given = give(&mut bench, &mut fleet(&[8]));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in &given {
        *counts.entry(bench.task(task).pipeline.to_string()).or_default() += 1;
    }
    assert_eq!(counts, BTreeMap::from([("flights".to_owned(), 3), ("weather".to_owned(), 5)]));
}

/// An hourly pipeline that reads from the shop, of which so much may be asked.
fn from_shop(name: &str, connections: Option<u32>, rows_per_s: Option<u32>) -> Pipeline {
    let mut pipeline = hourly(name, name);
    let connection = &mut pipeline.source.from;
    connection.params.insert("url".to_owned(), "${env:SHOP}".into());
    connection.limits = SourceLimits {
        connections: connections.and_then(NonZeroU32::new),
        rows_per_s: rows_per_s.and_then(NonZeroU32::new),
    };
    pipeline
}

/// Proves CL14. However many pipelines, workers and slots there are.
#[test]
fn all_who_read_from_one_place_keep_to_its_limit_together() {
    let others = limited("weather", 2);
    let (visits, orders) = (from_shop("visits", Some(3), None), from_shop("orders", Some(5), None));
    let mut bench = Bench::new(20, [visits, orders, others]);
    bench.plan();
    bench.name_committers();
    let mut workers = fleet(&[10, 10]);
    let given = give(&mut bench, &mut workers);
    let reads_shop = |bench: &Bench, task: &TaskId| bench.task(task).pipeline.as_str() != "weather";
    assert_eq!(given.iter().filter(|task| reads_shop(&bench, task)).count(), 3, "the strictest limit");
    assert_eq!(given.len(), 5, "others are not held up");
    let told = assign::obstacles(&bench.table, &workers, &bench.tasks("visits", TaskPhase::Pending)[0], bench.now());
    assert_eq!(told, ["3 tasks read from its source already, the limit of connection in"]);

    // Each that ends makes room for one; whoever takes over counts the same.
    let over: Vec<&TaskId> = given.iter().filter(|task| reads_shop(&bench, task)).take(2).collect();
    for task in over {
        bench.apply(&lifecycle::cancel(&bench.table, task).unwrap());
    }
    assert_eq!(give(&mut bench, &mut fleet(&[10, 10])).len(), 2);
}

/// Proves CL14.
#[test]
fn rows_of_one_place_go_through_one_after_the_other() {
    let bench = Bench::new(1, [from_shop("visits", None, Some(1_000)), from_shop("orders", None, Some(500))]);
    let source = |name: &str| bench.table.pipeline(&name.parse().unwrap()).unwrap().source;
    let rate = sources::limits(&bench.table, source("visits")).rows_per_s.unwrap();
    assert_eq!(rate.get(), 500);
    let (mut queues, second) = (Queues::default(), Duration::from_secs(1));
    assert_eq!(queues.turn(source("visits"), 500, rate, second), second);
    assert_eq!(queues.turn(source("orders"), 250, rate, second), second * 3 / 2);
    assert_eq!(queues.turn(source("visits"), 500, rate, second * 2), second * 3 / 2);
    // What was not used is not saved up.
    assert_eq!(queues.turn(source("visits"), 500, rate, second * 60), second);
}

#[test]
fn slots_are_taken_where_there_is_most_room() {
    let mut bench = Bench::new(20, [limited("flights", 6)]);
    bench.plan();
    bench.name_committers();
    let mut workers = fleet(&[2, 6, 4]);
    give(&mut bench, &mut workers);
    let left: Vec<usize> = workers.iter().map(|worker| worker.free_slots()).collect();
    assert_eq!(left, [2, 2, 2]);
}

#[test]
fn one_round_makes_no_more_claims_than_a_transaction_holds() {
    let mut bench = Bench::new(300, [limited("flights", 1_000)]);
    bench.plan();
    bench.name_committers();
    assert_eq!(give(&mut bench, &mut fleet(&[500])).len(), MAX_CLAIMS);
}

#[test]
fn workers_that_drain_or_lost_their_session_or_read_nothing_get_no_work() {
    let mut bench = Bench::new(3, [limited("flights", 8)]);
    bench.plan();
    bench.name_committers();
    let mut workers = fleet(&[4, 4, 4]);
    workers.connect(worker("sinks", &[Role::Sink], 9), Duration::ZERO);
    workers.drain(&"w0".parse().unwrap());
    workers.disconnect(&"w1".parse().unwrap());
    // w0 is the committer still: draining ends new work, not commits.
    let given = assign::assign(&bench.table, &mut workers, bench.now());
    assert_eq!(given.len(), 3);
    assert!(given.iter().all(|given| given.worker.as_str() == "w2"));
}

#[test]
fn the_obstacles_of_a_task_are_told_in_words() {
    let mut bench = busy(2, Order::OldestFirst, 1);
    let mut workers = fleet(&[4]);
    let task = |bench: &Bench, live: bool| {
        let pending = bench.tasks("flights", TaskPhase::Pending);
        pending.into_iter().find(|task| (task.lane == Lane::Live) == live).unwrap()
    };
    let told = |bench: &Bench, workers: &Workers, live: bool| {
        assign::obstacles(&bench.table, workers, &task(bench, live), bench.now()).join("; ")
    };
    assert_eq!(told(&bench, &workers, true), "");
    assert_eq!(
        told(&bench, &Workers::default(), true),
        "no worker with the role `sink` is connected; no worker has a free slot"
    );

    give(&mut bench, &mut workers);
    assert_eq!(told(&bench, &workers, true), "2 tasks of its pipeline run already, the pipeline's limit");
    let live = bench.tasks("flights", TaskPhase::Claimed).into_iter().find(|task| task.lane == Lane::Live).unwrap();
    bench.apply(&lifecycle::cancel(&bench.table, &live.id).unwrap());
    assert_eq!(told(&bench, &workers, true), "");
    assert_eq!(told(&bench, &workers, false), "1 task of its backfill runs already, the backfill's limit");

    let pause = backfill::steer(&bench.table, &"again".parse().unwrap(), Command::Pause, bench.now()).unwrap();
    bench.apply(&pause);
    assert!(told(&bench, &workers, false).starts_with("backfill again is paused"));
    let mut state = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().state.clone();
    state.value.paused = Some("migration".to_owned());
    bench.apply(&Change::replace(Record::Pipeline(state.value), state.revision));
    assert_eq!(told(&bench, &workers, true), "the pipeline is paused: migration");
    assert_eq!(assign::assign(&bench.table, &mut fleet(&[4]), bench.now()), []);
}

#[test]
fn a_task_in_its_pause_says_until_when() {
    let mut bench = Bench::new(1, [full("planes", "planes")]);
    bench.plan();
    let id = bench.tasks("planes", TaskPhase::Pending)[0].id;
    let claim = bench.claim(&id);
    bench.fail(&claim, Retry::Later).unwrap();
    bench.name_committers();
    let told = assign::obstacles(&bench.table, &fleet(&[1]), bench.task(&id), bench.now());
    assert_eq!(told, ["it is tried again at 2024-01-01T01:00:00.5Z, after a pause"]);
    assert_eq!(assign::assign(&bench.table, &mut fleet(&[1]), bench.now()), []);
    bench.pass(1);
    assert_eq!(assign::assign(&bench.table, &mut fleet(&[1]), bench.now()).len(), 1);
}

#[test]
fn a_sink_with_too_many_sealed_tasks_gets_no_new_ones() {
    let mut bench = Bench::new(600, [limited("flights", 8)]);
    bench.plan();
    bench.name_committers();
    for task in bench.tasks("flights", TaskPhase::Pending).iter().take(MAX_SEALED + 1) {
        let claim = bench.claim(&task.id);
        bench.seal(&claim).unwrap();
    }
    assert_eq!(assign::assign(&bench.table, &mut fleet(&[4]), bench.now()), []);
    let told =
        assign::obstacles(&bench.table, &fleet(&[4]), &bench.tasks("flights", TaskPhase::Pending)[0], bench.now());
    assert_eq!(told, ["its sink has too many sealed tasks waiting to be committed"]);
}

#[test]
fn turns_of_lanes_that_have_nothing_to_do_are_forgotten() {
    let mut bench = Bench::new(1, [limited("flights", 8)]);
    bench.plan();
    let (flights, gone) = ("flights".parse().unwrap(), Lane::Backfill("gone".parse().unwrap()));
    let mut workers = fleet(&[1]);
    workers.serve(&flights, &Lane::Live);
    workers.serve(&flights, &gone);
    assign::assign(&bench.table, &mut workers, bench.now());
    assert_eq!((workers.last_served(&flights, &Lane::Live), workers.last_served(&flights, &gone)), (1, 0));
}

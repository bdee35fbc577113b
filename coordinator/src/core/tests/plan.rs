//! Planning: which windows become tasks, when, and in runs of how many.

use windrow_common::{
    id::TaskId,
    quantity::Pause,
    task::{Lane, TaskPhase, TaskState},
    window::Window,
};

use super::bench::{Bench, edit, full, hour, hourly, hours, request};
use crate::core::{
    backfill::Choice,
    lifecycle,
    plan::{self, MAX_OPEN, MAX_PLANNED, MAX_STRETCHES},
    table::{Change, Record},
};

#[test]
fn planning_twice_changes_nothing() {
    let mut bench = Bench::new(5, [hourly("flights", "lake"), full("planes", "planes")]);
    let planned = plan::plan(&bench.table, bench.now());
    assert_eq!(plan::plan(&bench.table, bench.now()), planned, "the same table gives the same tasks");
    bench.plan();
    let before = bench.store.records.clone();
    bench.plan();
    assert_eq!(bench.store.records, before);
    assert!(!bench.takes(&planned[0]), "what was planned cannot be written a second time");
}

#[test]
fn a_task_is_named_by_what_it_is() {
    let mut bench = Bench::new(1, [hourly("flights", "lake")]);
    bench.plan();
    let task = &bench.tasks("flights", TaskPhase::Pending)[0];
    assert_eq!(task.id, TaskId::of(&task.pipeline, 0, &hours(0, 1), 0));
    assert_eq!((task.revision, &task.lane, task.windows()), (0, &Lane::Live, 1));
}

#[test]
fn catching_up_takes_windows_in_runs_and_going_on_takes_them_one_by_one() {
    let mut bench = Bench::new(10, [edit(hourly("flights", "lake"), |window| window.per_task = 4)]);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(0, 4), (4, 8), (8, 10)]);
    bench.pass(3_600);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(0, 4), (4, 8), (8, 10), (10, 11)]);
}

#[test]
fn a_window_is_planned_once_it_is_closed_and_its_lag_is_over() {
    let mut bench = Bench::new(1, [edit(hourly("flights", "lake"), |window| window.lag = "10m".parse().unwrap())]);
    bench.pass(599);
    bench.plan();
    assert_eq!(bench.pending("flights"), []);
    bench.pass(1);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(0, 1)]);
}

#[test]
fn published_windows_just_before_a_new_one_are_loaded_again_with_it() {
    let looking_back = edit(hourly("flights", "lake"), |window| (window.lookback, window.per_task) = (2, 3));
    let mut bench = Bench::new(3, [looking_back]);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(0, 3)], "nothing is published yet");
    bench.publish_all("flights");
    bench.pass(3_600);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(1, 3), (3, 4)]);
    let again = &bench.tasks("flights", TaskPhase::Pending)[0];
    assert_eq!((again.revision, again.windows()), (1, 2));
}

#[test]
fn looking_back_leaves_out_windows_somebody_else_is_about_to_move() {
    let mut bench = Bench::new(4, [edit(hourly("flights", "lake"), |window| window.lookback = 4)]);
    bench.plan();
    let second = bench.tasks("flights", TaskPhase::Pending).remove(1);
    let claim = bench.claim(&second.id);
    bench.publish_all("flights");
    bench.backfill("b", &request("flights", Some(hours(2, 3)), Choice::All));
    bench.pass(3_600);
    bench.plan();
    // 1 is being worked on, 2 waits for the backfill, so 0 and 3 are no run.
    assert_eq!(bench.pending("flights"), [(0, 1), (3, 4), (4, 5)]);
    bench.seal(&claim).unwrap();
}

#[test]
fn a_full_load_is_planned_once() {
    let mut bench = Bench::new(0, [full("planes", "planes")]);
    bench.plan();
    let tasks = bench.tasks("planes", TaskPhase::Pending);
    assert_eq!(tasks.iter().map(|task| task.window).collect::<Vec<_>>(), [Window::version(0)]);
    bench.publish_all("planes");
    bench.pass(86_400);
    bench.plan();
    assert!(bench.tasks("planes", TaskPhase::Pending).is_empty());
}

#[test]
fn a_paused_pipeline_is_not_planned() {
    let mut bench = Bench::new(3, [hourly("flights", "lake")]);
    let mut state = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().state.clone();
    state.value.paused = Some("migration".to_owned());
    bench.apply(&Change::replace(Record::Pipeline(state.value), state.revision));
    bench.plan();
    assert_eq!(bench.pending("flights"), []);
}

#[test]
fn planning_goes_on_in_steps_until_so_many_tasks_are_open() {
    let mut bench = Bench::new(3_000, [hourly("flights", "lake")]);
    let first = plan::plan(&bench.table, bench.now());
    assert_eq!(first[0].put.len(), MAX_PLANNED + 1, "tasks and the cursor");
    bench.plan();
    assert_eq!(bench.tasks("flights", TaskPhase::Pending).len(), MAX_OPEN);
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert_eq!(plan::unplanned(entry, bench.now()), 2_000);
    let one = bench.tasks("flights", TaskPhase::Pending).remove(0);
    bench.claim(&one.id);
    bench.plan();
    assert_eq!(bench.tasks("flights", TaskPhase::Pending).len(), MAX_OPEN - 1);
}

#[test]
fn planning_waits_when_the_published_windows_lie_in_too_many_stretches() {
    let mut bench = Bench::new(3_000, [hourly("flights", "lake")]);
    let stretches =
        |bench: &Bench| bench.table.pipeline(&"flights".parse().unwrap()).unwrap().coverage.value.published.len();
    while stretches(&bench) < MAX_STRETCHES {
        plan::plan(&bench.table, bench.now()).iter().for_each(|change| {
            bench.apply(change);
        });
        for task in bench.tasks("flights", TaskPhase::Pending).iter().step_by(2) {
            bench.apply(&lifecycle::cancel(&bench.table, &task.id).unwrap());
        }
        bench.publish_all("flights");
    }
    assert_eq!(plan::plan(&bench.table, bench.now()), []);
    bench.backfill("holes", &request("flights", Some(hours(0, 200)), Choice::Missing));
    bench.advance();
    bench.publish_all("flights");
    assert!(!plan::plan(&bench.table, bench.now()).is_empty());
}

/// Proves IL2.
#[test]
fn planned_windows_tile_the_time_that_is_over() {
    for per_task in [1, 3, 7, 1_000] {
        let mut bench = Bench::new(50, [edit(hourly("flights", "lake"), |window| window.per_task = per_task)]);
        bench.plan();
        let tasks = bench.tasks("flights", TaskPhase::Pending);
        let windows: Vec<Window> = tasks.iter().flat_map(|task| task.each_window()).collect();
        windrow_common::invariant::windows_tile(&windows).unwrap();
        assert_eq!((windows[0].start(), windows.last().unwrap().end()), (hour(0), hour(50)));
    }
}

#[test]
fn a_planned_task_may_be_claimed_at_once() {
    let mut bench = Bench::new(1, [edit(hourly("flights", "lake"), |window| window.lag = Pause::default())]);
    bench.plan();
    let task = bench.tasks("flights", TaskPhase::Pending).remove(0);
    assert_eq!(task.state, TaskState::Pending { not_before: bench.wall, last_failure: None });
}

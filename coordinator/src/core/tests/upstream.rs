//! Windows that wait for what other pipelines publish.

use std::time::Duration;

use windrow_common::{
    error,
    pipeline::Pipeline,
    quantity::Pause,
    readiness::{Condition, Then},
    task::{TaskPhase, TaskState},
};

use super::bench::{Bench, edit, fleet, full, hour, hourly};
use crate::core::{assign, report, upstream};

fn after(pipeline: Pipeline, upstream: &[&str]) -> Pipeline {
    let mut pipeline = pipeline;
    pipeline.readiness.require.all = upstream.iter().map(|name| Condition::Pipeline(name.parse().unwrap())).collect();
    pipeline
}

fn patient(mut pipeline: Pipeline, hours: u64, then: Then) -> Pipeline {
    pipeline.readiness.require.timeout = Some(Pause(Duration::from_secs(hours * 3_600)));
    pipeline.readiness.require.then = then;
    pipeline
}

/// The hours of a pipeline's windows that a worker would get now.
fn given(bench: &mut Bench, pipeline: &str) -> Vec<i64> {
    bench.name_committers();
    let mut workers = fleet(&[100]);
    let given = assign::assign(&bench.table, &mut workers, bench.now());
    let tasks = given.iter().map(|given| bench.task(&given.task)).filter(|task| task.pipeline.as_str() == pipeline);
    tasks.map(|task| (task.window.start() - hour(0)) / (hour(1) - hour(0))).collect()
}

fn settle(bench: &mut Bench) -> usize {
    let changes = upstream::settle(&bench.table, bench.now());
    changes.iter().for_each(|change| {
        bench.apply(change);
    });
    changes.len()
}

/// Proves RM7. However many windows wait, none of them is given to a worker, and nobody is asked.
#[test]
fn a_window_goes_when_the_window_it_waits_for_is_published() {
    let mut downstream = after(hourly("reports", "reports"), &["flights"]);
    downstream.limits.concurrency = 100;
    let mut bench = Bench::new(3, [hourly("flights", "lake"), downstream]);
    bench.plan();
    assert_eq!(given(&mut bench, "reports"), Vec::<i64>::new());
    let entry = bench.table.pipeline(&"reports".parse().unwrap()).unwrap();
    let found = report::pipeline(&bench.table, entry, bench.now());
    assert_eq!((found.waiting, found.pending, found.overdue), (3, 0, 0));
    let first = bench.tasks("reports", TaskPhase::Pending)[0].clone();
    let reasons = assign::obstacles(&bench.table, &fleet(&[1]), &first, bench.now());
    assert!(reasons[0].contains("pipeline flights has not published all of"), "{reasons:?}");

    bench.publish_all("flights");
    assert_eq!(given(&mut bench, "reports"), [0, 1, 2]);
    bench.pass(3_600);
    bench.plan();
    assert_eq!(given(&mut bench, "reports"), [0, 1, 2], "hour 3 waits for its own");
}

#[test]
fn every_pipeline_is_waited_for_and_one_that_is_not_there_too() {
    let downstream = after(hourly("reports", "reports"), &["flights", "planes"]);
    let mut bench = Bench::new(1, [hourly("flights", "lake"), downstream]);
    bench.plan();
    bench.publish_all("flights");
    let task = bench.tasks("reports", TaskPhase::Pending)[0].clone();
    assert_eq!(upstream::lacks(&bench.table, &task, bench.now()).as_deref(), Some("there is no pipeline planes"));
    bench.apply(&super::bench::applied(full("planes", "planes")));
    assert!(upstream::lacks(&bench.table, &task, bench.now()).unwrap().contains("has not published anything"));
    bench.plan();
    bench.publish_all("planes");
    assert_eq!(given(&mut bench, "reports"), [0]);
}

#[test]
fn one_of_several_is_enough_where_any_is_asked_for() {
    let mut downstream = after(hourly("reports", "reports"), &["flights", "planes"]);
    downstream.readiness.require.any = std::mem::take(&mut downstream.readiness.require.all);
    let mut bench = Bench::new(1, [hourly("flights", "lake"), full("planes", "planes"), downstream]);
    bench.plan();
    let task = bench.tasks("reports", TaskPhase::Pending)[0].clone();
    let missing = upstream::lacks(&bench.table, &task, bench.now()).unwrap();
    assert!(missing.contains("flights") && missing.contains("planes"), "{missing}");
    bench.publish_all("planes");
    assert_eq!(upstream::lacks(&bench.table, &task, bench.now()), None);
}

#[test]
fn a_full_load_waits_for_all_that_is_due() {
    let mut bench = Bench::new(2, [hourly("flights", "lake"), after(full("totals", "totals"), &["flights"])]);
    bench.plan();
    let task = bench.tasks("totals", TaskPhase::Pending)[0].clone();
    assert!(upstream::lacks(&bench.table, &task, bench.now()).is_some());
    bench.publish_all("flights");
    assert_eq!(upstream::lacks(&bench.table, &task, bench.now()), None);
}

/// Otherwise one window that cannot be had would keep a thousand others.
#[test]
fn a_run_is_taken_apart_where_some_of_its_windows_may_go() {
    let runs = edit(after(hourly("reports", "reports"), &["flights"]), |window| window.per_task = 100);
    let mut bench = Bench::new(4, [hourly("flights", "lake"), runs]);
    bench.plan();
    assert_eq!((settle(&mut bench), bench.pending("reports")), (0, vec![(0, 4)]), "none may go yet");
    let stuck = bench.tasks("flights", TaskPhase::Pending)[1].id;
    let claim = bench.claim(&stuck);
    bench.publish_all("flights");
    while settle(&mut bench) > 0 {}
    assert_eq!(bench.pending("reports"), [(0, 1), (1, 2), (2, 4)]);
    let mut gone = given(&mut bench, "reports");
    gone.sort_unstable();
    assert_eq!(gone, [0, 2]);
    bench.seal(&claim).unwrap();
    bench.publish_all("flights");
    assert_eq!(given(&mut bench, "reports").len(), 3);
}

#[test]
fn a_window_that_waited_for_too_long_is_given_up_goes_or_is_counted() {
    for (then, expected) in [(Then::Fail, "given up"), (Then::Go, "goes"), (Then::Alert, "counted")] {
        let downstream = patient(after(hourly("reports", "reports"), &["flights"]), 6, then);
        let mut bench = Bench::new(1, [hourly("flights", "lake"), downstream]);
        bench.plan();
        bench.pass(6 * 3_600 - 1);
        assert_eq!((settle(&mut bench), given(&mut bench, "reports")), (0, vec![]), "{expected}: in time");
        bench.pass(1);
        settle(&mut bench);
        let entry = bench.table.pipeline(&"reports".parse().unwrap()).unwrap();
        let overdue = report::pipeline(&bench.table, entry, bench.now()).overdue;
        let quarantined = bench.tasks("reports", TaskPhase::Quarantined);
        let gone = given(&mut bench, "reports");
        match then {
            Then::Fail => {
                let TaskState::Quarantined { failure } = &quarantined[0].state else { panic!() };
                assert_eq!(failure.code, error::NOT_READY_IN_TIME.code);
                assert!(failure.message.contains("flights"), "{}", failure.message);
            }
            Then::Go => {
                let pending = bench.tasks("reports", TaskPhase::Pending);
                assert!(upstream::goes_anyway(&bench.table, &pending[0], bench.now()));
                assert_eq!(gone, [0]);
            }
            Then::Alert => assert_eq!((overdue, gone, quarantined.len()), (1, vec![], 0)),
        }
    }
}

//! What windows wait for outside of their sources: one look for all of them, and what follows from it.

use std::time::Duration;

use windrow_common::{
    id::PipelineName,
    pipeline::Pipeline,
    quantity::Pause,
    readiness::{Condition, Then},
    task::TaskPhase,
};

use super::bench::{Bench, fleet, full, hour, hourly};
use crate::core::{
    assign,
    looks::{self, Seen},
    report::{self, PipelineReport},
    table::{Change, Record},
    upstream,
};

fn condition(text: &str) -> Condition {
    serde_json::from_str(text).unwrap()
}

fn sql() -> Condition {
    condition(r#"{ "sql": { "from": "shop", "query": "SELECT true" } }"#)
}

fn delta() -> Condition {
    condition(r#"{ "delta": { "from": "lake", "path": "orders", "version": 7 } }"#)
}

fn waits(mut pipeline: Pipeline, all: Vec<Condition>, any: Vec<Condition>) -> Pipeline {
    pipeline.limits.concurrency = 1_000;
    (pipeline.readiness.require.all, pipeline.readiness.require.any) = (all, any);
    pipeline
}

fn seen(to: i64) -> Seen {
    Seen { to, words: "not so far yet".to_owned() }
}

fn told(bench: &mut Bench, seen: Vec<Seen>) {
    bench.table.note_look("flights".parse().unwrap(), seen);
}

fn wanted(bench: &Bench) -> Vec<String> {
    looks::wanted(&bench.table, bench.now()).iter().map(PipelineName::to_string).collect()
}

fn given(bench: &mut Bench) -> usize {
    bench.name_committers();
    assign::assign(&bench.table, &mut fleet(&[1_000]), bench.now()).len()
}

fn found(bench: &Bench) -> PipelineReport {
    report::pipeline(&bench.table, bench.table.pipeline(&"flights".parse().unwrap()).unwrap(), bench.now())
}

/// Proves IL11, RM7. However many windows wait, there is one look to be had, and no window is claimed for it.
#[test]
fn one_look_is_for_all_windows_however_many_wait() {
    let mut bench = Bench::new(90, [waits(hourly("flights", "lake"), vec![sql()], vec![]), hourly("planes", "planes")]);
    bench.plan();
    bench.publish_all("planes");
    assert_eq!((given(&mut bench), wanted(&bench)), (0, vec!["flights".to_owned()]));
    assert_eq!((found(&bench).pending, found(&bench).waiting), (90, 0), "whether they wait nobody knows");
    told(&mut bench, vec![seen(hour(40))]);
    assert_eq!((found(&bench).pending, found(&bench).waiting), (40, 50));
    assert_eq!(given(&mut bench), 40);
    assert_eq!(wanted(&bench), ["flights"], "the others go on waiting");
    let last = bench.tasks("flights", TaskPhase::Pending).pop().unwrap();
    let reasons = assign::obstacles(&bench.table, &fleet(&[1]), &last, bench.now());
    assert!(reasons[0].contains("not so far yet"), "{reasons:?}");
    told(&mut bench, vec![seen(i64::MAX)]);
    assert_eq!((wanted(&bench), found(&bench).waiting), (vec![], 0));
}

/// Whoever looks at the counts before a run is taken apart must not take all of it for waiting.
#[test]
fn the_windows_of_a_run_that_may_go_do_not_count_as_waiting() {
    let mut pipeline = waits(hourly("flights", "lake"), vec![sql()], vec![]);
    pipeline.window.as_mut().unwrap().per_task = 100;
    let mut bench = Bench::new(24, [pipeline]);
    bench.plan();
    told(&mut bench, vec![seen(hour(10))]);
    assert_eq!((given(&mut bench), found(&bench).pending, found(&bench).waiting), (0, 10, 14));
    loop {
        let changes = upstream::settle(&bench.table, bench.now());
        if changes.is_empty() {
            break;
        }
        for change in changes {
            bench.apply(&change);
        }
    }
    let windows: usize =
        bench.tasks("flights", TaskPhase::Pending).iter().map(windrow_common::task::Task::windows).sum();
    assert_eq!((windows, found(&bench).pending, found(&bench).waiting), (24, 10, 14));
}

#[test]
fn all_of_some_conditions_have_to_hold_or_any_of_others() {
    let flights =
        waits(hourly("flights", "lake"), vec![sql()], vec![delta(), Condition::Pipeline("planes".parse().unwrap())]);
    let mut bench = Bench::new(1, [flights, hourly("planes", "planes")]);
    bench.plan();
    let lacks = |bench: &Bench| {
        let task = bench.tasks("flights", TaskPhase::Pending).remove(0);
        upstream::lacks(&bench.table, &task, bench.now())
    };
    for (sql, delta, expected) in [
        (i64::MIN, i64::MAX, false),
        (i64::MAX, i64::MIN, false),
        (hour(1), i64::MAX, true),
        (hour(1) - 1, i64::MAX, false),
    ] {
        told(&mut bench, vec![seen(sql), seen(delta), seen(i64::MAX)]);
        assert_eq!(lacks(&bench).is_none(), expected, "{sql} {delta}");
    }
    told(&mut bench, vec![seen(i64::MAX), seen(i64::MIN), seen(i64::MAX)]);
    let missing = lacks(&bench).unwrap();
    assert!(missing.contains("not so far yet, and pipeline planes has not published"), "{missing}");
    bench.publish_all("planes");
    assert_eq!(lacks(&bench), None);
}

#[test]
fn a_full_load_goes_when_a_condition_holds_whatever_the_time() {
    let mut bench = Bench::new(1, [waits(full("flights", "lake"), vec![delta()], vec![])]);
    bench.plan();
    told(&mut bench, vec![seen(hour(100))]);
    assert_eq!(given(&mut bench), 0);
    told(&mut bench, vec![seen(i64::MAX)]);
    assert_eq!(given(&mut bench), 1);
}

/// What was seen under other conditions is forgotten with them.
#[test]
fn a_pipeline_that_waits_for_something_else_is_looked_at_anew() {
    let pipeline = waits(hourly("flights", "lake"), vec![sql()], vec![]);
    let mut bench = Bench::new(1, [pipeline.clone()]);
    bench.plan();
    told(&mut bench, vec![seen(i64::MAX)]);
    assert_eq!(given(&mut bench), 1);
    let changed = waits(pipeline, vec![delta()], vec![]);
    let mut state = bench.table.pipeline(&changed.name).unwrap().state.clone();
    state.value.pipeline = changed;
    bench.apply(&Change::replace(Record::Pipeline(state.value), state.revision));
    assert_eq!((given(&mut bench), wanted(&bench)), (0, vec!["flights".to_owned()]));
}

#[test]
fn whoever_waits_for_too_long_goes_or_is_given_up() {
    for then in [Then::Go, Then::Fail] {
        let mut pipeline = waits(hourly("flights", "lake"), vec![sql()], vec![]);
        pipeline.readiness.require.timeout = Some(Pause(Duration::from_secs(3_600)));
        pipeline.readiness.require.then = then;
        let mut bench = Bench::new(1, [pipeline]);
        bench.plan();
        told(&mut bench, vec![seen(i64::MIN)]);
        assert_eq!(given(&mut bench), 0);
        bench.pass(3_601);
        for change in upstream::settle(&bench.table, bench.now()) {
            bench.apply(&change);
        }
        match then {
            Then::Go => assert_eq!((given(&mut bench), wanted(&bench)), (1, vec![])),
            _ => assert!(bench.tasks("flights", TaskPhase::Quarantined)[0].attempts == 0),
        }
    }
}

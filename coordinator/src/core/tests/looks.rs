//! What windows wait for: one look for all of them, and what follows from it.

use std::time::Duration;

use windrow_common::{
    manifest::Digest,
    pipeline::Pipeline,
    quantity::Pause,
    readiness::{Condition, Then},
    task::TaskPhase,
    window::Window,
};

use super::bench::{Bench, EPOCH, HOUR, fleet, full, hour, hourly, hours, request};
use crate::core::{
    assign,
    backfill::Choice,
    coverage::IntervalSet,
    lifecycle,
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
    Seen { to, holds: IntervalSet::new(), words: "not so far yet".to_owned() }
}

fn told(bench: &mut Bench, seen: Vec<Seen>) {
    bench.table.note_look("flights".parse().unwrap(), &[], seen);
}

fn wanted(bench: &Bench) -> Vec<String> {
    looks::wanted(&bench.table, bench.now()).iter().map(|(name, _)| name.to_string()).collect()
}

fn marker() -> Condition {
    condition(r#"{ "marker": "_SUCCESS" }"#)
}

/// What a look is asked about, as hours.
fn asked(bench: &Bench, from: i64, only_unseen: bool) -> Vec<i64> {
    let windows = looks::windows(&bench.table, &"flights".parse().unwrap(), (from, only_unseen), bench.now());
    windows.iter().map(|window| (window.start() - hour(0)) / HOUR).collect()
}

/// Somebody has looked for these hours, and found the markers of some.
fn found_markers(bench: &mut Bench, of: &[i64], there: &[i64]) {
    let windows: Vec<Window> = of.iter().map(|k| hours(*k, k + 1)).collect();
    let holds = there.iter().map(|k| (hour(*k), hour(k + 1))).collect();
    let seen = Seen { to: i64::MIN, holds, words: "there is no _SUCCESS yet".to_owned() };
    bench.table.note_look("flights".parse().unwrap(), &windows, vec![seen]);
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
    for (then, condition) in [(Then::Go, sql()), (Then::Fail, sql()), (Then::Go, marker()), (Then::Fail, marker())] {
        let mut pipeline = waits(hourly("flights", "lake"), vec![condition], vec![]);
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

/// Proves IL11, RM7. Each window has a marker of its own, and all of them are asked about at once; none is claimed before it has one.
#[test]
fn one_look_is_for_the_markers_of_all_windows() {
    let mut bench = Bench::new(90, [waits(hourly("flights", "lake"), vec![marker()], vec![])]);
    bench.plan();
    let all: Vec<i64> = (0..90).collect();
    assert_eq!((given(&mut bench), asked(&bench, i64::MIN, true)), (0, all.clone()));
    assert_eq!((found(&bench).pending, found(&bench).waiting), (90, 0), "whether they wait nobody knows");
    found_markers(&mut bench, &all, &[3, 4, 70]);
    assert_eq!((given(&mut bench), found(&bench).waiting), (3, 87));
    assert_eq!(asked(&bench, i64::MIN, true), Vec::<i64>::new());
    assert_eq!(asked(&bench, i64::MIN, false).len(), 87, "those that have it are not asked about");
    // Which of them are there is no statement about the others.
    found_markers(&mut bench, &[5, 6], &[5]);
    assert_eq!((given(&mut bench), found(&bench).waiting), (4, 86));
    // A marker that is gone when somebody looks again keeps its window.
    found_markers(&mut bench, &[70], &[]);
    assert_eq!(given(&mut bench), 3);
    let last = bench.tasks("flights", TaskPhase::Pending).pop().unwrap();
    let reasons = assign::obstacles(&bench.table, &fleet(&[1]), &last, bench.now());
    assert!(reasons[0].contains("there is no _SUCCESS yet"), "{reasons:?}");
}

/// What was seen is for one attempt: it may be long ago when the next one comes, and a revision's input is another.
#[test]
fn a_window_that_was_given_out_is_looked_at_anew() {
    let mut bench = Bench::new(3, [waits(hourly("flights", "lake"), vec![marker()], vec![])]);
    bench.plan();
    found_markers(&mut bench, &[0, 1, 2], &[0, 1, 2]);
    let first = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&first.id);
    let waits = lifecycle::not_ready(&bench.table, EPOCH, &claim, "it went".to_owned(), bench.now()).unwrap();
    bench.apply(&waits);
    assert_eq!((asked(&bench, i64::MIN, false), given(&mut bench)), (vec![0], 2), "it waits, and is looked at");
    found_markers(&mut bench, &[0], &[0]);
    bench.pass(31);
    assert_eq!((wanted(&bench), given(&mut bench)), (vec![], 3));
    let task = bench.tasks("flights", TaskPhase::Waiting).remove(0);
    let claim = bench.claim(&task.id);
    bench.seal(&claim).unwrap();
    bench.publish_all("flights");
    bench.backfill("again", &request("flights", None, Choice::All));
    while bench.advance() > 0 {}
    assert_eq!((given(&mut bench), asked(&bench, i64::MIN, true)), (0, vec![0, 1, 2]));
}

/// What one look is asked about has a bound; the next one goes on behind it, and begins again at the end.
#[test]
fn more_windows_than_a_look_is_asked_about_take_turns() {
    let mut pipeline = waits(hourly("flights", "lake"), vec![marker()], vec![]);
    pipeline.window.as_mut().unwrap().per_task = 400;
    let most = i64::try_from(looks::MOST_WINDOWS).unwrap();
    let mut bench = Bench::new(most + 500, [pipeline]);
    bench.plan();
    assert_eq!(asked(&bench, i64::MIN, true), (0..most).collect::<Vec<_>>());
    let next: Vec<i64> = (most..most + 500).chain(0..500).collect();
    assert_eq!(asked(&bench, hour(most), false), next);
}

#[test]
fn what_is_counted_again_waits_for_nothing() {
    let mut pipeline = waits(hourly("flights", "lake"), vec![marker()], vec![]);
    pipeline.window.as_mut().unwrap().audit_after = Some(Pause(Duration::from_secs(3_600)));
    pipeline.sink.write = serde_json::from_str("\"replace_window\"").unwrap();
    let mut bench = Bench::new(1, [pipeline]);
    bench.plan();
    found_markers(&mut bench, &[0], &[0]);
    let task = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&task.id);
    bench.seal_proven(&claim, Digest([1; 32]));
    bench.publish_sealed(&task.sink);
    bench.pass(3_600);
    assert_eq!(wanted(&bench), Vec::<String>::new());
    assert_eq!(given(&mut bench), 1);
}

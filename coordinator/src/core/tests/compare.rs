//! When keys are compared, by whom, and how what that finds is committed.

use std::time::Duration;

use windrow_common::{
    deletes::{ACCEPTED, Deletes},
    error,
    id::TaskId,
    manifest::{Counts, ManifestRef},
    pipeline::{Connection, Pipeline},
    quantity::Pause,
    task::{Lane, Retry, Task, TaskPhase, TaskState},
};

use super::bench::{Bench, EPOCH, failure_with, fleet, hourly, manifest, worker};
use crate::core::{
    apply::{self, BadPipeline},
    assign::{assign, obstacles},
    commit::{self, SinkRun, Todo},
    compare::{self, BadComparison},
    lifecycle::{self, HeldClaim, Seal},
    report,
    table::{Change, PipelineState, Record},
    workers::{Role, Workers},
};

/// Hourly windows of a table whose keys are compared once a day.
fn compared(name: &str) -> Pipeline {
    let mut pipeline = hourly(name, "lake");
    let every = Pause(Duration::from_secs(86_400));
    pipeline.deletes = Some(Box::new(Deletes { every, from: None, max_deleted: "10%".parse().unwrap() }));
    pipeline
}

fn bench() -> Bench {
    let mut bench = Bench::new(0, [compared("users")]);
    bench.name_committers();
    bench.apply(&compare::plan(&bench.table, bench.now()).unwrap());
    bench
}

fn comparison(bench: &Bench) -> Task {
    bench.table.comparison_of(&"users".parse().unwrap()).unwrap().value.clone()
}

fn ask(bench: &mut Bench, accept: bool) -> TaskId {
    let (change, id) = compare::ask(&bench.table, &"users".parse().unwrap(), accept, bench.now()).unwrap();
    bench.apply(&change.unwrap());
    id
}

/// Claims and seals it with so many rows that are gone.
fn seal(bench: &mut Bench, id: &TaskId, rows_deleted: u64) {
    let claim = bench.claim(id);
    let sealed = manifest(bench.task(id), claim.token);
    let counts = Counts { rows_read: 90, rows_deleted, ..Counts::default() };
    match lifecycle::seal(&bench.table, EPOCH, &claim, ManifestRef { counts, ..sealed }, bench.now()).unwrap() {
        Seal::Change(change) => bench.apply(&change),
        other => panic!("expected a change, found {other:?}"),
    };
}

fn given(bench: &Bench, workers: &mut Workers) -> Vec<TaskId> {
    assign(&bench.table, workers, bench.now()).into_iter().map(|given| given.task).collect()
}

fn edit_spec(bench: &mut Bench, change: impl FnOnce(&mut Pipeline)) {
    let state = &bench.table.pipeline(&"users".parse().unwrap()).unwrap().state;
    let mut pipeline = state.value.pipeline.clone();
    change(&mut pipeline);
    let change = Change::replace(Record::Pipeline(PipelineState { pipeline, paused: None }), state.revision);
    bench.apply(&change);
}

/// Proves IL8.
#[test]
fn a_comparison_waits_for_its_time_and_the_next_one_follows() {
    let mut bench = bench();
    let first = comparison(&bench);
    assert_eq!((first.state.phase(), &first.lane), (TaskPhase::Waiting, &Lane::Compare));
    assert_eq!(compare::plan(&bench.table, bench.now()), None, "there is one");
    assert!(bench.table.tasks().next().is_none(), "it is no window of anybody's");
    assert!(given(&bench, &mut fleet(&[4])).is_empty());
    bench.pass(86_400);
    bench.wall = bench.wall.checked_sub(Duration::from_secs(1)).unwrap();
    assert!(given(&bench, &mut fleet(&[4])).is_empty());
    let told = obstacles(&bench.table, &fleet(&[1]), &first, bench.now());
    assert!(told[0].contains("keys are compared at 2024-01-02T00:00:00Z"), "{told:?}");
    bench.pass(1);
    assert_eq!(given(&bench, &mut fleet(&[4])), [first.id]);

    seal(&mut bench, &first.id, 7);
    bench.record(&first.sink);
    bench.pass(60);
    bench.apply(&commit::finalize(&bench.table, &first.sink, bench.now()).unwrap());
    let next = comparison(&bench);
    assert_ne!(next.id, first.id);
    let TaskState::Waiting { until, reason } = &next.state else { panic!("{:?}", next.state) };
    assert_eq!(until.to_string(), "2024-01-03T00:01:00Z");
    assert!(reason.contains("found 7 rows gone"), "{reason}");
    let entry = bench.table.pipeline(&next.pipeline).unwrap();
    assert_eq!(entry.coverage.value.totals, Counts { rows_deleted: 7, ..Counts::default() });
    assert!(entry.coverage.value.published.is_empty(), "no window is published by it");
    let standing = report::pipeline(&bench.table, entry, bench.now()).comparison.unwrap();
    assert_eq!((standing.next, standing.due, standing.given_up), (Some(*until), false, None));
    // A clock that was ahead: it waits no longer than it would from now on.
    bench.pass(-3 * 86_400);
    assert_eq!(given(&bench, &mut fleet(&[4])), [next.id]);
}

#[test]
fn it_is_alone_in_its_commit_and_puts_no_window_off() {
    let mut bench = bench();
    let id = ask(&mut bench, false);
    bench.pass(3 * 3_600);
    bench.plan();
    let windows = bench.tasks("users", TaskPhase::Pending);
    let sink = windows[0].sink.clone();
    for task in &windows[..1] {
        let claim = bench.claim(&task.id);
        bench.seal(&claim).unwrap();
    }
    seal(&mut bench, &id, 1);
    for task in &windows[1..] {
        let claim = bench.claim(&task.id);
        bench.seal(&claim).unwrap();
    }
    let next = |bench: &Bench, workers: &Workers| match commit::next(
        &bench.table,
        workers,
        &sink,
        &SinkRun::default(),
        bench.when(0),
    ) {
        Some(Todo::Prepare { draft, .. }) => draft.tasks.into_iter().map(|task| task.0).collect::<Vec<_>>(),
        other => panic!("expected a draft, found {other:?}"),
    };
    let all: Vec<TaskId> = windows.iter().map(|task| task.id).collect();
    assert_eq!(next(&bench, &fleet(&[1])), all, "the oldest seal is a window's");
    bench.record(&sink);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    assert_eq!(next(&bench, &fleet(&[1])), [id]);
    // A committer that knows nothing of them goes on with windows.
    let mut old = Workers::default();
    let before = worker("w0", &[Role::Ingest, Role::Sink], 1);
    old.connect(crate::core::workers::WorkerInfo { protocol: 3, ..before }, Duration::ZERO);
    assert_eq!(commit::next(&bench.table, &old, &sink, &SinkRun::default(), bench.when(0)), None);
}

#[test]
fn workers_that_do_not_know_it_do_not_get_it() {
    let mut bench = bench();
    let id = ask(&mut bench, false);
    let mut old = Workers::default();
    let before = worker("w0", &[Role::Ingest, Role::Sink], 1);
    old.connect(crate::core::workers::WorkerInfo { protocol: 3, ..before }, Duration::ZERO);
    assert!(given(&bench, &mut old).is_empty());
    assert_eq!(given(&bench, &mut fleet(&[1])), [id]);
}

#[test]
fn one_that_is_given_up_stays_until_somebody_asks() {
    let mut bench = bench();
    let id = ask(&mut bench, false);
    let claim = bench.claim(&id);
    let refused = failure_with(error::TOO_MANY_DELETED, Retry::Never, bench.wall);
    bench.fail_with(&claim, refused).unwrap();
    assert_eq!(comparison(&bench).state.phase(), TaskPhase::Quarantined);
    bench.pass(30 * 86_400);
    assert_eq!(compare::plan(&bench.table, bench.now()), None);
    assert!(given(&bench, &mut fleet(&[1])).is_empty());
    let entry = bench.table.pipeline(&"users".parse().unwrap()).unwrap();
    let standing = compare::standing(&bench.table, entry, bench.now()).unwrap();
    assert_eq!((standing.due, standing.given_up.unwrap().code.as_str()), (false, "WR-K021"));

    assert_eq!(ask(&mut bench, true), id);
    let asked = comparison(&bench);
    assert_eq!(asked.part.as_ref().map(|part| part.what.as_str()), Some(ACCEPTED));
    assert_eq!((asked.attempts, asked.errors), (0, 0));
    // What is accepted stays accepted when an attempt fails for another reason, and is not when the next one is due.
    let claim = bench.claim(&id);
    bench.fail(&claim, Retry::Later).unwrap();
    assert!(comparison(&bench).part.is_some());
    bench.pass(60);
    seal(&mut bench, &id, 90);
    bench.record(&asked.sink);
    bench.apply(&commit::finalize(&bench.table, &asked.sink, bench.now()).unwrap());
    assert!(comparison(&bench).part.is_none());
}

#[test]
fn asking_again_while_it_runs_changes_nothing_but_cannot_accept() {
    let mut bench = bench();
    let id = ask(&mut bench, false);
    let claim: HeldClaim = bench.claim(&id);
    let (users, now) = ("users".parse().unwrap(), bench.now());
    assert_eq!(compare::ask(&bench.table, &users, false, now), Ok((None, claim.task)));
    assert!(matches!(compare::ask(&bench.table, &users, true, now), Err(BadComparison::UnderWay(_))));
    let nobody = "nobody".parse().unwrap();
    assert!(matches!(compare::ask(&bench.table, &nobody, true, now), Err(BadComparison::UnknownPipeline(_))));
    edit_spec(&mut bench, |pipeline| pipeline.deletes = None);
    assert!(matches!(compare::ask(&bench.table, &users, true, now), Err(BadComparison::NotCompared(_))));
}

#[test]
fn one_that_nobody_wants_any_more_goes_unless_an_intent_names_it() {
    let mut bench = bench();
    let id = ask(&mut bench, false);
    seal(&mut bench, &id, 1);
    let sink = comparison(&bench).sink;
    bench.record(&sink);
    edit_spec(&mut bench, |pipeline| pipeline.deletes = None);
    assert_eq!(compare::plan(&bench.table, bench.now()), None);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    assert!(bench.table.comparisons().next().is_none(), "none follows");

    let mut bench = self::bench();
    edit_spec(&mut bench, |pipeline| pipeline.deletes = None);
    bench.apply(&compare::plan(&bench.table, bench.now()).unwrap());
    assert!(bench.table.comparisons().next().is_none());
}

#[test]
fn nobody_else_writes_a_table_whose_keys_are_compared() {
    let bench = bench();
    let shared = |pipelines: &[Pipeline]| match apply::apply(&bench.table, pipelines) {
        Err(BadPipeline::Shared { name, other }) => (name.to_string(), other.to_string()),
        other => panic!("expected a refusal, found {other:?}"),
    };
    let expected = ("users".to_owned(), "guests".to_owned());
    assert_eq!(shared(&[hourly("guests", "lake")]), expected);
    assert!(apply::apply(&bench.table, &[hourly("guests", "pond")]).is_ok());
    // With the comparison it is another matter.
    let plain = hourly("users", "lake");
    assert!(apply::apply(&bench.table, &[plain, hourly("guests", "lake")]).is_ok());
}

/// A standby that keys are read from has limits of its own, and those of the source are not used up.
#[test]
fn it_counts_where_keys_are_read() {
    let mut bench = bench();
    let limited = |name: &str| -> Connection {
        serde_json::from_value(serde_json::json!({
            "name": name, "type": "synthetic", "url": name, "limits": { "connections": 1 },
        }))
        .unwrap()
    };
    edit_spec(&mut bench, |pipeline| {
        pipeline.source.from = limited("primary");
        pipeline.deletes.as_mut().unwrap().from = Some(Box::new(limited("standby")));
    });
    let id = ask(&mut bench, false);
    bench.pass(2 * 3_600);
    bench.plan();
    let both = given(&bench, &mut fleet(&[4]));
    assert!(both.len() == 2 && both.contains(&id), "one at each of the two: {both:?}");
    bench.claim(&id);
    let windows = given(&bench, &mut fleet(&[4]));
    assert_eq!(windows.len(), 1);
    bench.claim(&windows[0]);
    let second = bench.tasks("users", TaskPhase::Pending).remove(0);
    let told = obstacles(&bench.table, &fleet(&[4]), &second, bench.now());
    assert!(told.iter().any(|told| told.contains("the limit of connection primary")), "{told:?}");
    edit_spec(&mut bench, |pipeline| pipeline.deletes.as_mut().unwrap().from = None);
    let told = obstacles(&bench.table, &fleet(&[4]), &second, bench.now());
    assert!(told.iter().any(|told| told.contains("1 task reads from its source already")), "{told:?}");
}

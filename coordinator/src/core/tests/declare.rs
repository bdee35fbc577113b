//! Windows that are declared complete: which may be, and that they take the route of all others.

use windrow_common::{
    pipeline::Pipeline,
    readiness::Condition,
    task::{Retry, Task, TaskPhase},
    window::Window,
};

use super::bench::{Bench, edit, full, hour, hourly, hours};
use crate::core::{
    declare::{self, BadDeclaration, Request},
    lifecycle, ready, report,
    timeline::{Standing, Timeline},
    unchanged, upstream,
};

fn asks(pipeline: &str, window: Window) -> Request {
    Request { pipeline: pipeline.parse().unwrap(), window, by: "ann".to_owned(), reason: "no flights".to_owned() }
}

fn declares(bench: &mut Bench, window: Window) -> bool {
    let change = declare::declare(&bench.table, &asks("flights", window), bench.now()).unwrap();
    change.map(|change| bench.apply(&change)).is_some()
}

fn refused(bench: &Bench, pipeline: &str, window: Window) -> BadDeclaration {
    declare::declare(&bench.table, &asks(pipeline, window), bench.now()).unwrap_err()
}

fn declared(bench: &Bench) -> Vec<Task> {
    bench.tasks("flights", TaskPhase::Pending).into_iter().filter(|task| task.declared.is_some()).collect()
}

fn standing(bench: &Bench, start: i64) -> Standing {
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    Timeline::of(&bench.table, entry).standing(&hours(start, start + 1))
}

fn is_ready(bench: &Bench, to: i64) -> bool {
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    ready::ready(&bench.table, entry, Some(hours(0, to)), false, bench.now()).unwrap().first.is_none()
}

#[test]
fn a_window_that_was_given_up_is_published_because_somebody_says_so() {
    let mut bench = Bench::new(2, [hourly("flights", "lake")]);
    bench.plan();
    let first = bench.tasks("flights", TaskPhase::Pending)[0].clone();
    let claim = bench.claim(&first.id);
    bench.fail(&claim, Retry::Never).unwrap();
    bench.publish_all("flights");
    assert!(matches!(standing(&bench, 0), Standing::Quarantined(_)) && !is_ready(&bench, 2));

    assert!(declares(&mut bench, hours(0, 1)));
    assert!(!declares(&mut bench, hours(0, 1)), "said twice it is said once");
    let task = declared(&bench).remove(0);
    assert_eq!((task.id, task.errors), (first.id, 0));
    bench.publish_all("flights");
    assert!(is_ready(&bench, 2));
    assert!(!declares(&mut bench, hours(0, 1)), "it is published");
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    let windows = report::windows(&bench.table, entry, (hour(0), hour(2)), 2, bench.now());
    assert_eq!(windows[0].declared.map(|declared| declared.by.as_str()), Some("ann"));
    assert_eq!(windows[1].declared, None);
}

/// What was decided is not undone by counting again.
#[test]
fn a_window_that_is_declared_complete_is_not_counted_again() {
    let audited = edit(hourly("flights", "lake"), |window| window.audit_after = Some("6h".parse().unwrap()));
    let mut bench = Bench::new(1, [audited]);
    bench.plan();
    let asked = |bench: &Bench| {
        let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
        unchanged::is_proven(entry, &bench.tasks("flights", TaskPhase::Pending)[0], bench.now())
    };
    assert!(asked(&bench));
    assert!(declares(&mut bench, hours(0, 1)));
    assert!(!asked(&bench));
}

#[test]
fn a_window_that_waits_for_another_pipeline_waits_no_longer() {
    let mut waits = hourly("flights", "lake");
    waits.readiness.require.all = vec![Condition::Pipeline("planes".parse().unwrap())];
    let mut bench = Bench::new(1, [waits, edit(hourly("planes", "planes"), |_| ())]);
    bench.plan();
    let lacks = |bench: &Bench| {
        let task = bench.tasks("flights", TaskPhase::Pending).remove(0);
        upstream::lacks(&bench.table, &task, bench.now())
    };
    assert!(lacks(&bench).is_some());
    assert!(declares(&mut bench, hours(0, 1)));
    assert_eq!(lacks(&bench), None);
}

/// What else a run is over stands as it stood.
#[test]
fn a_window_is_taken_out_of_its_run() {
    let mut bench = Bench::new(5, [edit(hourly("flights", "lake"), |window| window.per_task = 5)]);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(0, 5)]);
    assert!(declares(&mut bench, hours(2, 3)));
    assert_eq!(bench.pending("flights"), [(0, 2), (2, 3), (3, 5)]);
    assert_eq!(declared(&bench).iter().map(|task| task.window).collect::<Vec<_>>(), [hours(2, 3)]);
    assert!(declares(&mut bench, hours(4, 5)));
    assert_eq!(bench.pending("flights"), [(0, 2), (2, 3), (3, 4), (4, 5)]);
    bench.publish_all("flights");
    assert!(is_ready(&bench, 5));
}

#[test]
fn a_window_nobody_has_in_hand_gets_a_task() {
    let mut bench = Bench::new(1, [hourly("flights", "lake")]);
    bench.plan();
    let task = bench.tasks("flights", TaskPhase::Pending).remove(0);
    bench.apply(&lifecycle::cancel(&bench.table, &task.id).unwrap());
    assert_eq!(standing(&bench, 0), Standing::Missing);
    assert!(declares(&mut bench, hours(0, 1)));
    assert_eq!(declared(&bench)[0].revision, 1);
    bench.publish_all("flights");
    assert!(is_ready(&bench, 1));
}

#[test]
fn what_is_loaded_now_or_is_no_window_is_not_declared() {
    let mut bench = Bench::new(2, [hourly("flights", "lake"), full("planes", "planes")]);
    assert_eq!(refused(&bench, "flights", hours(0, 1)), BadDeclaration::NotPlanned(hours(0, 1)));
    bench.plan();
    let first = bench.tasks("flights", TaskPhase::Pending)[0].clone();
    bench.claim(&first.id);
    assert_eq!(refused(&bench, "flights", hours(0, 1)), BadDeclaration::Loading(hours(0, 1)));
    assert_eq!(refused(&bench, "flights", hours(2, 3)), BadDeclaration::NotClosed(hours(2, 3)));
    for other in [hours(0, 2), hours(-1, 0), Window::version(0)] {
        assert_eq!(refused(&bench, "flights", other), BadDeclaration::NoWindow(other));
    }
    assert_eq!(refused(&bench, "planes", Window::version(0)), BadDeclaration::NoWindow(Window::version(0)));
    assert!(matches!(refused(&bench, "trains", hours(0, 1)), BadDeclaration::UnknownPipeline(_)));
    let silent = Request { reason: " ".to_owned(), ..asks("flights", hours(1, 2)) };
    assert_eq!(declare::declare(&bench.table, &silent, bench.now()).unwrap_err(), BadDeclaration::Text("reason"));
}

/// A ledger does not grow with what was declared.
#[test]
fn who_declared_what_is_kept_for_the_last_windows_and_until_they_are_loaded() {
    let mut bench = Bench::new(30, [hourly("flights", "lake")]);
    bench.plan();
    for start in 0..30 {
        assert!(declares(&mut bench, hours(start, start + 1)));
    }
    bench.publish_all("flights");
    let kept = |bench: &Bench| -> Vec<i64> {
        let entry = bench.table.pipeline(&"flights".parse::<windrow_common::id::PipelineName>().unwrap()).unwrap();
        entry
            .coverage
            .value
            .declared
            .iter()
            .map(|found| (found.window.start() - hour(0)) / (hour(1) - hour(0)))
            .collect()
    };
    assert_eq!(kept(&bench), (10..30).collect::<Vec<_>>());
    let range = super::bench::request("flights", Some(hours(20, 21)), crate::core::backfill::Choice::All);
    bench.backfill("again", &range);
    bench.advance();
    bench.publish_all("flights");
    assert_eq!(kept(&bench), (10..30).filter(|hour| *hour != 20).collect::<Vec<_>>());
}

/// Whoever declares a window of a pipeline that loads beside another means that other one.
#[test]
fn what_comes_late_is_not_declared() {
    let of: Pipeline = hourly("flights", "lake");
    let mut side = hourly("flights.late", "late");
    side.beside = Some(Box::new(windrow_common::closed::Beside { of: of.name.clone(), sink: of.sink.clone() }));
    let bench = Bench::new(1, [of, side]);
    assert!(matches!(refused(&bench, "flights.late", hours(0, 1)), BadDeclaration::Beside(_)));
}

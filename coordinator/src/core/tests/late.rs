//! Closed windows: what becomes of what comes late to them, and what shows that nothing has changed them.

use std::time::Duration;

use windrow_common::{
    closed::{Beside, Late, Place},
    error,
    manifest::Digest,
    pipeline::Pipeline,
    quantity::Pause,
    task::{Retry, Task, TaskPhase},
    window::Window,
};

use super::bench::{Bench, EPOCH, edit, hour, hourly, hours, request};
use crate::core::{
    backfill::{self, BadRequest, Choice, Origin},
    closed::{self, Closed},
    late::{self, BadRelease, Release},
    ready::ready,
    recount::{self, Counted},
    report,
    revised::Revisions,
    timeline::{Standing, Timeline},
};

const LOADED: Digest = Digest([1; 32]);
const CHANGED: Digest = Digest([2; 32]);

fn audited(late: Late) -> Pipeline {
    let six_hours = Some(Pause(Duration::from_secs(6 * 3_600)));
    let mut pipeline = edit(hourly("flights", "lake"), |window| window.audit_after = six_hours);
    pipeline.readiness.late = late;
    pipeline
}

fn aside() -> Late {
    Late::Aside(Place { path: Some("late".to_owned()), table: None })
}

/// What loads beside it.
fn side() -> Pipeline {
    let of = audited(aside());
    let mut pipeline = hourly("flights.late", "late");
    pipeline.beside = Some(Box::new(Beside { of: of.name, sink: of.sink }));
    pipeline
}

/// Three windows, published, and their time has come to be counted again.
fn published(pipelines: impl IntoIterator<Item = Pipeline>) -> Bench {
    let mut bench = Bench::new(3, pipelines);
    bench.plan();
    for task in bench.tasks("flights", TaskPhase::Pending) {
        let claim = bench.claim(&task.id);
        bench.seal_proven(&claim, LOADED);
        bench.publish_sealed(&task.sink);
    }
    bench.pass(9 * 3_600);
    bench
}

/// Counts a window again that has changed.
fn changes(bench: &mut Bench, start: i64) -> Counted {
    let name = "flights".parse().unwrap();
    let found = bench.table.recounts_of(&name).find(|task| task.value.window.start() == hour(start)).unwrap();
    let claim = bench.claim(&found.value.id.clone());
    let counted = recount::counted(&bench.table, EPOCH, &claim, (&CHANGED.into(), "\"b.csv\" came late"), bench.now());
    let counted = counted.unwrap();
    bench.apply(&counted.clone().into_change());
    counted
}

fn word(counted: &Counted) -> &str {
    match counted {
        Counted::Same(_) => "same",
        Counted::Stale(_) => "stale",
        Counted::Late(_, word) => word,
    }
}

fn standing(bench: &Bench, pipeline: &str, start: i64) -> Standing {
    let entry = bench.table.pipeline(&pipeline.parse().unwrap()).unwrap();
    Timeline::of(&bench.table, entry).standing(&hours(start, start + 1))
}

fn backfilled(bench: &Bench, pipeline: &str, range: Window) -> Result<backfill::Backfill, BadRequest> {
    let all = request(pipeline, Some(range), Choice::All);
    backfill::create(&bench.table, &all, "b".parse().unwrap(), Origin::default(), bench.now())
}

/// What is said of the first hours.
fn closed_to(bench: &Bench, to: i64, look: impl FnOnce(&Closed<'_>)) {
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    let found = ready(&bench.table, entry, Some(hours(0, to)), false, bench.now()).unwrap();
    look(&closed::closed(&bench.table, entry, &found));
}

fn release(start: i64, drop: bool) -> Release {
    Release { pipeline: "flights".parse().unwrap(), window: hours(start, start + 1), by: "ann".to_owned(), drop }
}

fn pending(bench: &Bench, pipeline: &str) -> Vec<Task> {
    bench.tasks(pipeline, TaskPhase::Pending)
}

#[test]
fn what_is_refused_leaves_no_trace_and_no_task() {
    let mut bench = published([audited(Late::Refuse)]);
    let planned = pending(&bench, "flights").len();
    assert_eq!(word(&changes(&mut bench, 0)), "refused");
    assert_eq!(pending(&bench, "flights").len(), planned);
    assert_eq!(bench.table.recounts_of(&"flights".parse().unwrap()).count(), 2);
    assert_eq!(standing(&bench, "flights", 0), Standing::Published);
}

/// Proves RM9. The ledger shows that a closed window was loaded once, and that nothing can load it again.
#[test]
fn what_is_held_changes_nothing_until_it_is_released() {
    let mut bench = published([audited(Late::Quarantine)]);
    for start in [0, 1] {
        assert_eq!(word(&changes(&mut bench, start)), "held");
        assert_eq!(standing(&bench, "flights", start), Standing::Published);
    }
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    let found = report::pipeline(&bench.table, entry, bench.now());
    assert_eq!((found.held, found.recounts, found.quarantined), (2, 1, 0));
    let windows = report::windows(&bench.table, entry, (hour(0), hour(3)), 3, bench.now());
    let held = windows[1].held.unwrap();
    assert_eq!((held.code.as_str(), held.retry), (error::LATE_HELD.code, Retry::Never));
    assert!(held.message.contains("\"b.csv\" came late"), "{}", held.message);
    assert_eq!((windows[1].recount, windows[2].held, windows[1].revision), (None, None, Some(0)));
    assert!(recount::clear(&bench.table).is_none(), "it stays until somebody decides");
    assert_eq!(backfilled(&bench, "flights", hours(0, 2)).unwrap_err(), BadRequest::Closed(2));
    closed_to(&bench, 3, |closed| {
        assert_eq!((closed.open, closed.revision), (None, Some(0)));
        assert_eq!(closed.head.0, 3);
        assert!(closed.head.1.is_some());
    });

    bench.apply(&late::release(&bench.table, &release(0, true), bench.now()).unwrap());
    assert!(pending(&bench, "flights").iter().all(|task| task.revision == 0), "what is dropped is not loaded");
    bench.apply(&late::release(&bench.table, &release(1, false), bench.now()).unwrap());
    let again = pending(&bench, "flights").into_iter().find(|task| task.revision == 1).unwrap();
    assert_eq!(again.window, hours(1, 2));
    closed_to(&bench, 3, |closed| assert!(closed.open.is_some_and(|why| why.contains("again"))));
    let nothing = late::release(&bench.table, &release(1, false), bench.now());
    assert_eq!(nothing.unwrap_err(), BadRelease::NothingHeld(hours(1, 2)));

    let claim = bench.claim(&again.id);
    bench.seal(&claim).unwrap();
    bench.publish_sealed(&again.sink);
    closed_to(&bench, 3, |closed| assert_eq!((closed.open, closed.revision), (None, Some(1))));
    closed_to(&bench, 1, |closed| assert_eq!((closed.open, closed.revision), (None, Some(0))));
}

/// Proves RM9.
#[test]
fn what_is_put_aside_is_loaded_beside_and_by_nobody_else() {
    let mut bench = published([audited(aside()), side()]);
    assert_eq!(pending(&bench, "flights.late"), [], "nothing of it is planned by time");
    let entry = bench.table.pipeline(&"flights.late".parse().unwrap()).unwrap();
    assert_eq!(report::pipeline(&bench.table, entry, bench.now()).unsettled(), 0);
    assert_eq!(standing(&bench, "flights.late", 1), Standing::NotClosed);
    let manifest = bench.table.recounts_of(&"flights".parse().unwrap()).map(|task| task.value.loaded).nth(1).unwrap();
    assert!(manifest.is_some());

    assert_eq!(word(&changes(&mut bench, 1)), "aside");
    let load = pending(&bench, "flights.late").remove(0);
    assert_eq!((load.window, load.loaded), (hours(1, 2), manifest));
    assert_eq!(standing(&bench, "flights", 1), Standing::Published);
    bench.publish_all("flights.late");
    assert_eq!(standing(&bench, "flights.late", 1), Standing::Published);
    assert_eq!(standing(&bench, "flights.late", 0), Standing::NotClosed);
    closed_to(&bench, 3, |closed| assert_eq!((closed.open, closed.revision), (None, Some(0))));
    let name = "flights.late".parse().unwrap();
    assert_eq!(backfilled(&bench, "flights.late", hours(0, 3)).unwrap_err(), BadRequest::Beside(name));
}

#[test]
fn what_cannot_be_put_aside_waits_for_somebody() {
    let mut alone = published([audited(aside())]);
    assert_eq!(word(&changes(&mut alone, 0)), "held", "nobody loads beside it");

    let mut bench = published([audited(aside()), side()]);
    changes(&mut bench, 0);
    let load = pending(&bench, "flights.late").remove(0);
    let claim = bench.claim(&load.id);
    bench.fail(&claim, Retry::Never).unwrap();
    assert!(matches!(standing(&bench, "flights.late", 0), Standing::Quarantined(_)));
    bench.apply(&late::release(&bench.table, &release(0, false), bench.now()).unwrap());
    let again = pending(&bench, "flights.late").remove(0);
    assert_eq!((again.id, again.loaded, again.errors), (load.id, load.loaded, 0));
}

#[test]
fn what_may_be_loaded_again_is_not_said_to_be_closed() {
    let mut bench = published([audited(Late::Reopen)]);
    closed_to(&bench, 3, |closed| {
        assert!(closed.open.is_some_and(|why| why.contains("`readiness.late`")));
        assert_eq!(closed.revision, Some(0));
    });
    assert_eq!(word(&changes(&mut bench, 0)), "stale");
    bench.publish_all("flights");
    closed_to(&bench, 3, |closed| assert_eq!(closed.revision, Some(1)));
}

/// A ledger of an older windrow did not note what was loaded again.
#[test]
fn what_was_not_noted_is_not_known() {
    let bench = published([audited(Late::Refuse)]);
    let mut entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().clone();
    entry.coverage.value.revisions = None;
    assert_eq!(closed::revision(&entry, &hours(0, 1)), Some(0), "no other revision was ever given");
    entry.cursor.value.revision = 2;
    assert_eq!(closed::revision(&entry, &hours(0, 1)), None);
    entry.coverage.value.revisions = Some(Revisions::default());
    assert_eq!(closed::revision(&entry, &hours(0, 1)), Some(0));
}

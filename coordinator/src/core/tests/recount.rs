//! Windows that are counted again: what is planned for that, when it comes, and what it comes to.

use std::time::Duration;

use windrow_common::{
    closed::Late,
    error,
    manifest::{Digest, Proof},
    pipeline::Pipeline,
    quantity::Pause,
    task::{Lane, Retry, Task, TaskPhase, TaskState},
};

use super::bench::{Bench, EPOCH, edit, fleet, hour, hourly, hours, request, worker};
use crate::core::{
    assign::{assign, obstacles},
    backfill::Choice,
    lifecycle,
    recount::{self, Counted},
    report,
    table::{Change, Record},
    timeline::{Standing, Timeline},
    workers::Role,
};

const LOADED: Digest = Digest([1; 32]);
const CHANGED: Digest = Digest([2; 32]);

/// Hourly windows that are counted again six hours after their ends.
fn audited(name: &str) -> Pipeline {
    edit(hourly(name, "lake"), |window| window.audit_after = Some(Pause(Duration::from_secs(6 * 3_600))))
}

/// So many windows, all of them published and proven.
fn published(hours: i64) -> Bench {
    let mut bench = Bench::new(hours, [audited("flights")]);
    bench.plan();
    for task in bench.tasks("flights", TaskPhase::Pending) {
        let claim = bench.claim(&task.id);
        bench.seal_proven(&claim, LOADED);
        bench.publish_sealed(&task.sink);
    }
    bench.name_committers();
    bench
}

fn recounts(bench: &Bench) -> Vec<Task> {
    let mut found: Vec<Task> =
        bench.table.recounts_of(&"flights".parse().unwrap()).map(|task| task.value.clone()).collect();
    found.sort_by_key(|task| (task.window.start(), task.revision));
    found
}

fn count(bench: &mut Bench, task: &Task, found: impl Into<Proof>) -> Counted {
    let claim = bench.claim(&task.id);
    let counted = recount::counted(&bench.table, EPOCH, &claim, (&found.into(), ""), bench.now()).unwrap();
    bench.apply(&counted.clone().into_change());
    counted
}

fn standing(bench: &Bench, start: i64) -> Standing {
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    Timeline::of(&bench.table, entry).standing(&hours(start, start + 1))
}

#[test]
fn a_published_window_waits_for_its_recount_and_stands_as_published() {
    let bench = published(2);
    let waiting = recounts(&bench);
    assert_eq!(waiting.len(), 2);
    assert_eq!((&waiting[0].proof, waiting[0].attempts, &waiting[0].lane), (&Some(LOADED.into()), 0, &Lane::Recount));
    let TaskState::Waiting { until, .. } = &waiting[1].state else { panic!("{:?}", waiting[1].state) };
    assert_eq!(until.as_microsecond(), hour(8), "the second window ends at two");
    assert_eq!(standing(&bench, 0), Standing::Published);
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    let found = report::pipeline(&bench.table, entry, bench.now());
    assert_eq!((found.published, found.waiting, found.recounts, found.unsettled()), (2, 0, 2, 0));
    assert_eq!(found.recounts_due, 0);
    let windows = report::windows(&bench.table, entry, (hour(0), hour(2)), 10, bench.now());
    assert_eq!(windows[1].recount, Some(*until));
}

#[test]
fn its_time_comes_and_not_before() {
    let mut bench = published(2);
    assert!(assign(&bench.table, &mut fleet(&[4]), bench.now()).is_empty());
    bench.pass(-20);
    assert!(assign(&bench.table, &mut fleet(&[4]), bench.now()).is_empty(), "it lies no further ahead than it may");
    bench.wall = jiff::Timestamp::from_microsecond(hour(7)).unwrap();
    let given = assign(&bench.table, &mut fleet(&[4]), bench.now());
    assert_eq!(given.iter().map(|given| given.task).collect::<Vec<_>>(), [recounts(&bench)[0].id]);
    let found = obstacles(&bench.table, &fleet(&[1]), &recounts(&bench)[1], bench.now());
    assert!(found[0].contains("counted again at 2024-01-01T08:00:00Z"), "{found:?}");
}

#[test]
fn a_window_that_holds_what_was_loaded_costs_one_record_and_no_commit() {
    let mut bench = published(1);
    bench.pass(7 * 3_600);
    let task = recounts(&bench).remove(0);
    assert!(matches!(count(&mut bench, &task, LOADED), Counted::Same(_)));
    assert!(recounts(&bench).is_empty());
    assert_eq!(bench.table.sink(&task.sink).unwrap().head.as_ref().unwrap().value.seq, 1);
    assert_eq!(standing(&bench, 0), Standing::Published);
}

#[test]
fn a_window_that_has_changed_is_loaded_again_and_counted_again_no_more() {
    let mut bench = published(1);
    bench.pass(7 * 3_600);
    let task = recounts(&bench).remove(0);
    assert!(matches!(count(&mut bench, &task, CHANGED), Counted::Stale(_)));
    assert!(recounts(&bench).is_empty());
    let again = bench.tasks("flights", TaskPhase::Pending).into_iter().find(|task| task.revision > 0).unwrap();
    assert_eq!((again.window, &again.lane, &again.proof), (task.window, &Lane::Live, &None));
    let TaskState::Pending { last_failure: Some(why), .. } = &again.state else { panic!("{:?}", again.state) };
    assert_eq!(why.code, error::WINDOW_STALE.code);
    let claim = bench.claim(&again.id);
    bench.seal(&claim).unwrap();
    bench.publish_sealed(&again.sink);
    assert!(recounts(&bench).is_empty(), "its time was over when it was loaded");
    assert!(!recount_is_asked_for(&bench, &again));
}

fn recount_is_asked_for(bench: &Bench, task: &Task) -> bool {
    let entry = bench.table.pipeline(&task.pipeline).unwrap();
    crate::core::unchanged::is_proven(entry, task, bench.now())
}

#[test]
fn a_zombie_counts_nothing_and_a_recount_is_never_sealed() {
    let mut bench = published(1);
    bench.pass(7 * 3_600);
    let task = recounts(&bench).remove(0);
    let old = bench.claim(&task.id);
    bench.apply(&lifecycle::reap(&bench.table, &task.id, bench.now()).unwrap());
    let new = bench.claim(&task.id);
    assert!(recount::counted(&bench.table, EPOCH, &old, (&CHANGED.into(), ""), bench.now()).is_err());
    assert!(bench.seal(&new).is_err());
    assert!(recount::counted(&bench.table, EPOCH, &new, (&LOADED.into(), ""), bench.now()).is_ok());
}

#[test]
fn a_window_that_cannot_be_counted_is_loaded_again_where_everybody_sees_what_is_wrong() {
    let mut bench = published(1);
    bench.pass(7 * 3_600);
    let task = recounts(&bench).remove(0);
    let claim = bench.claim(&task.id);
    bench.fail(&claim, Retry::Later).unwrap();
    assert_eq!(recounts(&bench)[0].errors, 1, "it is tried again first");
    bench.pass(60);
    let claim = bench.claim(&task.id);
    bench.fail(&claim, Retry::Never).unwrap();
    assert!(recounts(&bench).is_empty());
    assert!(bench.tasks("flights", TaskPhase::Pending).iter().any(|task| task.revision == 1));
}

#[test]
fn what_is_counted_again_goes_in_runs_of_its_own() {
    let mut pipeline = audited("flights");
    pipeline.window.as_mut().unwrap().per_task = 100;
    let mut bench = Bench::new(24, [pipeline]);
    bench.plan();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    let windows: Vec<usize> = tasks.iter().map(Task::windows).collect();
    assert_eq!(windows, [18, 6], "those that end up to six hours ago are counted again");
    let asked: Vec<bool> = tasks.iter().map(|task| recount_is_asked_for(&bench, task)).collect();
    assert_eq!(asked, [false, true]);
    bench.publish_all("flights");
    bench.backfill("b1", &request("flights", None, Choice::All));
    bench.advance();
    let windows: Vec<usize> = bench.tasks("flights", TaskPhase::Pending).iter().map(Task::windows).collect();
    assert_eq!(windows, [18, 6]);
}

/// What windows that stay as they are hold late somebody decides for each; and a run is no longer than its record may be.
#[test]
fn runs_that_are_counted_again_are_short_and_of_windows_that_may_change() {
    let mut pipeline = audited("flights");
    pipeline.readiness.late = Late::Refuse;
    let window = pipeline.window.as_mut().unwrap();
    (window.per_task, window.audit_after) = (1_000, Some(Pause(Duration::from_secs(1_000 * 3_600))));
    let mut bench = Bench::new(250, [pipeline.clone()]);
    bench.plan();
    let windows =
        |bench: &Bench| bench.tasks("flights", TaskPhase::Pending).iter().map(Task::windows).collect::<Vec<_>>();
    assert!(windows(&bench).iter().all(|windows| *windows == 1));
    pipeline.readiness.late = Late::Reopen;
    let mut bench = Bench::new(250, [pipeline]);
    bench.plan();
    assert_eq!(windows(&bench), [100, 100, 50]);
}

/// Six windows loaded by one task, their time come to be counted again, and the digest of each.
fn run_of_six() -> (Bench, Task, Vec<Digest>) {
    let mut pipeline = audited("flights");
    pipeline.window.as_mut().unwrap().per_task = 6;
    let mut bench = Bench::new(6, [pipeline]);
    bench.plan();
    let run = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let windows: Vec<Digest> = (1..=6).map(|n| Digest([n; 32])).collect();
    let claim = bench.claim(&run.id);
    bench.seal_proven(&claim, proof(&windows));
    bench.publish_sealed(&run.sink);
    let counted = recounts(&bench).remove(0);
    assert_eq!((counted.windows(), recounts(&bench).len()), (6, 1));
    bench.pass(13 * 3_600);
    (bench, counted, windows)
}

fn proof(windows: &[Digest]) -> Proof {
    let whole: Vec<u8> = windows.iter().flat_map(|digest| digest.0).collect();
    Proof { whole: Digest(*blake3::hash(&whole).as_bytes()), windows: windows.to_vec() }
}

fn loaded_again(bench: &Bench) -> Vec<(i64, i64)> {
    let hours = |at: i64| (at - hour(0)) / (hour(1) - hour(0));
    let again = bench.tasks("flights", TaskPhase::Pending).into_iter().filter(|task| task.revision > 0);
    again.map(|task| (hours(task.window.start()), hours(task.window.end()))).collect()
}

#[test]
fn of_a_run_the_windows_that_have_changed_are_loaded_again_and_no_others() {
    let (mut bench, run, mut windows) = run_of_six();
    for changed in [0, 3, 4] {
        windows[changed] = CHANGED;
    }
    let report = |bench: &Bench| {
        let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
        report::pipeline(&bench.table, entry, bench.now())
    };
    assert_eq!((report(&bench).recounts, report(&bench).recounts_due), (6, 6));
    assert!(matches!(count(&mut bench, &run, proof(&windows)), Counted::Stale(_)));
    assert_eq!(loaded_again(&bench), [(0, 1), (3, 5)]);
    assert_eq!((report(&bench).recounts, standing(&bench, 1)), (0, Standing::Published));

    let (mut bench, run, windows) = run_of_six();
    assert!(matches!(count(&mut bench, &run, proof(&windows)), Counted::Same(_)));
    assert!(loaded_again(&bench).is_empty() && recounts(&bench).is_empty());
}

/// An older worker knows of one proof for all of them.
#[test]
fn a_run_of_which_nobody_tells_the_windows_apart_is_loaded_again_whole() {
    let (mut bench, run, _) = run_of_six();
    assert!(matches!(count(&mut bench, &run, CHANGED), Counted::Stale(_)));
    assert_eq!(loaded_again(&bench), [(0, 6)]);
}

#[test]
fn a_window_of_a_run_that_was_loaded_again_meanwhile_is_held_against_its_newest_load() {
    let mut pipeline = audited("flights");
    pipeline.window.as_mut().unwrap().per_task = 6;
    let mut bench = Bench::new(6, [pipeline]);
    bench.plan();
    let run = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let windows: Vec<Digest> = (1..=6).map(|n| Digest([n; 32])).collect();
    let claim = bench.claim(&run.id);
    bench.seal_proven(&claim, proof(&windows));
    bench.publish_sealed(&run.sink);
    bench.backfill("b1", &request("flights", Some(hours(2, 4)), Choice::All));
    bench.advance();
    let again = bench.tasks("flights", TaskPhase::Pending).remove(0);
    assert_eq!(again.windows(), 2);
    let claim = bench.claim(&again.id);
    bench.seal_proven(&claim, proof(&[CHANGED, Digest([4; 32])]));
    bench.publish_sealed(&again.sink);
    assert_eq!(recount::clear(&bench.table), None, "the run stands for four windows yet");
    bench.pass(13 * 3_600);
    let found = recounts(&bench);
    let run = found.iter().find(|task| task.revision == 0).unwrap();
    let mut now = windows;
    (now[2], now[5]) = (CHANGED, CHANGED);
    assert!(matches!(count(&mut bench, run, proof(&now)), Counted::Stale(_)));
    assert_eq!(loaded_again(&bench), [(5, 6)]);
}

#[test]
fn more_windows_than_a_transaction_takes_are_planned_one_after_the_other() {
    let mut pipeline = audited("flights");
    let window = pipeline.window.as_mut().unwrap();
    (window.per_task, window.audit_after) = (10, Some(Pause(Duration::from_secs(1_000 * 3_600))));
    let mut bench = Bench::new(250, [pipeline]);
    bench.plan();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    assert_eq!((tasks.len(), tasks.last().unwrap().window.end()), (25, hour(250)));
}

#[test]
fn recounts_nobody_waits_for_are_taken_away() {
    let mut bench = published(2);
    bench.backfill("b1", &request("flights", Some(hours(0, 1)), Choice::All));
    bench.advance();
    let again = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&again.id);
    bench.seal_proven(&claim, CHANGED);
    bench.publish_sealed(&again.sink);
    assert_eq!(recounts(&bench).len(), 3);
    let change: Change = recount::clear(&bench.table).unwrap();
    bench.apply(&change);
    let left: Vec<_> = recounts(&bench).iter().map(|task| (task.window.start(), task.proof.clone())).collect();
    assert_eq!(left, [(hour(0), Some(CHANGED.into())), (hour(1), Some(LOADED.into()))]);
    assert_eq!(recount::clear(&bench.table), None);
    let mut changed = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().state.clone();
    changed.value.pipeline = edit(audited("flights"), |window| window.audit_after = None);
    bench.apply(&Change::replace(Record::Pipeline(changed.value), changed.revision));
    bench.apply(&recount::clear(&bench.table).unwrap());
    assert!(recounts(&bench).is_empty());
}

#[test]
fn a_window_that_is_being_loaded_is_not_loaded_twice_for_its_recount() {
    let mut bench = published(1);
    bench.pass(7 * 3_600);
    bench.backfill("b1", &request("flights", Some(hours(0, 1)), Choice::All));
    let task = recounts(&bench).remove(0);
    count(&mut bench, &task, CHANGED);
    assert!(bench.tasks("flights", TaskPhase::Pending).is_empty(), "the backfill has it");
    assert!(recounts(&bench).is_empty());
}

#[test]
fn recounts_take_one_slot_and_turns_with_what_is_loaded() {
    let mut bench = published(4);
    bench.pass(20 * 3_600);
    bench.plan();
    let mut workers = fleet(&[3]);
    let given = assign(&bench.table, &mut workers, bench.now());
    let lanes: Vec<&Lane> = given.iter().map(|given| &bench.task(&given.task).lane).collect();
    assert_eq!(lanes.iter().filter(|lane| ***lane == Lane::Recount).count(), 1);
    assert_eq!(lanes.len(), 3);
}

#[test]
fn while_a_worker_is_older_than_recounts_none_is_given_out() {
    let mut bench = published(1);
    bench.pass(7 * 3_600);
    let mut workers = fleet(&[2]);
    let mut old = worker("old", &[Role::Ingest], 2);
    old.protocol = 2;
    workers.connect(old, Duration::ZERO);
    let lane = |bench: &Bench, task| bench.task(task).lane.clone();
    let given = assign(&bench.table, &mut workers, bench.now());
    assert!(given.iter().all(|given| lane(&bench, &given.task) != Lane::Recount));
    let given = assign(&bench.table, &mut fleet(&[2]), bench.now());
    assert!(given.iter().any(|given| lane(&bench, &given.task) == Lane::Recount), "{given:?}");
}

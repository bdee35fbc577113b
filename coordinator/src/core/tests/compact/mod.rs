//! Which files are rewritten when, by whom, and how their commits go beside those of windows.

mod budget;
mod major;

use std::time::Duration;

use windrow_common::{
    compaction::{Compaction, GroupRef},
    error,
    id::{SinkId, TaskId},
    manifest::{Digest, WriteMode},
    pipeline::{Pattern, Pipeline},
    task::{Lane, Retry, TaskPhase},
    window::Window,
};

use super::bench::{Bench, failure_with, fleet, full, hourly, hours, request, worker};
use crate::core::{
    assign::{assign, obstacles},
    backfill::Choice,
    commit::{self, SinkRun, Todo},
    compact::{self, Asked, MOST_OPEN, Spent},
    lifecycle, plan,
    table::Key,
    workers::{Role, Workers},
};

/// Hourly windows that are added to a table whose files are compacted.
fn compacted(name: &str, path: &str) -> Pipeline {
    let mut pipeline = hourly(name, path);
    pipeline.sink.write = WriteMode::Append;
    pipeline.compaction = Some(Box::default());
    pipeline
}

fn with(mut pipeline: Pipeline, change: impl FnOnce(&mut Compaction)) -> Pipeline {
    change(pipeline.compaction.as_mut().unwrap());
    pipeline
}

fn group(number: u8, files: u64, bytes: u64) -> GroupRef {
    GroupRef {
        sha256: Digest([number; 32]),
        files,
        bytes,
        makes: 1,
        window: None,
        place: "day=1".to_owned(),
        major: None,
    }
}

fn sink_of(bench: &Bench, pipeline: &str) -> SinkId {
    bench.table.pipeline(&pipeline.parse().unwrap()).unwrap().sink.clone()
}

/// Plans groups as the leader would; how many tasks there are for them.
fn take_up(bench: &mut Bench, sink: &SinkId, groups: &[GroupRef], asked: Asked) -> Vec<TaskId> {
    let made = compact::plan(&bench.table, sink, groups, (asked, &mut Spent::default()), bench.now());
    let Some((change, tasks)) = made else { return Vec::new() };
    if !change.is_empty() {
        bench.apply(&change);
    }
    tasks
}

fn phase(bench: &Bench, task: &TaskId) -> Option<TaskPhase> {
    bench.table.task(task).map(|task| task.value.state.phase())
}

#[test]
fn what_gains_most_is_taken_up_first_and_once() {
    let mut bench = Bench::new(0, [compacted("flights", "lake")]);
    let sink = sink_of(&bench, "flights");
    let groups = [group(1, 2, 1_000), group(2, 100, 1_000), group(3, 10, 1_000), group(4, 1, 10), group(1, 2, 1_000)];
    let tasks = take_up(&mut bench, &sink, &groups, Asked::ByItself);
    let id = |number: usize| TaskId::of_group(&sink, &groups[number].sha256.0);
    assert_eq!(tasks, [id(1), id(2), id(0)], "one file cannot become fewer");
    let before = bench.table.clone();
    assert_eq!(take_up(&mut bench, &sink, &groups, Asked::ByItself), tasks);
    assert_eq!(bench.table.groups().count(), before.groups().count());
    // They are no windows of anybody's.
    assert_eq!(bench.table.tasks().count(), 0);
    assert!(bench.table.tasks_of(&"flights".parse().unwrap()).next().is_none());
    assert_eq!(bench.table.task(&id(1)).unwrap().value.group(), Some(groups[1].clone()));
}

/// Proves CO12.
#[test]
fn a_table_has_so_many_open_groups_and_no_more() {
    let mut bench = Bench::new(0, [compacted("flights", "lake")]);
    let sink = sink_of(&bench, "flights");
    let groups: Vec<GroupRef> = (0..100).map(|number| group(number, 10, 1_000)).collect();
    assert_eq!(take_up(&mut bench, &sink, &groups, Asked::ByItself).len(), MOST_OPEN);
    assert_eq!(bench.table.groups_of(&sink).count(), MOST_OPEN);
}

/// Proves CO11. What is about to be replaced is not rewritten first.
#[test]
fn windows_that_are_about_to_be_written_are_left_alone() {
    let mut flights = compacted("flights", "lake");
    flights.sink.write = WriteMode::ReplaceWindow;
    let mut bench = Bench::new(3, [flights]);
    bench.plan();
    let sink = sink_of(&bench, "flights");
    let of = |number, window: Option<Window>| GroupRef { window, ..group(number, 9, 9) };
    let groups = [of(1, Some(hours(0, 2))), of(2, Some(hours(5, 6))), of(3, None), of(4, Some(Window::version(1)))];
    let taken = take_up(&mut bench, &sink, &groups, Asked::ByHand);
    let ids: Vec<TaskId> = groups[1..].iter().map(|group| TaskId::of_group(&sink, &group.sha256.0)).collect();
    assert!(taken.len() == 3 && ids.iter().all(|id| taken.contains(id)), "the first hours are being loaded");
    bench.publish_all("flights");
    assert_eq!(take_up(&mut bench, &sink, &groups[..1], Asked::ByItself).len(), 1);

    // A backfill that has not come to it yet.
    let (again, later) = (of(5, Some(hours(1, 2))), of(6, Some(hours(4, 5))));
    bench.backfill("b1", &request("flights", Some(hours(0, 3)), Choice::All));
    assert!(take_up(&mut bench, &sink, &[again], Asked::ByItself).is_empty());
    assert_eq!(take_up(&mut bench, &sink, &[later], Asked::ByItself).len(), 1);
}

#[test]
fn a_full_load_that_is_under_way_is_awaited() {
    let mut planes = full("planes", "planes");
    planes.compaction = Some(Box::default());
    let mut bench = Bench::new(0, [planes]);
    bench.plan();
    let sink = sink_of(&bench, "planes");
    let old = GroupRef { window: Some(Window::version(0)), ..group(1, 9, 9) };
    assert!(take_up(&mut bench, &sink, std::slice::from_ref(&old), Asked::ByHand).is_empty());
    bench.publish_all("planes");
    assert_eq!(take_up(&mut bench, &sink, &[old], Asked::ByItself).len(), 1);
}

/// A group taken through its life beside windows.
#[test]
fn a_group_is_committed_alone_and_covers_no_window() {
    let mut bench = Bench::new(2, [compacted("flights", "lake")]);
    let sink = sink_of(&bench, "flights");
    bench.plan();
    bench.name_committers();
    let windows = bench.tasks("flights", TaskPhase::Pending);
    let early = bench.claim(&windows[0].id);
    bench.seal(&early).unwrap();
    let tasks = take_up(&mut bench, &sink, &[group(1, 9, 900), group(2, 9, 9_000)], Asked::ByItself);
    for task in &tasks {
        let claim = bench.claim(task);
        bench.seal(&claim).unwrap();
    }
    let late = bench.claim(&windows[1].id);
    bench.seal(&late).unwrap();
    // The window that was sealed first goes first, and takes the other one along; then both groups.
    let drafted = |bench: &Bench| bench.draft(&sink).tasks.iter().map(|(task, _)| *task).collect::<Vec<_>>();
    assert_eq!(drafted(&bench), [windows[0].id, windows[1].id]);
    bench.record(&sink);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    assert_eq!(drafted(&bench), tasks);
    let name = "flights".parse().unwrap();
    let coverage = bench.table.pipeline(&name).unwrap().coverage.clone();
    bench.record(&sink);
    let done = commit::finalize(&bench.table, &sink, bench.now()).unwrap();
    assert!(done.delete.iter().filter(|key| matches!(key, Key::Group(..))).count() == 2);
    bench.apply(&done);
    assert_eq!(bench.table.pipeline(&name).unwrap().coverage, coverage);
    assert_eq!(
        (bench.table.groups().count(), bench.table.sink(&sink).unwrap().head.as_ref().unwrap().value.seq),
        (0, 2)
    );
}

/// Proves CO4. However many windows are sealed, a group waits for one commit of them at most.
#[test]
fn no_group_is_put_off_by_windows_that_come_and_come() {
    let mut bench = Bench::new(40, [compacted("flights", "lake")]);
    let sink = sink_of(&bench, "flights");
    bench.plan();
    bench.name_committers();
    let windows = bench.tasks("flights", TaskPhase::Pending);
    let task = take_up(&mut bench, &sink, &[group(1, 9, 900)], Asked::ByItself)[0];
    let mut commits = 0;
    for (number, window) in windows.iter().enumerate() {
        let claim = bench.claim(&window.id);
        bench.seal(&claim).unwrap();
        if number == 3 {
            let claim = bench.claim(&task);
            bench.seal(&claim).unwrap();
        }
        if number >= 3 && bench.table.task(&task).is_some() {
            bench.record(&sink);
            bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
            commits += 1;
        }
    }
    assert_eq!((bench.table.task(&task).is_none(), commits), (true, 2));
}

/// Proves CO3. What has happened to the files meanwhile ends the group, and nothing else; the sink takes no harm.
#[test]
fn a_group_whose_files_have_changed_is_dropped_wherever_that_is_noticed() {
    let start = || {
        let mut bench = Bench::new(0, [compacted("flights", "lake")]);
        let sink = sink_of(&bench, "flights");
        bench.name_committers();
        let task = take_up(&mut bench, &sink, &[group(1, 9, 900)], Asked::ByItself)[0];
        let claim = bench.claim(&task);
        (bench, sink, task, claim)
    };
    let gone = |bench: &Bench| failure_with(error::GROUP_GONE, Retry::Later, bench.wall);

    let (mut bench, _, task, claim) = start();
    bench.fail_with(&claim, gone(&bench)).unwrap();
    assert_eq!(phase(&bench, &task), None, "by the worker that was to rewrite them");

    let (mut bench, _, task, claim) = start();
    bench.seal(&claim).unwrap();
    bench.apply(&lifecycle::unseal(&bench.table, &task, gone(&bench), bench.now()).unwrap());
    assert_eq!(phase(&bench, &task), None, "by the committer that prepares");

    let (mut bench, sink, task, claim) = start();
    bench.seal(&claim).unwrap();
    bench.record(&sink);
    bench.apply(&commit::finalize_abort(&bench.table, &sink, &gone(&bench), bench.now()).unwrap());
    assert_eq!(phase(&bench, &task), None, "by the sink");
    assert!(bench.table.sink(&sink).unwrap().head.as_ref().unwrap().value.aborted);

    // Any other failure is one of an attempt.
    let (mut bench, sink, task, claim) = start();
    bench.fail(&claim, Retry::Later).unwrap();
    assert_eq!(phase(&bench, &task), Some(TaskPhase::Pending));
    let claim = bench.claim(&task);
    bench.fail_with(&claim, failure_with(error::GROUP_DIFFERS, Retry::Never, bench.wall)).unwrap();
    assert_eq!(phase(&bench, &task), Some(TaskPhase::Quarantined));
    assert!(take_up(&mut bench, &sink, &[group(1, 9, 900)], Asked::ByItself).is_empty(), "it stays given up");
    assert_eq!(take_up(&mut bench, &sink, &[group(1, 9, 900)], Asked::ByHand), [task]);
    assert_eq!(phase(&bench, &task), Some(TaskPhase::Pending), "until somebody asks");
}

/// Gives out what there is, again and again, and counts what each lane has by then.
fn given(bench: &mut Bench, workers: &mut Workers) -> (usize, usize) {
    let chosen = assign(&bench.table, workers, bench.now());
    for assignment in &chosen {
        bench.apply(&lifecycle::claim(&bench.table, &assignment.task, &assignment.worker, bench.now()).unwrap());
        workers.hold(&assignment.worker, assignment.task, Duration::ZERO);
    }
    let of_groups = chosen.iter().filter(|given| bench.task(&given.task).lane == Lane::Compact).count();
    (chosen.len() - of_groups, of_groups)
}

/// Proves CO4. Windows get most of the slots, files are never without one for long, and neither waits for the other.
#[test]
fn windows_and_files_share_the_slots() {
    let mut flights = with(compacted("flights", "lake"), |compaction| compaction.concurrency = 5.try_into().unwrap());
    flights.limits.concurrency = 50;
    let mut bench = Bench::new(50, [flights]);
    bench.plan();
    bench.name_committers();
    let sink = sink_of(&bench, "flights");
    let groups: Vec<GroupRef> = (0..50).map(|number| group(number, 10, 1_000)).collect();
    take_up(&mut bench, &sink, &groups, Asked::ByItself);
    assert_eq!(given(&mut bench.clone(), &mut fleet(&[10])), (8, 2));
    assert_eq!(given(&mut bench.clone(), &mut fleet(&[60])), (50, 5), "each within its own limit");
    let mut turns = Vec::new();
    let mut workers = fleet(&[1]);
    for _ in 0..6 {
        let (windows, files) = given(&mut bench, &mut workers);
        turns.push((windows, files));
        let held: Vec<TaskId> = workers.iter().flat_map(|worker| worker.claims.clone()).collect();
        for task in held {
            workers.release(&"w0".parse().unwrap(), &task);
            bench.apply(&lifecycle::reap(&bench.table, &task, bench.now()).unwrap());
        }
    }
    assert!(turns.contains(&(1, 0)) && turns.contains(&(0, 1)), "one slot serves both: {turns:?}");
}

/// Proves CO12. A table of a thousand groups and one of a few get the same.
#[test]
fn tables_take_turns() {
    let two = [compacted("huge", "huge"), compacted("small", "small")];
    let mut bench = Bench::new(0, two.map(|one| with(one, |rule| rule.concurrency = 20.try_into().unwrap())));
    bench.name_committers();
    for (name, count) in [("huge", 60_u8), ("small", 3)] {
        let sink = sink_of(&bench, name);
        let groups: Vec<GroupRef> = (0..count).map(|number| group(number, 10, 1_000)).collect();
        take_up(&mut bench, &sink, &groups, Asked::ByItself);
    }
    let mut workers = fleet(&[6]);
    assert_eq!(given(&mut bench, &mut workers), (0, 6));
    let claimed = |name: &str| bench.table.count(&name.parse().unwrap(), &Lane::Compact, TaskPhase::Claimed);
    assert_eq!((claimed("huge"), claimed("small")), (3, 3));
}

#[test]
fn files_are_rewritten_where_the_credentials_are_and_by_those_who_know_how() {
    let mut bench = Bench::new(0, [compacted("flights", "lake")]);
    bench.name_committers();
    let sink = sink_of(&bench, "flights");
    let task = take_up(&mut bench, &sink, &[group(1, 10, 1_000)], Asked::ByItself)[0];
    let cases: [(&[Role], u32, usize); 5] = [
        (&[Role::Ingest], 3, 0),
        (&[Role::Sink], 3, 0),
        (&[Role::Ingest, Role::Sink], 2, 0),
        (&[Role::Ingest, Role::Sink], 3, 1),
        (&[Role::Compact], 3, 1),
    ];
    for (roles, protocol, expected) in cases {
        let mut workers = Workers::default();
        let mut info = worker("w1", roles, 4);
        info.protocol = protocol;
        workers.connect(info, Duration::ZERO);
        workers.connect(worker("w0", &[Role::Sink], 0), Duration::ZERO);
        assert_eq!(given(&mut bench.clone(), &mut workers).1, expected, "{roles:?} of protocol {protocol}");
        let found = obstacles(&bench.table, &workers, bench.task(&task), bench.now());
        assert_eq!(found.is_empty(), expected == 1, "{found:?}");
    }
    // A window is not given to a worker that only compacts.
    let mut bench = Bench::new(1, [compacted("flights", "lake")]);
    bench.plan();
    bench.name_committers();
    let mut workers = Workers::default();
    workers.connect(worker("w0", &[Role::Compact, Role::Sink], 4), Duration::ZERO);
    assert_eq!(given(&mut bench, &mut workers), (0, 0));
}

#[test]
fn a_committer_of_an_older_version_is_not_asked_for_what_it_does_not_know() {
    let mut bench = Bench::new(1, [compacted("flights", "lake")]);
    let sink = sink_of(&bench, "flights");
    bench.name_committers();
    let task = take_up(&mut bench, &sink, &[group(1, 10, 1_000)], Asked::ByItself)[0];
    let claim = bench.claim(&task);
    bench.seal(&claim).unwrap();
    let old = |protocol| {
        let mut workers = Workers::default();
        let mut info = worker("w0", &[Role::Ingest, Role::Sink], 1);
        info.protocol = protocol;
        workers.connect(info, Duration::ZERO);
        workers
    };
    let next = |bench: &Bench, workers: &Workers| {
        commit::next(&bench.table, workers, &sink, &SinkRun::default(), bench.when(0))
    };
    assert_eq!(next(&bench, &old(2)), None);
    assert!(matches!(next(&bench, &old(3)), Some(Todo::Prepare { .. })));
    bench.plan();
    bench.seal_all("flights");
    assert!(matches!(next(&bench, &old(2)), Some(Todo::Prepare { draft, .. }) if draft.tasks.len() == 1));
}

#[test]
fn a_pipeline_that_only_compacts_plans_no_windows_and_groups_of_one_that_does_not_go() {
    let mut only = full("old", "old");
    (only.pattern, only.compaction) = (Pattern::Compact, Some(Box::default()));
    let mut bench = Bench::new(0, [only.clone()]);
    assert!(plan::plan(&bench.table, bench.now()).is_empty());
    let sink = sink_of(&bench, "old");
    only.sink.write = WriteMode::Append;
    let task = take_up(&mut bench, &sink, &[group(1, 10, 1_000)], Asked::ByItself)[0];
    assert_eq!(compact::orphans(&bench.table), None);
    only.compaction = None;
    let (change, _) = crate::core::apply::apply(&bench.table, &[only]).unwrap();
    bench.apply(&change);
    bench.apply(&compact::orphans(&bench.table).unwrap());
    assert_eq!(phase(&bench, &task), None);
}

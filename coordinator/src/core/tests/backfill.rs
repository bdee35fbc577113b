//! Backfills: what a request would move, what it makes, how it goes on and how it ends.

use windrow_common::{
    closed::Late,
    id::BackfillId,
    pipeline::Detail,
    task::{Lane, Retry, Task, TaskPhase},
    window::{Axis, Window},
};

use super::bench::{Bench, edit, full, hour, hourly, hours, request};
use crate::core::{
    backfill::{self, Backfill, BadCommand, BadRequest, Choice, Command, MAX_WINDOWS, Order, Origin, Phase, Request},
    lifecycle, report,
    timeline::Standing,
};

/// Eight closed hours: 0 and 1 published, 2 quarantined, 3 withdrawn, 4 pending, 5 claimed, 6 sealed, 7 queued by a
/// backfill; and an eighth that is closed but not planned.
fn motley() -> Bench {
    let mut bench = Bench::new(8, [hourly("flights", "lake")]);
    bench.plan();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    for at in [0, 1, 7] {
        let claim = bench.claim(&tasks[at].id);
        bench.seal(&claim).unwrap();
    }
    bench.record(&tasks[0].sink);
    let finalize = crate::core::commit::finalize(&bench.table, &tasks[0].sink, bench.now()).unwrap();
    bench.apply(&finalize);
    let poison = bench.claim(&tasks[2].id);
    bench.fail(&poison, Retry::Never).unwrap();
    bench.apply(&lifecycle::cancel(&bench.table, &tasks[3].id).unwrap());
    bench.claim(&tasks[5].id);
    let sealed = bench.claim(&tasks[6].id);
    bench.seal(&sealed).unwrap();
    bench.backfill("other", &request("flights", Some(hours(7, 8)), Choice::All));
    bench.pass(3_600);
    bench
}

fn create(bench: &Bench, request: &Request) -> Result<Backfill, BadRequest> {
    backfill::create(&bench.table, request, "new".parse().unwrap(), Origin::default(), bench.now())
}

fn found<'a>(bench: &'a Bench, id: &str) -> &'a Backfill {
    &bench.table.backfill(&id.parse().unwrap()).unwrap().value
}

fn steer(bench: &mut Bench, id: &str, command: Command) -> Result<(), BadCommand> {
    let change = backfill::steer(&bench.table, &id.parse().unwrap(), command, bench.now())?;
    bench.apply(&change);
    Ok(())
}

/// Fails every pending task until none is left.
fn poison_all(bench: &mut Bench) {
    while let Some(task) = bench.tasks("flights", TaskPhase::Pending).into_iter().next() {
        let claim = bench.claim(&task.id);
        bench.fail(&claim, Retry::Never).unwrap();
    }
}

/// A pipeline whose first so many windows are all published.
fn published(windows: i64, per_task: u32) -> Bench {
    let mut bench = Bench::new(windows, [edit(hourly("flights", "lake"), |window| window.per_task = per_task)]);
    bench.plan();
    bench.publish_all("flights");
    bench
}

/// Proves CL10.
#[test]
fn a_preview_says_of_each_window_where_it_stands_and_whether_it_would_run() {
    let bench = motley();
    let cases = [
        (Choice::Missing, [false, false, false, true, false, false, false, false, false]),
        (Choice::MissingAndFailed, [false, false, true, true, false, false, false, false, false]),
        (Choice::All, [true, true, true, true, false, false, false, false, false]),
    ];
    for (choice, expected) in cases {
        let previews = backfill::preview(&bench.table, &request("flights", None, choice), bench.now()).unwrap();
        let runs: Vec<bool> = previews.iter().map(|preview| preview.will_run).collect();
        assert_eq!(runs, expected, "{choice:?}");
        let standings: Vec<Standing> = previews.iter().map(|preview| preview.standing).collect();
        assert_eq!(standings[..2], [Standing::Published; 2]);
        assert!(matches!(standings[2], Standing::Quarantined(_)));
        assert_eq!(standings[3], Standing::Missing);
        assert!(matches!(standings[4], Standing::Open(_, TaskPhase::Pending)));
        assert!(matches!(standings[5], Standing::Open(_, TaskPhase::Claimed)));
        assert!(matches!(standings[6], Standing::Open(_, TaskPhase::Sealed)));
        assert_eq!(standings[7..], [Standing::Queued, Standing::Unplanned]);
    }
}

#[test]
fn a_backfill_moves_what_its_preview_says() {
    for choice in [Choice::Missing, Choice::MissingAndFailed, Choice::All] {
        let bench = motley();
        let asked = request("flights", None, choice);
        let previews = backfill::preview(&bench.table, &asked, bench.now()).unwrap();
        let made = create(&bench, &asked).unwrap();
        for preview in &previews {
            let (start, end) = (preview.window.start(), preview.window.end());
            assert_eq!(made.todo.covers(start, end), preview.will_run, "{choice:?} {}", preview.window);
        }
        assert_eq!(made.windows, previews.iter().filter(|preview| preview.will_run).count() as u64);
        assert_eq!(made.range, hours(0, 9));
    }
}

#[test]
fn a_range_takes_the_windows_it_touches_and_none_that_is_not_closed() {
    let bench = published(10, 1);
    let middle = Window::new(Axis::Time, hour(2) + 1, hour(4) + 1).unwrap();
    assert_eq!(create(&bench, &request("flights", Some(middle), Choice::All)).unwrap().range, hours(2, 5));
    let late = create(&bench, &request("flights", Some(hours(8, 30)), Choice::All)).unwrap();
    assert_eq!((late.range, late.windows), (hours(8, 10), 2));
    let early = create(&bench, &request("flights", Some(hours(-5, 1)), Choice::All)).unwrap();
    assert_eq!((early.range, early.windows), (hours(0, 1), 1));
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    let bench = published(10, 1);
    let empty = |range| create(&bench, &request("flights", Some(range), Choice::All)).unwrap_err();
    assert_eq!(empty(hours(-5, 0)), BadRequest::EmptyRange);
    assert_eq!(empty(hours(10, 12)), BadRequest::EmptyRange);
    let unknown = create(&bench, &request("flight", None, Choice::All)).unwrap_err();
    assert_eq!(unknown, BadRequest::UnknownPipeline("flight".parse().unwrap()));
}

/// Proves CL10.
#[test]
fn more_windows_than_allowed_have_to_be_forced() {
    let windows = i64::try_from(MAX_WINDOWS).unwrap() + 1;
    let bench = published(windows, 1_000);
    let all = request("flights", None, Choice::All);
    let refused = create(&bench, &all).unwrap_err();
    assert_eq!(refused, BadRequest::TooLarge { windows: MAX_WINDOWS + 1, limit: MAX_WINDOWS });
    assert_eq!(create(&bench, &Request { force: true, ..all.clone() }).unwrap().windows, MAX_WINDOWS as u64 + 1);
    let most = Request { range: Some(hours(0, windows - 1)), ..all };
    assert_eq!(create(&bench, &most).unwrap().windows, MAX_WINDOWS as u64);
}

#[test]
fn windows_in_too_many_stretches_are_refused() {
    let mut bench = Bench::new(700, [hourly("flights", "lake")]);
    bench.plan();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    for task in tasks.iter().step_by(2) {
        bench.apply(&lifecycle::cancel(&bench.table, &task.id).unwrap());
    }
    assert_eq!(create(&bench, &request("flights", None, Choice::Missing)), Err(BadRequest::TooScattered(350)));
    assert!(create(&bench, &request("flights", Some(hours(0, 600)), Choice::Missing)).is_ok());
}

/// Proves IL9, CL10.
#[test]
fn a_backfill_is_planned_in_bounded_runs_and_leaves_the_cursor_alone() {
    for (order, expected) in
        [(Order::OldestFirst, [(2, 5), (5, 8), (8, 9)]), (Order::NewestFirst, [(2, 3), (3, 6), (6, 9)])]
    {
        let mut bench = published(10, 3);
        let cursor = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().cursor.value.next;
        let lane = bench.backfill("b", &Request { order, ..request("flights", Some(hours(2, 9)), Choice::All) });
        bench.advance();
        assert_eq!(bench.pending("flights"), expected, "{order:?}");
        assert!(bench.tasks("flights", TaskPhase::Pending).iter().all(|task| task.lane == lane && task.revision == 1));
        assert_eq!(bench.table.pipeline(&"flights".parse().unwrap()).unwrap().cursor.value.next, cursor);
        assert_eq!(bench.advance(), 0, "all is planned, and not done");
    }
}

#[test]
fn a_backfill_succeeds_when_all_its_windows_are_published() {
    let mut bench = published(10, 3);
    bench.backfill("b", &request("flights", Some(hours(2, 9)), Choice::All));
    bench.advance();
    bench.publish_all("flights");
    bench.pass(60);
    assert_eq!(bench.advance(), 1);
    let done = found(&bench, "b");
    assert_eq!((done.phase, done.published, done.failed, done.settled), (Phase::Succeeded, 7, 0, Some(bench.wall)));
    assert_eq!(bench.advance(), 0);
}

#[test]
fn a_backfill_with_nothing_to_do_succeeds_at_once() {
    let mut bench = published(3, 1);
    bench.backfill("b", &request("flights", None, Choice::Missing));
    bench.advance();
    assert_eq!((found(&bench, "b").phase, found(&bench, "b").windows), (Phase::Succeeded, 0));
}

#[test]
fn a_backfill_with_quarantined_windows_fails_and_says_how_many() {
    let mut bench = published(4, 1);
    bench.backfill("b", &request("flights", None, Choice::All));
    bench.advance();
    let bad = bench.tasks("flights", TaskPhase::Pending).remove(2);
    let claim = bench.claim(&bad.id);
    bench.fail(&claim, Retry::Never).unwrap();
    bench.publish_all("flights");
    bench.advance();
    let failed = found(&bench, "b");
    assert_eq!((failed.phase, failed.published, failed.failed), (Phase::Failed, 3, 1));
    assert_eq!(report::backfill_failure(&bench.table, failed).unwrap().code, "WR-S008");
}

/// Proves CL10.
#[test]
fn a_paused_backfill_makes_no_tasks_until_it_is_resumed() {
    let mut bench = published(4, 1);
    bench.backfill("b", &request("flights", None, Choice::All));
    steer(&mut bench, "b", Command::Pause).unwrap();
    assert_eq!((bench.advance(), bench.pending("flights")), (0, Vec::new()));
    steer(&mut bench, "b", Command::Resume).unwrap();
    bench.advance();
    assert_eq!(bench.pending("flights").len(), 4);
}

/// Proves CL10.
#[test]
fn a_cancelled_backfill_withdraws_everything_but_what_is_sealed() {
    let mut bench = published(4, 1);
    bench.backfill("b", &request("flights", None, Choice::All));
    bench.advance();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    let sealed = bench.claim(&tasks[0].id);
    bench.seal(&sealed).unwrap();
    let zombie = bench.claim(&tasks[1].id);
    steer(&mut bench, "b", Command::Cancel).unwrap();
    assert_eq!(bench.advance(), 1);
    assert!(bench.seal(&zombie).is_err());
    let left: Vec<TaskPhase> = bench.table.tasks().map(|task| task.value.state.phase()).collect();
    assert_eq!(left, [TaskPhase::Sealed]);
    bench.publish_all("flights");
    assert_eq!((found(&bench, "b").phase, found(&bench, "b").published), (Phase::Cancelled, 1));
    assert_eq!(bench.advance(), 0);
}

#[test]
fn a_sealed_task_of_a_cancelled_backfill_that_has_to_run_again_is_withdrawn() {
    let mut bench = published(1, 1);
    bench.backfill("b", &request("flights", None, Choice::All));
    bench.advance();
    bench.seal_all("flights");
    steer(&mut bench, "b", Command::Cancel).unwrap();
    let sealed = bench.tasks("flights", TaskPhase::Sealed).remove(0);
    bench.record(&sealed.sink);
    let refused = super::bench::failure(Retry::Later, bench.wall);
    let abort = crate::core::commit::finalize_abort(&bench.table, &sealed.sink, &refused, bench.now()).unwrap();
    bench.apply(&abort);
    assert_eq!(bench.advance(), 1);
    assert_eq!(bench.table.tasks().count(), 0);
}

#[test]
fn a_thousand_tasks_are_withdrawn_in_steps() {
    let mut bench = published(1_000, 1);
    bench.backfill("b", &request("flights", None, Choice::All));
    while !found(&bench, "b").todo.is_empty() {
        assert_eq!(bench.advance(), 1);
    }
    steer(&mut bench, "b", Command::Cancel).unwrap();
    let steps = (0..).take_while(|_| bench.advance() > 0).count();
    assert_eq!((steps, bench.table.tasks().count()), (10, 0));
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let mut bench = published(2, 1);
    bench.backfill("b", &request("flights", None, Choice::All));
    let wrong = |phase| Err(BadCommand::WrongPhase { id: "b".parse().unwrap(), phase });
    assert_eq!(steer(&mut bench, "b", Command::Resume), wrong(Phase::Running));
    steer(&mut bench, "b", Command::Pause).unwrap();
    assert_eq!(steer(&mut bench, "b", Command::Pause), wrong(Phase::Paused));
    steer(&mut bench, "b", Command::Cancel).unwrap();
    for command in [Command::Pause, Command::Resume, Command::Cancel] {
        assert_eq!(steer(&mut bench, "b", command), wrong(Phase::Cancelled));
    }
    let unknown: BackfillId = "c".parse().unwrap();
    assert_eq!(steer(&mut bench, "c", Command::Pause), Err(BadCommand::Unknown(unknown)));
}

#[test]
fn a_backfill_takes_over_quarantined_windows() {
    let mut bench = motley();
    let lane = bench.backfill("b", &request("flights", Some(hours(2, 4)), Choice::MissingAndFailed));
    bench.advance();
    assert!(bench.tasks("flights", TaskPhase::Quarantined).is_empty());
    let tasks = bench.tasks("flights", TaskPhase::Pending).into_iter().filter(|task| task.lane == lane);
    assert_eq!(tasks.map(|task| task.window).collect::<Vec<_>>(), [hours(2, 3), hours(3, 4)]);
}

#[test]
fn hundreds_of_quarantined_windows_are_taken_over_in_steps_a_transaction_holds() {
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut bench = Bench::new(400, [edit(hourly("flights", "lake"), |window| window.per_task = 1_000)]);
        bench.plan();
        poison_all(&mut bench);
        assert_eq!(bench.tasks("flights", TaskPhase::Quarantined).len(), 400);
        bench.backfill("b", &Request { order, ..request("flights", None, Choice::MissingAndFailed) });
        while !found(&bench, "b").todo.is_empty() {
            assert!(bench.advance() > 0);
        }
        assert!(bench.tasks("flights", TaskPhase::Quarantined).is_empty());
        bench.publish_all("flights");
        bench.advance();
        assert_eq!((found(&bench, "b").phase, found(&bench, "b").published), (Phase::Succeeded, 400), "{order:?}");
    }
}

#[test]
fn a_quarantined_run_is_taken_over_whole() {
    // So many quarantined windows that the last runs are not taken to pieces any more.
    let mut bench = Bench::new(10_000, [edit(hourly("flights", "lake"), |window| window.per_task = 100)]);
    bench.plan();
    poison_all(&mut bench);
    let runs = bench.tasks("flights", TaskPhase::Quarantined);
    let run: &Task = runs.iter().rev().find(|task| task.windows() == 100).unwrap();
    let inside = Window::new(Axis::Time, run.window.start() + hour(3) - hour(0), run.window.end()).unwrap();
    bench.backfill("b", &request("flights", Some(inside), Choice::MissingAndFailed));
    assert_eq!(found(&bench, "b").windows, 100);
    bench.advance();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    assert_eq!(tasks.iter().map(Task::windows).sum::<usize>(), 100);
    assert_eq!(tasks[0].window.start(), run.window.start());
    assert!(bench.table.task(&run.id).is_none());
}

#[test]
fn two_backfills_never_move_the_same_window_at_a_time() {
    let mut bench = published(6, 1);
    bench.backfill("first", &request("flights", Some(hours(0, 4)), Choice::All));
    bench.backfill("second", &request("flights", Some(hours(2, 6)), Choice::All));
    assert_eq!((found(&bench, "first").windows, found(&bench, "second").windows), (4, 2));
    bench.advance();
    assert_eq!(bench.pending("flights"), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]);
    let lanes: Vec<Lane> = bench.tasks("flights", TaskPhase::Pending).into_iter().map(|task| task.lane).collect();
    assert_eq!(lanes.iter().filter(|lane| **lane == Lane::Backfill("first".parse().unwrap())).count(), 4);
}

#[test]
fn two_backfills_decided_at_once_cannot_both_be_recorded() {
    let bench = published(6, 1);
    let change = |id: &str| {
        let asked = request("flights", None, Choice::All);
        let made = backfill::create(&bench.table, &asked, id.parse().unwrap(), Origin::default(), bench.now()).unwrap();
        backfill::record(&bench.table, made).unwrap()
    };
    let (first, second) = (change("first"), change("second"));
    let mut recorded = bench.clone();
    recorded.apply(&first);
    assert!(!recorded.takes(&second));
}

#[test]
fn a_full_load_is_run_again_as_its_next_version() {
    let mut bench = Bench::new(0, [full("planes", "planes")]);
    let all = request("planes", None, Choice::All);
    assert_eq!(create(&bench, &all), Err(BadRequest::EmptyRange), "its first version is planned by itself");
    bench.plan();
    assert_eq!(create(&bench, &all).unwrap().windows, 0, "version 0 is on its way");
    bench.publish_all("planes");
    assert_eq!(create(&bench, &request("planes", None, Choice::Missing)).unwrap().windows, 0);
    for version in 1..4 {
        bench.backfill(&format!("b{version}"), &all);
        bench.advance();
        let tasks = bench.tasks("planes", TaskPhase::Pending);
        assert_eq!(tasks.iter().map(|task| task.window).collect::<Vec<_>>(), [Window::version(version)]);
        bench.publish_all("planes");
        bench.advance();
        assert_eq!(found(&bench, &format!("b{version}")).phase, Phase::Succeeded);
    }
    assert_eq!(bench.table.pipeline(&"planes".parse().unwrap()).unwrap().windows_published(), 4);
}

#[test]
fn a_full_load_that_was_quarantined_is_run_again_as_the_same_version() {
    let mut bench = Bench::new(0, [full("planes", "planes")]);
    bench.plan();
    let claim = bench.claim(&bench.tasks("planes", TaskPhase::Pending)[0].id);
    bench.fail(&claim, Retry::Never).unwrap();
    bench.backfill("b", &request("planes", None, Choice::MissingAndFailed));
    bench.advance();
    let again = bench.tasks("planes", TaskPhase::Pending).remove(0);
    assert_eq!((again.window, again.revision), (Window::version(0), 1));
    assert!(bench.tasks("planes", TaskPhase::Quarantined).is_empty());
}

/// A trace shows its attempts whole while they are few, unless the pipeline says otherwise.
#[test]
fn what_happens_in_the_attempts_of_a_large_backfill_is_kept_apart_from_its_trace() {
    let cases = [
        (250, 1, Detail::Auto, false),
        (251, 1, Detail::Auto, true),
        (251, 2, Detail::Auto, false),
        (251, 1, Detail::Inline, false),
        (3, 1, Detail::Linked, true),
    ];
    for (windows, per_task, detail, apart) in cases {
        let mut pipeline = edit(hourly("flights", "lake"), |window| window.per_task = per_task);
        pipeline.telemetry.detail = detail;
        let mut bench = Bench::new(windows, [pipeline]);
        bench.plan();
        let is_apart = |bench: &Bench, task: &Task| {
            backfill::is_apart(&bench.table, bench.table.pipeline(&task.pipeline).unwrap(), task)
        };
        for task in bench.tasks("flights", TaskPhase::Pending) {
            assert_eq!(is_apart(&bench, &task), detail == Detail::Linked, "what is scheduled has traces of its own");
            bench.apply(&lifecycle::cancel(&bench.table, &task.id).unwrap());
        }
        bench.backfill("again", &request("flights", None, Choice::Missing));
        bench.advance();
        let task = bench.tasks("flights", TaskPhase::Pending).remove(0);
        assert_eq!(is_apart(&bench, &task), apart, "{windows} windows, {per_task} per task, {detail:?}");
    }
}

/// What is published stays revision 0: the ledger knows no way to another one.
#[test]
fn windows_that_are_closed_for_good_are_loaded_by_nobody() {
    let mut closed = edit(hourly("flights", "lake"), |window| window.lookback = 3);
    closed.readiness.late = Late::Refuse;
    let mut bench = Bench::new(4, [closed]);
    bench.plan();
    bench.publish_all("flights");
    bench.pass(3_600);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(4, 5)], "nothing is looked back at");
    let all = |range| request("flights", range, Choice::All);
    let made = |bench: &Bench, range| {
        backfill::create(&bench.table, &all(range), "b".parse().unwrap(), Origin::default(), bench.now())
    };
    assert_eq!(made(&bench, Some(hours(0, 4))).unwrap_err(), BadRequest::Closed(4));
    let previews = backfill::preview(&bench.table, &all(None), bench.now()).unwrap();
    assert!(previews.iter().all(|preview| !preview.will_run));
    let missing = request("flights", None, Choice::Missing);
    assert!(backfill::create(&bench.table, &missing, "b".parse().unwrap(), Origin::default(), bench.now()).is_ok());
}

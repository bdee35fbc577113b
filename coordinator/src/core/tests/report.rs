//! What users are told: where pipelines, windows and backfills stand.

use windrow_common::{
    error,
    task::{Retry, TaskPhase},
};

use super::bench::{Bench, edit, failure_with, full, hour, hourly, hours, request};
use crate::core::{
    backfill::Choice,
    lifecycle,
    report::{self, PipelineReport},
    timeline::Standing,
};

fn of(bench: &Bench, name: &str) -> PipelineReport {
    report::pipeline(&bench.table, bench.table.pipeline(&name.parse().unwrap()).unwrap(), bench.now())
}

#[test]
fn a_pipeline_reports_its_windows_by_where_they_stand() {
    let mut bench = Bench::new(12, [edit(hourly("flights", "lake"), |window| window.per_task = 2)]);
    assert_eq!((of(&bench, "flights").unplanned, of(&bench, "flights").complete_to), (12, None));
    bench.plan();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    let first = bench.claim(&tasks[0].id);
    bench.seal(&first).unwrap();
    bench.record(&tasks[0].sink);
    bench.apply(&crate::core::commit::finalize(&bench.table, &tasks[0].sink, bench.now()).unwrap());
    let sealed = bench.claim(&tasks[1].id);
    bench.seal(&sealed).unwrap();
    bench.claim(&tasks[2].id);
    let waiting = bench.claim(&tasks[3].id);
    let wait = lifecycle::not_ready(&bench.table, super::bench::EPOCH, &waiting, String::new(), bench.now()).unwrap();
    bench.apply(&wait);
    bench.pass(1);
    let halved = bench.claim(&tasks[4].id);
    bench.fail(&halved, Retry::Never).unwrap();
    let half = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let poison = bench.claim(&half.id);
    bench.pass(1);
    bench.fail(&poison, Retry::Never).unwrap();
    bench.pass(3_600);

    let report = of(&bench, "flights");
    let expected = PipelineReport {
        published: 2,
        waiting: 2,
        pending: 3,
        claimed: 2,
        sealed: 2,
        quarantined: 1,
        unplanned: 1,
        held_up: 0,
        working: 2,
        overdue: 0,
        untold: None,
        last_failure: report.last_failure.clone(),
        next_due: Some("2024-01-01T14:00:00Z".parse().unwrap()),
        complete_to: Some(hour(2)),
        unchanged: 0,
        recounts: 0,
        recounts_due: 0,
        comparison: None,
        held: 0,
    };
    assert_eq!(report, expected);
    assert_eq!(report.unsettled(), 10);
    let newest = report.last_failure.unwrap().at;
    assert_eq!(newest.to_string(), "2024-01-01T12:00:02Z");
    assert_eq!(report::all(&bench.table, bench.now()).len(), 1);
}

#[test]
fn a_pipeline_that_has_ended_is_never_due_again() {
    let ended = edit(hourly("flights", "lake"), |window| window.end = Some("2024-01-01T03:00".parse().unwrap()));
    let mut bench = Bench::new(100_000, [ended]);
    bench.plan();
    bench.publish_all("flights");
    let report = of(&bench, "flights");
    assert_eq!((report.published, report.unplanned, report.unsettled(), report.next_due), (3, 0, 0, None));
    assert_eq!(report.complete_to, Some(hour(3)));
}

#[test]
fn a_full_load_reports_its_versions() {
    let mut bench = Bench::new(0, [full("planes", "planes")]);
    assert_eq!(of(&bench, "planes").unplanned, 1);
    bench.plan();
    bench.publish_all("planes");
    let report = of(&bench, "planes");
    assert_eq!((report.published, report.unplanned, report.next_due), (1, 0, None));
    let entry = bench.table.pipeline(&"planes".parse().unwrap()).unwrap();
    let windows = report::windows(&bench.table, entry, (0, i64::MAX), 10, bench.now());
    assert_eq!(
        windows.iter().map(|report| (report.window.start(), report.standing)).collect::<Vec<_>>(),
        [(0, Standing::Published)]
    );
}

#[test]
fn windows_are_listed_with_the_tasks_over_them_up_to_a_limit() {
    let mut bench = Bench::new(3, [edit(hourly("flights", "lake"), |window| window.per_task = 2)]);
    bench.plan();
    let run = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&run.id);
    bench.seal(&claim).unwrap();
    bench.record(&run.sink);
    bench.apply(&crate::core::commit::finalize(&bench.table, &run.sink, bench.now()).unwrap());
    bench.pass(3_600);
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    let list = |limit| report::windows(&bench.table, entry, (hour(0), hour(30)), limit, bench.now());
    let open = bench.tasks("flights", TaskPhase::Pending).remove(0);
    let standings: Vec<Standing> = list(6).iter().map(|report| report.standing).collect();
    assert_eq!(
        standings,
        [
            Standing::Published,
            Standing::Published,
            Standing::Open(open.id, TaskPhase::Pending),
            Standing::Unplanned,
            Standing::NotClosed,
            Standing::NotClosed,
        ]
    );
    let third = &list(3)[2];
    assert_eq!((third.window, third.task.unwrap().value.id), (hours(2, 3), open.id));
    assert_eq!(third.due.unwrap().to_string(), "2024-01-01T03:00:00Z");
}

/// Proves CL10.
#[test]
fn a_backfill_reports_what_runs_and_what_failed_before() {
    let mut bench = Bench::new(4, [hourly("flights", "lake")]);
    bench.plan();
    bench.publish_all("flights");
    bench.backfill("b", &request("flights", None, Choice::All));
    bench.advance();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    for task in &tasks[..2] {
        let claim = bench.claim(&task.id);
        bench.fail(&claim, Retry::Later).unwrap();
    }
    bench.claim(&tasks[0].id);
    bench.claim(&tasks[3].id);
    let backfill = &bench.table.backfill(&"b".parse().unwrap()).unwrap().value;
    assert_eq!(report::running(&bench.table, backfill), (2, 2));
    assert_eq!(crate::core::backfill::open_and_failed(&bench.table, backfill), (4, 0));
    assert_eq!(report::backfill_failure(&bench.table, backfill).unwrap().at, bench.wall);
}

#[test]
fn windows_that_cannot_reach_what_they_need_are_held_up_also_while_they_are_tried() {
    let mut bench = Bench::new(3, [hourly("flights", "lake")]);
    bench.plan();
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    for task in &tasks[..2] {
        let claim = bench.claim(&task.id);
        bench.fail_with(&claim, failure_with(error::SINK_UNREACHABLE, Retry::Later, bench.wall)).unwrap();
    }
    bench.claim(&tasks[0].id);
    bench.claim(&tasks[2].id);
    let report = of(&bench, "flights");
    assert_eq!((report.held_up, report.working, report.pending, report.claimed), (2, 1, 1, 2));
}

#[test]
fn what_is_published_falls_behind_with_time_and_no_further_than_the_pipelines_end() {
    let mut ending = hourly("flights", "lake");
    ending.window.as_mut().unwrap().end = Some("2024-01-01T03:00:00".parse().unwrap());
    let mut bench = Bench::new(2, [ending, hourly("visits", "other")]);
    let behind = |bench: &Bench, name: &str| {
        let entry = bench.table.pipeline(&name.parse().unwrap()).unwrap();
        report::behind(entry, &of(bench, name), bench.now()).map(|behind| behind.as_secs())
    };
    assert_eq!(behind(&bench, "flights"), None, "nothing is published");
    bench.plan();
    bench.publish_all("flights");
    bench.publish_all("visits");
    bench.pass(600);
    assert_eq!((behind(&bench, "flights"), behind(&bench, "visits")), (Some(600), Some(600)));
    bench.pass(10 * 3_600);
    assert_eq!((behind(&bench, "flights"), behind(&bench, "visits")), (Some(3_600), Some(10 * 3_600 + 600)));
    bench.plan();
    bench.publish_all("flights");
    assert_eq!(behind(&bench, "flights"), Some(0), "it is over and all there");
}

#[test]
fn what_is_due_is_what_is_planned_and_not_settled_as_well_as_what_is_not_planned() {
    let mut bench = Bench::new(5, [hourly("flights", "lake")]);
    assert_eq!(of(&bench, "flights").unsettled(), 5);
    bench.plan();
    assert_eq!(of(&bench, "flights").unsettled(), 5);
    bench.publish_all("flights");
    assert_eq!(of(&bench, "flights").unsettled(), 0);
}

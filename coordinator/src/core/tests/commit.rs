//! From sealed to published: committers, intents, what follows from answers, and how a bad task is found.

use std::{collections::BTreeSet, time::Duration};

use windrow_common::{
    error,
    id::{SinkId, TaskId},
    intent::MAX_INTENT_TASKS,
    manifest::{Digest, WriteMode},
    task::{Retry, Task, TaskPhase, TaskState},
};

use super::bench::{Bench, edit, failure, failure_with, fleet, full, hourly, hours, request, worker};
use crate::core::{
    backfill::{Choice, Request},
    commit::{self, Draft, SinkRun, Step, Todo},
    lifecycle,
    table::{Change, Key, Record},
    workers::{Role, Workers},
};

/// So many sealed single windows of one pipeline, and their sink, which has a committer.
fn sealed(windows: i64) -> (Bench, SinkId) {
    let mut bench = Bench::new(windows, [hourly("flights", "lake")]);
    bench.plan();
    bench.seal_all("flights");
    bench.name_committers();
    let sink = bench.tasks("flights", TaskPhase::Sealed)[0].sink.clone();
    (bench, sink)
}

fn record(bench: &Bench, sink: &SinkId, draft: &Draft) -> Option<Change> {
    commit::record(&bench.table, sink, draft, ("intents/1.json".to_owned(), Digest([1; 32])), &[])
}

fn abort(bench: &mut Bench, sink: &SinkId, retry: Retry) {
    let change = commit::finalize_abort(&bench.table, sink, &failure(retry, bench.wall), bench.now());
    bench.apply(&change.unwrap());
}

fn ids(draft: &Draft) -> Vec<TaskId> {
    draft.tasks.iter().map(|(task, _)| *task).collect()
}

fn todo(bench: &Bench, workers: &Workers, sink: &SinkId, run: &SinkRun, seconds: u64) -> Option<Todo> {
    commit::next(&bench.table, workers, sink, run, bench.when(seconds))
}

#[test]
fn an_intent_takes_the_oldest_seals_as_many_as_fit() {
    let (mut bench, sink) = sealed(130);
    let draft = bench.draft(&sink);
    assert_eq!((draft.seq, draft.previous, draft.tasks.len()), (1, None, MAX_INTENT_TASKS));
    let oldest: Vec<TaskId> = bench.table.sealed(&sink).take(100).map(|task| task.value.id).collect();
    assert_eq!(ids(&draft), oldest);
    bench.record(&sink);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    let rest = bench.draft(&sink);
    assert_eq!((rest.seq, rest.previous, rest.tasks.len()), (2, Some(Digest([1; 32])), 30));
}

/// Proves FL9. A load that replaces everything is held against its guard, unless whoever asked for it accepts what comes.
#[test]
fn a_load_has_to_pass_its_guard_unless_it_was_accepted() {
    let mut planes = full("planes", "planes");
    planes.guard.min_rows = Some(7);
    let mut flights = hourly("flights", "lake");
    flights.sink.write = WriteMode::ReplaceWindow;
    let mut bench = Bench::new(2, [planes.clone(), flights]);
    bench.plan();
    let guard = |bench: &Bench, pipeline: &str| {
        let pipeline = pipeline.parse().unwrap();
        bench.table.tasks_of(&pipeline).map(|task| commit::guard(&bench.table, &task.value)).collect::<Vec<_>>()
    };
    assert_eq!(guard(&bench, "planes"), [Some(planes.guard)]);
    assert!(guard(&bench, "flights").iter().all(Option::is_none), "windows replace their own rows alone");
    bench.publish_all("planes");
    for accept in [false, true] {
        let request = Request { accept, ..request("planes", None, Choice::All) };
        bench.backfill(&format!("b-{accept}"), &request);
        bench.advance();
        assert_eq!(guard(&bench, "planes"), [(!accept).then_some(planes.guard)], "accepted: {accept}");
        bench.publish_all("planes");
    }
}

#[test]
fn an_intent_publishes_for_few_pipelines_so_that_it_can_be_finalized_in_one_step() {
    let mut bench = Bench::new(3, (0..14).map(|i| hourly(&format!("p{i}"), "lake")));
    bench.plan();
    (0..14).for_each(|i| bench.seal_all(&format!("p{i}")));
    bench.name_committers();
    let sink = bench.tasks("p0", TaskPhase::Sealed)[0].sink.clone();
    let draft = bench.draft(&sink);
    let pipelines: BTreeSet<_> = ids(&draft).iter().map(|task| bench.task(task).pipeline.clone()).collect();
    assert_eq!((pipelines.len(), draft.tasks.len()), (10, 30));
}

#[test]
fn an_intent_is_not_recorded_once_anything_it_rests_on_has_changed() {
    let (bench, sink) = sealed(2);
    let draft = bench.draft(&sink);
    let decided = record(&bench, &sink, &draft).unwrap();
    assert!(bench.takes(&decided));
    let (first, other) = (draft.tasks[0].0, bench.table.sink(&sink).unwrap().committer.clone().unwrap());

    // A task was found bad, ran again and is sealed again: the same task, other files.
    let mut resealed = bench.clone();
    let bad = failure(Retry::Later, bench.wall);
    resealed.apply(&lifecycle::unseal(&resealed.table, &first, bad, bench.now()).unwrap());
    assert_eq!(record(&resealed, &sink, &draft), None, "it is pending");
    let claim = resealed.claim(&first);
    resealed.seal(&claim).unwrap();
    assert_eq!(record(&resealed, &sink, &draft), None, "it is sealed by another attempt");
    assert!(!resealed.takes(&decided));

    let mut replaced = bench.clone();
    replaced.apply(&Change::replace(Record::Committer(sink.clone(), "w9".parse().unwrap()), other.revision));
    assert!(!replaced.takes(&decided), "the sink has another committer");

    let mut recorded = bench.clone();
    recorded.record(&sink);
    assert_eq!(record(&recorded, &sink, &draft), None, "there is an intent already");
    assert!(!recorded.takes(&decided));

    recorded.apply(&commit::finalize(&recorded.table, &sink, recorded.now()).unwrap());
    let empty = Draft { tasks: Vec::new(), ..draft };
    assert_eq!(record(&recorded, &sink, &empty), None, "the head has moved on");
}

#[test]
fn a_finalized_intent_covers_its_windows_counts_their_rows_and_removes_their_tasks() {
    let runs = edit(hourly("flights", "lake"), |window| window.per_task = 4);
    let mut bench = Bench::new(10, [runs, hourly("weather", "lake")]);
    bench.plan();
    bench.seal_all("flights");
    let sink = bench.tasks("flights", TaskPhase::Sealed)[0].sink.clone();
    bench.record(&sink);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert!(entry.is_published(&hours(0, 10)) && !entry.is_published(&hours(0, 11)));
    assert_eq!((entry.windows_published(), entry.coverage.value.totals.rows_written), (10, 10));
    assert_eq!(bench.table.tasks_of(&"flights".parse().unwrap()).count(), 0);
    assert!(!bench.store.records.contains_key(&Key::Intent(sink.clone())));
    let head = bench.table.sink(&sink).unwrap().head.as_ref().unwrap().value;
    assert_eq!((head.seq, head.digest), (1, Some(Digest([1; 32]))));
    let other = bench.table.pipeline(&"weather".parse().unwrap()).unwrap();
    assert_eq!(other.windows_published(), 0);
    assert_eq!(commit::finalize(&bench.table, &sink, bench.now()), None, "there is nothing left to finalize");
}

/// Proves CL10.
#[test]
fn a_finalized_intent_counts_a_backfills_windows() {
    let mut bench = Bench::new(4, [hourly("flights", "lake")]);
    bench.plan();
    bench.publish_all("flights");
    bench.backfill("again", &request("flights", Some(hours(1, 3)), Choice::All));
    bench.advance();
    bench.publish_all("flights");
    let backfill = &bench.table.backfill(&"again".parse().unwrap()).unwrap().value;
    assert_eq!((backfill.windows, backfill.published), (2, 2));
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert_eq!((entry.windows_published(), entry.coverage.value.totals.rows_written), (4, 6));
}

#[test]
fn an_intent_is_finalized_only_as_it_was_recorded() {
    let (mut bench, sink) = sealed(2);
    bench.record(&sink);
    let finalize = commit::finalize(&bench.table, &sink, bench.now()).unwrap();
    abort(&mut bench, &sink, Retry::Later);
    assert!(!bench.takes(&finalize));
}

#[test]
fn an_aborted_intent_spends_its_seq_and_its_tasks_run_again() {
    let (mut bench, sink) = sealed(3);
    bench.record(&sink);
    abort(&mut bench, &sink, Retry::Never);
    let head = bench.table.sink(&sink).unwrap().head.as_ref().unwrap().value;
    assert_eq!((head.seq, head.digest), (1, Some(Digest([1; 32]))));
    assert!(bench.table.sink(&sink).unwrap().intent.is_none());
    let tasks = bench.tasks("flights", TaskPhase::Pending);
    assert_eq!(tasks.iter().map(|task| task.errors).collect::<Vec<_>>(), [1, 1, 1], "nobody knows whose fault it was");
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert_eq!(entry.windows_published(), 0);
}

#[test]
fn a_task_the_sink_refuses_alone_is_quarantined_and_a_run_halved() {
    for (per_task, quarantined, pending) in [(1, 1, 0), (2, 0, 2)] {
        let pipeline = edit(hourly("flights", "lake"), |window| window.per_task = per_task);
        let mut bench = Bench::new(per_task.into(), [pipeline]);
        bench.plan();
        bench.seal_all("flights");
        let sink = bench.tasks("flights", TaskPhase::Sealed)[0].sink.clone();
        bench.record(&sink);
        abort(&mut bench, &sink, Retry::Never);
        assert_eq!(bench.tasks("flights", TaskPhase::Quarantined).len(), quarantined);
        assert_eq!(bench.tasks("flights", TaskPhase::Pending).len(), pending);
    }
}

#[test]
fn of_tasks_that_are_refused_together_only_the_culprit_is_quarantined() {
    let (mut bench, sink) = sealed(8);
    let culprit = bench.tasks("flights", TaskPhase::Sealed)[5].id;
    let mut published = BTreeSet::new();
    for _ in 0..40 {
        if bench.table.sealed(&sink).next().is_none() {
            break;
        }
        let draft = bench.draft(&sink);
        bench.record_as(&sink, &draft);
        if ids(&draft).contains(&culprit) {
            abort(&mut bench, &sink, Retry::Never);
            bench.seal_all("flights");
        } else {
            published.extend(ids(&draft));
            bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
        }
    }
    assert_eq!(published.len(), 7);
    let quarantined = bench.tasks("flights", TaskPhase::Quarantined);
    assert_eq!(quarantined.iter().map(|task| task.id).collect::<Vec<_>>(), [culprit]);
}

#[test]
fn a_batch_that_cannot_be_prepared_is_halved_down_to_the_task_to_blame() {
    let (bench, sink) = sealed(100);
    let workers = fleet(&[1]);
    let culprit: TaskId = bench.table.sealed(&sink).nth(37).unwrap().value.id;
    let mut run = SinkRun::default();
    let mut gone = BTreeSet::new();
    let mut bench = bench;
    for request in 0..30 {
        let Some(Todo::Prepare { worker, draft }) = todo(&bench, &workers, &sink, &run, 0) else {
            panic!("nothing to do")
        };
        run.preparing(request, worker, draft.clone());
        if !ids(&draft).contains(&culprit) {
            bench.record_as(&sink, &draft);
            bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
            run.done();
            gone.extend(ids(&draft));
        } else if let Some(task) = run.blame(Duration::ZERO) {
            assert_eq!(task, culprit);
            let change =
                lifecycle::quarantine_sealed(&bench.table, &task, failure(Retry::Never, bench.wall), bench.now());
            bench.apply(&change.unwrap());
            return assert!(gone.len() >= 37, "everything older is published");
        }
    }
    panic!("the culprit was not found");
}

#[test]
fn a_task_that_cannot_be_committed_is_not_quarantined_while_an_intent_may_name_it() {
    let (mut bench, sink) = sealed(1);
    let task = bench.tasks("flights", TaskPhase::Sealed)[0].id;
    let refused = failure(Retry::Never, bench.wall);
    let quarantine = lifecycle::quarantine_sealed(&bench.table, &task, refused, bench.now()).unwrap();
    let mut with_intent = bench.clone();
    with_intent.record(&sink);
    assert!(!with_intent.takes(&quarantine));
    bench.apply(&quarantine);
    assert!(matches!(bench.task(&task).state, TaskState::Quarantined { .. }));
}

#[test]
fn a_recorded_intent_is_carried_out_before_anything_new() {
    let (mut bench, sink) = sealed(130);
    bench.record(&sink);
    let intent = bench.table.sink(&sink).unwrap().intent.clone().unwrap().value;
    let found = todo(&bench, &fleet(&[1]), &sink, &SinkRun::default(), 0);
    assert_eq!(found, Some(Todo::Commit { worker: "w0".parse().unwrap(), intent, abort: false }));
}

#[test]
fn an_intent_the_sink_refuses_is_aborted_next_also_by_another_committer() {
    let (mut bench, sink) = sealed(2);
    bench.record(&sink);
    let mut run = SinkRun::default();
    run.committing(1, "w0".parse().unwrap());
    run.abort_next(failure(Retry::Later, bench.wall), Duration::ZERO);
    let is_abort = |bench: &Bench, run: &SinkRun| {
        matches!(todo(bench, &fleet(&[1, 1]), &sink, run, 100), Some(Todo::Commit { abort: true, .. }))
    };
    assert!(is_abort(&bench, &run));
    run.committing(2, "w0".parse().unwrap());
    run.again(Duration::ZERO);
    let before = bench.table.sink(&sink).unwrap().committer.clone().unwrap();
    bench.apply(&Change::replace(Record::Committer(sink.clone(), "w1".parse().unwrap()), before.revision));
    assert!(is_abort(&bench, &run));
    assert_eq!(run.abort_reason(bench.now()).code, "WR-S008");
    run.aborted(2);
    assert_eq!(run.abort_reason(bench.now()).code, "WR-K007", "the reason went with the intent");
}

#[test]
fn pauses_between_failures_of_a_sink_grow_up_to_a_minute_and_start_anew_after_a_success() {
    let mut run = SinkRun::default();
    let pause = |run: &mut SinkRun| {
        run.again(Duration::ZERO);
        match run.step {
            Step::Idle { not_before } => not_before.as_millis(),
            _ => panic!("it is idle"),
        }
    };
    let pauses: Vec<u128> = (0..40).map(|_| pause(&mut run)).collect();
    assert_eq!(pauses[..4], [200, 400, 800, 1_600]);
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]) && pauses[39] == 60_000);
    run.done();
    assert_eq!(pause(&mut run), 200);
}

#[test]
fn nothing_is_asked_before_a_pause_is_over_or_while_an_answer_is_out() {
    let (bench, sink) = sealed(1);
    let (workers, draft) = (fleet(&[1]), bench.draft(&sink));
    let mut run = SinkRun::default();
    run.again(Duration::from_secs(5));
    assert_eq!(todo(&bench, &workers, &sink, &run, 5), None);
    assert!(todo(&bench, &workers, &sink, &run, 6).is_some());
    run.preparing(7, "w0".parse().unwrap(), draft.clone());
    assert_eq!(todo(&bench, &workers, &sink, &run, 100), None);
    assert_eq!((run.prepared(7), run.prepared(6), run.is_committing(7)), (Some(&draft), None, false));
    run.lost(&"w1".parse().unwrap(), Duration::ZERO);
    assert_eq!(todo(&bench, &workers, &sink, &run, 100), None, "another worker's session broke");
    run.lost(&"w0".parse().unwrap(), Duration::ZERO);
    assert!(todo(&bench, &workers, &sink, &run, 100).is_some());
    assert_eq!(run.prepared(7), None, "the answer would come too late");
}

#[test]
fn a_sink_with_two_histories_is_left_alone_for_a_while() {
    let (mut bench, sink) = sealed(1);
    bench.record(&sink);
    let mut run = SinkRun::default();
    run.halt(failure(Retry::Never, bench.wall), Duration::from_secs(10));
    assert_eq!(todo(&bench, &fleet(&[1]), &sink, &run, 69), None);
    assert!(matches!(todo(&bench, &fleet(&[1]), &sink, &run, 70), Some(Todo::Commit { abort: false, .. })));
}

/// Proves CL6.
#[test]
fn a_committer_is_replaced_when_its_worker_is_gone_by_the_one_with_the_least_to_do() {
    let (mut bench, sink) = sealed(1);
    let mut workers = fleet(&[1, 1, 1]);
    let busy = Record::Committer("other".parse().unwrap(), "w1".parse().unwrap());
    bench.apply(&Change::create(busy));
    let mut run = SinkRun::default();
    run.preparing(1, "w0".parse().unwrap(), bench.draft(&sink));
    workers.disconnect(&"w0".parse().unwrap());
    let Some(Todo::Take(take)) = todo(&bench, &workers, &sink, &run, 0) else { panic!("the sink is not taken") };
    assert_eq!(take.put, [Record::Committer(sink.clone(), "w2".parse().unwrap())]);
    bench.apply(&take);
    assert!(!bench.takes(&take), "it is taken only once");
    let next = todo(&bench, &workers, &sink, &run, 0);
    assert!(
        matches!(next, Some(Todo::Prepare { worker, .. }) if worker.as_str() == "w2"),
        "the old request counts no more"
    );
}

/// Proves CL12.
#[test]
fn a_committer_that_stops_gives_way_as_soon_as_it_says_so_if_another_can() {
    let (bench, sink) = sealed(1);
    let mut workers = fleet(&[1]);
    workers.drain(&"w0".parse().unwrap());
    let next = todo(&bench, &workers, &sink, &SinkRun::default(), 0);
    assert!(matches!(next, Some(Todo::Prepare { .. })), "it commits as long as there is nobody else: {next:?}");
    workers.connect(worker("w1", &[Role::Sink], 0), Duration::ZERO);
    let Some(Todo::Take(take)) = todo(&bench, &workers, &sink, &SinkRun::default(), 0) else { panic!("not taken") };
    assert_eq!(take.put, [Record::Committer(sink, "w1".parse().unwrap())]);
}

#[test]
fn a_sink_nobody_has_written_to_is_taken_and_one_nobody_can_write_to_is_left() {
    let mut bench = Bench::new(1, [hourly("flights", "lake")]);
    let sink = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().sink.clone();
    let mut readers = Workers::default();
    readers.connect(worker("r", &[Role::Ingest], 4), Duration::ZERO);
    assert_eq!(todo(&bench, &readers, &sink, &SinkRun::default(), 0), None);
    let Some(Todo::Take(take)) = todo(&bench, &fleet(&[1]), &sink, &SinkRun::default(), 0) else { panic!("not taken") };
    bench.apply(&take);
    assert_eq!(todo(&bench, &fleet(&[1]), &sink, &SinkRun::default(), 0), None, "nothing is sealed");
}

#[test]
fn a_task_one_error_short_of_its_end_gets_an_intent_of_its_own() {
    let (mut bench, sink) = sealed(4);
    let ill = bench.tasks("flights", TaskPhase::Sealed)[1].id;
    for _ in 0..2 {
        let bad = failure(Retry::Later, bench.wall);
        bench.apply(&lifecycle::unseal(&bench.table, &ill, bad, bench.now()).unwrap());
        let claim = bench.claim(&ill);
        bench.seal(&claim).unwrap();
    }
    let mut sizes = Vec::new();
    while bench.table.sealed(&sink).next().is_some() {
        let draft = bench.draft(&sink);
        sizes.push((draft.tasks.len(), ids(&draft).contains(&ill)));
        bench.record_as(&sink, &draft);
        bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    }
    assert_eq!(sizes, [(3, false), (1, true)]);
}

#[test]
fn an_intent_counts_the_rows_of_its_tasks() {
    let (mut bench, sink) = sealed(5);
    bench.record(&sink);
    let intent = &bench.table.sink(&sink).unwrap().intent.as_ref().unwrap().value;
    assert_eq!((intent.counts.rows_written, intent.counts.files), (5, 5));
    let windows: usize = bench.tasks("flights", TaskPhase::Sealed).iter().map(Task::windows).sum();
    assert_eq!(windows, 5);
}

/// Small files are merged on their way, and the ledger has what became of them however often its leader changes.
#[test]
fn what_is_published_counts_the_files_that_its_commit_adds() {
    let (mut bench, sink) = sealed(3);
    let draft = bench.draft(&sink);
    let intent = commit::record(&bench.table, &sink, &draft, ("intent".to_owned(), Digest([1; 32])), &[1, 0, 0]);
    bench.apply(&intent.unwrap());
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    let totals = |bench: &Bench| bench.table.pipeline(&"flights".parse().unwrap()).unwrap().coverage.value.totals;
    assert_eq!((totals(&bench).rows_written, totals(&bench).files), (3, 1));
}

/// Who does not know how many it adds says nothing.
#[test]
fn files_of_a_commit_that_nobody_has_counted_are_those_that_were_staged() {
    let (mut bench, sink) = sealed(3);
    bench.record(&sink);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    assert_eq!(bench.table.pipeline(&"flights".parse().unwrap()).unwrap().coverage.value.totals.files, 3);
}

#[test]
fn the_reason_a_commit_does_not_come_about_is_kept_until_one_does() {
    let (bench, _) = sealed(1);
    let full = failure_with(error::SINK_FULL, Retry::Later, bench.wall);
    let (mut run, now) = (SinkRun::default(), Duration::from_secs(100));
    assert_eq!(run.trouble(now), None);
    run.failed(full.clone(), now);
    run.failed(full.clone(), now);
    let trouble = run.trouble(now).unwrap();
    assert_eq!((&trouble.failure, trouble.halted, trouble.failures), (&full, false, 2));
    assert_eq!(trouble.retry_in, Duration::from_millis(400));
    run.preparing(1, "w0".parse().unwrap(), bench.draft(&bench.tasks("flights", TaskPhase::Sealed)[0].sink));
    assert_eq!(run.trouble(now).unwrap().retry_in, Duration::ZERO, "it is being tried");
    assert_eq!(
        run.trouble(now).unwrap().in_words(),
        "its commit failed and is tried again now: no space is left [WR-K003]"
    );
    run.done();
    assert_eq!(run.trouble(now), None);

    run.halt(failure_with(error::SINK_ROLLED_BACK, Retry::Never, bench.wall), now);
    let trouble = run.trouble(now).unwrap();
    assert_eq!((trouble.halted, trouble.retry_in), (true, Duration::from_secs(60)));
    run.committing(2, "w0".parse().unwrap());
    assert!(run.trouble(now).unwrap().halted, "also while it is asked whether that is still so");
    run.failed(full, now);
    assert!(!run.trouble(now).unwrap().halted, "something else is the matter now");
}

//! Windows that are sealed and wait for more of them: how long, for what, and who does not.

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    gather::Gather,
    id::{PipelineName, SinkId, TaskId},
    intent::MAX_INTENT_TASKS,
    pipeline::Pipeline,
    quantity::{ByteSize, Pause},
    readiness::Condition,
    task::{Lane, Task, TaskPhase, TaskState},
    window::{Axis, Window},
};

use super::bench::{Bench, EPOCH, edit, failure, fleet, hour, hourly, hours, request};
use crate::core::{
    assign::MAX_SEALED,
    backfill::{self, Choice, Command},
    commit::{self, Draft, SinkRun, Todo},
    declare, gather,
    gather::{Gathering, When},
    lifecycle, rollback,
    table::{Change, Record},
};

/// Windows of a minute from the bench's first hour on, gathered for so many seconds; a window has 10 bytes.
fn minutely(name: &str, wait: u64, size: u64) -> Pipeline {
    let mut pipeline = edit(hourly(name, "lake"), |window| window.every = "1m".parse().unwrap());
    pipeline.sink.gather = Some(Gather { wait: Pause(Duration::from_secs(wait)), size: ByteSize(size) });
    pipeline
}

/// A bench so many minutes behind the first window's start, with all that is due sealed, and its sink.
fn bench(minutes: i64, pipelines: impl IntoIterator<Item = Pipeline>) -> (Bench, SinkId) {
    let mut bench = Bench::new(0, pipelines);
    bench.name_committers();
    bench.pass(60 * minutes);
    seal_due(&mut bench);
    let sink = bench.table.pipelines().next().unwrap().1.sink.clone();
    (bench, sink)
}

fn seal_due(bench: &mut Bench) {
    bench.plan();
    let names: Vec<PipelineName> = bench.table.pipelines().map(|(name, _)| name.clone()).collect();
    names.iter().for_each(|name| bench.seal_all(name.as_str()));
}

fn next_of(bench: &Bench, sink: &SinkId, run: &SinkRun, when: When) -> Option<Draft> {
    match commit::next(&bench.table, &fleet(&[1]), sink, run, when) {
        Some(Todo::Prepare { draft, .. }) => Some(draft),
        None => None,
        other => panic!("expected a draft or nothing, found {other:?}"),
    }
}

/// How many tasks the next intent has; none while they gather.
fn drafted(bench: &Bench, sink: &SinkId) -> usize {
    next_of(bench, sink, &SinkRun::default(), bench.when(0)).map_or(0, |draft| draft.tasks.len())
}

fn told(bench: &Bench, sink: &SinkId, pipeline: &str) -> Option<Gathering> {
    let found = gather::gathering(&bench.table, sink, MAX_INTENT_TASKS, bench.when(0));
    found.get(&pipeline.parse::<PipelineName>().unwrap()).copied()
}

fn pipelines_in(bench: &Bench, draft: &Draft) -> Vec<String> {
    draft.tasks.iter().map(|(task, _)| bench.task(task).pipeline.to_string()).collect()
}

fn minute(k: i64) -> Timestamp {
    Timestamp::from_microsecond(hour(0) + k * 60_000_000).unwrap()
}

/// Proves CO15. With another one like them they would have more than the size. What does not gather goes as it always did.
#[test]
fn sealed_windows_wait_until_they_have_the_size() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 35)]);
    assert_eq!(drafted(&bench, &sink), 0);
    bench.pass(60);
    seal_due(&mut bench);
    assert_eq!(drafted(&bench, &sink), 0);
    let found = told(&bench, &sink, "flights").unwrap();
    assert_eq!(found, Gathering { windows: 2, bytes: 20, since: minute(1), size: ByteSize(35), until: minute(11) });
    assert!(found.in_words().contains("2 windows of 20 bytes"), "{}", found.in_words());
    bench.pass(60);
    seal_due(&mut bench);
    assert_eq!((drafted(&bench, &sink), told(&bench, &sink, "flights")), (3, None));

    let plain = Pipeline { sink: hourly("flights", "lake").sink, ..minutely("flights", 600, 35) };
    let (bench, sink) = self::bench(1, [plain]);
    assert_eq!(drafted(&bench, &sink), 1);
}

/// Proves CO15. The oldest of them decides, whatever was sealed after it.
#[test]
fn sealed_windows_wait_no_longer_than_they_are_to() {
    let (mut bench, sink) = bench(1, [minutely("flights", 190, 1 << 20)]);
    for _ in 0..2 {
        bench.pass(60);
        seal_due(&mut bench);
        assert_eq!(drafted(&bench, &sink), 0);
    }
    bench.pass(69);
    assert_eq!(drafted(&bench, &sink), 0, "another window is due");
    bench.pass(1);
    assert_eq!(drafted(&bench, &sink), 3);
    assert_eq!(Gather { wait: Pause(Duration::from_secs(3_600)), size: ByteSize(1) }.longest_wait(), Gather::MAX_WAIT);
}

#[test]
fn windows_that_fill_an_intent_wait_for_nothing() {
    let (mut bench, sink) = bench(2, [minutely("flights", 600, 1 << 20)]);
    let mut run = SinkRun::default();
    assert_eq!(next_of(&bench, &sink, &run, bench.when(0)), None);
    // The sink has refused an intent, and takes smaller ones.
    run.aborted(4);
    assert_eq!(next_of(&bench, &sink, &run, bench.when(0)).unwrap().tasks.len(), 2);
    for _ in 2..MAX_INTENT_TASKS {
        assert_eq!(drafted(&bench, &sink), 0);
        let sealed = bench.tasks("flights", TaskPhase::Sealed)[0].clone();
        put_sealed(&mut bench, sealed);
    }
    assert_eq!(drafted(&bench, &sink), MAX_INTENT_TASKS);
}

/// Puts a sealed task like this one, of a window far behind all others, into the table alone.
fn put_sealed(bench: &mut Bench, like: Task) -> TaskId {
    let number = bench.table.all_tasks().count() as i64;
    let window = hours(10_000 + number, 10_001 + number);
    let id = TaskId::of(&like.pipeline, 0, &window, 0);
    bench.table.put(Record::Task(Task { id, window, ..like }), 1_000_000 + number);
    id
}

#[test]
fn nothing_waits_once_so_much_is_sealed_that_no_task_is_given_out() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20)]);
    assert_eq!(drafted(&bench, &sink), 0);
    let sealed = bench.tasks("flights", TaskPhase::Sealed)[0].clone();
    // Of so many pipelines that none of them fills an intent.
    for n in 0..MAX_SEALED {
        assert!(told(&bench, &sink, "flights").is_some());
        put_sealed(&mut bench, Task { pipeline: format!("p{}", n % 50).parse().unwrap(), ..sealed.clone() });
    }
    assert_eq!(told(&bench, &sink, "flights"), None);
    let draft = next_of(&bench, &sink, &SinkRun::default(), bench.when(0)).unwrap();
    assert_eq!(draft.tasks[0].0, sealed.id, "the oldest seal first");
}

#[test]
fn the_last_windows_of_a_pipeline_wait_for_nothing() {
    let to_two = |pipeline| edit(pipeline, |window| window.end = Some("2024-01-01T00:02:00".parse().unwrap()));
    let (mut bench, sink) = bench(1, [to_two(minutely("flights", 600, 1 << 20))]);
    assert_eq!(drafted(&bench, &sink), 0, "one more is to come");
    bench.pass(60);
    assert_eq!(drafted(&bench, &sink), 0, "it is due");
    bench.plan();
    let last = bench.tasks("flights", TaskPhase::Pending)[0].id;
    assert_eq!(drafted(&bench, &sink), 0, "it is planned");
    let claim = bench.claim(&last);
    assert_eq!(drafted(&bench, &sink), 0, "it is being loaded");
    bench.seal(&claim).unwrap();
    assert_eq!(drafted(&bench, &sink), 2);
}

#[test]
fn a_window_that_closes_too_late_is_not_waited_for() {
    let hourly = edit(minutely("flights", 600, 1 << 20), |window| window.every = "1h".parse().unwrap());
    let (bench, sink) = bench(60, [hourly]);
    assert_eq!(drafted(&bench, &sink), 1, "the next one closes in an hour");
}

#[test]
fn a_window_whose_input_is_asked_for_too_late_is_not_waited_for() {
    for (wait, waits) in [(31, true), (30, false)] {
        let pipeline = edit(minutely("flights", wait, 1 << 20), |window| {
            window.end = Some("2024-01-01T00:02:00".parse().unwrap());
        });
        let (mut bench, sink) = bench(0, [pipeline]);
        bench.pass(120);
        bench.plan();
        let [one, two] = [0, 1].map(|at| bench.tasks("flights", TaskPhase::Pending)[at].id);
        let claim = bench.claim(&one);
        bench.seal(&claim).unwrap();
        let claim = bench.claim(&two);
        let waiting = lifecycle::not_ready(&bench.table, EPOCH, &claim, "no marker".to_owned(), bench.now());
        bench.apply(&waiting.unwrap());
        assert_eq!(drafted(&bench, &sink) == 0, waits, "its source is asked again in 30 s");
        let leaves = When { leaves: true, ..bench.when(0) };
        assert!(next_of(&bench, &sink, &SinkRun::default(), leaves).is_some(), "a run waits for no input");
    }
}

/// `windrow run` is over when what is due is published: it gathers that, and waits for nothing that comes with time.
#[test]
fn a_run_gathers_what_is_due_and_then_leaves() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20)]);
    let run = |bench: &Bench| {
        let when = When { leaves: true, ..bench.when(0) };
        next_of(bench, &sink, &SinkRun::default(), when).map_or(0, |draft| draft.tasks.len())
    };
    assert_eq!((drafted(&bench, &sink), run(&bench)), (0, 1));
    bench.pass(60);
    assert_eq!(run(&bench), 0, "a window is due");
    bench.plan();
    assert_eq!(run(&bench), 0, "it is planned");
    let claim = bench.claim(&bench.tasks("flights", TaskPhase::Pending)[0].id.clone());
    assert_eq!(run(&bench), 0, "it is being loaded");
    bench.seal(&claim).unwrap();
    assert_eq!(run(&bench), 2);

    // What it waits for may wait itself for what is gathered.
    let mut waits = minutely("flights", 600, 1 << 20);
    waits.readiness.require.all = vec![Condition::Pipeline("nobody".parse().unwrap())];
    bench.apply(&crate::core::apply::apply(&bench.table, &[waits]).unwrap().0);
    bench.pass(60);
    bench.plan();
    assert_eq!(bench.tasks("flights", TaskPhase::Pending).len(), 1);
    assert_eq!(run(&bench), 2, "a window that waits for its input is not due");
}

#[test]
fn a_pipeline_that_is_paused_waits_for_what_is_being_loaded_and_nothing_else() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20)]);
    bench.pass(120);
    bench.plan();
    let claim = bench.claim(&bench.tasks("flights", TaskPhase::Pending)[0].id.clone());
    let state = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().state.clone();
    let paused = crate::core::table::PipelineState { paused: Some("ann".to_owned()), ..state.value };
    bench.apply(&Change::replace(Record::Pipeline(paused), state.revision));
    assert_eq!(drafted(&bench, &sink), 0, "one is being loaded");
    bench.seal(&claim).unwrap();
    assert_eq!(drafted(&bench, &sink), 2, "others are due, and not given out");
}

#[test]
fn a_pipeline_that_does_not_gather_any_more_goes_at_once() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20)]);
    assert_eq!(drafted(&bench, &sink), 0);
    let plain = Pipeline { sink: hourly("flights", "lake").sink, ..minutely("flights", 600, 1) };
    bench.apply(&crate::core::apply::apply(&bench.table, &[plain]).unwrap().0);
    assert_eq!(drafted(&bench, &sink), 1);
}

/// Whoever waits for the end of a backfill does not wait for windows that time brings; those go along.
#[test]
fn the_last_windows_of_a_backfill_wait_for_nothing() {
    let (mut bench, sink) = bench(3, [minutely("flights", 600, 1 << 20)]);
    bench.publish_all_gathered(&sink);
    bench.pass(60);
    seal_due(&mut bench);
    assert_eq!(drafted(&bench, &sink), 0, "a live window gathers");
    let [from, to] = [0, 2].map(|k| minute(k).as_microsecond());
    let first_two = Window::new(Axis::Time, from, to).unwrap();
    let lane = bench.backfill("b", &request("flights", Some(first_two), Choice::All));
    assert_eq!(drafted(&bench, &sink), 0, "that of a backfill which has sealed nothing changes nothing");
    bench.advance();
    let mine = |bench: &Bench| {
        let pending = bench.tasks("flights", TaskPhase::Pending);
        pending.into_iter().filter(|task| task.lane == lane).map(|task| task.id).collect::<Vec<_>>()
    };
    let ids = mine(&bench);
    assert_eq!(ids.len(), 2);
    let claim = bench.claim(&ids[0]);
    bench.seal(&claim).unwrap();
    assert_eq!(drafted(&bench, &sink), 0, "another window of the backfill is to come");
    let mut paused = bench.clone();
    let Lane::Backfill(id) = &lane else { panic!("{lane:?}") };
    paused.apply(&backfill::steer(&paused.table, id, Command::Pause, paused.now()).unwrap());
    assert_eq!(drafted(&paused, &sink), 2, "nothing more of it comes");
    let claim = bench.claim(&ids[1]);
    bench.seal(&claim).unwrap();
    assert_eq!(drafted(&bench, &sink), 3, "the live window goes along");
}

#[test]
fn what_a_backfill_has_not_planned_yet_is_waited_for() {
    let (mut bench, sink) = bench(60, [minutely("flights", 600, 1 << 20)]);
    bench.publish_all_gathered(&sink);
    let lane = bench.backfill("b", &request("flights", None, Choice::All));
    bench.advance();
    bench.seal_all("flights");
    let sealed = bench.tasks("flights", TaskPhase::Sealed).len();
    assert!(sealed < 60 && bench.table.open(&"flights".parse().unwrap(), &lane) == sealed, "not all are planned");
    assert_eq!(drafted(&bench, &sink), 0);
    bench.advance();
    bench.seal_all("flights");
    assert_eq!(drafted(&bench, &sink), 60);
}

#[test]
fn a_window_that_somebody_declares_complete_waits_for_nothing() {
    let (mut bench, sink) = bench(2, [minutely("flights", 600, 1 << 20)]);
    assert_eq!(drafted(&bench, &sink), 0);
    bench.pass(60);
    bench.plan();
    let window = bench.tasks("flights", TaskPhase::Pending)[0].window;
    let asked = declare::Request {
        pipeline: "flights".parse().unwrap(),
        window,
        by: "ann".to_owned(),
        reason: "no flights".to_owned(),
    };
    bench.apply(&declare::declare(&bench.table, &asked, bench.now()).unwrap().unwrap());
    seal_due(&mut bench);
    assert_eq!(drafted(&bench, &sink), 3);
}

/// Proves CO15. Neither another pipeline's windows nor files nor keys wait for what gathers, and they take nothing of it along: it
/// would become the small files that it waits not to be.
#[test]
fn others_are_not_held_up() {
    let other = edit(hourly("other", "lake"), |window| window.every = "1m".parse().unwrap());
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20), other]);
    let draft = next_of(&bench, &sink, &SinkRun::default(), bench.when(0)).unwrap();
    assert_eq!(pipelines_in(&bench, &draft), ["other"]);
    bench.record(&sink);
    assert!(matches!(
        commit::next(&bench.table, &fleet(&[1]), &sink, &SinkRun::default(), bench.when(0)),
        Some(Todo::Commit { .. })
    ));
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    assert_eq!(drafted(&bench, &sink), 0);
    let sealed = bench.tasks("flights", TaskPhase::Sealed)[0].clone();
    for lane in [Lane::Compact, Lane::Compare] {
        let mut bench = bench.clone();
        let id = put_sealed(&mut bench, Task { lane, ..sealed.clone() });
        let draft = next_of(&bench, &sink, &SinkRun::default(), bench.when(0)).unwrap();
        assert_eq!(draft.tasks.iter().map(|task| task.0).collect::<Vec<_>>(), [id]);
    }
    bench.pass(600);
    assert_eq!(drafted(&bench, &sink), 1);
}

#[test]
fn two_pipelines_that_gather_wait_each_for_itself() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 20), minutely("weather", 130, 1 << 20)]);
    assert_eq!(drafted(&bench, &sink), 0);
    bench.pass(60);
    seal_due(&mut bench);
    let draft = next_of(&bench, &sink, &SinkRun::default(), bench.when(0)).unwrap();
    assert_eq!(pipelines_in(&bench, &draft), ["flights", "flights"]);
    bench.pass(70);
    let draft = next_of(&bench, &sink, &SinkRun::default(), bench.when(0)).unwrap();
    assert_eq!(draft.tasks.len(), 4, "both go, and go together");
}

/// Proves CO15. When a window was sealed is in its record: the next leader lets it wait no longer.
#[test]
fn a_new_leader_does_not_begin_to_wait_anew() {
    let (mut bench, sink) = bench(1, [minutely("flights", 100, 1 << 20)]);
    bench.pass(50);
    assert_eq!(drafted(&bench, &sink), 0);
    bench.table = bench.store.load();
    assert_eq!(told(&bench, &sink, "flights").unwrap().until, minute(1) + Duration::from_secs(100));
    bench.pass(49);
    assert_eq!(drafted(&bench, &sink), 0);
    bench.pass(1);
    assert_eq!(drafted(&bench, &sink), 1);
}

#[test]
fn what_a_clock_says_that_was_set_back_makes_nobody_wait() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20)]);
    assert_eq!(drafted(&bench, &sink), 0);
    bench.pass(-86_400);
    assert_eq!(drafted(&bench, &sink), 1, "it was sealed tomorrow");

    // Neither does a record of a version that did not say when it was sealed.
    bench.pass(86_400);
    let mut sealed = bench.tasks("flights", TaskPhase::Sealed)[0].clone();
    if let TaskState::Sealed { since, .. } = &mut sealed.state {
        *since = Timestamp::UNIX_EPOCH;
    }
    assert_eq!(drafted(&bench, &sink), 0);
    put_sealed(&mut bench, sealed);
    assert_eq!(drafted(&bench, &sink), 2);
}

/// A task whose intent was aborted is sealed anew, and waits from then on with those that were sealed meanwhile.
#[test]
fn what_is_sealed_again_waits_again() {
    let (mut bench, sink) = bench(1, [minutely("flights", 100, 1 << 20)]);
    bench.pass(100);
    bench.record(&sink);
    let refused = failure(windrow_common::task::Retry::Later, bench.wall);
    bench.apply(&commit::finalize_abort(&bench.table, &sink, &refused, bench.now()).unwrap());
    bench.pass(2);
    seal_due(&mut bench);
    assert_eq!(told(&bench, &sink, "flights").unwrap().until, bench.wall + Duration::from_secs(100));
}

#[test]
fn a_rollback_does_not_wait_for_what_gathers() {
    let (mut bench, sink) = bench(1, [minutely("flights", 600, 1 << 20)]);
    let asked = rollback::Rollback {
        request_id: "r".to_owned(),
        pipeline: "flights".parse().unwrap(),
        to: 1,
        shown: 2,
        created: bench.wall,
        trace: None,
        refused: 0,
        earlier: Vec::new(),
        phase: rollback::Phase::Asked,
    };
    bench.apply(&Change::create(Record::Rollback(sink.clone(), asked)));
    let draft = next_of(&bench, &sink, &SinkRun::default(), bench.when(0)).unwrap();
    assert!(draft.shows.is_some() && draft.tasks.is_empty());
}

impl Bench {
    /// Publishes what is sealed, as if its time had come.
    fn publish_all_gathered(&mut self, sink: &SinkId) {
        let wall = self.wall;
        while self.table.sealed(sink).next().is_some() {
            self.wall = wall + Duration::from_secs(3_600);
            self.record(sink);
            self.wall = wall;
            self.apply(&commit::finalize(&self.table, sink, self.now()).unwrap());
        }
    }
}

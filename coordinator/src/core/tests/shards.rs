//! Windows that are cut while they are loaded: all their shards are published together, or the window begins anew.

use std::{num::NonZeroU32, time::Duration};

use windrow_common::{
    claim::Token,
    error,
    id::TaskId,
    pipeline::Pipeline,
    task::{Retry, Task, TaskPhase, TaskState},
};

use super::bench::{Bench, EPOCH, applied, failure_with, fleet, full, manifest, worker};
use crate::core::{
    assign, commit,
    lifecycle::{self, HeldClaim, Refused, Seal},
    shards::{self, Cut, MAX_SHARDS},
    table::{Change, Record},
    workers::Role,
};

fn planes(connections: u32, concurrency: u32) -> Pipeline {
    let mut pipeline = full("planes", "planes");
    pipeline.source.from.limits.connections = NonZeroU32::new(connections);
    pipeline.limits.concurrency = concurrency;
    pipeline
}

fn parts(count: usize) -> Vec<String> {
    (0..count).map(|part| format!("part {part}")).collect()
}

fn try_to_cut(bench: &Bench, claim: &HeldClaim, parts: Vec<String>) -> Result<Cut, Refused> {
    shards::cut(&bench.table, &fleet(&[1]), EPOCH, (claim, parts), bench.now())
}

/// A full load that its attempt has just cut in three.
fn cut() -> (Bench, HeldClaim, [TaskId; 2]) {
    let mut bench = Bench::new(1, [planes(0, 8)]);
    bench.plan();
    let id = bench.tasks("planes", TaskPhase::Pending)[0].id;
    let claim = bench.claim(&id);
    let Ok(Cut::Change(change)) = try_to_cut(&bench, &claim, parts(2)) else { panic!("it is not cut") };
    bench.apply(&change);
    let others: Vec<TaskId> = bench.table.shards_of(&id).map(|shard| shard.value.id).collect();
    (bench, claim, others.try_into().unwrap())
}

fn seals(bench: &Bench, claim: &HeldClaim) -> Result<Seal, Refused> {
    lifecycle::seal(&bench.table, EPOCH, claim, manifest(bench.task(&claim.task), claim.token), bench.now())
}

/// Nothing of the cut is left, and the window is to be loaded as if it had never been claimed.
fn assert_begun_anew(bench: &Bench, first: &TaskId) {
    assert_eq!(bench.table.shards().count(), 0);
    let task: &Task = bench.task(first);
    assert!(matches!(task.state, TaskState::Pending { .. }) && task.part.is_none(), "{task:?}");
}

/// Proves FL3.
#[test]
fn a_window_that_was_cut_is_sealed_last_and_published_whole() {
    let (mut bench, claim, others) = cut();
    assert_eq!(seals(&bench, &claim), Ok(Seal::Waits));
    for other in others {
        assert_eq!(bench.tasks("planes", TaskPhase::Pending), [], "a shard is no window");
        let other = bench.claim(&other);
        bench.seal(&other).unwrap();
        assert_eq!(bench.table.sealed(&bench.task(&claim.task).sink).count(), 0);
    }
    bench.seal(&claim).unwrap();
    let sink = bench.task(&claim.task).sink.clone();
    bench.name_committers();
    let draft = bench.draft(&sink);
    assert_eq!(draft.tasks.iter().map(|task| task.0).collect::<Vec<_>>(), [claim.task, others[0], others[1]]);
    assert_eq!(draft.only, Some(claim.task));
    bench.record_as(&sink, &draft);
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    let entry = bench.table.pipeline(&"planes".parse().unwrap()).unwrap();
    assert_eq!((entry.windows_published(), entry.coverage.value.totals.rows_written), (1, 3));
    assert_eq!(bench.table.tasks().count() + bench.table.shards().count(), 0);
}

#[test]
fn cutting_again_changes_nothing_and_a_zombie_cuts_nothing() {
    let (mut bench, claim, _) = cut();
    assert_eq!(try_to_cut(&bench, &claim, parts(2)), Ok(Cut::Already));
    assert_eq!(try_to_cut(&bench, &claim, parts(3)), Ok(Cut::No));
    bench.fail(&claim, Retry::Later).unwrap();
    assert_eq!(try_to_cut(&bench, &claim, parts(2)), Err(Refused::Fenced(claim.task)));
}

/// Two that wait for others could take each other's room, and one that has no room for others would wait for ever.
#[test]
fn a_window_is_cut_only_if_others_will_come() {
    for (connections, concurrency) in [(1, 8), (8, 1)] {
        let mut bench = Bench::new(1, [planes(connections, concurrency)]);
        bench.plan();
        let id = bench.tasks("planes", TaskPhase::Pending)[0].id;
        let claim = bench.claim(&id);
        assert_eq!(try_to_cut(&bench, &claim, parts(2)), Ok(Cut::No), "{connections} {concurrency}");
    }
    let (mut bench, ..) = cut();
    bench.apply(&applied(full("trains", "trains")));
    bench.plan();
    let id = bench.tasks("trains", TaskPhase::Pending)[0].id;
    let claim = bench.claim(&id);
    assert_eq!(try_to_cut(&bench, &claim, parts(2)), Ok(Cut::No), "its source is being cut");
    let mut old = fleet(&[1]);
    let mut info = worker("old", &[Role::Ingest], 1);
    info.protocol = 1;
    old.connect(info, Duration::ZERO);
    let mut alone = Bench::new(1, [planes(0, 8)]);
    alone.plan();
    let id = alone.tasks("planes", TaskPhase::Pending)[0].id;
    let claim = alone.claim(&id);
    for bad in [parts(0), parts(MAX_SHARDS), vec!["x".repeat(5_000)]] {
        assert_eq!(try_to_cut(&alone, &claim, bad), Ok(Cut::No), "too few, too many, too much");
    }
    let cut = shards::cut(&alone.table, &old, EPOCH, (&claim, parts(2)), alone.now());
    assert_eq!(cut, Ok(Cut::No), "an older worker would take a shard for the whole");
}

/// Whatever ends the claim of whoever cut: its snapshot is gone.
#[test]
fn with_the_snapshot_all_shards_go() {
    type End = fn(&Bench, &HeldClaim) -> Change;
    let ends: [End; 4] = [
        |bench, claim| lifecycle::reap(&bench.table, &claim.task, bench.now()).unwrap(),
        |bench, claim| lifecycle::hand_back(&bench.table, &claim.task, bench.now()).unwrap(),
        |bench, claim| {
            let failure = failure_with(error::SOURCE_UNREADABLE, Retry::Later, bench.wall);
            lifecycle::fail(&bench.table, EPOCH, claim, failure, bench.now()).unwrap()
        },
        |bench, _| {
            // Another finds it gone first.
            let other = bench.table.shards().find(|shard| shard.value.state.phase() == TaskPhase::Claimed).unwrap();
            let token = Token { epoch: EPOCH, revision: other.revision };
            let claim = HeldClaim { task: other.value.id, token };
            let failure = failure_with(error::SNAPSHOT_LOST, Retry::Later, bench.wall);
            lifecycle::fail(&bench.table, EPOCH, &claim, failure, bench.now()).unwrap()
        },
    ];
    for end in ends {
        let (mut bench, claim, others) = cut();
        let sealed = bench.claim(&others[0]);
        bench.seal(&sealed).unwrap();
        let running = bench.claim(&others[1]);
        bench.apply(&end(&bench, &claim));
        assert_begun_anew(&bench, &claim.task);
        assert!(bench.seal(&running).is_err() && bench.seal(&sealed).is_err() && bench.seal(&claim).is_err());
    }
}

#[test]
fn a_shard_that_fails_is_tried_again_in_the_same_snapshot_and_in_the_end_given_up_with_its_window() {
    let (mut bench, claim, others) = cut();
    for _ in 0..2 {
        let running = bench.claim(&others[0]);
        bench.fail(&running, Retry::Later).unwrap();
        assert_eq!(bench.table.shards().count(), 2);
        assert_eq!(seals(&bench, &claim), Ok(Seal::Waits));
    }
    let running = bench.claim(&others[0]);
    bench.fail(&running, Retry::Later).unwrap();
    assert_eq!(bench.table.shards().count(), 0);
    assert!(matches!(bench.task(&claim.task).state, TaskState::Quarantined { .. }));
}

#[test]
fn files_of_a_shard_that_turn_out_bad_begin_the_window_anew() {
    let (mut bench, claim, others) = cut();
    for other in others {
        let other = bench.claim(&other);
        bench.seal(&other).unwrap();
    }
    bench.seal(&claim).unwrap();
    let failure = failure_with(error::STAGED_FILE_BAD, Retry::Later, bench.wall);
    bench.apply(&lifecycle::unseal(&bench.table, &others[1], failure, bench.now()).unwrap());
    assert_begun_anew(&bench, &claim.task);
}

#[test]
fn an_aborted_intent_begins_the_window_anew_once() {
    let (mut bench, claim, others) = cut();
    for other in others {
        let other = bench.claim(&other);
        bench.seal(&other).unwrap();
    }
    bench.seal(&claim).unwrap();
    let sink = bench.task(&claim.task).sink.clone();
    bench.record(&sink);
    let failure = failure_with(error::SINK_CONFLICT, Retry::Later, bench.wall);
    bench.apply(&commit::finalize_abort(&bench.table, &sink, &failure, bench.now()).unwrap());
    assert_begun_anew(&bench, &claim.task);
}

#[test]
fn a_withdrawn_window_takes_its_shards_along_and_none_goes_alone() {
    let (mut bench, _, others) = cut();
    let sealed = bench.claim(&others[0]);
    bench.seal(&sealed).unwrap();
    bench.apply(&lifecycle::cancel(&bench.table, &others[1]).unwrap());
    assert_eq!(bench.table.tasks().count() + bench.table.shards().count(), 0);
}

/// They go before other tasks, also while the pipeline is paused: what has begun holds a snapshot open.
#[test]
fn shards_find_workers_first_and_whoever_waits_for_them_takes_no_slot() {
    let (mut bench, claim, others) = cut();
    bench.name_committers();
    let mut state = bench.table.pipeline(&"planes".parse().unwrap()).unwrap().state.clone();
    state.value.paused = Some("migration".to_owned());
    bench.apply(&Change::replace(Record::Pipeline(state.value), state.revision));
    let (mut workers, id) = (fleet(&[1]), "w0".parse().unwrap());
    workers.hold(&id, claim.task, Duration::ZERO);
    assert_eq!(assign::assign(&bench.table, &mut workers, bench.now()), [], "it reads its own");
    workers.rest(&id, claim.task);
    let given = assign::assign(&bench.table, &mut workers, bench.now());
    assert_eq!(given.len(), 1);
    assert!(others.contains(&given[0].task));
}

#[test]
fn a_window_whose_others_may_come_no_more_begins_anew() {
    let (mut bench, claim, _) = cut();
    assert_eq!(shards::give_up(&bench.table, bench.now()), None);
    let mut state = bench.table.pipeline(&"planes".parse().unwrap()).unwrap().state.clone();
    state.value.pipeline.limits.concurrency = 1;
    bench.apply(&Change::replace(Record::Pipeline(state.value), state.revision));
    bench.apply(&shards::give_up(&bench.table, bench.now()).unwrap());
    assert_begun_anew(&bench, &claim.task);
}

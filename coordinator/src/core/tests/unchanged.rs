//! Full loads that are left out: what a proof is held against, and what makes it worth nothing.

use windrow_common::{
    id::SinkId,
    manifest::Digest,
    pipeline::{Pipeline, Unchanged},
    task::{Task, TaskPhase},
};

use super::bench::{Bench, EPOCH, applied, full, request};
use crate::core::{
    audit::audit,
    backfill::{Choice, Request},
    lifecycle::{HeldClaim, Refused},
    unchanged,
};

const LOADED: Digest = Digest([1; 32]);

fn skipping(name: &str, path: &str) -> Pipeline {
    Pipeline { unchanged: Unchanged::Skip, ..full(name, path) }
}

/// A pipeline whose first version is published and proven, and a next one that was asked for and is claimed.
fn asked_again(edit: impl FnOnce(&mut Request)) -> (Bench, SinkId, HeldClaim) {
    let mut bench = Bench::new(0, [skipping("planes", "planes")]);
    bench.plan();
    let sink = load(&mut bench, LOADED);
    let mut again = request("planes", None, Choice::All);
    edit(&mut again);
    bench.backfill("b1", &again);
    bench.advance();
    let next = bench.tasks("planes", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&next.id);
    (bench, sink, claim)
}

fn load(bench: &mut Bench, proof: Digest) -> SinkId {
    let task = bench.tasks("planes", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&task.id);
    bench.seal_proven(&claim, proof);
    bench.publish_sealed(&task.sink);
    task.sink
}

fn task_of(bench: &Bench, claim: &HeldClaim) -> Task {
    bench.task(&claim.task).clone()
}

/// Proves FL12.
#[test]
fn a_version_whose_source_is_proven_unchanged_is_published_without_a_commit() {
    let (mut bench, sink, claim) = asked_again(|_| {});
    let loaded = unchanged::loaded(&bench.table, &task_of(&bench, &claim)).unwrap();
    assert_eq!((loaded.proof, loaded.seq, loaded.rows), (LOADED, 1, 1));
    let change = unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1)).unwrap().unwrap();
    assert_eq!(audit(&bench.table, EPOCH, &change), Ok(()));
    bench.apply(&change);
    let entry = bench.table.pipeline(&"planes".parse().unwrap()).unwrap();
    assert!(entry.coverage.value.published.covers(0, 2) && entry.coverage.value.unchanged.covers(1, 2));
    assert_eq!(entry.coverage.value.totals.rows_written, 1, "nothing was counted twice");
    assert_eq!(bench.table.sink(&sink).unwrap().head.as_ref().unwrap().value.seq, 1, "there is no commit");
    assert_eq!(bench.table.backfills().next().unwrap().value.published, 1);
    assert!(bench.table.tasks().next().is_none());
    bench.advance();
    // And once more: it is still the first version that readers see.
    bench.backfill("b2", &request("planes", None, Choice::All));
    bench.advance();
    let next = bench.tasks("planes", TaskPhase::Pending).remove(0);
    let claim = bench.claim(&next.id);
    assert!(unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1)).unwrap().is_some());
}

#[test]
fn a_zombie_publishes_no_version() {
    let (mut bench, _, claim) = asked_again(|_| {});
    bench.pass(60);
    bench.apply(&crate::core::lifecycle::reap(&bench.table, &claim.task, bench.now()).unwrap());
    bench.claim(&claim.task);
    let refused = unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1));
    assert_eq!(refused, Err(Refused::Fenced(claim.task)));
}

#[test]
fn what_was_decided_before_somebody_else_wrote_is_refused_by_the_store() {
    let (mut bench, sink, claim) = asked_again(|_| {});
    let change = unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1)).unwrap().unwrap();
    // Another load goes into its intent meanwhile.
    let other = skipping("other", "planes");
    bench.apply(&applied(other));
    bench.plan();
    let task = bench.tasks("other", TaskPhase::Pending).remove(0);
    let held = bench.claim(&task.id);
    bench.seal(&held).unwrap();
    bench.record(&sink);
    assert!(!bench.takes(&change));
    assert_eq!(unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1)), Ok(None));
}

#[test]
fn a_proof_counts_for_the_commit_it_came_with_and_no_other() {
    let (bench, _, claim) = asked_again(|_| {});
    for found in [(Digest([2; 32]), 1), (LOADED, 2), (LOADED, 0)] {
        assert_eq!(unchanged::publish(&bench.table, EPOCH, &claim, found), Ok(None), "{found:?}");
    }
}

#[test]
fn another_load_into_the_table_makes_the_proof_worth_nothing() {
    let (mut bench, sink, claim) = asked_again(|_| {});
    bench.apply(&applied(full("other", "planes")));
    bench.plan();
    let task = bench.tasks("other", TaskPhase::Pending).remove(0);
    let held = bench.claim(&task.id);
    bench.seal(&held).unwrap();
    bench.publish_sealed(&sink);
    assert_eq!(unchanged::loaded(&bench.table, &task_of(&bench, &claim)), None);
    assert_eq!(unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1)), Ok(None));
}

#[test]
fn whoever_accepts_what_comes_has_it_loaded() {
    let (bench, _, claim) = asked_again(|request| request.accept = true);
    assert_eq!(unchanged::loaded(&bench.table, &task_of(&bench, &claim)), None);
    assert_eq!(unchanged::publish(&bench.table, EPOCH, &claim, (LOADED, 1)), Ok(None));
}

#[test]
fn a_load_without_a_proof_leaves_none() {
    let (mut bench, sink, claim) = asked_again(|_| {});
    bench.seal(&claim).unwrap();
    bench.publish_sealed(&sink);
    let entry = bench.table.pipeline(&"planes".parse().unwrap()).unwrap();
    assert_eq!((entry.coverage.value.loaded, entry.coverage.value.unchanged.is_empty()), (None, true));
}

#[test]
fn of_two_loads_in_one_commit_nobody_can_say_whose_rows_readers_see() {
    let mut bench = Bench::new(0, [skipping("planes", "planes"), skipping("other", "planes")]);
    bench.plan();
    let mut sink = None;
    for name in ["planes", "other"] {
        let task = bench.tasks(name, TaskPhase::Pending).remove(0);
        let claim = bench.claim(&task.id);
        bench.seal_proven(&claim, LOADED);
        sink = Some(task.sink);
    }
    bench.publish_sealed(&sink.unwrap());
    for (_, entry) in bench.table.pipelines() {
        assert_eq!((entry.coverage.value.loaded, entry.windows_published()), (None, 1));
    }
}

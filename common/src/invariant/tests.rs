//! Each predicate sees what it is there to see, and nothing else.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    claim::Token,
    intent::{IntentRef, Seq},
    manifest::{Counts, Digest},
    pipeline::Retries,
    task::{Seams, TaskState, tests::run},
    window::{Axis, Window},
};

fn window(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start, end).unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn link(seq: Seq, byte: u8, previous: Option<u8>) -> Link {
    Link { seq, digest: digest(byte), previous: previous.map(digest) }
}

fn token(epoch: i64, revision: i64) -> Token {
    Token { epoch, revision }
}

fn at(head: Seq, intent: Option<Seq>, sink: Seq) -> SinkPosition {
    SinkPosition { head, intent, sink }
}

/// The id of the violated invariant, if one is.
fn violated(outcome: Result<(), Violation>) -> Option<&'static str> {
    outcome.err().map(|violation| violation.id)
}

#[test]
fn a_gap_or_an_overlap_between_windows_is_seen() {
    assert_eq!(violated(windows_tile(&[window(0, 5), window(5, 9)])), None);
    assert_eq!(violated(windows_tile(&[window(0, 5), window(6, 9)])), Some("INV-2"));
    assert_eq!(violated(windows_tile(&[window(0, 5), window(4, 9)])), Some("INV-2"));
    assert_eq!(violated(windows_are_disjoint(&[window(6, 9), window(0, 5)])), None);
    assert_eq!(violated(windows_are_disjoint(&[window(4, 9), window(0, 5)])), Some("INV-2"));
}

#[test]
fn a_second_commit_of_a_task_is_seen() {
    let task = |start| run(start, 10, Seams::None).id;
    assert_eq!(violated(committed_once(&[task(0), task(1)])), None);
    assert_eq!(violated(committed_once(&[task(0), task(1), task(0)])), Some("INV-3"));
}

#[test]
fn a_broken_chain_of_commits_is_seen() {
    assert_eq!(violated(commits_chain(&[link(1, 1, None), link(2, 2, Some(1))])), None);
    let broken = [
        vec![link(2, 1, None)],
        vec![link(1, 1, Some(9))],
        vec![link(1, 1, None), link(3, 2, Some(1))],
        vec![link(1, 1, None), link(1, 1, None)],
        vec![link(1, 1, None), link(2, 2, Some(3))],
    ];
    for commits in broken {
        assert_eq!(violated(commits_chain(&commits)), Some("INV-4"), "{commits:?}");
    }
}

#[test]
fn an_older_token_that_acts_is_seen_also_across_epochs() {
    assert_eq!(violated(tokens_never_go_back(&[token(1, 7), token(1, 7), token(2, 3)])), None);
    assert_eq!(violated(tokens_never_go_back(&[token(1, 7), token(1, 6)])), Some("INV-5"));
    assert_eq!(violated(tokens_never_go_back(&[token(2, 3), token(1, 7)])), Some("INV-5"));
}

#[test]
fn a_sink_that_lost_a_commit_or_made_one_of_its_own_is_seen() {
    for fine in [at(0, None, 0), at(3, Some(4), 3), at(3, Some(4), 4)] {
        assert_eq!(violated(sink_matches_head(&fine)), None, "{fine:?}");
    }
    assert_eq!(violated(sink_matches_head(&at(3, None, 2))), Some("INV-6"));
    assert_eq!(violated(sink_matches_head(&at(3, None, 4))), Some("INV-7"));
    assert_eq!(violated(sink_matches_head(&at(3, Some(4), 5))), Some("INV-7"));
}

#[test]
fn an_intent_that_changes_is_seen() {
    let intent = |seq, byte| IntentRef {
        seq,
        previous: None,
        path: "intent".to_owned(),
        digest: digest(byte),
        tasks: Vec::new(),
        counts: Counts::default(),
        files: BTreeMap::new(),
    };
    assert_eq!(violated(intent_is_immutable(&intent(1, 1), &intent(1, 1))), None);
    assert_eq!(violated(intent_is_immutable(&intent(1, 1), &intent(2, 2))), None);
    assert_eq!(violated(intent_is_immutable(&intent(1, 1), &intent(1, 2))), Some("INV-8"));
}

#[test]
fn a_write_of_a_former_leader_is_seen() {
    assert_eq!(violated(leaders_never_go_back(&[(3, 2), (4, 2), (6, 5)])), None);
    assert_eq!(violated(leaders_never_go_back(&[(3, 2), (6, 5), (7, 2)])), Some("INV-13"));
}

#[test]
fn a_record_that_differs_is_seen_on_either_side() {
    let records = |entries: &[(u8, &'static str, i64)]| -> BTreeMap<u8, (&'static str, i64)> {
        entries.iter().map(|(key, value, revision)| (*key, (*value, *revision))).collect()
    };
    let store = records(&[(1, "a", 2), (2, "b", 3)]);
    assert_eq!(violated(table_equals_store(&store.clone(), &store)), None);
    for table in [
        records(&[(1, "a", 2)]),
        records(&[(1, "a", 2), (2, "x", 3)]),
        records(&[(1, "a", 2), (2, "b", 4)]),
        records(&[(1, "a", 2), (2, "b", 3), (3, "c", 4)]),
    ] {
        assert_eq!(violated(table_equals_store(&table, &store)), Some("INV-14"), "{table:?}");
    }
}

#[test]
fn attempts_past_the_cap_and_sizes_past_their_bound_are_seen() {
    let retries = Retries::default();
    let mut task = run(0, 10, Seams::None);
    task.errors = retries.attempts;
    assert_eq!(violated(attempts_are_capped(&task, &retries)), None);
    task.lost_leases = retries.lost_leases + 1;
    assert_eq!(violated(attempts_are_capped(&task, &retries)), Some("INV-16"));
    assert_eq!(violated(stays_within("claims", 8, 8)), None);
    let violation = stays_within("claims", 9, 8).unwrap_err();
    assert_eq!(violation.to_string(), "INV-20: claims: 9, at most 8 are allowed");
}

#[test]
fn a_published_attempt_no_commit_lists_is_seen() {
    let task = run(0, 10, Seams::None).id;
    let listed = BTreeSet::from([(task, token(1, 7))]);
    assert_eq!(violated(published_is_listed(&[(task, token(1, 7))], &listed)), None);
    assert_eq!(violated(published_is_listed(&[(task, token(1, 8))], &listed)), Some("INV-6"));
}

#[test]
fn a_rollback_that_is_committed_twice_or_shows_what_never_was_is_seen() {
    let requests = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(violated(rolled_back_once(&requests(&["a", "b"]))), None);
    assert_eq!(violated(rolled_back_once(&requests(&["a", "b", "a"]))), Some("INV-3"));
    let published = BTreeSet::from([0, 2]);
    assert_eq!(violated(shows_what_was_published(2, &published)), None);
    assert_eq!(violated(shows_what_was_published(1, &published)), Some("INV-6"));
}

#[test]
fn a_window_in_two_tasks_is_seen_unless_it_is_moved_again() {
    let (whole, part) = (run(0, 10, Seams::Every(5)), run(5, 10, Seams::None));
    assert_eq!(violated(one_task_per_window([&run(0, 5, Seams::None), &part])), None);
    assert_eq!(violated(one_task_per_window([&whole, &part])), Some("INV-3"));
    let again = crate::task::Task { revision: 1, ..part };
    assert_eq!(violated(one_task_per_window([&whole, &again])), None);
}

#[test]
fn lost_and_doubled_rows_are_counted_apart() {
    let source = multiset(["a", "b", "b"]);
    assert_eq!(violated(rows_arrive_once("w", &source, &multiset(["b", "a", "b"]))), None);
    assert_eq!(Difference::between(&source, &multiset(["a", "a", "b"])), Difference { lost: 1, doubled: 1 });
    let foreign = rows_arrive_once("w", &source, &multiset(["a", "b", "b", "x"])).unwrap_err();
    assert_eq!(foreign.to_string(), "INV-1: window w: 0 rows lost, 1 doubled");
    assert_eq!(violated(rows_arrive_once("w", &source, &multiset(["a"]))), Some("INV-1"));
}

#[test]
fn a_rewrite_that_changes_rows_and_rows_that_end_nowhere_are_seen() {
    let before = Checksum { rows: 2, hash_sum: 7 };
    assert_eq!(violated(rewrites_keep_rows(&before, &before)), None);
    assert_eq!(violated(rewrites_keep_rows(&before, &Checksum { rows: 2, hash_sum: 8 })), Some("INV-15"));
    assert_eq!(violated(rows_end_once(5, &[("sink", 3), ("dead letters", 2)])), None);
    assert_eq!(violated(rows_end_once(5, &[("sink", 3), ("dead letters", 1)])), Some("INV-16"));
    assert_eq!(violated(rows_end_once(5, &[("sink", 5), ("dead letters", 1)])), Some("INV-16"));
}

#[test]
fn a_named_file_that_is_missing_or_another_is_seen() {
    let named = StoredFile { path: "a".to_owned(), sha256: digest(1) };
    let stored = |byte| BTreeMap::from([("a".to_owned(), digest(byte))]);
    assert_eq!(violated(named_files_exist([&named], &stored(1))), None);
    assert_eq!(violated(named_files_exist([&named], &stored(2))), Some("INV-9"));
    assert_eq!(violated(named_files_exist([&named], &BTreeMap::new())), Some("INV-9"));
}

#[test]
fn a_deleted_file_that_was_needed_and_an_orphan_that_stays_are_seen() {
    let needed = BTreeSet::from(["a"]);
    assert_eq!(violated(only_orphans_are_deleted(["b"], &needed)), None);
    assert_eq!(violated(only_orphans_are_deleted(["b", "a"], &needed)), Some("INV-10"));
    assert_eq!(violated(no_orphans(["a"], &needed)), None);
    assert_eq!(violated(no_orphans(["a", "b"], &needed)), Some("INV-10"));
}

#[test]
fn a_marker_too_early_or_twice_is_seen() {
    let marker = |revision, seq| Marker { window: window(0, 5), revision, seq };
    assert_eq!(violated(markers_follow_data(&[marker(0, 1), marker(1, 2)], 2)), None);
    assert_eq!(violated(markers_follow_data(&[marker(0, 3)], 2)), Some("INV-17"));
    assert_eq!(violated(markers_follow_data(&[marker(0, 1), marker(0, 2)], 2)), Some("INV-17"));
}

#[test]
fn a_reader_that_sees_part_of_a_commit_is_seen() {
    let commits = [(1, BTreeSet::from(["a", "b"])), (2, BTreeSet::from(["c"]))];
    assert_eq!(violated(reads_are_whole(&commits, &BTreeSet::from(["a", "b"]))), None);
    assert_eq!(violated(reads_are_whole(&commits, &BTreeSet::new())), None);
    assert_eq!(violated(reads_are_whole(&commits, &BTreeSet::from(["a", "c"]))), Some("INV-18"));
}

#[test]
fn what_does_not_come_to_its_end_is_seen() {
    let (open, mut given_up) = (run(0, 10, Seams::None), run(0, 10, Seams::None));
    given_up.state = TaskState::Cancelled;
    assert_eq!(violated(everything_settles([&given_up], 0)), None);
    assert_eq!(violated(everything_settles([&given_up, &open], 0)), Some("INV-21"));
    assert_eq!(violated(everything_settles([], 1)), Some("INV-21"));
}

#[test]
fn two_stores_that_answer_differently_are_seen() {
    assert_eq!(violated(stores_agree(3, &(true, 7), &(true, 7))), None);
    assert_eq!(violated(stores_agree(3, &(true, 7), &(false, 7))), Some("INV-23"));
}

#[test]
fn the_catalogue_names_each_invariant_once_and_in_order() {
    let numbers: Vec<u32> = CATALOGUE.iter().map(|(id, _)| id.strip_prefix("INV-").unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

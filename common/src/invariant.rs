//! What must always hold, as predicates over plain data. Simulations, tests and tools share them; the ids are those of
//! the protocol's list. Nothing here knows how the data was come by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    claim::Token,
    id::TaskId,
    intent::{IntentRef, Seq},
    manifest::Digest,
    pipeline::Retries,
    task::Task,
    window::Window,
};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id}: {message}")]
pub struct Violation {
    /// `INV-2`, ...
    pub id: &'static str,
    pub message: String,
}

/// One commit of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub seq: Seq,
    pub digest: Digest,
    /// The digest of the commit before it.
    pub previous: Option<Digest>,
}

/// Where a sink stands: in the ledger, and in its own storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPosition {
    /// Newest finalized commit in the ledger; 0 before the first.
    pub head: Seq,
    /// The seq of the recorded intent.
    pub intent: Option<Seq>,
    /// Newest commit in the sink's storage; 0 before the first.
    pub sink: Seq,
}

/// INV-2: windows in order tile their axis, without gap or overlap.
pub fn windows_tile(windows: &[Window]) -> Result<(), Violation> {
    windows.windows(2).try_for_each(|pair| match pair {
        [left, right] => holds("INV-2", left.axis() == right.axis() && left.end() == right.start(), || {
            format!("{left} is followed by {right}")
        }),
        _ => Ok(()),
    })
}

/// INV-2: no point lies in two of the windows, whatever their order.
pub fn windows_are_disjoint(windows: &[Window]) -> Result<(), Violation> {
    let mut sorted = windows.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).try_for_each(|pair| match pair {
        [left, right] => holds("INV-2", !left.overlaps(right), || format!("{left} overlaps {right}")),
        _ => Ok(()),
    })
}

/// INV-3: no task is committed twice.
pub fn committed_once(tasks: &[TaskId]) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    tasks.iter().try_for_each(|task| holds("INV-3", seen.insert(task), || format!("task {task} is committed twice")))
}

/// INV-4: a sink's commits count up by one from 1, and each names the digest of the one before.
pub fn commits_chain(commits: &[Link]) -> Result<(), Violation> {
    let (mut seq, mut previous) = (0, None);
    commits.iter().try_for_each(|commit| {
        let chained = commit.seq == seq + 1 && commit.previous == previous;
        let before = seq;
        (seq, previous) = (commit.seq, Some(commit.digest));
        holds("INV-4", chained, || format!("commit {} does not follow from commit {before}", commit.seq))
    })
}

/// INV-5: of the tokens that changed a task, in the order they did, none is lower than one before.
pub fn tokens_never_go_back(tokens: &[Token]) -> Result<(), Violation> {
    tokens.windows(2).try_for_each(|pair| match pair {
        [before, after] => holds("INV-5", before <= after, || format!("token {after} acts after token {before}")),
        _ => Ok(()),
    })
}

/// INV-6 and INV-7: what is published is in the sink, and the sink is ahead of the ledger only by the recorded intent.
pub fn sink_matches_head(at: &SinkPosition) -> Result<(), Violation> {
    let SinkPosition { head, intent, sink } = *at;
    holds("INV-6", sink >= head, || format!("seq {head} is published, the sink holds {sink}"))?;
    holds("INV-7", sink == head || (sink == head + 1 && intent == Some(sink)), || {
        format!("the sink holds {sink}, the head is {head} and the intent is {intent:?}")
    })
}

/// INV-8: the intent of a seq never changes once it is recorded.
pub fn intent_is_immutable(before: &IntentRef, after: &IntentRef) -> Result<(), Violation> {
    holds("INV-8", before.seq != after.seq || before == after, || format!("intent {} has changed", before.seq))
}

/// INV-13: each write, in the order of the revisions, was made by the newest leader there was. A leader is known by the
/// revision of its election.
pub fn leaders_never_go_back(writes: &[(i64, i64)]) -> Result<(), Violation> {
    writes.windows(2).try_for_each(|pair| match pair {
        [(_, newer), (revision, leader)] => holds("INV-13", newer <= leader, || {
            format!("revision {revision} was written by leader {leader} after leader {newer} had written")
        }),
        _ => Ok(()),
    })
}

/// INV-14: the records in memory and those in the store, each with its revision, are the same.
pub fn table_equals_store<K: Ord + fmt::Debug, V: PartialEq>(
    table: &BTreeMap<K, (V, i64)>,
    store: &BTreeMap<K, (V, i64)>,
) -> Result<(), Violation> {
    let differing = store.iter().find(|(key, record)| table.get(*key) != Some(*record)).map(|(key, _)| key);
    let differing = differing.or_else(|| table.keys().find(|key| !store.contains_key(*key)));
    match differing {
        None => Ok(()),
        Some(key) => holds("INV-14", false, || format!("{key:?} is not the same in memory and in the store")),
    }
}

/// INV-16: a task has no more errors and lost leases than it may have.
pub fn attempts_are_capped(task: &Task, retries: &Retries) -> Result<(), Violation> {
    let capped = task.errors <= retries.attempts && task.lost_leases <= retries.lost_leases;
    holds("INV-16", capped, || {
        format!("task {} has {} errors and {} lost leases", task.id, task.errors, task.lost_leases)
    })
}

/// INV-20: something that must stay bounded does.
pub fn stays_within(what: &str, size: usize, most: usize) -> Result<(), Violation> {
    holds("INV-20", size <= most, || format!("{what}: {size}, at most {most} are allowed"))
}

fn holds(id: &'static str, condition: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { id, message: message() }) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        manifest::Counts,
        task::{Seams, tests::run},
        window::Axis,
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
}

//! What must always hold, as predicates over plain data. The model, the simulation, tests and the leader's own audit share
//! them; the ids are those of the protocol's list. Nothing here knows how the data was come by.
//!
//! Numbers that are missing belong to what is not built yet: 11 and 12 to change capture, 19 to triggers. 22 (no secret
//! leaves) is looked for in what a run wrote, by the tests that have a run.

mod commits;
mod fencing;
mod files;
mod progress;
mod rows;
mod timeline;

pub use self::{
    commits::{
        Link, SinkPosition, commit_follows, commits_chain, committed_once, intent_is_immutable, published_is_listed,
        rolled_back_once, shows_what_was_published, sink_matches_head,
    },
    fencing::{leaders_never_go_back, stores_agree, table_equals_store, tokens_never_go_back},
    files::{
        Marker, StoredFile, markers_follow_data, named_files_exist, no_orphans, only_orphans_are_deleted,
        reads_are_whole,
    },
    progress::{attempts_are_capped, everything_settles, stays_within},
    rows::{Checksum, Difference, Multiset, multiset, rewrites_keep_rows, rows_arrive_once, rows_end_once},
    timeline::{one_task_per_window, windows_are_disjoint, windows_tile},
};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id}: {message}")]
pub struct Violation {
    /// `INV-2`, ...
    pub id: &'static str,
    pub message: String,
}

/// The invariants that have a predicate here, each in one sentence.
pub const CATALOGUE: [(&str, &str); 19] = [
    ("INV-1", "The rows of a published window are those of its source: none lost, none doubled"),
    ("INV-2", "Windows of a pipeline tile its time, without gap or overlap"),
    ("INV-3", "A task and a rollback are committed once, and a window at a revision has one task"),
    ("INV-4", "Commits of a sink count up by one, and each names the one before"),
    ("INV-5", "An older token changes nothing any more"),
    ("INV-6", "What is published is in the sink, which names the task and its token"),
    ("INV-7", "A sink is ahead of the ledger by the recorded intent at most"),
    ("INV-8", "A recorded intent never changes, and a sink has one at most"),
    ("INV-9", "Every file that a sink, a sealed task or an intent names exists as it was"),
    ("INV-10", "A sweep deletes orphans only, and in the end all of them"),
    ("INV-13", "Nothing is written under a lost leadership"),
    ("INV-14", "The leader's memory equals the records in the store"),
    ("INV-15", "Rewriting files leaves their rows as they are"),
    ("INV-16", "Attempts are capped, and each row read ends in one place"),
    ("INV-17", "A window's marker follows its data, and is written once"),
    ("INV-18", "No reader sees a part of an intent"),
    ("INV-20", "What is bounded stays within its bound"),
    ("INV-21", "With all faults healed, everything comes to its end"),
    ("INV-23", "Every store gives the same answers to the same transactions"),
];

fn holds(id: &'static str, condition: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(Violation { id, message: message() }) }
}

#[cfg(test)]
mod tests;

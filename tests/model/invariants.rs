//! What is checked in every state and of every transaction, by the predicates of `windrow_common::invariant`. Where a
//! comparison of numbers says the same, it goes first, since there are millions of states.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::invariant::{self, SinkPosition, StoredFile, Violation};
use windrow_coordinator::core::{
    audit::audit,
    table::{Change, Table},
};

use crate::{
    decide::{digest_of, task_id, token_of},
    ledger::{MAX_TASKS, Phase},
    state::{BackupPhase, Sink, State},
};

/// The invariants the model checks, and the numbers it knows them by.
pub const CHECKED: [(&str, u8); 13] = [
    ("INV-1", 1),
    ("INV-3", 3),
    ("INV-4", 4),
    ("INV-5", 5),
    ("INV-6", 6),
    ("INV-7", 7),
    ("INV-8", 8),
    ("INV-9", 9),
    ("INV-10", 10),
    ("INV-13", 13),
    ("INV-14", 14),
    ("INV-16", 16),
    ("INV-21", 21),
];
/// Not an invariant of the list: a sink has two histories or was rolled back, and an operator has to end it.
pub(crate) const HALTED: u8 = 99;

/// The number of a broken invariant; 0 if it holds.
pub(crate) fn number(outcome: Result<(), Violation>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(violation) => {
            let known = CHECKED.iter().find(|(id, _)| *id == violation.id);
            known.unwrap_or_else(|| panic!("{violation} is not among those the model checks")).1
        }
    }
}

/// What a change breaks by itself: the leader's own audit.
pub(crate) fn of_change(change: &Change, table: &Table, epoch: i64) -> u8 {
    number(audit(table, epoch, change))
}

/// The first invariant that does not hold in a state; 0 if all hold.
pub(crate) fn of_state(state: &State) -> u8 {
    let checks = [sink_matches_head, memory_is_exact, files_exist, nothing_lost_or_doubled];
    checks.iter().map(|check| check(state)).find(|broken| *broken != 0).unwrap_or(0)
}

fn sink_matches_head(state: &State) -> u8 {
    let records = &state.store.records;
    let intent = (records.intent.revision != 0).then(|| records.intent.seq.into());
    let at = SinkPosition { head: records.head.seq.into(), intent, sink: state.sink.seq.into() };
    if has_unknown_commit(state) {
        return 0;
    }
    number(invariant::sink_matches_head(&at))
}

/// Whether an intent of another life of the store was committed after the store was restored: the next look at the sink
/// tells, and the ledger is made good once more.
fn has_unknown_commit(state: &State) -> bool {
    let (records, sink) = (&state.store.records, &state.sink);
    let known = records.intent.revision != 0 && records.intent.digest == sink.digest;
    state.backup.phase == BackupPhase::Restored && sink.seq == records.head.seq + 1 && !known
}

fn memory_is_exact(state: &State) -> u8 {
    if state.leader.table == state.store.records { 0 } else { 14 }
}

/// Files of sealed tasks, of the recorded intent and of the table.
fn files_exist(state: &State) -> u8 {
    let records = &state.store.records;
    let missing = |task: usize, attempt: u8| attempt != 0 && !state.attempts[task][usize::from(attempt) - 1].file;
    let broken = (0..MAX_TASKS).any(|task| {
        let record = &records.tasks[task];
        let sealed = record.phase == Phase::Sealed;
        let intended = match records.intent.digest {
            0 => 0,
            digest => state.bodies[usize::from(digest) - 1].manifests[task],
        };
        (sealed && missing(task, record.manifest)) || missing(task, intended) || missing(task, state.sink.applied[task])
    });
    if !broken {
        return 0;
    }
    let named = StoredFile { path: "part".to_owned(), sha256: digest_of(1) };
    number(invariant::named_files_exist([&named], &BTreeMap::new()))
}

/// A task is in the ledger, or published and part of the table, or withdrawn. What is part of the table is published, or
/// is about to be by the recorded intent.
fn nothing_lost_or_doubled(state: &State) -> u8 {
    let records = &state.store.records;
    let ahead = state.sink.seq == records.head.seq + 1;
    for task in 0..MAX_TASKS {
        let (covered, withdrawn) = (records.covered & (1 << task) != 0, state.withdrawn & (1 << task) != 0);
        let (open, applied) = (records.tasks[task].phase != Phase::Gone, state.sink.applied[task] != 0);
        let exists = open || covered || withdrawn || !state.has_task(task);
        let published_or_about_to = covered || (ahead && records.intent.seals[task] != 0) || has_unknown_commit(state);
        if !exists || covered && (!applied || open) || applied && !published_or_about_to {
            return 1;
        }
    }
    0
}

/// A seal was taken from this attempt.
pub(crate) fn of_seal(state: &State, task: usize, attempt: usize) -> u8 {
    let newest = state.claims(task) - 1;
    let token = |at: usize| token_of(state.attempts[task][at].epoch, state.attempts[task][at].token);
    match number(invariant::tokens_never_go_back(&[token(newest), token(attempt)])) {
        // One token for two attempts fences neither.
        0 if attempt != newest => 5,
        broken => broken,
    }
}

/// A claim was made: its token must be above those before.
pub(crate) fn of_claim(state: &State, task: usize) -> u8 {
    let claims = state.claims(task);
    let tokens: Vec<_> =
        state.attempts[task][..claims].iter().map(|attempt| token_of(attempt.epoch, attempt.token)).collect();
    number(invariant::tokens_never_go_back(&tokens))
}

/// The sink takes a commit after the one it held.
pub(crate) fn of_commit(before: &Sink, after: &Sink, previous: u8, tasks: &[u8; MAX_TASKS]) -> u8 {
    let link = |sink: &Sink, previous: u8| invariant::Link {
        seq: sink.seq.into(),
        digest: digest_of(sink.digest),
        previous: (previous != 0).then(|| digest_of(previous)),
    };
    // The chain up to the commit before was checked when that was made.
    let chained = after.seq == before.seq + 1 && previous == before.digest;
    if !chained {
        let links = [link(before, 0), link(after, previous)];
        return number(invariant::commits_chain(&links)).max(4);
    }
    if after.aborted {
        return 0;
    }
    let held = before.applied.iter().enumerate().filter(|(_, attempt)| **attempt != 0).map(|(task, _)| task_id(task));
    let added = tasks.iter().enumerate().filter(|(_, attempt)| **attempt != 0).map(|(task, _)| task_id(task));
    number(invariant::committed_once(&held.chain(added).collect::<Vec<_>>()))
}

/// What was published just now is what the sink lists.
pub(crate) fn of_publication(state: &State, published: &[u8; MAX_TASKS]) -> u8 {
    let attempt = |task: usize, number: u8| {
        let found = &state.attempts[task][usize::from(number) - 1];
        (task_id(task), token_of(found.epoch, found.token))
    };
    let all = |attempts: &[u8; MAX_TASKS]| {
        (0..MAX_TASKS).filter(|at| attempts[*at] != 0).map(|at| attempt(at, attempts[at])).collect::<Vec<_>>()
    };
    let listed: BTreeSet<_> = all(&state.sink.applied).into_iter().collect();
    number(invariant::published_is_listed(&all(published), &listed))
}

/// A sweep deletes these files.
pub(crate) fn of_deletion(state: &State, files: u16) -> u8 {
    let doomed = |task: usize, attempt: usize| files & State::file_bit(task, attempt) != 0;
    let name = |task: usize, attempt: usize| format!("{task}-{attempt}");
    let mut needed = Vec::new();
    for task in 0..MAX_TASKS {
        let record = &state.store.records.tasks[task];
        let live = match record.phase {
            Phase::Claimed => state.claims(task),
            Phase::Sealed => record.manifest.into(),
            _ => 0,
        };
        let intended = match state.store.records.intent.digest {
            0 => 0,
            digest => state.bodies[usize::from(digest) - 1].manifests[task].into(),
        };
        for attempt in [live, intended, state.sink.applied[task].into()] {
            if attempt != 0 && doomed(task, attempt - 1) {
                needed.push(name(task, attempt - 1));
            }
        }
    }
    if needed.is_empty() {
        return 0;
    }
    let needed: BTreeSet<&str> = needed.iter().map(String::as_str).collect();
    number(invariant::only_orphans_are_deleted(needed.iter().copied(), &needed))
}

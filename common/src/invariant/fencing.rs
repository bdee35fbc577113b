//! Who may act: tokens, leaders, and the memory a leader acts on.

use std::{collections::BTreeMap, fmt};

use super::{Violation, holds};
use crate::claim::Token;

/// INV-5: of the tokens that changed a task, in the order they did, none is lower than one before.
pub fn tokens_never_go_back(tokens: &[Token]) -> Result<(), Violation> {
    tokens.windows(2).try_for_each(|pair| match pair {
        [before, after] => holds("INV-5", before <= after, || format!("token {after} acts after token {before}")),
        _ => Ok(()),
    })
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

/// INV-23: two stores gave the same answer to the transaction with this number.
pub fn stores_agree<A: PartialEq + fmt::Debug>(transaction: usize, one: &A, other: &A) -> Result<(), Violation> {
    holds("INV-23", one == other, || format!("transaction {transaction}: {one:?} here, {other:?} there"))
}

//! Rows: what was in the source and what came of it.

use std::{collections::BTreeMap, fmt};

use super::{Violation, holds};

/// Rows and how often each is there.
pub type Multiset<R> = BTreeMap<R, u64>;

/// How a sink differs from its source, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the source and not, or not so often, in the sink.
    pub lost: u64,
    /// More often in the sink than in the source; rows the source never had are among them.
    pub doubled: u64,
}

/// What a rewrite must leave as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    pub rows: u64,
    /// The sum of the rows' hashes, which does not depend on their order.
    pub hash_sum: u128,
}

/// Counts rows.
pub fn multiset<R: Ord>(rows: impl IntoIterator<Item = R>) -> Multiset<R> {
    let mut counted = Multiset::new();
    rows.into_iter().for_each(|row| *counted.entry(row).or_default() += 1);
    counted
}

impl Difference {
    pub fn between<R: Ord>(source: &Multiset<R>, sink: &Multiset<R>) -> Self {
        let more = |left: &Multiset<R>, right: &Multiset<R>| {
            let surplus = |(row, count): (&R, &u64)| count.saturating_sub(right.get(row).copied().unwrap_or(0));
            left.iter().map(surplus).sum()
        };
        Self { lost: more(source, sink), doubled: more(sink, source) }
    }
}

/// INV-1: the rows of a window in the sink are, as a multiset, those of its source.
pub fn rows_arrive_once<R: Ord>(
    window: impl fmt::Display,
    source: &Multiset<R>,
    sink: &Multiset<R>,
) -> Result<(), Violation> {
    let Difference { lost, doubled } = Difference::between(source, sink);
    holds("INV-1", lost == 0 && doubled == 0, || format!("window {window}: {lost} rows lost, {doubled} doubled"))
}

/// INV-15: files written anew hold the rows of the files they replace.
pub fn rewrites_keep_rows(before: &Checksum, after: &Checksum) -> Result<(), Violation> {
    holds("INV-15", before == after, || format!("{} rows became {} rows, or others", before.rows, after.rows))
}

/// INV-16: each row that was read ends in one of these places (the sink, the dead letters, a quarantined task, ...).
pub fn rows_end_once(read: u64, ends: &[(&str, u64)]) -> Result<(), Violation> {
    let ended: u64 = ends.iter().map(|(_, rows)| rows).sum();
    holds("INV-16", read == ended, || format!("{read} rows were read, {ended} ended somewhere: {ends:?}"))
}

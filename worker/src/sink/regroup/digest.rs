//! A digest of rows that does not depend on their order: each row's hash, summed. Two sets of rows with the same digest are the
//! same but for a chance of one in 2^64, and for whoever makes rows up on purpose, which nobody does here: it is to find mistakes
//! of ours, of an encoder and of a disk.

use arrow_array::{Array, RecordBatch};
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// What a null adds to its row, so that it is not the same as no column at all.
const NULL: u64 = 0x9e37_79b9_7f4a_7c15;
const MIX: u64 = 0xff51_afd7_ed55_8ccd;

/// The rows seen so far.
#[derive(Debug, Default)]
pub(super) struct RowDigest {
    seen: Seen,
    /// Kept from batch to batch.
    rows: Vec<u64>,
    column: Vec<u64>,
}

/// What two sets of rows are compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) rows: u64,
    pub(super) sum: u128,
}

impl Seen {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }
}

impl RowDigest {
    /// All batches have the same columns in the same order.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let state = QualityRandomState::with_seed(0);
        self.rows.clear();
        self.rows.resize(batch.num_rows(), 0);
        for array in batch.columns() {
            self.column.clear();
            self.column.resize(batch.num_rows(), NULL);
            let hashed = create_hashes([array.as_ref() as &dyn Array], &state, &mut self.column);
            hashed.map_err(|cause| {
                WorkerError::never(error::COMPACTION_UNSUPPORTED, "a column's values cannot be compared").because(cause)
            })?;
            for (row, column) in self.rows.iter_mut().zip(&self.column) {
                *row = (row.rotate_left(23) ^ column).wrapping_mul(MIX);
            }
        }
        self.seen.rows += batch.num_rows() as u64;
        self.seen.sum = self.rows.iter().fold(self.seen.sum, |sum, row| sum.wrapping_add(u128::from(*row)));
        Ok(())
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    /// Numbers and texts of some rows.
    type Rows<'a> = (&'a [Option<i64>], &'a [Option<&'a str>]);

    fn digest(batches: &[Rows<'_>]) -> Seen {
        let mut digest = RowDigest::default();
        for (numbers, texts) in batches {
            let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
            let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            digest.add(&RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()).unwrap();
        }
        digest.seen()
    }

    #[test]
    fn rows_are_the_same_in_any_order_and_in_any_batches() {
        let (n, t) = ([Some(1), None, Some(3)], [Some("a"), Some("b"), None]);
        let whole = digest(&[(&n, &t)]);
        assert_eq!(digest(&[(&n[2..], &t[2..]), (&n[..2], &t[..2])]), whole);
        assert_eq!(digest(&[(&[None, Some(3), Some(1)], &[Some("b"), None, Some("a")])]), whole);
    }

    #[test]
    fn a_lost_doubled_or_changed_row_shows() {
        let whole = digest(&[(&[Some(1), Some(2)], &[Some("a"), Some("b")])]);
        let others: [Rows<'_>; 6] = [
            (&[Some(1)], &[Some("a")]),
            (&[Some(1), Some(1)], &[Some("a"), Some("a")]),
            (&[Some(1), Some(2)], &[Some("b"), Some("a")]),
            (&[Some(1), None], &[Some("a"), Some("b")]),
            (&[Some(1), Some(2)], &[Some("a"), None]),
            (&[Some(1), Some(2), Some(2)], &[Some("a"), Some("b"), Some("b")]),
        ];
        for other in others {
            assert_ne!(digest(&[other]), whole, "{other:?}");
        }
        // A value in another column is another row.
        assert_ne!(digest(&[(&[None], &[None])]), digest(&[]));
    }
}

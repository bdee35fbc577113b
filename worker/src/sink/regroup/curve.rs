//! A number for each row by which rows that are alike in several columns lie near each other: its place on a Z-shaped curve. Pure.
//!
//! A value's place in its column is the share of the column's values that are below it, told by a sample, so that a column of small
//! numbers counts as much as one of long texts. The bits of these places are taken in turns, the highest first.

use arrow::row::{RowConverter, SortField};
use arrow_array::{ArrayRef, UInt64Array};
use arrow_schema::{ArrowError, DataType};
use windrow_common::compaction::MOST_CLUSTERING_COLUMNS;

/// Bits of a place; those of all columns fit a number.
const PLACE_BITS: u32 = u64::BITS / MOST_CLUSTERING_COLUMNS as u32;
/// Values of a column that are kept.
const MOST_KEPT: usize = 8_192;
/// Of longer ones only the beginning is compared.
const MOST_BYTES: usize = 64;

/// Values of columns, in bytes that compare as they do.
pub(super) struct Sample {
    converters: Vec<RowConverter>,
    kept: Vec<Vec<Box<[u8]>>>,
    /// Every so manieth row is kept, and this is the next one's turn.
    every: usize,
    turn: usize,
}

/// Knows the place of every row.
pub(super) struct Curve {
    converters: Vec<RowConverter>,
    /// Of each column, distinct values from the least to the greatest.
    bounds: Vec<Vec<Box<[u8]>>>,
}

impl Sample {
    /// Of columns of these types.
    pub(super) fn new(kinds: &[DataType]) -> Result<Self, ArrowError> {
        let converter = |kind: &DataType| RowConverter::new(vec![SortField::new(kind.clone())]);
        let converters: Vec<_> = kinds.iter().map(converter).collect::<Result<_, _>>()?;
        Ok(Self { kept: vec![Vec::new(); converters.len()], converters, every: 1, turn: 0 })
    }

    /// Looks at more rows. What is kept is as much however many there are, and the same whenever they come in the same order.
    pub(super) fn add(&mut self, columns: &[ArrayRef]) -> Result<(), ArrowError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let (first, every) = (self.turn, self.every);
        for ((converter, kept), column) in self.converters.iter().zip(&mut self.kept).zip(columns) {
            let values = converter.convert_columns(std::slice::from_ref(column))?;
            kept.extend((first..rows).step_by(every).map(|row| Box::from(beginning(values.row(row).data()))));
        }
        self.turn = first + rows.saturating_sub(first).div_ceil(every) * every - rows;
        while let Some(count) = self.kept.first().map(Vec::len).filter(|count| *count > 2 * MOST_KEPT) {
            // The turn of one that would go is nobody's.
            self.turn += count % 2 * self.every;
            for kept in &mut self.kept {
                let mut odd = false;
                kept.retain(|_| {
                    odd = !odd;
                    odd
                });
            }
            self.every *= 2;
        }
        Ok(())
    }

    pub(super) fn into_curve(self) -> Curve {
        let mut bounds = self.kept;
        for column in &mut bounds {
            column.sort_unstable();
            column.dedup();
        }
        Curve { converters: self.converters, bounds }
    }
}

impl Curve {
    /// The place of each row.
    pub(super) fn places(&self, columns: &[ArrayRef]) -> Result<UInt64Array, ArrowError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut along = vec![[0_u64; MOST_CLUSTERING_COLUMNS]; rows];
        for (number, column) in columns.iter().enumerate().take(MOST_CLUSTERING_COLUMNS) {
            let values = self.converters[number].convert_columns(std::slice::from_ref(column))?;
            for (row, places) in along.iter_mut().enumerate() {
                places[number] = place(&self.bounds[number], beginning(values.row(row).data()));
            }
        }
        let columns = columns.len().min(MOST_CLUSTERING_COLUMNS);
        Ok(along.iter().map(|places| interleaved(&places[..columns])).collect())
    }
}

/// How much of the sample is not above a value, as a number of [`PLACE_BITS`] bits.
fn place(bounds: &[Box<[u8]>], value: &[u8]) -> u64 {
    let below = bounds.partition_point(|bound| **bound <= *value) as u64;
    below * ((1 << PLACE_BITS) - 1) / (bounds.len() as u64).max(1)
}

/// The highest bit of each, then the next of each.
fn interleaved(places: &[u64]) -> u64 {
    let bits = (0..PLACE_BITS).rev().flat_map(|bit| places.iter().map(move |place| place >> bit & 1));
    bits.fold(0, |all, bit| all << 1 | bit)
}

fn beginning(value: &[u8]) -> &[u8] {
    &value[..value.len().min(MOST_BYTES)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{Array, Float64Array, Int64Array, StringArray};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn curve(columns: &[ArrayRef]) -> Curve {
        let kinds: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
        let mut sample = Sample::new(&kinds).unwrap();
        sample.add(columns).unwrap();
        sample.into_curve()
    }

    fn integers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values))
    }

    #[test]
    fn bits_are_taken_in_turns() {
        assert_eq!(interleaved(&[0xFFFF, 0]), 0xAAAA_AAAA);
        assert_eq!(interleaved(&[0, 0xFFFF]), 0x5555_5555);
        assert_eq!(interleaved(&[0x8000, 0, 0, 0]), 1 << 63);
        assert_eq!(interleaved(&[1, 2, 3]), 0b011_101);
    }

    /// Rows of a square, cut into sixteen pieces along the curve: each piece is a small square, whatever the columns' types and sizes.
    #[test]
    fn neighbours_on_the_curve_are_neighbours_in_every_column() {
        let side = 64_i64;
        let (x, y): (Vec<i64>, Vec<i64>) = (0..side * side).map(|n| (n % side, n / side)).unzip();
        let huge: ArrayRef =
            Arc::new(Float64Array::from_iter_values(y.iter().map(|y| (*y as f64 - 32.0) * 1e300 / 64.0)));
        let columns = [integers(x.iter().copied()), huge];
        let places = curve(&columns).places(&columns).unwrap();
        let mut rows: Vec<usize> = (0..x.len()).collect();
        rows.sort_by_key(|row| places.value(*row));
        for piece in rows.chunks(x.len() / 16) {
            let width = |of: &[i64]| {
                let values = || piece.iter().map(|row| of[*row]);
                values().max().unwrap() - values().min().unwrap() + 1
            };
            // A sixteenth of the rows; sorted by one column it would be 64 wide in the other.
            assert!(width(&x) <= 20 && width(&y) <= 20, "{} by {}", width(&x), width(&y));
        }
    }

    #[test]
    fn a_sample_of_many_rows_is_as_large_as_one_of_few() {
        let mut sample = Sample::new(&[DataType::Int64]).unwrap();
        for part in 0..100 {
            sample.add(&[integers(part * 1_001..(part + 1) * 1_001)]).unwrap();
        }
        let kept = sample.kept[0].len();
        assert!((MOST_KEPT / 2..=2 * MOST_KEPT).contains(&kept), "{kept}");
        let curve = sample.into_curve();
        let places = curve.places(&[integers([0, 50_050, 100_099])]).unwrap();
        let share = places.values().iter().map(|place| *place as f64 / f64::from(1 << PLACE_BITS)).collect::<Vec<_>>();
        assert!(share[0] < 0.01 && (share[1] - 0.5).abs() < 0.01 && share[2] > 0.99, "{share:?}");
    }

    #[test]
    fn nulls_come_first_and_long_texts_by_their_beginnings() {
        let long = "z".repeat(1_000);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(long.as_str()), Some("b")]));
        let places = curve(std::slice::from_ref(&texts)).places(&[texts]).unwrap();
        let mut rows = [0, 1, 2, 3];
        rows.sort_by_key(|row| places.value(*row));
        assert_eq!(rows, [1, 0, 3, 2]);
    }

    proptest! {
        /// Of two rows, one that is not below the other in any column does not come before it.
        #[test]
        fn the_curve_goes_up_in_every_column(rows in vec((any::<i64>(), -9_i64..9, any::<i8>()), 2..200)) {
            let columns = [
                integers(rows.iter().map(|row| row.0)),
                integers(rows.iter().map(|row| row.1)),
                integers(rows.iter().map(|row| i64::from(row.2))),
            ];
            let places = curve(&columns).places(&columns).unwrap();
            for (one, a) in rows.iter().enumerate() {
                for (two, b) in rows.iter().enumerate() {
                    if a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2 {
                        prop_assert!(places.value(one) <= places.value(two));
                    }
                }
            }
        }

        /// However rows come in batches, the same ones are kept.
        #[test]
        fn what_is_kept_does_not_depend_on_batches(cuts in vec(1_usize..5_000, 1..20)) {
            let mut sample = Sample::new(&[DataType::Int64]).unwrap();
            let (mut start, rows) = (0, cuts.iter().sum::<usize>() as i64);
            for cut in cuts {
                sample.add(&[integers(start..start + cut as i64)]).unwrap();
                start += cut as i64;
            }
            let every = sample.every as i64;
            let values = RowConverter::new(vec![SortField::new(DataType::Int64)]).unwrap();
            let expected = values.convert_columns(&[integers((0..rows).step_by(every as usize))]).unwrap();
            let expected: Vec<Box<[u8]>> = expected.iter().map(|row| Box::from(row.data())).collect();
            prop_assert_eq!(&sample.kept[0], &expected);
        }
    }
}

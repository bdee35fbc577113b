//! Whether a dictionary of a column's values pays. Encoders of Parquet begin every column with one and give it up when it has grown
//! too large; that costs more than all else they do to such a column. Pure.

use arrow::compute::kernels::length::length;
use arrow_array::{Array, ArrayRef, cast::AsArray, types::Int64Type};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::hash_utils::{QualityRandomState, create_hashes};
use parquet::file::properties::DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT;

/// Rows that are looked at. Values that come again after more rows than these look as if they never did.
pub(super) const SAMPLE_ROWS: usize = 32_768;
/// Bytes of them, for rows that are large.
pub(super) const SAMPLE_BYTES: usize = 4 << 20;

/// Whether values of which these are the first are likely to fit into a dictionary. They do not if more of them are different than
/// would be if as many as just fit were drawn evenly; uneven ones come again more often, and so are rather kept. A column that
/// nothing is known about has one.
pub(super) fn pays<'a>(columns: impl Iterator<Item = &'a ArrayRef>) -> bool {
    let (mut hashes, mut bytes) = (Vec::new(), 0);
    for column in columns {
        let Some(size) = plain_bytes(column) else { return true };
        bytes += size;
        if !hash(column, &mut hashes) {
            return true;
        }
    }
    let values = hashes.len() as f64;
    if hashes.is_empty() {
        return true;
    }
    let fit = DEFAULT_DICTIONARY_PAGE_SIZE_LIMIT as f64 * values / bytes as f64;
    hashes.sort_unstable();
    hashes.dedup();
    let expected = fit * -(-values / fit).exp_m1();
    (hashes.len() as f64) <= expected
}

/// Hashes of the values, nulls left out.
fn hash(column: &ArrayRef, hashes: &mut Vec<u64>) -> bool {
    let mut all = vec![0; column.len()];
    if create_hashes([column.as_ref() as &dyn Array], &QualityRandomState::with_seed(0), &mut all).is_err() {
        return false;
    }
    let present = |(row, hash): (usize, u64)| column.is_valid(row).then_some(hash);
    hashes.extend(all.into_iter().enumerate().filter_map(present));
    true
}

/// Bytes of the values in a dictionary; `None` of kinds that are not looked at.
fn plain_bytes(column: &ArrayRef) -> Option<usize> {
    let values = column.len() - column.null_count();
    Some(match column.data_type() {
        DataType::FixedSizeBinary(width) => values * usize::try_from(*width).ok()?,
        kind if kind.is_string() || kind.is_binary() => {
            let lengths = cast(&length(column).ok()?, &DataType::Int64).ok()?;
            let sum = arrow::compute::sum(lengths.as_primitive::<Int64Type>()).unwrap_or(0);
            values * 4 + usize::try_from(sum).ok()?
        }
        DataType::Decimal128(precision, _) => values * if *precision > 18 { 16 } else { 8 },
        kind if kind.is_primitive() => values * kind.primitive_width()?.max(4),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, ListArray, StringArray, StringViewArray, types::Int32Type};

    use super::*;

    fn numbers(of: impl Fn(u64) -> u64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..SAMPLE_ROWS as u64).map(|row| of(row) as i64)))
    }

    /// Evenly drawn, and the same every time.
    fn drawn(row: u64, from: u64) -> u64 {
        // The last steps of SplitMix64.
        let mixed = (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        ((u128::from(mixed) * u128::from(from)) >> 64) as u64
    }

    fn of(column: &ArrayRef) -> bool {
        // In pieces, as rows come.
        let pieces: Vec<_> = (0..column.len()).step_by(8_192).map(|at| column.slice(at, 8_192)).collect();
        pays(pieces.iter())
    }

    #[test]
    fn values_that_are_all_different_get_none() {
        assert!(!of(&numbers(|row| row)));
        assert!(!of(&(Arc::new(Float64Array::from_iter_values((0..32_768).map(|n| f64::from(n) / 7.0))) as ArrayRef)));
        let names = (0..32_768).map(|n| format!("{:032x}", n * 7_919));
        assert!(!of(&(Arc::new(StringArray::from_iter_values(names)) as ArrayRef)));
    }

    /// 131,072 numbers of 8 bytes make a page of a dictionary.
    #[test]
    fn what_just_fits_is_told_from_what_does_not() {
        assert!(of(&numbers(|row| drawn(row, 100_000))));
        assert!(!of(&numbers(|row| drawn(row, 200_000))));
        // 24 bytes a name, of which 37,449 fit.
        let names = |from: u64| {
            let names = (0..SAMPLE_ROWS as u64).map(move |row| format!("{:020}", drawn(row, from)));
            Arc::new(StringViewArray::from_iter_values(names)) as ArrayRef
        };
        assert!(of(&names(30_000)));
        assert!(!of(&names(50_000)));
    }

    #[test]
    fn values_that_come_in_turns_keep_theirs() {
        assert!(of(&numbers(|row| row % 20_000)));
    }

    #[test]
    fn few_values_and_none_keep_theirs() {
        assert!(of(&numbers(|row| row % 8)));
        assert!(of(&(Arc::new(StringArray::from(vec![None::<&str>; 8_192])) as ArrayRef)));
        // Nulls are no values: 1 in 8 is different, all of those are.
        let rare = (0..32_768).map(|n| (n % 8 == 0).then_some(n));
        assert!(!of(&(Arc::new(Int64Array::from_iter(rare)) as ArrayRef)));
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]); 8_192]);
        assert!(of(&(Arc::new(lists) as ArrayRef)));
        assert!(pays([].iter()));
    }
}

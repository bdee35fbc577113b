//! What small files come to once they are rewritten. Pure.
//!
//! Their bytes tell little of that: each has an end of its own, and others may have written them with less effort. Rows tell it:
//! they take what rows take in files that are several times as large, or what some took when that was tried.

use super::pack::Found;

/// A file counts as several times as large from the second power of two on.
const CLASSES_ABOVE: usize = 2;
/// None at all is one, too.
const CLASSES: usize = 1 + u64::BITS as usize;

/// Rows, and the bytes they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// What rows of a table take.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    /// In its files, by the power of two of their sizes: in those of this one and all larger ones.
    from: [Weight; CLASSES],
    /// When it was tried, for where no file tells.
    tried: Option<Weight>,
}

impl Default for Weights {
    fn default() -> Self {
        Self { from: [Weight::default(); CLASSES], tried: None }
    }
}

impl Weights {
    pub(super) fn of<'a>(files: impl Iterator<Item = Found<'a>>) -> Self {
        let mut weights = Self::default();
        for file in files {
            if let Some(rows) = file.rows {
                let class = &mut weights.from[class(file.bytes)];
                *class = class.and(Weight { rows, bytes: file.bytes });
            }
        }
        let mut sum = Weight::default();
        for class in weights.from.iter_mut().rev() {
            sum = sum.and(*class);
            *class = sum;
        }
        weights
    }

    pub(super) fn tried(self, weight: Weight) -> Self {
        Self { tried: Some(weight), ..self }
    }

    /// Whether files of so many bytes cannot be weighed by what is known.
    pub(super) fn is_untold(&self, bytes: u64) -> bool {
        self.larger(bytes).or(self.tried).is_none()
    }

    /// The bytes a file's rows will take; those of the file where nobody knows better.
    pub(super) fn weigh(&self, file: &Found<'_>) -> u64 {
        let weight = self.larger(file.bytes).or(self.tried);
        let (Some(rows), Some(weight)) = (file.rows, weight) else { return file.bytes };
        let bytes = u128::from(rows) * u128::from(weight.bytes) / u128::from(weight.rows);
        u64::try_from(bytes).unwrap_or(u64::MAX).clamp(1, file.bytes.max(1))
    }

    /// Rows in files several times as large.
    fn larger(&self, bytes: u64) -> Option<Weight> {
        self.from.get(class(bytes) + CLASSES_ABOVE).copied().filter(|sum| sum.rows > 0)
    }
}

impl Weight {
    fn and(self, other: Self) -> Self {
        Self { rows: self.rows.saturating_add(other.rows), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// The power of two.
fn class(bytes: u64) -> usize {
    (u64::BITS - bytes.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sink::regroup::pack::tests::found;

    fn weigh(weights: &Weights, bytes: u64, rows: Option<u64>) -> u64 {
        weights.weigh(&found("a", (bytes, rows), &BTreeMap::new()))
    }

    #[test]
    fn rows_weigh_what_they_do_in_files_several_times_as_large() {
        let partition = BTreeMap::new();
        let files = [
            found("a", (100, Some(10)), &partition),
            found("a", (4_000, Some(800)), &partition),
            found("a", (6_000, Some(1_200)), &partition),
        ];
        let weights = Weights::of(files.into_iter());
        assert_eq!(weigh(&weights, 100, Some(10)), 50, "5 bytes a row");
        assert_eq!(weigh(&weights, 100, Some(40)), 100, "never more than they take now");
        assert_eq!(weigh(&weights, 100, Some(0)), 1);
        assert_eq!(weigh(&weights, 100, None), 100, "nobody knows how many rows there are");
        assert_eq!(weigh(&weights, 3_000, Some(1)), 3_000, "no file is several times as large");
        assert_eq!(weigh(&weights, u64::MAX, Some(u64::MAX)), u64::MAX);
    }

    #[test]
    fn what_was_tried_counts_where_no_file_tells() {
        let partition = BTreeMap::new();
        let weights = Weights::of([found("a", (1_000, Some(100)), &partition)].into_iter());
        assert!(weights.is_untold(1_000) && !weights.is_untold(100));
        let weights = weights.tried(Weight { rows: 1_000, bytes: 2_000 });
        assert!(!weights.is_untold(1_000));
        assert_eq!((weigh(&weights, 1_000, Some(100)), weigh(&weights, 100, Some(10))), (200, 100));
    }
}

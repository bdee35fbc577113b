//! Sets of half-open intervals: which parts of a pipeline's cursor are published, which a backfill still has to plan.

/// Disjoint, non-adjacent, ascending intervals `[start, end)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    intervals: Vec<(i64, i64)>,
}

impl IntervalSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `[start, end)`, joining what it touches. An empty interval adds nothing.
    pub fn insert(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        let first = self.intervals.partition_point(|interval| interval.1 < start);
        let last = self.intervals.partition_point(|interval| interval.0 <= end);
        let joined = self.intervals[first..last]
            .iter()
            .fold((start, end), |joined, interval| (joined.0.min(interval.0), joined.1.max(interval.1)));
        self.intervals.splice(first..last, [joined]);
    }

    /// Takes `[start, end)` out.
    pub fn remove(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        let first = self.intervals.partition_point(|interval| interval.1 <= start);
        let last = self.intervals.partition_point(|interval| interval.0 < end);
        let mut left_over = Vec::with_capacity(2);
        for interval in &self.intervals[first..last] {
            if interval.0 < start {
                left_over.push((interval.0, start));
            }
            if interval.1 > end {
                left_over.push((end, interval.1));
            }
        }
        self.intervals.splice(first..last, left_over);
    }

    /// Whether all of `[start, end)` is in the set.
    pub fn covers(&self, start: i64, end: i64) -> bool {
        let at = self.intervals.partition_point(|interval| interval.1 < end);
        start >= end || self.intervals.get(at).is_some_and(|interval| interval.0 <= start && end <= interval.1)
    }

    /// Whether any of `[start, end)` is in the set.
    pub fn overlaps(&self, start: i64, end: i64) -> bool {
        let at = self.intervals.partition_point(|interval| interval.1 <= start);
        start < end && self.intervals.get(at).is_some_and(|interval| interval.0 < end)
    }

    /// The parts of `[start, end)` that are not in the set, ascending.
    pub fn gaps(&self, start: i64, end: i64) -> Vec<(i64, i64)> {
        let mut rest = Self::from_iter([(start, end)]);
        for interval in &self.intervals {
            rest.remove(interval.0, interval.1);
        }
        rest.intervals
    }

    /// The end of the covered stretch that begins at or before `from`; `from` itself if it is not covered.
    pub fn covered_to(&self, from: i64) -> i64 {
        let at = self.intervals.partition_point(|interval| interval.1 <= from);
        self.intervals.get(at).filter(|interval| interval.0 <= from).map_or(from, |interval| interval.1)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, i64)> + '_ {
        self.intervals.iter().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// How many intervals it takes to write the set down.
    pub fn len(&self) -> usize {
        self.intervals.len()
    }
}

impl FromIterator<(i64, i64)> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = (i64, i64)>>(intervals: I) -> Self {
        let mut set = Self::new();
        for (start, end) in intervals {
            set.insert(start, end);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The set behaves like the set of the points it covers, and stays disjoint, ascending and joined.
        #[test]
        fn it_is_the_set_of_its_points(steps in prop::collection::vec((any::<bool>(), 0i64..40, 0i64..10), 0..40)) {
            let mut set = IntervalSet::new();
            let mut points = BTreeSet::new();
            for (insert, start, length) in steps {
                let end = start + length;
                if insert {
                    set.insert(start, end);
                    points.extend(start..end);
                } else {
                    set.remove(start, end);
                    points.retain(|point| !(start..end).contains(point));
                }
            }
            let listed: BTreeSet<i64> = set.iter().flat_map(|(start, end)| start..end).collect();
            prop_assert_eq!(&listed, &points);
            let pairs: Vec<_> = set.iter().collect();
            prop_assert!(pairs.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for start in 0..50 {
                for end in start + 1..51 {
                    prop_assert_eq!(set.covers(start, end), (start..end).all(|point| points.contains(&point)));
                    prop_assert_eq!(set.overlaps(start, end), (start..end).any(|point| points.contains(&point)));
                }
                prop_assert_eq!(set.covered_to(start), (start..).find(|point| !points.contains(point)).unwrap_or(start));
            }
            let gaps: BTreeSet<i64> = set.gaps(3, 30).into_iter().flat_map(|(start, end)| start..end).collect();
            let expected: BTreeSet<i64> = (3..30).filter(|point| !points.contains(point)).collect();
            prop_assert_eq!(gaps, expected);
        }
    }
}

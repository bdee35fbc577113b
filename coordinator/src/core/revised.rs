//! Which windows were loaded more than once, and in which revision readers see them now.

/// Most stretches that are noted; with more it is not known any more which windows were loaded again.
const MAX_STRETCHES: usize = 300;

/// Stretches `(start, end, revision)` with a revision above 0, ascending and disjoint. Windows in none of them were loaded once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revisions(Vec<(i64, i64, u32)>);

impl Revisions {
    /// `[start, end)` was published in a revision. `None` when there are too many stretches to go on noting them.
    #[must_use]
    pub fn note(&self, (start, end): (i64, i64), revision: u32) -> Option<Self> {
        let outside = |&(from, to, known): &(i64, i64, u32)| [(from, to.min(start), known), (from.max(end), to, known)];
        self.0.iter().flat_map(outside).chain([(start, end, revision)]).collect::<Self>().bounded()
    }

    /// The highest revision within `[start, end)`.
    pub fn highest(&self, start: i64, end: i64) -> u32 {
        let within = self.0.iter().filter(|(from, to, _)| *from < end && start < *to);
        within.map(|(_, _, revision)| *revision).max().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, i64, u32)> + '_ {
        self.0.iter().copied()
    }

    fn bounded(self) -> Option<Self> {
        (self.0.len() <= MAX_STRETCHES).then_some(self)
    }
}

impl FromIterator<(i64, i64, u32)> for Revisions {
    fn from_iter<I: IntoIterator<Item = (i64, i64, u32)>>(stretches: I) -> Self {
        let mut all: Vec<_> =
            stretches.into_iter().filter(|(start, end, revision)| start < end && *revision > 0).collect();
        all.sort_unstable();
        let mut joined: Vec<(i64, i64, u32)> = Vec::with_capacity(all.len());
        for (start, end, revision) in all {
            match joined.last_mut().filter(|last| last.1 == start && last.2 == revision) {
                Some(last) => last.1 = end,
                None => joined.push((start, end, revision)),
            }
        }
        Self(joined)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It says of each point what was noted last.
        #[test]
        fn it_is_the_last_that_was_said_of_each_point(
            steps in prop::collection::vec((0i64..40, 1i64..10, 0u32..4), 0..40),
        ) {
            let (mut noted, mut points) = (Revisions::default(), BTreeMap::new());
            for (start, length, revision) in steps {
                noted = noted.note((start, start + length), revision).unwrap_or_default();
                points.extend((start..start + length).map(|point| (point, revision)));
            }
            for point in 0..50 {
                let expected = points.get(&point).copied().unwrap_or(0);
                prop_assert_eq!(noted.highest(point, point + 1), expected);
            }
            prop_assert_eq!(noted.highest(0, 50), points.values().copied().max().unwrap_or(0));
            let stretches: Vec<_> = noted.iter().collect();
            prop_assert!(stretches.windows(2).all(|pair| pair[0].1 < pair[1].0 || pair[0].2 != pair[1].2));
        }
    }

    #[test]
    fn what_is_too_much_to_note_is_not_known() {
        let mut noted = Some(Revisions::default());
        for at in 0..=MAX_STRETCHES as i64 {
            noted = noted.and_then(|noted| noted.note((3 * at, 3 * at + 1), 1));
        }
        assert_eq!(noted, None);
    }
}

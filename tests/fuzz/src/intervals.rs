//! Sets of intervals: what is published, what a backfill has left. They behave like the set of the points they cover.

use windrow_coordinator::core::coverage::IntervalSet;

use super::draw::Draw;

/// More steps tell nothing new and make an input slow.
const MOST_STEPS: usize = 64;

/// One thing that was done to the set.
struct Step {
    insert: bool,
    start: i64,
    end: i64,
}

/// The input as steps.
pub fn check(data: &[u8]) {
    let mut draw = Draw::of(data);
    let mut steps = Vec::new();
    let mut set = IntervalSet::new();
    while steps.len() < MOST_STEPS && !draw.is_over() {
        let step = Step { insert: !draw.byte().is_multiple_of(3), start: draw.number(), end: draw.number() };
        if step.insert {
            set.insert(step.start, step.end)
        } else {
            set.remove(step.start, step.end)
        }
        steps.push(step);
    }
    let listed: Vec<(i64, i64)> = set.iter().collect();
    assert!(listed.iter().all(|(start, end)| start < end), "{listed:?} has an empty interval");
    assert!(listed.windows(2).all(|pair| pair[0].1 < pair[1].0), "{listed:?} is not ascending and joined");
    assert_eq!(listed.iter().copied().collect::<IntervalSet>(), set);

    // Between two neighbouring bounds nothing changes, so the bounds are all the points there are to look at.
    let mut points: Vec<i64> = steps.iter().flat_map(|step| [step.start, step.end]).collect();
    points.extend([i64::MIN, i64::MAX]);
    points.sort_unstable();
    points.dedup();
    let covered = |point: i64| {
        let last = steps.iter().rev().find(|step| step.start <= point && point < step.end);
        last.is_some_and(|step| step.insert)
    };
    for (at, from) in points.iter().enumerate() {
        assert_eq!(set.overlaps(*from, from.saturating_add(1)), *from < i64::MAX && covered(*from), "at {from}");
        let first_gap = points[at..].iter().find(|point| !covered(**point)).copied().unwrap_or(i64::MAX);
        assert_eq!(set.covered_to(*from), first_gap, "from {from}");
    }
    let (Some(first), Some(last)) = (points.get(points.len() / 3), points.get(points.len() * 2 / 3)) else { return };
    check_stretch(&set, (*first, *last), &points, covered);
}

fn check_stretch(set: &IntervalSet, (from, to): (i64, i64), points: &[i64], covered: impl Fn(i64) -> bool) {
    let inside: Vec<i64> = points.iter().copied().filter(|point| from <= *point && *point < to).collect();
    assert_eq!(set.covers(from, to), inside.iter().all(|point| covered(*point)), "{from}..{to}");
    assert_eq!(set.overlaps(from, to), inside.iter().any(|point| covered(*point)), "{from}..{to}");
    let gaps = set.gaps(from, to);
    let in_gap = |point: i64| gaps.iter().any(|(start, end)| *start <= point && point < *end);
    assert!(inside.iter().all(|point| in_gap(*point) != covered(*point)), "{gaps:?} are not the gaps of {from}..{to}");
    assert!(gaps.iter().all(|(start, end)| from <= *start && start < end && *end <= to), "{gaps:?} leave {from}..{to}");
    let mut whole = set.clone();
    gaps.iter().for_each(|(start, end)| whole.insert(*start, *end));
    assert!(whole.covers(from, to), "{gaps:?} do not fill {from}..{to}");
}

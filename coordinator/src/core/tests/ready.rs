//! Whether a range may be read, as the ledger sees it.

use super::bench::{Bench, edit, full, hourly, hours, request};
use crate::core::{
    backfill::Choice,
    ready::{NeverReady, Ready, ready},
    timeline::Standing,
};

fn look<'a>(
    bench: &'a Bench,
    pipeline: &str,
    range: Option<(i64, i64)>,
    settled: bool,
) -> Result<Ready<'a>, NeverReady> {
    let entry = bench.table.pipeline(&pipeline.parse().unwrap()).unwrap();
    ready(&bench.table, entry, range.map(|(from, to)| hours(from, to)), settled, bench.now())
}

/// Proves RM11.
#[test]
fn a_range_is_ready_when_each_of_its_windows_is_published() {
    let mut bench = Bench::new(4, [hourly("flights", "lake")]);
    bench.plan();
    let found = look(&bench, "flights", None, false).unwrap();
    assert_eq!((found.windows, found.published), (4, 0));
    bench.publish_all("flights");
    assert!(look(&bench, "flights", None, true).unwrap().first.is_none());
    bench.pass(2 * 3_600);
    bench.plan();
    let found = look(&bench, "flights", None, false).unwrap();
    assert_eq!((found.windows, found.published), (6, 4));
    let first = found.first.unwrap();
    assert_eq!(first.window, hours(4, 5));
    assert!(matches!(first.standing, Standing::Open(..)), "{:?}", first.standing);
    assert!(look(&bench, "flights", Some((0, 4)), false).unwrap().first.is_none());
    assert_eq!(look(&bench, "flights", Some((3, 5)), false).unwrap().published, 1);
    let later = look(&bench, "flights", Some((0, 40)), false).unwrap();
    assert_eq!((later.windows, later.published), (40, 4));
}

#[test]
fn what_is_about_to_be_loaded_again_is_ready_and_not_settled() {
    let mut bench = Bench::new(6, [hourly("flights", "lake")]);
    bench.plan();
    bench.publish_all("flights");
    bench.backfill("again", &request("flights", Some(hours(2, 4)), Choice::All));
    let first =
        |bench: &Bench, range, settled| look(bench, "flights", range, settled).unwrap().first.map(|first| first.window);
    for _ in 0..2 {
        assert_eq!(first(&bench, None, false), None);
        assert_eq!(first(&bench, None, true), Some(hours(2, 3)));
        assert_eq!(first(&bench, Some((3, 6)), true), Some(hours(3, 4)));
        assert_eq!(first(&bench, Some((4, 6)), true), None);
        bench.advance();
    }
    bench.publish_all("flights");
    bench.advance();
    assert_eq!(first(&bench, None, true), None);
}

#[test]
fn a_full_load_is_ready_when_its_newest_version_is() {
    let mut bench = Bench::new(1, [full("planes", "lake")]);
    assert_eq!(look(&bench, "planes", None, false).unwrap().first.unwrap().standing, Standing::NotClosed);
    bench.plan();
    assert!(look(&bench, "planes", None, false).unwrap().first.is_some());
    bench.publish_all("planes");
    let found = look(&bench, "planes", None, true).unwrap();
    assert_eq!((found.windows, found.published, found.first.is_none()), (1, 1, true));
}

#[test]
fn a_range_that_will_never_be_ready_is_refused() {
    let ending = edit(hourly("flights", "lake"), |window| window.end = Some("2024-01-01T06:00:00".parse().unwrap()));
    let bench = Bench::new(0, [ending, full("planes", "other")]);
    let refused = |pipeline, range| look(&bench, pipeline, range, false).err();
    assert!(matches!(refused("flights", Some((4, 7))), Some(NeverReady::Outside { .. })));
    assert!(matches!(refused("flights", Some((-1, 2))), Some(NeverReady::Outside { .. })));
    assert!(matches!(refused("flights", None), Some(NeverReady::NothingDue)));
    assert!(matches!(refused("planes", Some((0, 1))), Some(NeverReady::OtherAxis(_))));
}

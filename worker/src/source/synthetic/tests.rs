//! The synthetic source: the same rows for the same seed, window by window.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn source(params: Value) -> Arc<dyn Source> {
    build(&spec(params)).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn spec(mut params: Value) -> SourceSpec {
    params["from"] = json!({ "name": "made_up", "type": "synthetic" });
    serde_json::from_value(params).unwrap()
}

/// The rows as id, instant and hash.
fn rows(source: &Arc<dyn Source>, window: &Window) -> Vec<(i64, i64, String)> {
    let run = async {
        let mut rows = Vec::new();
        for slice in source.resolve(window).await.unwrap() {
            let mut stream = source.read(&slice, window).await.unwrap();
            while let Some(chunk) = stream.try_next().await.unwrap() {
                let Chunk::Rows(batch) = chunk else { panic!("nothing is rejected") };
                assert!(batch.num_rows() <= BATCH_ROWS);
                let ids = batch.column(0).as_primitive::<Int64Type>();
                let instants = batch.column(1).as_primitive::<TimestampMicrosecondType>();
                let hashes = batch.column(2).as_string::<i32>();
                rows.extend(
                    (0..batch.num_rows())
                        .map(|row| (ids.value(row), instants.value(row), hashes.value(row).to_owned())),
                );
            }
        }
        rows
    };
    futures::executor::block_on(run)
}

fn time(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start, end).unwrap()
}

proptest! {
    /// Proves IL2, IL3.
    #[test]
    fn windows_that_tile_a_stretch_hold_its_rows_once(
        per_second in 1_u32..5_000,
        start in -5_000_000_i64..5_000_000,
        cuts in prop::collection::btree_set(1_i64..3_000_000, 0..6),
    ) {
        let source = source(json!({ "rows_per_second": per_second, "seed": 7 }));
        let bounds: Vec<i64> =
            std::iter::once(0).chain(cuts).chain([3_000_000]).map(|offset| start + offset).collect();
        let whole = rows(&source, &time(start, start + 3_000_000));
        let parts: Vec<_> =
            bounds.windows(2).flat_map(|pair| rows(&source, &time(pair[0], pair[1]))).collect();
        prop_assert!(whole.iter().all(|(_, at, _)| (start..start + 3_000_000).contains(at)));
        prop_assert_eq!(whole, parts);
    }
}

#[test]
fn rows_per_window_lie_in_their_window_and_differ_from_those_of_others() {
    let source = source(json!({ "rows_per_window": 1_000 }));
    assert!(source.by_window());
    let mut hashes = BTreeMap::new();
    for hour in 0..3 {
        let window = time(hour * 3_600_000_000, (hour + 1) * 3_600_000_000);
        let rows = rows(&source, &window);
        assert_eq!(rows.len(), 1_000);
        for (_, at, hash) in rows {
            assert!(window.contains(at));
            hashes.insert(hash, at);
        }
    }
    assert_eq!(hashes.len(), 3_000);
}

#[test]
fn the_values_never_change() {
    let source = source(json!({ "rows_per_second": 1, "seed": 42, "payload_bytes": 16 }));
    let first = rows(&source, &time(0, 2_000_000));
    assert_eq!(first, rows(&source, &time(0, 2_000_000)));
    assert_eq!(first[0].2, value::hash(42, 0));
    assert_eq!(value::mix(0), 0xe220_a839_7b1d_cdaf, "the first output of SplitMix64 seeded with 0");
    assert!((0..1_000).all(|at| (0.0..1.0).contains(&value::fraction(42, at))));
}

#[test]
fn a_full_load_gives_the_same_rows_in_every_version() {
    let source = source(json!({ "rows_per_window": 20_000 }));
    assert_eq!(rows(&source, &Window::version(1)), rows(&source, &Window::version(2)));
}

#[test]
fn wrong_parameters_are_told_with_their_path() {
    let cases = [
        (json!({}), "rows_per_window", error::CONTRADICTION),
        (json!({ "rows_per_window": 1, "rows_per_second": 1 }), "rows_per_window", error::CONTRADICTION),
        (json!({ "rows_per_second": 1, "fail_every": 2 }), "fail_every", error::UNKNOWN_KEY),
        (json!({ "rows_per_second": -1 }), "rows_per_second", error::BAD_VALUE),
        (json!({ "rows_per_second": 1, "cursor": "at" }), "cursor", error::CURSOR_MISSING),
    ];
    for (params, path, code) in cases {
        let faults = build(&spec(params.clone())).err().unwrap();
        assert_eq!((faults[0].path.as_str(), faults[0].code), (path, code), "{params}");
    }
}

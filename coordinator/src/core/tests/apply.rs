//! Applying pipelines: what is created, what may change, and what is fixed once something is planned.

use windrow_common::pipeline::Pipeline;

use super::bench::{Bench, edit, full, hour, hourly};
use crate::core::apply::{self, Applied, BadPipeline, MAX_PIPELINES};

fn outcome(bench: &mut Bench, pipelines: &[Pipeline]) -> Result<Vec<Applied>, BadPipeline> {
    let (change, applied) = apply::apply(&bench.table, pipelines)?;
    if !change.is_empty() {
        bench.apply(&change);
    }
    Ok(applied)
}

/// What of a pipeline cannot change any more.
fn frozen(bench: &mut Bench, pipeline: Pipeline) -> &'static str {
    match outcome(bench, &[pipeline]) {
        Err(BadPipeline::Frozen { what, .. }) => what,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

fn ending(pipeline: Pipeline, end: Option<&str>) -> Pipeline {
    edit(pipeline, |window| window.end = end.map(|end| end.parse().unwrap()))
}

#[test]
fn pipelines_are_created_changed_and_left_alone_in_one_step() {
    let mut bench = Bench::new(3, [hourly("flights", "lake"), hourly("weather", "lake")]);
    let mut slower = hourly("weather", "lake");
    slower.limits.concurrency = 1;
    let applied = outcome(&mut bench, &[hourly("flights", "lake"), slower, full("planes", "planes")]).unwrap();
    assert_eq!(applied, [Applied::Unchanged, Applied::Updated, Applied::Created]);
    let weather = bench.table.pipeline(&"weather".parse().unwrap()).unwrap();
    assert_eq!(weather.spec().limits.concurrency, 1);
    assert!(bench.table.pipeline(&"planes".parse().unwrap()).is_some());
}

#[test]
fn a_pipeline_nothing_is_planned_of_may_get_another_timeline() {
    let mut bench = Bench::new(3, [hourly("flights", "lake")]);
    let later = edit(hourly("flights", "lake"), |window| window.start = "2024-01-01T02:00".parse().unwrap());
    assert_eq!(outcome(&mut bench, &[later]).unwrap(), [Applied::Updated]);
    bench.plan();
    assert_eq!(bench.pending("flights"), [(2, 3)]);
}

#[test]
fn where_windows_lie_and_go_is_fixed_once_some_are_planned() {
    let mut bench = Bench::new(3, [hourly("flights", "lake")]);
    bench.plan();
    bench.publish_all("flights");
    assert_eq!(frozen(&mut bench, full("flights", "lake")), "pattern");
    assert_eq!(frozen(&mut bench, hourly("flights", "pond")), "sink");
    let wider = edit(hourly("flights", "lake"), |window| window.every = "2h".parse().unwrap());
    assert_eq!(frozen(&mut bench, wider), "window grid (every, start, timezone)");
    let lagging = edit(hourly("flights", "lake"), |window| window.lag = "5m".parse().unwrap());
    assert_eq!(outcome(&mut bench, &[lagging]).unwrap(), [Applied::Updated]);
}

/// Proves IL2.
#[test]
fn an_end_may_move_unless_it_has_cut_a_window_short() {
    let mut bench = Bench::new(9, [ending(hourly("flights", "lake"), Some("2024-01-01T03:00"))]);
    bench.plan();
    bench.publish_all("flights");
    outcome(&mut bench, &[ending(hourly("flights", "lake"), Some("2024-01-01T05:30"))]).unwrap();
    bench.plan();
    assert_eq!(bench.pending("flights").len(), 3);
    bench.publish_all("flights");
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert_eq!((entry.windows_published(), entry.cursor.value.next), (6, hour(5) + (hour(1) - hour(0)) / 2));

    let longer = ending(hourly("flights", "lake"), None);
    assert_eq!(frozen(&mut bench, longer), "window end, which has cut a window short,");
    outcome(&mut bench, &[ending(hourly("flights", "lake"), Some("2024-01-01T04:00"))]).unwrap();
    bench.plan();
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert_eq!((bench.pending("flights").len(), entry.windows_published()), (0, 4));
}

#[test]
fn more_pipelines_than_a_transaction_holds_are_refused() {
    let mut bench = Bench::new(0, []);
    let many = |count: usize| -> Vec<Pipeline> { (0..count).map(|i| full(&format!("p{i}"), "x")).collect() };
    assert!(matches!(outcome(&mut bench, &many(MAX_PIPELINES + 1)), Err(BadPipeline::TooMany(41))));
    assert_eq!(outcome(&mut bench, &many(MAX_PIPELINES)).unwrap().len(), MAX_PIPELINES);
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let mut bench = Bench::new(0, []);
    let nowhere = edit(hourly("flights", "lake"), |window| window.timezone = "Mars/Olympus".to_owned());
    let before = ending(hourly("flights", "lake"), Some("2023-01-01T00:00"));
    for bad in [nowhere, before] {
        assert!(matches!(outcome(&mut bench, &[bad]), Err(BadPipeline::Window { .. })));
    }
    assert!(bench.store.records.is_empty());
}

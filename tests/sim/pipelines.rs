//! What the cluster is to do, and what must be there in the end.

use futures::{StreamExt, executor::block_on};
use serde_json::{Value, json};
use windrow_common::{
    pipeline::Pipeline,
    window::{Axis, Window},
};
use windrow_worker::source::{self, Chunk};

use crate::{plan::Plan, worker::root};

/// Where the windows start: the second day of 1970, long before the simulation's present.
const START_SECONDS: i64 = 24 * 3_600;
const WINDOW_SECONDS: i64 = 10;
pub(crate) const BACKFILLED: &str = "replaced";

/// Two pipelines that add to one folder, one that replaces windows and is loaded again, and one full load.
pub(crate) fn all(plan: &Plan) -> Vec<Pipeline> {
    let replace = json!({ "write": "replace_window", "path": "replaced" });
    vec![
        windows(plan, "added", 1, json!({ "write": "append", "path": "added" })),
        windows(plan, "also-added", 2, json!({ "write": "append", "path": "added" })),
        windows(plan, BACKFILLED, 3, replace),
        full(),
    ]
}

fn windows(plan: &Plan, name: &str, seed: u64, sink: Value) -> Pipeline {
    let at = |seconds: i64| {
        jiff::Timestamp::from_second(START_SECONDS + seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC).datetime()
    };
    let mut spec = json!({
        "name": name, "pattern": "incremental",
        "source": {
            "from": { "name": "in", "type": "synthetic" }, "cursor": "ts",
            "rows_per_second": 1, "seed": seed, "payload_bytes": 4,
        },
        "window": {
            "every": format!("{WINDOW_SECONDS}s"), "start": at(0),
            "end": at(i64::from(plan.windows) * WINDOW_SECONDS), "per_task": plan.per_task,
        },
        "sink": { "to": { "name": "lake", "type": "local", "root": "/lake" }, "format": "json" },
        "retries": { "attempts": 1_000, "lost_leases": 1_000, "backoff": "200ms", "max_backoff": "3s" },
        "limits": { "concurrency": plan.concurrency },
    });
    merge(&mut spec["sink"], sink);
    serde_json::from_value(spec).unwrap()
}

fn full() -> Pipeline {
    serde_json::from_value(json!({
        "name": "whole", "pattern": "full",
        "source": {
            "from": { "name": "in", "type": "synthetic" }, "rows_per_window": 40, "seed": 4, "payload_bytes": 4,
        },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "json", "write": "replace_all", "path": "whole",
        },
        "retries": { "attempts": 1_000, "lost_leases": 1_000, "backoff": "200ms", "max_backoff": "3s" },
    }))
    .unwrap()
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

/// The rows of a place when everything is published, as `(id, hash)`.
pub(crate) fn expected(plan: &Plan, place: &str) -> Vec<(i64, String)> {
    all(plan).iter().filter(|pipeline| root(pipeline) == place).flat_map(rows_of).collect()
}

fn rows_of(pipeline: &Pipeline) -> Vec<(i64, String)> {
    use arrow_array::{Array, Int64Array, StringArray};
    let source = (source::synthetic::KIND.build)(&pipeline.source).unwrap();
    let window = match &pipeline.window {
        None => Window::version(0),
        Some(spec) => {
            let micros = |at: jiff::civil::DateTime| at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            let (start, end) = (micros(spec.start), micros(spec.end.unwrap()));
            Window::new(Axis::Time, start.as_microsecond(), end.as_microsecond()).unwrap()
        }
    };
    let slices = block_on(source.resolve(&window)).unwrap();
    let chunks: Vec<_> = slices
        .iter()
        .flat_map(|slice| {
            let rows = block_on(source.read(slice, &window)).unwrap();
            block_on(rows.collect::<Vec<_>>())
        })
        .collect();
    let mut rows = Vec::new();
    for chunk in chunks {
        let Chunk::Rows(batch) = chunk.unwrap() else { panic!("made-up rows are never rejected") };
        let ids = batch.column_by_name("id").unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
        let hashes = batch.column_by_name("hash").unwrap().as_any().downcast_ref::<StringArray>().unwrap();
        rows.extend((0..batch.num_rows()).map(|row| (ids.value(row), hashes.value(row).to_owned())));
    }
    rows
}

//! What the cluster is to do, and what must be there in the end.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, executor::block_on};
use serde_json::{Value, json};
use windrow_common::{
    gather::Gather,
    pipeline::{Pattern, Pipeline},
    quantity::{ByteSize, Pause},
    window::{Axis, Window},
};
use windrow_worker::source::{self, Chunk};

use crate::{
    others,
    plan::Plan,
    rows::{Row, of_batch},
    worker::root,
};

/// Where the windows start: the second day of 1970, long before the simulation's present.
const START_SECONDS: i64 = 24 * 3_600;
const WINDOW_SECONDS: i64 = 10;
pub(crate) const BACKFILLED: &str = "replaced";
/// Its windows stay as they are once they are published.
pub(crate) const CLOSED: &str = "closed";
/// The folder of others.
pub(crate) const COMPACTED: &str = "compacted";

/// Two pipelines that add to one folder, one that replaces windows and is loaded again, one full load, and perhaps the folder of
/// somebody else that is compacted.
pub(crate) fn all(plan: &Plan) -> Vec<Pipeline> {
    // Windows are cut out of rewritten files by their rows' cursor: of text nobody could.
    let format = if plan.compacts { "parquet" } else { "json" };
    let replace = json!({ "write": "replace_window", "path": "replaced", "format": format });
    let mut all = vec![
        windows(plan, "added", 1, json!({ "write": "append", "path": "added" })),
        windows(plan, "also-added", 2, json!({ "write": "append", "path": "added" })),
        windows(plan, BACKFILLED, 3, replace),
        full(),
    ];
    if plan.waits {
        all.push(windows(plan, CLOSED, 5, json!({ "write": "replace_window", "path": CLOSED })));
        wait(&mut all);
    }
    if plan.gathers {
        gather(&mut all);
    }
    if plan.compacts {
        all.push(compacted());
    }
    all
}

/// Has two wait for more to commit with what is sealed: one that shares its folder with another, which does not, and the one that
/// is loaded again.
fn gather(all: &mut [Pipeline]) {
    for pipeline in all {
        let (wait, size) = match pipeline.name.as_str() {
            "also-added" => (2, 2 << 10),
            BACKFILLED => (8, 64 << 10),
            _ => continue,
        };
        pipeline.sink.gather = Some(Gather { wait: Pause(Duration::from_secs(wait)), size: ByteSize(size) });
    }
}

/// Has some wait for their input, one set markers, and one close its windows.
fn wait(all: &mut [Pipeline]) {
    let (marker, next) = (json!({ "marker": "_SUCCESS" }), json!({ "next_partition": true }));
    for pipeline in all {
        let readiness = match pipeline.name.as_str() {
            "added" => json!({ "require": { "all": [marker] } }),
            "also-added" => json!({ "require": { "any": [marker, next] } }),
            BACKFILLED => json!({ "publish": { "marker": "ready/{window.start:%Y-%m-%dT%H%M%S}/_SUCCESS" } }),
            CLOSED => json!({ "require": { "all": [marker] }, "late": "refuse" }),
            _ => continue,
        };
        pipeline.readiness = serde_json::from_value(readiness).unwrap();
        pipeline.window.iter_mut().for_each(|window| window.per_task = 1);
    }
}

/// The windows of each pipeline that has some.
pub(crate) fn each_window(plan: &Plan) -> Vec<Window> {
    let start = |n: i64| (START_SECONDS + n * WINDOW_SECONDS) * 1_000_000;
    (0..i64::from(plan.windows)).map(|n| Window::new(Axis::Time, start(n), start(n + 1)).unwrap()).collect()
}

/// The rows of the windows that get markers, by their starts.
pub(crate) fn marked(plan: &Plan) -> BTreeMap<i64, Vec<Row>> {
    let all = all(plan);
    let pipeline = all.iter().find(|pipeline| pipeline.name.as_str() == BACKFILLED).unwrap();
    each_window(plan).iter().map(|window| (window.start(), rows_in(pipeline, window))).collect()
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
    if plan.compacts {
        spec["compaction"] = json!({ "min_files": 2, "target_size": "64KiB", "when": "inline" });
    }
    serde_json::from_value(spec).unwrap()
}

fn compacted() -> Pipeline {
    let lake = json!({ "name": "lake", "type": "local", "root": "/lake" });
    serde_json::from_value(json!({
        "name": COMPACTED, "pattern": "compact",
        "source": { "from": lake },
        "sink": { "to": lake, "format": "json", "write": "append", "path": others::ROOT, "quiet": "1s" },
        "compaction": { "min_files": 2, "target_size": "64KiB", "when": "inline" },
        "retries": { "attempts": 1_000, "lost_leases": 1_000, "backoff": "200ms", "max_backoff": "3s" },
    }))
    .unwrap()
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

/// The rows of a place when everything is published.
pub(crate) fn expected(plan: &Plan, place: &str) -> Vec<Row> {
    let all = all(plan);
    let loads = all.iter().filter(|pipeline| pipeline.pattern != Pattern::Compact);
    loads.filter(|pipeline| root(pipeline) == place).flat_map(rows_of).collect()
}

fn rows_of(pipeline: &Pipeline) -> Vec<Row> {
    let window = match &pipeline.window {
        None => Window::version(0),
        Some(spec) => {
            let micros = |at: jiff::civil::DateTime| at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
            let (start, end) = (micros(spec.start), micros(spec.end.unwrap()));
            Window::new(Axis::Time, start.as_microsecond(), end.as_microsecond()).unwrap()
        }
    };
    rows_in(pipeline, &window)
}

fn rows_in(pipeline: &Pipeline, window: &Window) -> Vec<Row> {
    let source = (source::synthetic::KIND.build)(&pipeline.source).unwrap();
    let slices = block_on(source.resolve(window)).unwrap();
    let chunks: Vec<_> = slices
        .iter()
        .flat_map(|slice| {
            let rows = block_on(source.read(slice, window)).unwrap();
            block_on(rows.collect::<Vec<_>>())
        })
        .collect();
    let mut rows = Vec::new();
    for chunk in chunks {
        let Chunk::Rows(batch) = chunk.unwrap() else { panic!("made-up rows are never rejected") };
        rows.extend(of_batch(&batch).unwrap());
    }
    rows
}

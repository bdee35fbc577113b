//! Markers on a real folder.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windrow_common::{
    intent::IntentTask,
    manifest::{Counts, ManifestRef, StagedFile},
    window::{Axis, Window},
};

use super::*;
use crate::stage::tests::Place;

const HOUR: i64 = 3_600_000_000;

fn hours(from: i64, to: i64) -> Window {
    Window::new(Axis::Time, from * HOUR, to * HOUR).unwrap()
}

/// An hourly pipeline whose sink and readiness say this.
fn pipeline(sink: Value, publish: Value) -> Pipeline {
    let mut whole = json!({ "to": { "name": "lake", "type": "local" }, "write": "replace_window" });
    whole.as_object_mut().unwrap().extend(sink.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "name": "flights", "pattern": "incremental",
        "source": { "from": { "name": "s", "type": "synthetic" } },
        "window": { "every": "1h", "start": "1970-01-01T00:00" },
        "sink": whole, "readiness": { "publish": publish },
    }))
    .unwrap()
}

fn full(publish: Value) -> Pipeline {
    let hourly = pipeline(json!({ "format": "parquet", "path": "t", "write": "replace_all" }), publish);
    Pipeline { pattern: windrow_common::pipeline::Pattern::Full, window: None, ..hourly }
}

fn file(path: &str, window: Window) -> StagedFile {
    StagedFile {
        path: path.to_owned(),
        bytes: 10,
        sha256: Digest([7; 32]),
        rows: 3,
        window,
        partition: BTreeMap::new(),
        stats: None,
        clustered: None,
    }
}

fn task(number: u8, window: Window) -> IntentTask {
    IntentTask {
        task: TaskId::from_bytes([number; 16]),
        pipeline: "flights".parse().unwrap(),
        window,
        revision: 1,
        token: Token { epoch: 1, revision: i64::from(number) },
        manifest: ManifestRef {
            path: "m".to_owned(),
            sha256: Digest([1; 32]),
            counts: Counts { rows_read: 5, rows_written: 3, rows_rejected: 2, ..Counts::default() },
            proof: None,
        },
        declared: None,
    }
}

fn body(tasks: Vec<IntentTask>, add: Vec<StagedFile>, remove: &[&str]) -> IntentBody {
    IntentBody {
        sink: "lake".parse().unwrap(),
        seq: 4,
        previous: None,
        previous_aborted: false,
        tasks,
        schema: json!({ "fields": [] }),
        add,
        remove: remove.iter().map(|path| (*path).to_owned()).collect(),
        dead_letters: Vec::new(),
        change: None,
        shows: None,
        markers: Markers::default(),
    }
}

/// The markers of an intent, by path; files stand where they are staged.
fn planned(pipeline: &Pipeline, body: &IntentBody) -> BTreeMap<String, Value> {
    let shown: Vec<String> = body.add.iter().map(|file| file.path.clone()).collect();
    let publish = pipeline.readiness.publish.as_ref().unwrap();
    let planned = plan::plan(pipeline, publish, body, &shown).unwrap();
    assert_eq!(planned, plan::plan(pipeline, publish, body, &shown).unwrap(), "the same intent says the same");
    let read = |body: &[u8]| if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
    planned.into_iter().map(|planned| (planned.path, read(&planned.body))).collect()
}

/// Proves RM4.
#[test]
fn a_marker_says_what_is_complete_in_itself_or_beside_it() {
    let by_hour = "{window.start:%F}/{window.start:%H}/_SUCCESS";
    let body = body(
        vec![task(1, hours(0, 1)), task(2, hours(1, 2))],
        vec![file("a", hours(0, 1)), file("b", hours(0, 2))],
        &["old"],
    );
    let inside = planned(&pipeline(json!({ "format": "parquet" }), json!({ "marker": by_hour })), &body);
    assert_eq!(inside.keys().collect::<Vec<_>>(), ["1970-01-01/00/_SUCCESS", "1970-01-01/01/_SUCCESS"]);
    let first = &inside["1970-01-01/00/_SUCCESS"];
    let digest = Digest([7; 32]).to_string();
    let expected = json!({
        "form": 1, "pipeline": "flights", "seq": 4, "schema": { "fields": [] },
        "windows": [{
            "start": "1970-01-01T00:00:00Z", "end": "1970-01-01T01:00:00Z", "revision": 1,
            "task": "01010101010101010101010101010101", "token": "e1-t1",
            "rows_read": 5, "rows_written": 3, "rows_rejected": 2,
        }],
        "files": [
            { "path": "a", "bytes": 10, "rows": 3, "sha256": digest },
            { "path": "b", "bytes": 10, "rows": 3, "sha256": digest },
        ],
    });
    assert_eq!(first, &expected);
    let publish = json!({ "marker": by_hour, "manifest": "beside" });
    let beside = planned(&pipeline(json!({ "format": "parquet" }), publish), &body);
    assert_eq!(beside["1970-01-01/00/_SUCCESS.json"], expected);
    assert_eq!(beside["1970-01-01/00/_SUCCESS"], Value::Null, "who looks whether it is there needs no more");
}

/// Proves RM3.
#[test]
fn each_partition_a_window_touches_has_a_marker_those_it_leaves_too() {
    let sink = json!({ "format": "parquet", "partition_by": ["city"] });
    let add = vec![file("city=Bern/a", hours(0, 1)), file("city=Basel/b", hours(0, 1))];
    let body = body(vec![task(1, hours(0, 1))], add, &["city=Genf/old", "city=Bern/old"]);
    let plain = planned(&pipeline(sink.clone(), json!({ "marker": "COMPLETED" })), &body);
    let folders = ["city=Basel/COMPLETED", "city=Bern/COMPLETED", "city=Genf/COMPLETED"];
    assert_eq!(plain.keys().collect::<Vec<_>>(), folders);
    let files = |marker: &Value| marker["files"].as_array().unwrap().len();
    assert_eq!(folders.map(|folder| files(&plain[folder])), [1, 1, 0]);
    assert!(plain.values().all(|marker| marker["windows"][0]["revision"] == 1), "also where nothing is left");
    let publish = json!({ "marker": "{window.start:%FT%H}/COMPLETED", "partitions": true });
    let both = planned(&pipeline(sink, publish), &body);
    assert!(both.contains_key("1970-01-01T00/COMPLETED") && both.contains_key("city=Bern/COMPLETED"));
}

/// Proves RM6.
#[test]
fn a_window_without_rows_has_its_marker() {
    let publish = json!({ "marker": "h={window.start:%FT%H}/_SUCCESS" });
    let found =
        planned(&pipeline(json!({ "format": "json" }), publish), &body(vec![task(1, hours(10, 11))], Vec::new(), &[]));
    assert_eq!(found["h=1970-01-01T10/_SUCCESS"]["files"], json!([]));
}

#[test]
fn of_several_full_loads_one_marker_tells_the_newest_and_a_version_shown_again_has_it_too() {
    let full = full(json!({ "marker": "_SUCCESS" }));
    let mut body = body(vec![task(1, Window::version(0)), task(2, Window::version(1))], Vec::new(), &[]);
    assert_eq!(planned(&full, &body)["_SUCCESS"]["windows"][0]["version"], 1);
    (body.tasks, body.shows) = (Vec::new(), Some(0));
    assert_eq!(planned(&full, &body)["_SUCCESS"]["windows"], json!([{ "version": 0 }]));
}

#[test]
fn shards_of_a_window_are_one_load() {
    let publish = json!({ "marker": "{window.start:%FT%H}" });
    let body = body(vec![task(1, hours(0, 1)), task(2, hours(0, 1))], Vec::new(), &[]);
    let found = planned(&pipeline(json!({ "format": "json" }), publish), &body);
    assert_eq!(found.len(), 1);
    assert_eq!(found["1970-01-01T00"]["windows"][0]["rows_read"], 10);
}

async fn staged(place: &Place, objects: &[(&str, &str)]) -> Markers {
    let mut markers = Markers::default();
    for (path, text) in objects {
        let staged = format!("{STAGE_FOLDER}/{}", sha256(format!("{path} {text}").as_bytes()));
        place.storage.put(&staged, Bytes::from((*text).to_owned())).await.unwrap();
        let (bytes, sha256) = (text.len() as u64, sha256(text.as_bytes()));
        markers.objects.push(Marker { path: (*path).to_owned(), staged, bytes, sha256 });
    }
    markers
}

async fn text(place: &Place, path: &str) -> Option<String> {
    let bytes = place.storage.get(path).await.unwrap()?;
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn setting_markers_twice_changes_nothing_and_withdrawing_leaves_none() {
    let place = Place::new();
    let markers = staged(&place, &[("a/_SUCCESS.json", "what"), ("a/_SUCCESS", "")]).await;
    for _ in 0..2 {
        assert_eq!(set(&place.storage, &markers).await.unwrap(), Set::Done);
        assert_eq!(text(&place, "a/_SUCCESS.json").await.as_deref(), Some("what"));
        assert_eq!(text(&place, "a/_SUCCESS").await.as_deref(), Some(""));
    }
    assert_eq!(place.all_files().len(), 2, "what was staged is gone");
    for _ in 0..2 {
        withdraw(&place.storage, &markers).await.unwrap();
        assert_eq!(place.all_files(), Vec::<String>::new());
    }
}

/// Who set them before they were withdrawn finds nothing left to set.
#[tokio::test]
async fn a_zombie_sets_no_marker_of_a_commit_that_was_followed() {
    let place = Place::new();
    let old = staged(&place, &[("_SUCCESS", "first")]).await;
    assert_eq!(set(&place.storage, &old).await.unwrap(), Set::Done);
    let new = staged(&place, &[("_SUCCESS", "second")]).await;
    withdraw(&place.storage, &new).await.unwrap();
    assert_eq!(set(&place.storage, &old).await.unwrap(), Set::Gone);
    assert_eq!(text(&place, "_SUCCESS").await, None, "while the rows are being replaced there is none");
    assert_eq!(set(&place.storage, &new).await.unwrap(), Set::Done);
    assert_eq!(set(&place.storage, &old).await.unwrap(), Set::Gone);
    assert_eq!(text(&place, "_SUCCESS").await.as_deref(), Some("second"));
}

#[tokio::test]
async fn what_stands_in_a_markers_place_gives_way_to_it() {
    let place = Place::new();
    place.storage.put("_SUCCESS", Bytes::from_static(b"somebody else's")).await.unwrap();
    let markers = staged(&place, &[("_SUCCESS", "ours")]).await;
    assert_eq!(set(&place.storage, &markers).await.unwrap(), Set::Done);
    assert_eq!(text(&place, "_SUCCESS").await.as_deref(), Some("ours"));
}

/// Which keys are refused.
fn refused(pipeline: &Pipeline) -> Vec<String> {
    check(pipeline).err().unwrap_or_default().into_iter().map(|wrong| wrong.path).collect()
}

#[test]
fn a_marker_that_would_say_nothing_is_refused() {
    let files = |publish: Value| refused(&pipeline(json!({ "format": "parquet", "path": "t" }), publish));
    let nothing: [&str; 0] = [];
    assert_eq!(files(json!({ "marker": "{window.start:%FT%H}/_SUCCESS" })), nothing);
    for marker in [
        "_SUCCESS",
        "done/_SUCCESS",
        "{window.start:%F}/_SUCCESS",
        "{window.start:%H}/_SUCCESS",
        "",
        "/_SUCCESS",
        "{window.start:%FT%H}/",
        "_windrow/{window.start:%FT%H}",
        "../{window.start:%FT%H}",
        "{window.start}",
    ] {
        assert_eq!(files(json!({ "marker": marker })), ["publish.marker"], "{marker:?}");
    }
    assert_eq!(files(json!({ "marker": "{window.start:%FT%H}", "partitions": true })), ["publish.partitions"]);
    assert_eq!(files(json!({ "marker": "{window.start:%FT%H}", "folder": "x" })), ["publish.folder"]);
    let parted = json!({ "format": "csv", "path": "t", "partition_by": ["city"] });
    assert_eq!(refused(&pipeline(parted, json!({ "marker": "_SUCCESS" }))), nothing);
    assert_eq!(refused(&full(json!({ "marker": "_SUCCESS" }))), nothing);
    assert_eq!(refused(&full(json!({ "marker": "{window.start:%F}" }))), ["publish.marker"]);
}

/// The clocks of New York go back: an hour has the name of the one before.
#[test]
fn two_windows_of_one_name_are_found_where_the_clocks_change() {
    let publish = json!({ "marker": "{window.start:%FT%H}" });
    let mut there = pipeline(json!({ "format": "parquet", "path": "t" }), publish);
    there.window.as_mut().unwrap().timezone = "America/New_York".to_owned();
    let wrong = check(&there).unwrap_err();
    assert!(wrong[0].message.contains("would have one marker"), "{}", wrong[0].message);
    there.readiness.publish.as_mut().unwrap().marker = "{window.start:%FT%H%z}".to_owned();
    assert!(check(&there).is_ok());
}

/// Proves RM5.
#[test]
fn no_marker_lies_in_the_folder_of_a_table() {
    let delta = |publish: Value| refused(&pipeline(json!({ "format": "delta", "path": "tables/flights" }), publish));
    let marker = "{window.start:%FT%H}/_SUCCESS";
    assert_eq!(delta(json!({ "marker": marker })), ["publish.folder"]);
    for inside in ["tables/flights", "/tables/flights/", "tables/flights/ready"] {
        assert_eq!(delta(json!({ "marker": marker, "folder": inside })), ["publish.folder"], "{inside}");
    }
    let around = json!({ "marker": "flights/{window.start:%FT%H}", "folder": "tables" });
    assert_eq!(delta(around), ["publish.folder"]);
    for beside in ["tables/flights_ready", "ready"] {
        assert!(delta(json!({ "marker": marker, "folder": beside })).is_empty(), "{beside}");
    }
}

//! Looks at logs of Delta tables as they lie in a folder.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use serde_json::{Value, json};
use windrow_common::{clock::SystemClock, window::Axis};

use super::*;
use crate::open::BuiltIn;

/// Of files of each hour of the second day of 1970.
fn pipeline(root: &Path, require: Value) -> Pipeline {
    serde_json::from_value(json!({
        "name": "flights", "pattern": "incremental",
        "source": {
            "from": { "name": "drop", "type": "local", "root": root }, "path": "in/{window.start:%FT%H}/*.csv",
            "schema": { "id": "int" },
        },
        "window": { "every": "1h", "start": "1970-01-02T00:00", "per_task": 1 },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": root }, "format": "json", "write": "replace_window",
            "path": "out",
        },
        "readiness": { "require": require },
    }))
    .unwrap()
}

fn hours(of: std::ops::Range<i64>) -> Vec<Window> {
    let hour = 3_600_000_000;
    of.map(|n| Window::new(Axis::Time, (24 + n) * hour, (25 + n) * hour).unwrap()).collect()
}

fn connectors() -> Connectors {
    Connectors::new(std::sync::Arc::new(BuiltIn), std::sync::Arc::new(SystemClock::new()))
}

async fn one(condition: &Condition) -> Result<Seen> {
    let pipeline = pipeline(Path::new("/nowhere"), json!({}));
    Subject { pipeline: &pipeline, connectors: &connectors(), windows: &[] }.one(condition).await
}

fn condition(root: &Path, more: Value) -> Condition {
    let mut wanted = json!({ "from": { "name": "lake", "type": "local", "root": root }, "path": "orders" });
    for (key, value) in more.as_object().unwrap() {
        wanted[key] = value.clone();
    }
    serde_json::from_value(json!({ "delta": wanted })).unwrap()
}

fn commit(root: &Path, name: &str) {
    let log = root.join("orders/_delta_log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join(name), "{}").unwrap();
}

/// Proves IL11. A version of a table is waited for, and a new one after the window's end.
#[tokio::test]
async fn how_far_a_table_has_come_is_in_the_names_of_its_log() {
    let root = tempfile::tempdir().unwrap();
    let second = condition(root.path(), json!({ "version": 1 }));
    let later = condition(root.path(), json!({ "after_end": true }));
    for condition in [&second, &later] {
        let seen = one(condition).await.unwrap();
        assert_eq!((seen.to, seen.words.contains("no Delta table at \"orders\" yet")), (i64::MIN, true), "{seen:?}");
    }
    commit(root.path(), "00000000000000000000.json");
    let seen = one(&second).await.unwrap();
    assert!(seen.to == i64::MIN && seen.words.contains("has version 0, and not 1 yet"), "{seen:?}");
    let before = jiff::Timestamp::now().as_microsecond();
    let seen = one(&later).await.unwrap();
    assert!((before - 60_000_000..before + 60_000_000).contains(&seen.to), "{seen:?}");

    // What is no commit is none, and what lies before the checkpoint is not looked at.
    for name in
        ["00000000000000000007.checkpoint.parquet", "9.json", "00000000000000000008.json.tmp", "_last_checkpoint"]
    {
        commit(root.path(), name);
    }
    assert_eq!(one(&second).await.unwrap().to, i64::MIN);
    commit(root.path(), "00000000000000000007.json");
    fs::write(root.path().join("orders/_delta_log/_last_checkpoint"), r#"{"version":7}"#).unwrap();
    assert_eq!(one(&second).await.unwrap(), Seen::always());
    let ninth = condition(root.path(), json!({ "version": 9 }));
    assert!(one(&ninth).await.unwrap().words.contains("has version 7"));
}

#[tokio::test]
async fn what_cannot_be_seen_keeps_windows_and_says_why() {
    let require: Require = serde_json::from_value(json!({
        "all": [{ "pipeline": "flights" }, { "delta": { "from": "lake", "path": "orders", "version": 1 } }],
    }))
    .unwrap();
    let pipeline = pipeline(Path::new("/nowhere"), json!({}));
    let seen = Subject { pipeline: &pipeline, connectors: &connectors(), windows: &[] }.all(&require).await;
    assert_eq!((seen[0].to_us, seen[1].to_us), (i64::MAX, i64::MIN));
    assert!(seen[1].words.contains("\"lake\" is not known here"), "{seen:?}");
}

/// Proves IL11. One answer says of all windows that wait which have their marker, and which have a partition behind them.
#[tokio::test]
async fn one_look_tells_which_windows_have_their_marker() {
    let root = tempfile::tempdir().unwrap();
    let deliver = |path: &str| {
        let path = root.path().join("in").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "id\n1\n").unwrap();
    };
    let delivered = ["1970-01-02T03/_SUCCESS", "1970-01-02T03/a.csv", "1970-01-02T09/_SUCCESS", "1970-01-03T01/a.csv"];
    delivered.into_iter().for_each(deliver);
    let require = json!({ "any": [{ "marker": "_SUCCESS" }, { "next_partition": true }] });
    let ask = |windows: Vec<Window>| v1::Look {
        request: 7,
        pipeline: serde_json::to_vec(&pipeline(root.path(), require.clone())).unwrap(),
        windows: windows.into_iter().map(Into::into).collect(),
    };
    let looked = look(ask(hours(0..26)), &connectors()).await;
    assert_eq!((looked.request, looked.seen.len()), (7, 2));
    let [marker, next] = &looked.seen[..] else { panic!("{looked:?}") };
    assert_eq!((&marker.windows[..], &next.windows[..]), (&[3, 9][..], &[2, 24][..]));
    assert!(looked.seen.iter().all(|seen| seen.to_us == i64::MIN), "no window is ready for its time alone");
    assert_eq!(marker.words, "there is no \"in/{window.start:%FT%H}/_SUCCESS\" yet");
    // Of one window the path itself is told; a folder that is not there is an answer.
    let looked = look(ask(hours(50..51)), &connectors()).await;
    assert_eq!(looked.seen[0].words, "there is no \"in/1970-01-04T02/_SUCCESS\" yet");
    fs::remove_dir_all(root.path().join("in")).unwrap();
    let looked = look(ask(hours(0..26)), &connectors()).await;
    assert!(looked.seen.iter().all(|seen| seen.windows.is_empty()), "{looked:?}");
}

//! Looks at logs of Delta tables as they lie in a folder.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;

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
    let seen = all(&require).await;
    assert_eq!((seen[0].to_us, seen[1].to_us), (i64::MAX, i64::MIN));
    assert!(seen[1].words.contains("\"lake\" is not known here"), "{seen:?}");
}

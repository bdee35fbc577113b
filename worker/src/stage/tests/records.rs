//! Manifests, intents and dead letters in the sink's storage.

use std::collections::BTreeMap;

use arrow_array::Int64Array;
use windrow_common::{
    error,
    intent::{IntentBody, IntentRef},
    manifest::{Counts, Manifest, WriteMode},
    marker::Markers,
};

use super::*;
use crate::source::Reject;

fn sealed(files: Vec<StagedFile>) -> Manifest {
    let attempt = attempt();
    Manifest {
        task: attempt.task,
        token: attempt.token,
        attempt: 1,
        pipeline: "flights".parse().unwrap(),
        sink: "lake".parse().unwrap(),
        window: attempt.window,
        write: WriteMode::Append,
        schema: json!({}),
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts: Counts::default(),
    }
}

async fn one_file(place: &Place) -> Vec<StagedFile> {
    let given = batch(vec![("n", Arc::new(Int64Array::from(vec![1, 2])))]);
    stage(&place.storage, &layout(given.schema(), parquet()), &attempt(), rows(vec![given])).await.unwrap()
}

#[tokio::test]
async fn a_manifest_is_read_as_it_was_written_however_often() {
    let place = Place::new();
    let given = sealed(one_file(&place).await);
    let first = manifest::put_manifest(&place.storage, &given).await.unwrap();
    let second = manifest::put_manifest(&place.storage, &given).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(manifest::get_manifest(&place.storage, &first).await.unwrap(), given);
}

#[tokio::test]
async fn a_damaged_or_missing_manifest_is_noticed() {
    let place = Place::new();
    let given = sealed(Vec::new());
    let reference = manifest::put_manifest(&place.storage, &given).await.unwrap();
    let path = place.folder.path().join(&reference.path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let code = |result: Result<()>| result.unwrap_err().code();
    let read = async || manifest::get_manifest(&place.storage, &reference).await.map(|_| ());
    let written = async || manifest::put_manifest(&place.storage, &given).await.map(|_| ());
    assert_eq!(code(read().await), error::STAGED_FILE_BAD);
    assert_eq!(code(written().await), error::STAGED_FILE_BAD);
    place.storage.delete(&reference.path).await.unwrap();
    assert_eq!(code(read().await), error::STAGED_FILE_BAD);
    written().await.unwrap();
    read().await.unwrap();
}

#[tokio::test]
async fn an_intent_is_read_as_it_was_written() {
    let place = Place::new();
    let body = IntentBody {
        sink: "lake".parse().unwrap(),
        seq: 7,
        previous: Some(sha256(b"before")),
        previous_aborted: false,
        tasks: Vec::new(),
        schema: json!({ "fields": [] }),
        add: one_file(&place).await,
        remove: vec!["old".to_owned()],
        dead_letters: Vec::new(),
        change: None,
        shows: None,
        markers: Markers::default(),
    };
    let (path, digest) = manifest::put_intent(&place.storage, &body).await.unwrap();
    assert_eq!(path, format!("_windrow/intents/00000000000000000007-{digest}.json"));
    let reference = IntentRef {
        seq: 7,
        previous: None,
        path,
        digest,
        tasks: Vec::new(),
        counts: Counts::default(),
        files: BTreeMap::new(),
    };
    assert_eq!(manifest::get_intent(&place.storage, &reference).await.unwrap(), body);
}

#[tokio::test]
async fn a_staged_file_that_is_missing_or_cut_is_noticed() {
    let place = Place::new();
    let files = one_file(&place).await;
    manifest::verify_files(&place.storage, &files).await.unwrap();
    let path = place.folder.path().join(&files[0].path);
    std::fs::write(&path, "short").unwrap();
    assert_eq!(manifest::verify_files(&place.storage, &files).await.unwrap_err().code(), error::STAGED_FILE_BAD);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(manifest::verify_files(&place.storage, &files).await.unwrap_err().code(), error::STAGED_FILE_BAD);
}

#[tokio::test]
async fn dead_letters_tell_what_was_rejected_where_and_why() {
    let place = Place::new();
    let reject = Reject {
        input: "flights.csv".to_owned(),
        position: 1_204,
        code: error::VALUE_MALFORMED.code,
        reason: "\"x\" is no number".to_owned(),
        raw: "x,\"y\"\n".to_owned(),
    };
    let batch = dead_letters::rows(&[reject], &attempt()).unwrap();
    let staged = stage(&place.storage, &dead_letters::layout(), &attempt(), rows(vec![batch])).await.unwrap();
    assert!(staged[0].path.starts_with("_windrow/dead_letters/part-"));
    let line: serde_json::Value = serde_json::from_slice(&place.read(&staged[0])).unwrap();
    assert_eq!(
        line,
        json!({
            "input": "flights.csv", "position": 1204, "code": "WR-S005", "reason": "\"x\" is no number", "raw": "x,\"y\"\n",
            "window": "1970-01-01T00:00:00Z..1970-01-01T00:00:00.001Z", "task": "ab".repeat(16),
        })
    );
}

//! What is left when staging does not come to its end: nothing that a listing shows.

use arrow_array::{Int64Array, StringArray};
use windrow_common::error;

use super::*;

fn many(rows: usize) -> RecordBatch {
    let noise: Vec<String> = (0..rows as u64).map(|n| format!("{:x}", Sha256::digest(n.to_be_bytes()))).collect();
    batch(vec![("noise", Arc::new(StringArray::from_iter_values(&noise)))])
}

#[tokio::test]
async fn a_stream_that_fails_leaves_no_file() {
    let place = Place::new();
    let given = many(100_000);
    let layout = layout(given.schema(), FileFormat::JsonLines);
    let broken = Err(WorkerError::later(error::SOURCE_UNREADABLE, "the source is gone"));
    let stream = stream::iter(vec![Ok(given.clone()), Ok(given), broken]).boxed();
    let error = stage(&place.storage, &layout, &attempt(), stream).await.unwrap_err();
    assert_eq!(error.code(), error::SOURCE_UNREADABLE);
    assert_eq!(place.all_files(), Vec::<String>::new());
}

#[tokio::test]
async fn an_attempt_that_is_dropped_leaves_no_file() {
    let place = Place::new();
    let given = many(100_000);
    let layout = layout(given.schema(), FileFormat::JsonLines);
    let stream = stream::iter(vec![Ok(given.clone()), Ok(given)]).chain(stream::pending()).boxed();
    let attempt = attempt();
    let staging = stage(&place.storage, &layout, &attempt, stream);
    let cut = tokio::time::timeout(std::time::Duration::from_secs(2), staging).await;
    assert!(cut.is_err());
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(place.all_files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_refuses_the_write_ends_the_attempt_with_its_reason() {
    let place = Place::new();
    std::fs::write(place.folder.path().join("data"), "no folder").unwrap();
    let given = batch(vec![("n", Arc::new(Int64Array::from(vec![1])))]);
    let layout = layout(given.schema(), parquet());
    let error = stage(&place.storage, &layout, &attempt(), rows(vec![given])).await.unwrap_err();
    assert_eq!(error.code(), error::SINK_UNREACHABLE);
    assert!(error.to_string().contains("data/part-"), "{error}");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_ends_the_attempt_and_leaves_no_file() {
    let place = Place::new();
    let good = batch(vec![("n", Arc::new(Int64Array::from(vec![1])))]);
    let bad = batch(vec![("n", Arc::new(StringArray::from(vec!["one"])))]);
    let layout = layout(good.schema(), parquet());
    let error = stage(&place.storage, &layout, &attempt(), rows(vec![good, bad])).await.unwrap_err();
    assert_eq!(error.code(), error::VALUE_MALFORMED);
    assert!(error.to_string().contains("row 2 "), "{error}");
    assert_eq!(place.all_files(), Vec::<String>::new());
}

//! The sink `files` on a real folder, with faults put in front of it.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use windrow_common::{
    claim::Token,
    id::TaskId,
    intent::{Effect, Fingerprint, IntentBody, IntentTask},
    manifest::{Counts, Digest, Manifest, ManifestRef, StagedFile, WriteMode},
    window::{Axis, Window},
};

use super::*;
use crate::{
    sink::Refusal,
    stage::{Attempt, manifest, stage, tests::Place},
};

mod committing;
mod compacting;
mod faults;
mod going_back;
mod others;
mod preparing;
mod racing;
mod specs;

fn settings() -> Settings {
    Settings {
        id: "lake".parse().unwrap(),
        others: None,
        cleaning: None,
        format: FileFormat::Parquet { metadata: BTreeMap::new() },
        partition_by: Vec::new(),
        target_bytes: 1 << 20,
        cursor: Some("at".to_owned()),
        apart: false,
        keep_versions: 1,
        policy: policy(json!({})),
    }
}

/// The policy of a pipeline that writes windows.
fn policy(schema: Value) -> Policy {
    let pipeline = serde_json::from_value(json!({
        "name": "p", "pattern": "incremental", "schema": schema,
        "source": { "from": { "name": "s", "type": "synthetic" } },
        "sink": { "to": { "name": "l", "type": "local" }, "format": "parquet", "write": "replace_window" },
    }));
    Policy::of(&pipeline.unwrap(), schema_changes)
}

fn sink(place: &Place) -> FilesSink {
    FilesSink::new(place.storage.clone(), settings())
}

fn hours(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start, end).unwrap()
}

/// One row per unit of time.
fn rows_of(window: Window, label: &str) -> RecordBatch {
    let at = TimestampMicrosecondArray::from_iter_values(window.start()..window.end()).with_timezone("UTC");
    let count = (window.end() - window.start()) as usize;
    RecordBatch::try_from_iter_with_nullable([
        ("at", Arc::new(at) as ArrayRef, true),
        ("n", Arc::new(Int64Array::from_iter_values(window.start()..window.end())), true),
        ("label", Arc::new(StringArray::from(vec![label; count])), true),
    ])
    .unwrap()
}

/// A sealed task.
async fn sealed(
    sink: &FilesSink,
    id: u8,
    write: WriteMode,
    window: Window,
    batch: RecordBatch,
) -> (IntentTask, Manifest) {
    let attempt =
        Attempt { task: TaskId::from_bytes([id; 16]), token: Token { epoch: 1, revision: id.into() }, window };
    let schema = batch.schema();
    let layout = sink.layout(schema.clone()).await.unwrap();
    let files = stage(sink.storage(), &layout, &attempt, stream::iter([Ok(batch)]).boxed()).await.unwrap();
    let manifest = Manifest {
        task: attempt.task,
        token: attempt.token,
        attempt: 1,
        pipeline: "flights".parse().unwrap(),
        sink: "lake".parse().unwrap(),
        window,
        write,
        schema: serde_json::to_value(schema.as_ref()).unwrap(),
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts: Counts::default(),
    };
    let reference: ManifestRef = manifest::put_manifest(sink.storage(), &manifest).await.unwrap();
    let task = IntentTask {
        task: attempt.task,
        pipeline: manifest.pipeline.clone(),
        window,
        revision: 0,
        token: attempt.token,
        manifest: reference,
        declared: None,
    };
    (task, manifest)
}

async fn intent(
    sink: &FilesSink,
    seq: u64,
    previous: Option<Digest>,
    tasks: Vec<(IntentTask, Manifest)>,
) -> (IntentBody, Digest) {
    let body = sink.prepare(Next { seq, previous, previous_aborted: false, tasks }).await.unwrap();
    let (_, digest) = manifest::put_intent(sink.storage(), &body).await.unwrap();
    (body, digest)
}

/// Stages, prepares and commits one task; gives the intent's digest.
async fn load(
    sink: &FilesSink,
    seq: u64,
    previous: Option<Digest>,
    id: u8,
    write: WriteMode,
    window: Window,
) -> Digest {
    let label = format!("task {id}");
    let task = sealed(sink, id, write, window, rows_of(window, &label)).await;
    let (body, digest) = intent(sink, seq, previous, vec![task]).await;
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: seq });
    digest
}

/// What a reader of the folder sees: the rows of every file that is not windrow's own, as (n, label), sorted.
fn visible(place: &Place) -> Vec<(i64, String)> {
    use arrow_array::{cast::AsArray, types::Int64Type};
    let mut found = Vec::new();
    for path in visible_files(place) {
        let bytes = bytes::Bytes::from(std::fs::read(place.folder.path().join(path)).unwrap());
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let numbers = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
            let labels = batch.column_by_name("label").unwrap().as_string::<i32>().clone();
            found.extend((0..batch.num_rows()).map(|row| (numbers.value(row), labels.value(row).to_owned())));
        }
    }
    found.sort_unstable();
    found
}

/// Relative paths of what a reader of the folder takes for data.
fn visible_files(place: &Place) -> Vec<String> {
    let root = place.folder.path().canonicalize().unwrap();
    let mut found: Vec<String> = place
        .all_files()
        .into_iter()
        .map(|path| {
            std::path::Path::new(&path).canonicalize().unwrap().strip_prefix(&root).unwrap().display().to_string()
        })
        .filter(|path| !path.starts_with("_windrow"))
        .collect();
    found.sort_unstable();
    found
}

fn expected(parts: &[(i64, i64, &str)]) -> Vec<(i64, String)> {
    let mut rows: Vec<_> =
        parts.iter().flat_map(|(start, end, label)| (*start..*end).map(|n| (n, (*label).to_owned()))).collect();
    rows.sort_unstable();
    rows
}

fn staged_paths(body: &IntentBody) -> Vec<String> {
    body.add.iter().map(|file: &StagedFile| file.path.clone()).collect()
}

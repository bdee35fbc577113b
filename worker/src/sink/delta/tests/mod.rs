//! Tests of the sink on real folders with real Parquet files. Rows are read back through delta-rs' own loader.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, cast::AsArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::Url;
use windrow_common::{
    claim::Token,
    id::TaskId,
    intent::{IntentBody, IntentTask, Seq},
    manifest::{Counts, Digest, Manifest, ManifestRef, WriteMode},
    pipeline::Pipeline,
    window::{Axis, Window},
};

use super::{DeltaSink, params::Params, types};
use crate::{
    error::Result,
    sink::{Applied, Next, Sink},
    stage::Attempt,
    storage::{Storage, tests::Ground},
};

mod cleaning;
mod clustering;
mod commits;
mod compacting;
mod evolving;
mod faults;
mod going_back;
mod growth;
mod merging;
mod neighbours;
mod replacing;
mod tables;

use faults::Faulty;

/// A row of the tests' table: `at` (microseconds, the cursor), `id`, `region`.
type Row = (Option<i64>, i64, &'static str);
type Found = (Option<i64>, i64, String);

/// A table's folder and how its sinks are set up.
struct World {
    folder: tempfile::TempDir,
    objects: Arc<Faulty>,
    /// What the storage calls itself.
    place: Url,
    partition_by: Vec<String>,
    cursor: Option<&'static str>,
    target: &'static str,
}

impl World {
    fn new() -> Self {
        let Ground { folder, storage } = Ground::new();
        let objects = Arc::new(Faulty::over(storage.objects().clone()));
        // Small staged files stay apart unless a test is about merging.
        Self {
            folder,
            objects,
            place: storage.url().clone(),
            partition_by: Vec::new(),
            cursor: Some("at"),
            target: "1",
        }
    }

    fn partitioned() -> Self {
        Self { partition_by: vec!["region".to_owned()], ..Self::new() }
    }

    fn pipeline(&self) -> Pipeline {
        let mut source = json!({ "from": { "name": "s", "type": "synthetic" } });
        if let Some(cursor) = self.cursor {
            source["cursor"] = json!(cursor);
        }
        serde_json::from_value(json!({
            "name": "flights",
            "pattern": "incremental",
            "source": source,
            "sink": {
                "to": { "name": "lake", "type": "local", "root": self.folder.path() },
                "format": "delta",
                "write": "append",
                "path": "",
                "partition_by": self.partition_by,
                "target_file_size": self.target,
            },
        }))
        .unwrap()
    }

    /// A new process' view of the table.
    fn sink(&self) -> DeltaSink {
        let pipeline = self.pipeline();
        let params = Params::decode(&pipeline.sink.params).unwrap();
        DeltaSink::new(&pipeline, params, Storage::over(self.objects.clone(), self.place.clone()))
    }

    /// The folder, whoever else shows it.
    fn url(&self) -> Url {
        Url::from_directory_path(self.folder.path()).unwrap()
    }

    /// The table as delta-rs sees it, without any of our code in between.
    async fn table(&self) -> DeltaTable {
        DeltaTableBuilder::from_url(self.url()).unwrap().load().await.unwrap()
    }

    async fn file_count(&self) -> usize {
        self.table().await.snapshot().unwrap().log_data().num_files()
    }

    /// All rows, sorted.
    async fn rows(&self) -> Vec<Found> {
        let table = self.table().await;
        let mut rows = Vec::new();
        for file in table.snapshot().unwrap().log_data().iter() {
            let region = file.partition_values_map().get("region").cloned().flatten();
            let path = self.folder.path().join(file.path().as_ref());
            let reader = std::fs::File::open(&path).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(reader).unwrap().build().unwrap() {
                rows.extend(found(&batch.unwrap(), region.as_deref()));
            }
        }
        rows.sort();
        rows
    }

    /// Writes a commit as another writer would.
    fn foreign_commit(&self, version: u64, lines: &[serde_json::Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let path = self.folder.path().join(format!("_delta_log/{version:020}.json"));
        assert!(!path.exists(), "version {version} is taken");
        std::fs::write(path, text).unwrap();
    }

    /// A Parquet file and the `add` of another writer: no tags.
    fn foreign_add(&self, name: &str, rows: &[Row], with_stats: bool) -> serde_json::Value {
        let path = self.folder.path().join(name);
        let batch = batch(rows);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let text = |at: i64| jiff::Timestamp::from_microsecond(at).unwrap().to_string();
        let instants: Vec<i64> = rows.iter().filter_map(|row| row.0).collect();
        let stats = with_stats.then(|| {
            json!({
                "numRecords": rows.len(),
                "minValues": { "at": text(*instants.iter().min().unwrap()) },
                "maxValues": { "at": text(*instants.iter().max().unwrap()) },
                "nullCount": { "at": rows.len() - instants.len() },
            })
            .to_string()
        });
        json!({ "add": {
            "path": name, "partitionValues": {}, "size": path.metadata().unwrap().len(), "modificationTime": 1,
            "dataChange": true, "stats": stats,
        }})
    }
}

fn found(batch: &RecordBatch, region: Option<&str>) -> Vec<Found> {
    let at = batch.column_by_name("at").unwrap().as_primitive::<arrow_array::types::TimestampMicrosecondType>();
    let id = batch.column_by_name("id").unwrap().as_primitive::<arrow_array::types::Int64Type>();
    let own = batch.column_by_name("region").map(|column| column.as_string::<i32>().clone());
    (0..batch.num_rows())
        .map(|row| {
            let region = own.as_ref().map_or_else(|| region.unwrap_or("").to_owned(), |own| own.value(row).to_owned());
            (at.is_valid(row).then(|| at.value(row)), id.value(row), region)
        })
        .collect()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at", types::timestamp(), true),
        Field::new("id", DataType::Int64, true),
        Field::new("region", DataType::Utf8, true),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let at = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.0)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(at),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn sorted(rows: &[Row]) -> Vec<Found> {
    let mut rows: Vec<Found> = rows.iter().map(|(at, id, region)| (*at, *id, (*region).to_owned())).collect();
    rows.sort();
    rows
}

fn time(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start, end).unwrap()
}

/// A task and what its attempt is to stage.
#[derive(Clone)]
struct Load {
    window: Window,
    revision: u32,
    write: WriteMode,
    rows: Vec<Row>,
}

fn load(window: Window, write: WriteMode, rows: &[Row]) -> Load {
    Load { window, revision: 0, write, rows: rows.to_vec() }
}

/// Stages a task's rows as a worker would: one file for each partition.
async fn stage(sink: &DeltaSink, load: &Load) -> (IntentTask, Manifest) {
    stage_batch(sink, load, batch(&load.rows)).await
}

/// The same with rows of any columns.
async fn stage_batch(sink: &DeltaSink, load: &Load, batch: RecordBatch) -> (IntentTask, Manifest) {
    let pipeline: windrow_common::id::PipelineName = "flights".parse().unwrap();
    let task = TaskId::of(&pipeline, 0, &load.window, load.revision);
    let token = Token { epoch: 1, revision: 40 + i64::from(load.revision) };
    let layout = sink.layout(batch.schema()).await.unwrap();
    let attempt = Attempt { task, token, window: load.window };
    let rows = futures::stream::iter([Ok(batch)]).boxed();
    let files = crate::stage::stage(&sink.storage, &layout, &attempt, rows).await.unwrap();
    let counts = Counts { rows_written: load.rows.len() as u64, ..Counts::default() };
    let manifest_ref = ManifestRef { path: format!("_windrow/{task}"), sha256: Digest([1; 32]), counts, proof: None };
    let intent = IntentTask {
        task,
        pipeline: pipeline.clone(),
        window: load.window,
        revision: 0,
        token,
        manifest: manifest_ref,
        declared: None,
    };
    let manifest = Manifest {
        task,
        token,
        attempt: 1,
        pipeline,
        sink: sink.id.clone(),
        window: load.window,
        write: load.write,
        schema: serde_json::to_value(layout.changes.mark(&layout.schema)).unwrap(),
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts,
    };
    (intent, manifest)
}

/// An intent as the ledger would record it.
#[derive(Clone)]
struct Recorded {
    body: IntentBody,
    digest: Digest,
}

async fn record(sink: &DeltaSink, seq: Seq, loads: &[Load]) -> Result<Recorded> {
    let mut tasks = Vec::new();
    for load in loads {
        tasks.push(stage(sink, load).await);
    }
    let body = sink.prepare(Next { seq, previous: None, previous_aborted: false, tasks }).await?;
    let digest = Digest(Sha256::digest(serde_json::to_vec(&body).unwrap()).into());
    Ok(Recorded { body, digest })
}

impl Recorded {
    async fn commit(&self, sink: &DeltaSink) -> Result<Applied> {
        sink.commit(&self.body, &self.digest).await
    }

    async fn abort(&self, sink: &DeltaSink) -> Result<Applied> {
        sink.abort(&self.body, &self.digest).await
    }
}

/// Records and commits; must succeed.
async fn publish(sink: &DeltaSink, seq: Seq, loads: &[Load]) -> Recorded {
    let recorded = record(sink, seq, loads).await.unwrap();
    let applied = recorded.commit(sink).await.unwrap();
    assert!(matches!(applied, Applied::Committed { .. }), "{applied:?}");
    recorded
}

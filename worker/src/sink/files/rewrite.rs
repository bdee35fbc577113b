//! Copy on write: the rows of a Parquet file whose windows stay become new staged files, one pass per stretch.

use arrow::compute::{cast, filter_record_batch};
use arrow_array::{
    Array, BooleanArray, RecordBatch,
    cast::AsArray,
    types::{Int64Type, TimestampMicrosecondType},
};
use arrow_schema::{ArrowError, DataType, Schema, TimeUnit};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use std::sync::Arc;
use windrow_common::{
    error,
    manifest::StagedFile,
    window::{Axis, Window},
};

use super::{FilesSink, STAGE_FOLDER, plan::Rewrite};
use crate::{
    error::{Result, WorkerError},
    sink::parquet_input::Input,
    stage::{Attempt, BatchStream, FileFormat, Layout, stage},
    storage::location,
};

const BATCH_ROWS: usize = 8_192;

/// Stages what is kept of a file, under the attempt that cut it. `SINK_UNSUPPORTED` when its rows cannot be told apart.
pub(super) async fn rewrite(sink: &FilesSink, rewrite: &Rewrite, by: &Attempt) -> Result<Vec<StagedFile>> {
    let cursor = cursor_of(sink, rewrite)?;
    let mut files = Vec::new();
    for kept in &rewrite.keep {
        let (schema, rows) = rows_of(sink, rewrite, &cursor, *kept).await?;
        let layout = Layout {
            format: sink.settings.format.clone(),
            schema: Arc::new(schema),
            // The rows stay in their folder.
            partition_by: Vec::new(),
            target_bytes: sink.settings.target_bytes,
            folder: folder_of(&rewrite.path),
            cursor: Some(cursor.clone()),
            delta_stats: false,
        };
        let attempt = Attempt { window: *kept, ..*by };
        let staged = Box::pin(stage(&sink.storage, &layout, &attempt, rows)).await?;
        files.extend(staged.into_iter().map(|file| StagedFile { partition: rewrite.partition.clone(), ..file }));
    }
    Ok(files)
}

fn cursor_of(sink: &FilesSink, rewrite: &Rewrite) -> Result<String> {
    let is_parquet = matches!(sink.settings.format, FileFormat::Parquet { .. });
    let is_time = rewrite.keep.iter().all(|window| window.axis() == Axis::Time);
    match &sink.settings.cursor {
        Some(cursor) if is_parquet && is_time && !sink.settings.partition_by.contains(cursor) => Ok(cursor.clone()),
        _ => Err(WorkerError::never(
            error::SINK_UNSUPPORTED,
            "a file holds replaced windows and others, and its rows cannot be told apart",
        )
        .at(rewrite.path.clone())
        .fix("set `window.per_task: 1`, or write Parquet with the cursor column as a column of its own")),
    }
}

fn folder_of(path: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = folder.strip_prefix(STAGE_FOLDER).unwrap_or(folder).trim_start_matches('/');
    format!("{STAGE_FOLDER}/{folder}").trim_end_matches('/').to_owned()
}

/// The file's rows that lie in `kept`.
async fn rows_of(sink: &FilesSink, rewrite: &Rewrite, cursor: &str, kept: Window) -> Result<(Schema, BatchStream)> {
    let path = rewrite.path.clone();
    let unreadable = move |cause: parquet::errors::ParquetError| {
        WorkerError::later(error::SINK_BROKEN, "a published file cannot be read").at(path.clone()).because(cause)
    };
    let objects = Arc::clone(sink.storage.objects());
    let input = Input { objects, path: location(&rewrite.path)?, bytes: rewrite.bytes };
    let builder = ParquetRecordBatchStreamBuilder::new(input).await.map_err(unreadable.clone())?;
    let schema = builder.schema().as_ref().clone();
    let stream = builder.with_batch_size(BATCH_ROWS).build().map_err(unreadable.clone())?;
    let cursor = cursor.to_owned();
    let place = rewrite.path.clone();
    let rows = stream.map_err(unreadable).and_then(move |batch| {
        let filtered = within(&batch, &cursor, kept).map_err(|cause| untold(&place, &cursor, cause));
        futures::future::ready(filtered)
    });
    Ok((schema, rows.boxed()))
}

/// The rows whose cursor lies in the window. A row without one lies in none; then the file is not touched.
fn within(batch: &RecordBatch, cursor: &str, window: Window) -> Result<RecordBatch, ArrowError> {
    let column = batch
        .column_by_name(cursor)
        .ok_or_else(|| ArrowError::SchemaError(format!("the file has no column {cursor:?}")))?;
    if column.null_count() > 0 {
        return Err(ArrowError::ComputeError("a row has no cursor".to_owned()));
    }
    let column = match column.data_type() {
        DataType::Int64 => Arc::clone(column),
        _ => cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
    };
    let values = match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().values(),
        _ => column.as_primitive::<TimestampMicrosecondType>().values(),
    };
    let mask: BooleanArray = values.iter().map(|at| Some(window.contains(*at))).collect();
    filter_record_batch(batch, &mask)
}

fn untold(path: &str, cursor: &str, cause: ArrowError) -> WorkerError {
    WorkerError::never(error::SINK_UNSUPPORTED, "the windows of a file's rows cannot be told")
        .at(format!("column {cursor:?} of {path}"))
        .fix("keep the cursor column in the files, or set `window.per_task: 1`")
        .because(cause)
}

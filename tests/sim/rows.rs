//! The rows of files, read by nothing of windrow's: of JSON lines, and of Parquet by its own crate.

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::bucket::Place;

/// `(id, hash)`
pub(crate) type Row = (i64, String);

/// `None` if the file is not there or cannot be read.
pub(crate) fn rows_in(place: &Place, path: &str) -> Option<Vec<Row>> {
    let bytes = place.bytes(path)?;
    match bytes.starts_with(b"PAR1") {
        true => of_parquet(bytes),
        false => of_lines(&bytes),
    }
}

fn of_lines(bytes: &[u8]) -> Option<Vec<Row>> {
    #[derive(Deserialize)]
    struct Line {
        id: i64,
        hash: String,
    }
    let lines = std::str::from_utf8(bytes).ok()?.lines();
    lines.map(|line| serde_json::from_str::<Line>(line).ok().map(|row| (row.id, row.hash))).collect()
}

fn of_parquet(bytes: Bytes) -> Option<Vec<Row>> {
    let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?.build().ok()?;
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(of_batch(&batch.ok()?)?);
    }
    Some(rows)
}

pub(crate) fn of_batch(batch: &RecordBatch) -> Option<Vec<Row>> {
    let ids = batch.column_by_name("id")?.as_any().downcast_ref::<Int64Array>()?;
    let hashes = batch.column_by_name("hash")?.as_any().downcast_ref::<StringArray>()?;
    Some((0..batch.num_rows()).map(|row| (ids.value(row), hashes.value(row).to_owned())).collect())
}

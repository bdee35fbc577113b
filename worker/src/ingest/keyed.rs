//! Rows on their way to a sink that keeps one of each key: a row without a key, or without what tells whether it is newer,
//! leaves the stream for the dead letters.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_json::LineDelimitedWriter;
use arrow_schema::Schema;
use arrow_select::filter::filter_record_batch;
use futures::{StreamExt, TryStreamExt};
use windrow_common::{error, upsert::Upsert};

use super::Found;
use crate::{
    error::{Result, WorkerError},
    source::{MAX_REJECT_BYTES, Reject},
    stage::BatchStream,
};

/// What rejects say they stood in: which input a row was made of is not known behind a transform.
const INPUT: &str = "rows behind the transform";
/// Rejects made at a time, each with its row.
const AT_A_TIME: usize = 64;

/// Tells rows that have what they need from those that lack it.
pub(super) struct Keyed {
    /// Columns that hold no null.
    columns: Vec<String>,
    /// Rows that have passed.
    seen: AtomicU64,
}

impl Keyed {
    /// Fails with `SINK_SCHEMA` if rows of `schema` lack a column.
    pub(super) fn of(upsert: &Upsert, schema: &Schema) -> Result<Self> {
        let columns: Vec<String> = upsert.key.iter().chain(&upsert.order).cloned().collect();
        match columns.iter().find(|name| schema.field_with_name(name).is_err()) {
            None => Ok(Self { columns, seen: AtomicU64::new(0) }),
            Some(name) => Err(WorkerError::never(error::SINK_SCHEMA, format!("the rows have no column {name:?}"))
                .fix("correct `key` or `order`, or keep the column in the transform")),
        }
    }

    pub(super) fn of_rows(self, rows: BatchStream, found: Arc<Found>) -> BatchStream {
        let keyed = Arc::new(self);
        let sorted = move |batch: RecordBatch| {
            let (keyed, found) = (keyed.clone(), found.clone());
            async move { keyed.sorted(batch, &found).await }
        };
        rows.and_then(sorted).boxed()
    }

    async fn sorted(&self, batch: RecordBatch, found: &Found) -> Result<RecordBatch> {
        let before = self.seen.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let Some(whole) = self.whole(&batch).filter(|whole| whole.null_count() > 0) else { return Ok(batch) };
        let lacking: Vec<usize> = (0..batch.num_rows()).filter(|row| whole.is_null(*row)).collect();
        for rows in lacking.chunks(AT_A_TIME) {
            let rejects = rows.iter().map(|row| self.reject(&batch, *row, before + *row as u64 + 1));
            found.leave(rejects.collect()).await?;
        }
        filter_record_batch(&batch, &BooleanArray::new(whole.into_inner(), None))
            .map_err(|cause| WorkerError::never(error::INTERNAL, "rows cannot be told apart").because(cause))
    }

    /// Which rows have all they need; `None` if all do.
    fn whole(&self, batch: &RecordBatch) -> Option<NullBuffer> {
        let nulls = self.columns.iter().filter_map(|name| batch.column_by_name(name)?.logical_nulls());
        nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), Some(&nulls)))
    }

    fn reject(&self, batch: &RecordBatch, row: usize, position: u64) -> Reject {
        let is_null = |name: &&String| {
            let nulls = batch.column_by_name(name).and_then(|column| column.logical_nulls());
            nulls.is_some_and(|nulls| nulls.is_null(row))
        };
        let column = self.columns.iter().find(is_null).map(String::as_str).unwrap_or_default();
        let reason = format!("column {column:?} is null, by which rows of one key are told and ordered");
        let raw = shown(&batch.slice(row, 1));
        Reject { input: INPUT.to_owned(), position, code: error::KEY_MISSING.code, reason, raw }
    }
}

/// One row as JSON, as far as it has a form there.
fn shown(row: &RecordBatch) -> String {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    let written = writer.write(row).and_then(|()| writer.finish());
    let mut text =
        written.map(|()| String::from_utf8_lossy(writer.get_ref()).trim_end().to_owned()).unwrap_or_default();
    text.truncate(text.floor_char_boundary(MAX_REJECT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::{Int64Array, StringArray};
    use arrow_schema::{DataType, Field};

    use super::*;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("at", DataType::Utf8, true)]);
        let ids = Int64Array::from(vec![Some(1), None, Some(3), Some(4)]);
        let at = StringArray::from(vec![Some("a"), Some("b"), None, Some("d")]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(at)]).unwrap()
    }

    fn upsert(key: &str, order: &str) -> Upsert {
        Upsert { key: vec![key.to_owned()], order: vec![order.to_owned()], deleted: None }
    }

    #[test]
    fn a_row_that_lacks_its_key_or_its_order_is_found_and_shown() {
        let batch = batch();
        let keyed = Keyed::of(&upsert("id", "at"), &batch.schema()).unwrap();
        let whole = keyed.whole(&batch).unwrap();
        assert_eq!((0..4).map(|row| whole.is_valid(row)).collect::<Vec<_>>(), [true, false, false, true]);
        let reject = keyed.reject(&batch, 2, 7);
        assert_eq!((reject.position, reject.code), (7, "WR-K014"));
        assert!(reject.reason.contains("\"at\""), "{}", reject.reason);
        assert_eq!(reject.raw, r#"{"id":3}"#);
        assert!(
            Keyed::of(&upsert("id", "at"), &batch.schema())
                .unwrap()
                .whole(&batch.slice(0, 1))
                .is_none_or(|whole| whole.null_count() == 0)
        );
    }

    #[test]
    fn a_key_or_an_order_the_rows_lack_is_refused() {
        for upsert in [upsert("ids", "at"), upsert("id", "when")] {
            assert_eq!(Keyed::of(&upsert, &batch().schema()).err().unwrap().code(), error::SINK_SCHEMA);
        }
    }
}

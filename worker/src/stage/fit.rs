//! Values that have no place in the table are taken out of the rows, or their rows out of the stream, before anything is
//! cast: by a pipeline's policy, each counted, none in silence. Pure.

use std::{collections::BTreeMap, sync::Arc};

use arrow::compute::filter_record_batch;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_json::{WriterBuilder, writer::LineDelimited};
use arrow_schema::{Field, Schema, SchemaRef};
use windrow_common::error;

use super::{
    Changes, Layout,
    cast::{fitting, shown},
    changes::Discard,
};
use crate::{
    error::{Result, WorkerError},
    source::{MAX_REJECT_BYTES, Reject},
};

/// Fits the batches of one stream.
pub(super) struct Fitter {
    target: SchemaRef,
    changes: Changes,
    rows_seen: u64,
}

/// What is left of a batch, and what is not.
pub(super) struct Fitted {
    pub(super) rows: RecordBatch,
    pub(super) rejects: Vec<Reject>,
    /// Values left out, by column.
    pub(super) discarded: BTreeMap<String, u64>,
}

/// Rows that go, each with the first reason.
type Reasons = BTreeMap<usize, String>;

impl Fitter {
    pub(super) fn new(layout: &Layout) -> Self {
        Self { target: layout.schema.clone(), changes: layout.changes.clone(), rows_seen: 0 }
    }

    pub(super) fn fit(&mut self, batch: &RecordBatch) -> Result<Fitted> {
        let (mut reasons, mut discarded) = (Reasons::new(), BTreeMap::new());
        let mut kept: Vec<(Arc<Field>, ArrayRef)> = Vec::with_capacity(batch.num_columns());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let fitted = match self.target.field_with_name(field.name()) {
                Err(_) => self.fit_homeless(field, column, &mut reasons, &mut discarded),
                Ok(target) => Some(self.fit_column(target, column, &mut reasons, &mut discarded)?),
            };
            kept.extend(
                fitted.map(|column| (Arc::new(Field::new(field.name(), column.data_type().clone(), true)), column)),
            );
        }
        let (fields, columns): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        let mut rows = rows.map_err(broken)?;
        let mut rejects = Vec::new();
        if !reasons.is_empty() {
            let stays: BooleanArray = (0..batch.num_rows()).map(|row| Some(!reasons.contains_key(&row))).collect();
            rows = filter_record_batch(&rows, &stays).map_err(broken)?;
            rejects = reasons.into_iter().map(|(row, reason)| self.reject(batch, row, reason)).collect();
        }
        self.rows_seen += batch.num_rows() as u64;
        Ok(Fitted { rows, rejects, discarded })
    }

    /// A column that the table lacks.
    fn fit_homeless(
        &self,
        field: &Field,
        column: &ArrayRef,
        reasons: &mut Reasons,
        discarded: &mut BTreeMap<String, u64>,
    ) -> Option<ArrayRef> {
        let given = given(column);
        match self.changes.new_column {
            // What has no place is refused when it is cast.
            None => return Some(column.clone()),
            Some(Discard::Value) => count(discarded, field.name(), given.true_count()),
            Some(Discard::Row) => {
                let reason = || format!("column {:?}: the table has no such column", field.name());
                give(reasons, &given, |_| reason());
            }
        }
        None
    }

    fn fit_column(
        &self,
        target: &Field,
        column: &ArrayRef,
        reasons: &mut Reasons,
        discarded: &mut BTreeMap<String, u64>,
    ) -> Result<ArrayRef> {
        let name = target.name();
        let Some(discard) = self.changes.type_change else { return Ok(column.clone()) };
        if discard == Discard::Row && !target.is_nullable() {
            let absent = arrow::compute::not(&given(column)).map_err(broken)?;
            give(reasons, &absent, |_| format!("column {name:?}: null where the table takes none"));
        }
        if !self.changes.doubted.contains(name) {
            return Ok(column.clone());
        }
        let (fitted, misfits) = fitting(column, target.data_type())?;
        if misfits.true_count() == 0 {
            return Ok(fitted);
        }
        match discard {
            // Null has no place there either: it is refused when it is cast.
            Discard::Value if !target.is_nullable() => return Ok(column.clone()),
            Discard::Value => count(discarded, name, misfits.true_count()),
            Discard::Row => {
                give(reasons, &misfits, |row| format!("column {name:?}: {}", shown(column, row, target.data_type())));
            }
        }
        Ok(fitted)
    }

    fn reject(&self, batch: &RecordBatch, row: usize, reason: String) -> Reject {
        Reject {
            input: "rows that do not fit the table".to_owned(),
            position: self.rows_seen + row as u64 + 1,
            code: error::SINK_SCHEMA.code,
            reason,
            raw: as_json(&batch.slice(row, 1)),
        }
    }
}

/// Which rows have a value.
fn given(column: &ArrayRef) -> BooleanArray {
    let nulls = column.logical_nulls();
    (0..column.len()).map(|row| Some(nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)))).collect()
}

fn give(reasons: &mut Reasons, which: &BooleanArray, reason: impl Fn(usize) -> String) {
    for row in (0..which.len()).filter(|row| which.value(*row)) {
        reasons.entry(row).or_insert_with(|| reason(row));
    }
}

fn count(discarded: &mut BTreeMap<String, u64>, column: &str, values: usize) {
    if values > 0 {
        *discarded.entry(column.to_owned()).or_default() += values as u64;
    }
}

/// One row as far as JSON can tell it; what it cannot is left out, for it is for people to read.
fn as_json(row: &RecordBatch) -> String {
    let mut out = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
    let told = writer.write(row).and_then(|()| writer.finish());
    let text = if told.is_ok() { String::from_utf8_lossy(&out).trim_end().to_owned() } else { String::new() };
    let end = (0..=text.len().min(MAX_REJECT_BYTES)).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

fn broken(cause: arrow_schema::ArrowError) -> WorkerError {
    WorkerError::never(error::INTERNAL, "rows cannot be fitted to the table").because(cause)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use arrow_array::{Float64Array, Int32Array, Int64Array, StringArray};
    use arrow_schema::DataType;

    use super::*;
    use crate::stage::FileFormat;

    fn layout(columns: &[(&str, DataType, bool)], changes: Changes) -> Layout {
        let fields: Vec<_> =
            columns.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable)).collect();
        Layout {
            format: FileFormat::JsonLines,
            schema: Arc::new(Schema::new(fields)),
            partition_by: Vec::new(),
            target_bytes: 1,
            folder: String::new(),
            cursor: None,
            stats: false,
            changes,
        }
    }

    fn discarding(discard: Discard, doubted: &[&str]) -> Changes {
        Changes {
            doubted: doubted.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
            new_column: Some(discard),
            type_change: Some(discard),
            ..Changes::default()
        }
    }

    fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    /// Three rows: one that fits, one with a number too large, one with a column the table lacks.
    fn three() -> RecordBatch {
        rows(vec![
            ("id", Arc::new(Int64Array::from(vec![1, 1 << 40, 3]))),
            ("new", Arc::new(StringArray::from(vec![None, None, Some("x")]))),
        ])
    }

    #[test]
    fn a_row_with_a_value_that_does_not_fit_is_rejected_with_its_reason() {
        let layout = layout(&[("id", DataType::Int32, true)], discarding(Discard::Row, &["id"]));
        let mut fitter = Fitter::new(&layout);
        for pass in 0..2 {
            let fitted = fitter.fit(&three()).unwrap();
            assert_eq!(fitted.rows, rows(vec![("id", Arc::new(Int32Array::from(vec![1])))]));
            assert!(fitted.discarded.is_empty());
            let told: Vec<_> =
                fitted.rejects.iter().map(|one| (one.position, one.reason.as_str(), one.raw.as_str())).collect();
            let expected = [
                (
                    3 * pass + 2,
                    "column \"id\": \"1099511627776\" does not fit Int32",
                    r#"{"id":1099511627776,"new":null}"#,
                ),
                (3 * pass + 3, "column \"new\": the table has no such column", r#"{"id":3,"new":"x"}"#),
            ];
            assert_eq!(told, expected);
            assert!(fitted.rejects.iter().all(|one| one.code == "WR-K004"));
        }
    }

    #[test]
    fn a_value_that_does_not_fit_becomes_null_and_is_counted() {
        let layout = layout(&[("id", DataType::Int32, true)], discarding(Discard::Value, &["id"]));
        let fitted = Fitter::new(&layout).fit(&three()).unwrap();
        assert_eq!(fitted.rows, rows(vec![("id", Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])))]));
        assert_eq!(fitted.discarded, BTreeMap::from([("id".to_owned(), 1), ("new".to_owned(), 1)]));
        assert!(fitted.rejects.is_empty());
    }

    #[test]
    fn what_the_policy_does_not_speak_of_stays_for_the_cast_to_refuse() {
        let only_types = Changes { new_column: None, ..discarding(Discard::Value, &[]) };
        let fitted = Fitter::new(&layout(&[("id", DataType::Int64, true)], only_types)).fit(&three()).unwrap();
        assert_eq!(fitted.rows, three());
        // Null is no way out where the table takes none.
        let strict = layout(
            &[("id", DataType::Int32, false), ("new", DataType::Utf8, true)],
            discarding(Discard::Value, &["id"]),
        );
        assert_eq!(Fitter::new(&strict).fit(&three()).unwrap().rows, three());
    }

    #[test]
    fn a_missing_value_goes_with_its_row_where_the_table_wants_one() {
        let layout = layout(&[("x", DataType::Float64, false)], discarding(Discard::Row, &[]));
        let batch = rows(vec![("x", Arc::new(Float64Array::from(vec![None, Some(1.0)])))]);
        let fitted = Fitter::new(&layout).fit(&batch).unwrap();
        assert_eq!((fitted.rows.num_rows(), fitted.rejects.len()), (1, 1));
    }
}

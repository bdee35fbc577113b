//! Rows into the groups of their partition values. Pure.

use std::{collections::HashMap, sync::Arc};

use arrow::compute::{cast, take_record_batch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use windrow_common::error;

use super::name::{HIVE_NULL, hive_folder};
use crate::error::{Result, WorkerError};

/// Longest folder name file systems take.
const MAX_FOLDER_BYTES: usize = 255;
/// Naive timestamps without a zone, instants with theirs; both as Delta writes partition values.
const TEXT: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(false)
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));

/// The values of the partition columns as text, in the order of `partition_by`; `None` is null.
pub(super) type Key = Vec<Option<String>>;

/// Cuts batches of one schema by the values of some columns.
pub(super) struct Partitioner {
    names: Vec<String>,
    columns: Vec<usize>,
    rest: Vec<usize>,
    file_schema: SchemaRef,
}

impl Partitioner {
    /// `SINK_SCHEMA` when a column is missing, `SINK_UNSUPPORTED_TYPE` when its type makes no folder name.
    pub(super) fn new(schema: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let columns = partition_by.iter().map(|name| find(schema, name)).collect::<Result<Vec<_>>>()?;
        let rest: Vec<usize> = (0..schema.fields().len()).filter(|column| !columns.contains(column)).collect();
        if rest.is_empty() {
            return Err(WorkerError::never(error::SINK_SCHEMA, "no column is left for the files")
                .fix("partition by fewer columns"));
        }
        let file_schema = Arc::new(schema.project(&rest).map_err(broken)?);
        Ok(Self { names: partition_by.to_vec(), columns, rest, file_schema })
    }

    /// The schema of the files: the table's without the partition columns.
    pub(super) fn file_schema(&self) -> &SchemaRef {
        &self.file_schema
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// `a=1/b=2`, empty without partition columns.
    pub(super) fn folder(&self, key: &Key) -> Result<String> {
        let folders: Vec<_> =
            self.names.iter().zip(key).map(|(name, value)| hive_folder(name, value.as_deref())).collect();
        match folders.iter().find(|folder| folder.len() > MAX_FOLDER_BYTES) {
            None => Ok(folders.join("/")),
            Some(long) => {
                let start: String = long.chars().take(60).collect();
                Err(WorkerError::never(error::VALUE_MALFORMED, "a partition value is too long for a folder name")
                    .at(start)
                    .fix("partition by a shorter column"))
            }
        }
    }

    /// The batch's groups in the order they first appear, each without the partition columns.
    pub(super) fn split(&self, batch: &RecordBatch) -> Result<Vec<(Key, RecordBatch)>> {
        let files = batch.project(&self.rest).map_err(broken)?;
        if self.columns.is_empty() {
            return Ok(vec![(Key::new(), files)]);
        }
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| Arc::clone(batch.column(*column))).collect();
        let groups = group(&columns).map_err(broken)?;
        let alone = groups.len() == 1;
        let mut parts = Vec::with_capacity(groups.len());
        for rows in groups {
            let Some(first) = rows.first() else { continue };
            let key = self.key(&columns, *first as usize)?;
            let part = if alone {
                files.clone()
            } else {
                take_record_batch(&files, &UInt32Array::from(rows)).map_err(broken)?
            };
            parts.push((key, part));
        }
        Ok(parts)
    }

    fn key(&self, columns: &[ArrayRef], row: usize) -> Result<Key> {
        self.names.iter().zip(columns).map(|(name, column)| text(name, column, row)).collect()
    }
}

fn find(schema: &Schema, name: &str) -> Result<usize> {
    let missing = |_| {
        WorkerError::never(error::SINK_SCHEMA, format!("the rows have no column {name:?} to partition by"))
            .fix("correct `partition_by`, or add the column in a transform")
    };
    let index = schema.index_of(name).map_err(missing)?;
    let kind = schema.field(index).data_type();
    let good = kind.is_integer()
        || kind.is_decimal()
        || kind.is_string()
        || matches!(kind, DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    if good {
        return Ok(index);
    }
    Err(WorkerError::never(
        error::SINK_UNSUPPORTED_TYPE,
        format!("the column {name:?} of type {kind} cannot be partitioned by"),
    )
    .fix("partition by a text, integer, decimal, boolean, date or timestamp column"))
}

/// Row numbers by equal values, groups in the order of their first row.
fn group(columns: &[ArrayRef]) -> Result<Vec<Vec<u32>>, ArrowError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut known: HashMap<OwnedRow, usize> = HashMap::new();
    let mut last: Option<(usize, usize)> = None;
    for (number, row) in rows.iter().enumerate() {
        // Neighbours mostly share their group.
        let index = match last {
            Some((previous, index)) if rows.row(previous) == row => index,
            _ => *known.entry(row.owned()).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            }),
        };
        groups[index]
            .push(u32::try_from(number).map_err(|_| ArrowError::ComputeError("a batch is too long".to_owned()))?);
        last = Some((number, index));
    }
    Ok(groups)
}

/// A value's text. Readers take an empty text and Hive's word for null as null, so those values are refused.
fn text(name: &str, column: &ArrayRef, row: usize) -> Result<Option<String>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let one = column.slice(row, 1);
    let one = match one.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            cast(&one, &DataType::Timestamp(*unit, Some("UTC".into()))).map_err(broken)?
        }
        _ => one,
    };
    let formatter = ArrayFormatter::try_new(&one, &TEXT).map_err(broken)?;
    let text = formatter.value(0).try_to_string().map_err(broken)?;
    if text.is_empty() || text == HIVE_NULL {
        return Err(WorkerError::never(
            error::VALUE_MALFORMED,
            format!("readers would take the partition value {text:?} for null"),
        )
        .at(format!("column {name:?}"))
        .fix("replace the value in a transform, for example by nullif or coalesce"));
    }
    Ok(Some(text))
}

fn broken(cause: ArrowError) -> WorkerError {
    WorkerError::never(error::VALUE_MALFORMED, "rows cannot be partitioned").because(cause)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::{Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn split(column: ArrayRef) -> Result<Vec<(Key, RecordBatch)>> {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..column.len() as i64));
        let batch = RecordBatch::try_from_iter([("p", column), ("n", numbers)]).unwrap();
        Partitioner::new(&batch.schema(), &["p".to_owned()])?.split(&batch)
    }

    fn keys(column: ArrayRef) -> Vec<Option<String>> {
        split(column).unwrap().into_iter().map(|(mut key, _)| key.remove(0)).collect()
    }

    #[test]
    fn every_row_lands_in_the_group_of_its_value() {
        let parts = split(Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("b")]))).unwrap();
        let found: Vec<(Option<String>, Vec<i64>)> = parts
            .into_iter()
            .map(|(mut key, rows)| {
                let numbers = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                assert_eq!(rows.num_columns(), 1);
                (key.remove(0), numbers.values().to_vec())
            })
            .collect();
        assert_eq!(found, [(Some("b".to_owned()), vec![0, 3]), (Some("a".to_owned()), vec![1]), (None, vec![2])]);
    }

    #[test]
    fn values_are_written_as_readers_expect_them() {
        assert_eq!(keys(Arc::new(Date32Array::from(vec![15_706]))), [Some("2013-01-01".to_owned())]);
        let naive: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_000_000, 1_500_000]));
        assert_eq!(keys(naive), [Some("1970-01-01 00:00:01".to_owned()), Some("1970-01-01 00:00:01.500".to_owned())]);
        let instant: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("+02:00"));
        assert_eq!(keys(instant), [Some("1970-01-01T00:00:00Z".to_owned())]);
    }

    #[test]
    fn a_value_readers_would_take_for_null_is_refused() {
        for bad in ["", HIVE_NULL] {
            let error = split(Arc::new(StringArray::from(vec![bad]))).unwrap_err();
            assert_eq!(error.code(), error::VALUE_MALFORMED);
        }
    }

    #[test]
    fn a_value_too_long_for_a_folder_is_refused() {
        let parts = Partitioner {
            names: vec!["p".to_owned()],
            columns: vec![],
            rest: vec![],
            file_schema: Arc::new(Schema::empty()),
        };
        assert!(parts.folder(&vec![Some("x".repeat(300))]).is_err());
    }
}

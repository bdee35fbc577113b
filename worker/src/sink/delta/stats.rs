//! Delta's statistics of a data file, from what Parquet knows about its columns. Bounds that cannot be written without
//! loss are left out: a missing bound costs a reader time, a wrong one costs it rows. Pure.

use arrow_array::{
    Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    cast::AsArray,
    types::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema};
use jiff::Timestamp;
use parquet::{
    arrow::arrow_reader::statistics::StatisticsConverter,
    errors::Result,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};
use serde_json::{Map, Value, json};

/// Most columns statistics are kept of, as other Delta writers do.
const MAX_COLUMNS: usize = 32;

/// Most digits of a decimal that survive being a number of JSON.
const EXACT_DIGITS: u8 = 15;

/// `numRecords`, `minValues`, `maxValues`, `nullCount`.
pub(super) fn of_file(metadata: &ParquetMetaData, schema: &Schema) -> Result<Value> {
    let (mut min_values, mut max_values, mut null_count) = (Map::new(), Map::new(), Map::new());
    for field in schema.fields().iter().filter(|field| !field.data_type().is_nested()).take(MAX_COLUMNS) {
        let column = Column::of(metadata, schema, field)?;
        let name = field.name();
        min_values.extend(column.min.map(|value| (name.clone(), value)));
        max_values.extend(column.max.map(|value| (name.clone(), value)));
        null_count.extend(column.nulls.map(|count| (name.clone(), json!(count))));
    }
    Ok(json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": min_values,
        "maxValues": max_values,
        "nullCount": null_count,
    }))
}

#[derive(Default)]
struct Column {
    min: Option<Value>,
    max: Option<Value>,
    nulls: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl Column {
    fn of(metadata: &ParquetMetaData, schema: &Schema, field: &Field) -> Result<Self> {
        let groups = metadata.row_groups();
        if groups.is_empty() {
            return Ok(Self::default());
        }
        let converter = StatisticsConverter::try_new(field.name(), schema, metadata.file_metadata().schema_descr())?;
        let nulls = converter.row_group_null_counts(groups)?;
        let mins = converter.row_group_mins(groups)?;
        let maxes = converter.row_group_maxes(groups)?;
        let all_nulls = |group: usize, meta: &RowGroupMetaData| {
            nulls.is_valid(group) && i64::try_from(nulls.value(group)) == Ok(meta.num_rows())
        };
        let known = |ends: &ArrayRef| {
            groups.iter().enumerate().all(|(group, meta)| ends.is_valid(group) || all_nulls(group, meta))
        };
        Ok(Self {
            min: known(&mins).then(|| outermost(&mins, End::Min)).flatten(),
            max: known(&maxes).then(|| outermost(&maxes, End::Max)).flatten(),
            nulls: (nulls.null_count() == 0).then(|| nulls.values().iter().sum()),
        })
    }
}

/// The least or greatest of the row groups' bounds as JSON.
fn outermost(ends: &ArrayRef, end: End) -> Option<Value> {
    match ends.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let ends = cast(ends, &DataType::Int64).ok()?;
            let ends: &Int64Array = ends.as_primitive::<Int64Type>();
            pick(ends.iter().flatten(), end).map(|value| json!(value))
        }
        DataType::Float32 | DataType::Float64 => {
            let ends = cast(ends, &DataType::Float64).ok()?;
            let ends: &Float64Array = ends.as_primitive::<Float64Type>();
            float(ends.iter().flatten(), end)
        }
        DataType::Utf8 => {
            let ends: &StringArray = ends.as_string::<i32>();
            pick(ends.iter().flatten(), end).map(|value| json!(value))
        }
        DataType::Date32 => {
            let texts = cast(ends, &DataType::Utf8).ok()?;
            let texts: &StringArray = texts.as_string::<i32>();
            // Of four-digit years the order of the texts is that of the days.
            let plain = texts.iter().flatten().all(|text| text.len() == 10);
            plain.then(|| pick(texts.iter().flatten(), end)).flatten().map(|value| json!(value))
        }
        DataType::Timestamp(..) => {
            let ends: &TimestampMicrosecondArray = ends.as_primitive_opt::<TimestampMicrosecondType>()?;
            let instant = Timestamp::from_microsecond(pick(ends.iter().flatten(), end)?).ok()?;
            Some(json!(format!("{instant:.6}")))
        }
        DataType::Decimal128(precision, scale) if *precision <= EXACT_DIGITS => {
            let ends: &Decimal128Array = ends.as_primitive::<Decimal128Type>();
            let value = pick(ends.iter().flatten(), end)?;
            Some(json!(value as f64 / 10_f64.powi(i32::from(*scale))))
        }
        _ => None,
    }
}

fn pick<T: Ord>(values: impl Iterator<Item = T>, end: End) -> Option<T> {
    match end {
        End::Min => values.min(),
        End::Max => values.max(),
    }
}

/// JSON has no form for what is not finite.
fn float(values: impl Iterator<Item = f64>, end: End) -> Option<Value> {
    let outermost = match end {
        End::Min => values.reduce(f64::min),
        End::Max => values.reduce(f64::max),
    };
    outermost.filter(|value| value.is_finite()).map(|value| json!(value))
}

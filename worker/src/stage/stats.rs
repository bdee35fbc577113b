//! Delta's statistics of a file: `numRecords`, `minValues`, `maxValues`, `nullCount`. Readers skip files by them, so a
//! bound is right or it is left out. Rows are counted as they pass; bounds are those that the encoder of Parquet has noted in
//! the file's footer. Pure.

use arrow::compute::{max, max_string, max_string_view, min, min_string, min_string_view};
use arrow_array::{
    Array, ArrowPrimitiveType, BooleanArray, RecordBatch,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
        UInt16Type, UInt32Type,
    },
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate};
use parquet::{
    arrow::arrow_reader::statistics::StatisticsConverter,
    errors::Result as ParquetResult,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};
use serde_json::{Map, Value, json};
use windrow_common::manifest::StagedFile;

#[cfg(test)]
mod tests;

/// As many leading columns as Delta indexes by default.
const MAX_COLUMNS: usize = 32;
/// As many characters of a text as Delta keeps by default.
const MAX_CHARS: usize = 32;
/// As many bytes of a text as footers have to hold: more than that many characters of any kind.
pub(super) const NOTED_BYTES: usize = 4 * (MAX_CHARS + 1);
/// Decimals of more digits do not survive as JSON numbers.
const EXACT_DECIMAL_DIGITS: u8 = 15;

/// Whether every row of the file says by its cursor which window it is of.
pub(crate) fn told_apart(file: &StagedFile, cursor: Option<&str>) -> bool {
    let (Some(cursor), Some(stats)) = (cursor, &file.stats) else { return false };
    stats.get("nullCount").and_then(|counts| counts.get(cursor)).and_then(Value::as_u64) == Some(0)
}

/// Collects while batches of one schema are written.
pub(super) struct Stats {
    schema: SchemaRef,
    rows: u64,
    columns: Vec<Column>,
}

struct Column {
    index: usize,
    nulls: u64,
    /// Of a column whose values are looked at.
    range: Range,
}

enum Range {
    /// No value yet.
    Empty,
    Of(Scalar, Scalar),
    /// A value that has no place in an order: no bound can be given any more.
    Unordered,
}

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Scalar {
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(String),
}

impl Stats {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().enumerate().take(MAX_COLUMNS);
        let columns = columns.filter(|(_, field)| !matches!(field.data_type(), DataType::Struct(_)));
        let columns = columns.map(|(index, _)| Column { index, nulls: 0, range: Range::Empty });
        Self { schema: schema.clone(), rows: 0, columns: columns.collect() }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for column in &mut self.columns {
            let values = batch.column(column.index);
            column.nulls += values.null_count() as u64;
            if is_looked_at(values.data_type()) {
                let range = std::mem::replace(&mut column.range, Range::Unordered);
                column.range = range.joined(range_of(values));
            }
        }
    }

    /// Those of a file with this footer. One that has none has no bounds.
    pub(super) fn into_json(self, footer: Option<&ParquetMetaData>) -> Value {
        let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in self.columns {
            let field = self.schema.field(column.index);
            let (name, kind) = (field.name(), field.data_type());
            nulls.insert(name.clone(), column.nulls.into());
            let range = match footer {
                Some(_) if is_looked_at(kind) => column.range,
                Some(footer) => noted(&self.schema, field, footer).unwrap_or(Range::Unordered),
                None => Range::Unordered,
            };
            let (low, high) = range.bounds(kind);
            least.extend(low.map(|low| (name.clone(), low)));
            most.extend(high.map(|high| (name.clone(), high)));
        }
        json!({ "numRecords": self.rows, "minValues": least, "maxValues": most, "nullCount": nulls })
    }
}

/// Footers do not say whether a column of floats holds a NaN.
fn is_looked_at(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// What a footer says of a column, over all row groups.
fn noted(schema: &Schema, field: &Field, footer: &ParquetMetaData) -> ParquetResult<Range> {
    let column = StatisticsConverter::try_new(field.name(), schema, footer.file_metadata().schema_descr())?;
    let groups = footer.row_groups();
    let (least, most) = (column.row_group_mins(groups)?, column.row_group_maxes(groups)?);
    let nulls = column.row_group_null_counts(groups)?;
    let (least_exact, most_exact) =
        (column.row_group_is_min_value_exact(groups)?, column.row_group_is_max_value_exact(groups)?);
    let tells = |number: usize| {
        let bound = |bounds: &dyn Array, exact: &BooleanArray| {
            bounds.is_valid(number) && (exact.value(number) || is_long(bounds, number))
        };
        bound(&least, &least_exact) && bound(&most, &most_exact)
    };
    let is_empty = |number: usize, group: &RowGroupMetaData| {
        u64::try_from(group.num_rows()).is_ok_and(|rows| rows == nulls.value(number))
    };
    // Of a dictionary there are bounds of its values, and they may be floats.
    let told = least.data_type() == field.data_type()
        && groups.iter().enumerate().all(|(number, group)| is_empty(number, group) || tells(number));
    Ok(if told { range_of(&least).joined(range_of(&most)) } else { Range::Unordered })
}

/// Whether all that is kept of a text is the text's own, although the footer holds its beginning alone.
fn is_long(texts: &dyn Array, at: usize) -> bool {
    let text = match texts.data_type() {
        DataType::Utf8 => texts.as_string::<i32>().value(at),
        DataType::LargeUtf8 => texts.as_string::<i64>().value(at),
        DataType::Utf8View => texts.as_string_view().value(at),
        _ => return false,
    };
    text.chars().count() > MAX_CHARS
}

impl Range {
    /// What readers are told of it.
    fn bounds(self, kind: &DataType) -> (Option<Value>, Option<Value>) {
        match self {
            Self::Of(low, high) => (low.lower_bound(kind), high.upper_bound(kind)),
            Self::Empty | Self::Unordered => (None, None),
        }
    }

    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unordered, _) | (_, Self::Unordered) => Self::Unordered,
            (Self::Empty, range) | (range, Self::Empty) => range,
            (Self::Of(a, b), Self::Of(c, d)) => Self::Of(if c < a { c } else { a }, if d > b { d } else { b }),
        }
    }

    fn between(bounds: Option<(Scalar, Scalar)>) -> Self {
        bounds.map_or(Self::Empty, |(low, high)| Self::Of(low, high))
    }
}

fn range_of(values: &dyn Array) -> Range {
    match values.data_type() {
        DataType::Int8 => integers::<Int8Type>(values),
        DataType::Int16 => integers::<Int16Type>(values),
        DataType::Int32 => integers::<Int32Type>(values),
        DataType::Int64 => integers::<Int64Type>(values),
        DataType::UInt8 => integers::<UInt8Type>(values),
        DataType::UInt16 => integers::<UInt16Type>(values),
        DataType::UInt32 => integers::<UInt32Type>(values),
        DataType::Date32 => integers::<Date32Type>(values),
        DataType::Timestamp(TimeUnit::Second, _) => integers::<TimestampSecondType>(values),
        DataType::Timestamp(TimeUnit::Millisecond, _) => integers::<TimestampMillisecondType>(values),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integers::<TimestampMicrosecondType>(values),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => integers::<TimestampNanosecondType>(values),
        DataType::Float32 => floats::<Float32Type>(values),
        DataType::Float64 => floats::<Float64Type>(values),
        DataType::Decimal128(..) => {
            let values = values.as_primitive::<Decimal128Type>();
            Range::between(min(values).zip(max(values)).map(|(a, b)| (Scalar::Decimal(a), Scalar::Decimal(b))))
        }
        DataType::Utf8 => texts(min_string(values.as_string::<i32>()), max_string(values.as_string::<i32>())),
        DataType::LargeUtf8 => texts(min_string(values.as_string::<i64>()), max_string(values.as_string::<i64>())),
        DataType::Utf8View => texts(min_string_view(values.as_string_view()), max_string_view(values.as_string_view())),
        _ => Range::Unordered,
    }
}

fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(values: &dyn Array) -> Range {
    let values = values.as_primitive::<T>();
    Range::between(min(values).zip(max(values)).map(|(a, b)| (Scalar::Int(a.into()), Scalar::Int(b.into()))))
}

/// Engines disagree on where NaN stands, so a column that holds one has no bounds.
fn floats<T: ArrowPrimitiveType<Native: Into<f64>>>(values: &dyn Array) -> Range {
    let values = values.as_primitive::<T>();
    let bounds = min(values).zip(max(values)).map(|(a, b)| (a.into(), b.into()));
    match bounds {
        // One lies before or behind all others.
        Some((low, high)) if low.is_nan() || high.is_nan() => Range::Unordered,
        bounds => Range::between(bounds.map(|(low, high)| (Scalar::Float(low), Scalar::Float(high)))),
    }
}

fn texts(low: Option<&str>, high: Option<&str>) -> Range {
    Range::between(low.zip(high).map(|(a, b)| (Scalar::Text(a.to_owned()), Scalar::Text(b.to_owned()))))
}

impl Scalar {
    fn lower_bound(self, kind: &DataType) -> Option<Value> {
        match self {
            Self::Text(text) => Some(text.chars().take(MAX_CHARS).collect::<String>().into()),
            other => other.exact(kind),
        }
    }

    fn upper_bound(self, kind: &DataType) -> Option<Value> {
        match self {
            Self::Text(text) => shortened_up(&text).map(Value::from),
            other => other.exact(kind),
        }
    }

    fn exact(self, kind: &DataType) -> Option<Value> {
        match (self, kind) {
            (Self::Int(days), DataType::Date32) => date(days),
            (Self::Int(value), DataType::Timestamp(unit, zone)) => instant(value, *unit, zone.is_some()),
            (Self::Int(value), _) => Some(value.into()),
            (Self::Float(value), _) => serde_json::Number::from_f64(value).map(Value::Number),
            (Self::Decimal(value), DataType::Decimal128(precision, scale)) if *precision <= EXACT_DECIMAL_DIGITS => {
                let number = Decimal128Type::format_decimal(value, *precision, *scale);
                number.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
            }
            _ => None,
        }
    }
}

/// The shortest text of at most [`MAX_CHARS`] characters that is not below `text` nor any other text with its start:
/// the kept start with its last character that has a successor raised by one.
fn shortened_up(text: &str) -> Option<String> {
    let mut kept: Vec<char> = text.chars().take(MAX_CHARS).collect();
    if text.chars().nth(MAX_CHARS).is_none() {
        return Some(text.to_owned());
    }
    while let Some(last) = kept.pop() {
        if let Some(next) = successor(last) {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

fn successor(c: char) -> Option<char> {
    match u32::from(c) + 1 {
        0xD800 => Some('\u{E000}'),
        next => char::from_u32(next),
    }
}

fn date(days: i64) -> Option<Value> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let date = epoch.checked_add_signed(chrono::Duration::try_days(days)?)?;
    four_digits(date.year()).then(|| date.format("%Y-%m-%d").to_string().into())
}

fn instant(value: i64, unit: TimeUnit, zoned: bool) -> Option<Value> {
    let at = match unit {
        TimeUnit::Second => DateTime::from_timestamp(value, 0)?,
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(value)?,
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(value)?,
        // Would lose digits, and a bound must not.
        TimeUnit::Nanosecond => return None,
    };
    let format = if zoned { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
    four_digits(at.year()).then(|| at.format(format).to_string().into())
}

/// Other years have no ISO text that every reader takes.
fn four_digits(year: i32) -> bool {
    (1..=9_999).contains(&year)
}

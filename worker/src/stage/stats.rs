//! Delta's statistics of a file: `numRecords`, `minValues`, `maxValues`, `nullCount`. Readers skip files by them, so a
//! bound is right or it is left out. Pure.

use arrow::compute::{max, max_string, max_string_view, min, min_string, min_string_view};
use arrow_array::{
    Array, ArrowPrimitiveType, RecordBatch,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, DecimalType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
        UInt16Type, UInt32Type,
    },
};
use arrow_schema::{DataType, Schema, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate};
use serde_json::{Map, Value, json};
use windrow_common::manifest::StagedFile;

/// As many leading columns as Delta indexes by default.
const MAX_COLUMNS: usize = 32;
/// As many characters of a text as Delta keeps by default.
const MAX_CHARS: usize = 32;
/// Decimals of more digits do not survive as JSON numbers.
const EXACT_DECIMAL_DIGITS: u8 = 15;

/// Whether every row of the file says by its cursor which window it is of.
pub(crate) fn told_apart(file: &StagedFile, cursor: Option<&str>) -> bool {
    let (Some(cursor), Some(stats)) = (cursor, &file.stats) else { return false };
    stats.get("nullCount").and_then(|counts| counts.get(cursor)).and_then(Value::as_u64) == Some(0)
}

/// Collects while batches of one schema are written.
pub(super) struct Stats {
    rows: u64,
    columns: Vec<Column>,
}

struct Column {
    index: usize,
    name: String,
    kind: DataType,
    nulls: u64,
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
    pub(super) fn new(schema: &Schema) -> Self {
        let columns = schema.fields().iter().enumerate().take(MAX_COLUMNS);
        let columns = columns.filter(|(_, field)| !matches!(field.data_type(), DataType::Struct(_)));
        let columns = columns.map(|(index, field)| Column {
            index,
            name: field.name().clone(),
            kind: field.data_type().clone(),
            nulls: 0,
            range: Range::Empty,
        });
        Self { rows: 0, columns: columns.collect() }
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for column in &mut self.columns {
            let values = batch.column(column.index);
            column.nulls += values.null_count() as u64;
            let range = std::mem::replace(&mut column.range, Range::Unordered);
            column.range = range.joined(range_of(values));
        }
    }

    pub(super) fn into_json(self) -> Value {
        let (mut least, mut most, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in self.columns {
            nulls.insert(column.name.clone(), column.nulls.into());
            let Range::Of(low, high) = column.range else { continue };
            if let Some(low) = low.lower_bound(&column.kind) {
                least.insert(column.name.clone(), low);
            }
            if let Some(high) = high.upper_bound(&column.kind) {
                most.insert(column.name, high);
            }
        }
        json!({ "numRecords": self.rows, "minValues": least, "maxValues": most, "nullCount": nulls })
    }
}

impl Range {
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
    if values.iter().flatten().any(|value| value.into().is_nan()) {
        return Range::Unordered;
    }
    Range::between(min(values).zip(max(values)).map(|(a, b)| (Scalar::Float(a.into()), Scalar::Float(b.into()))))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn stats(columns: Vec<(&str, ArrayRef)>) -> Value {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
                .unwrap();
        let mut stats = Stats::new(&batch.schema());
        let half = batch.num_rows() / 2;
        stats.add(&batch.slice(0, half));
        stats.add(&batch.slice(half, batch.num_rows() - half));
        stats.into_json()
    }

    #[test]
    fn bounds_and_nulls_are_those_of_the_rows() {
        let found = stats(vec![
            ("i", Arc::new(Int64Array::from(vec![Some(5), None, Some(-3), Some(i64::MAX)]))),
            ("f", Arc::new(Float64Array::from(vec![0.1, -2.5, 1e300, 0.0]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None, None, Some(false)]))),
            ("d", Arc::new(Date32Array::from(vec![15_706, 0, 1, 2]))),
            ("t", Arc::new(TimestampMicrosecondArray::from(vec![1, 1_500_000, 2, 3]).with_timezone("UTC"))),
            ("m", Arc::new(Decimal128Array::from(vec![12_345, -1, 0, 7]).with_precision_and_scale(10, 2).unwrap())),
            ("s", Arc::new(StringArray::from(vec![Some("b"), Some(""), None, Some("ä")]))),
            ("x", Arc::new(BinaryArray::from(vec![Some(b"1".as_slice()), None, None, None]))),
        ]);
        assert_eq!(
            found,
            json!({
                "numRecords": 4,
                "minValues": { "i": -3, "f": -2.5, "d": "1970-01-01", "t": "1970-01-01T00:00:00.000001Z", "m": -0.01, "s": "" },
                "maxValues": { "i": i64::MAX, "f": 1e300, "d": "2013-01-01", "t": "1970-01-01T00:00:01.500000Z", "m": 123.45, "s": "ä" },
                "nullCount": { "i": 1, "f": 0, "b": 2, "d": 0, "t": 0, "m": 0, "s": 1, "x": 3 },
            })
        );
    }

    #[test]
    fn a_column_with_nan_or_infinity_gets_no_bound_that_could_lie() {
        let found = stats(vec![
            ("nan", Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0]))),
            ("inf", Arc::new(Float64Array::from(vec![1.0, f64::INFINITY, 2.0]))),
        ]);
        assert_eq!(found["minValues"], json!({ "inf": 1.0 }));
        assert_eq!(found["maxValues"], json!({}));
    }

    #[test]
    fn long_texts_are_cut_to_bounds_that_still_hold() {
        let long = "z".repeat(40);
        let found = stats(vec![("s", Arc::new(StringArray::from(vec![long.as_str(), long.as_str()])))]);
        let low = found["minValues"]["s"].as_str().unwrap();
        let high = found["maxValues"]["s"].as_str().unwrap();
        assert!(low <= long.as_str() && long.as_str() <= high);
        assert_eq!((low.chars().count(), high), (32, format!("{}{{", "z".repeat(31)).as_str()));
    }

    #[test]
    fn cutting_up_never_breaks_a_character_nor_the_order() {
        let top = char::MAX.to_string();
        assert_eq!(shortened_up(&top.repeat(33)), None);
        assert_eq!(shortened_up(&format!("a{}", top.repeat(33))), Some("b".to_owned()));
        assert_eq!(shortened_up(&"\u{D7FF}".repeat(33)), Some(format!("{}\u{E000}", "\u{D7FF}".repeat(31))));
        assert_eq!(shortened_up(&"ä".repeat(32)), Some("ä".repeat(32)));
    }

    #[test]
    fn bounds_survive_the_manifest_to_the_last_digit() {
        let awkward = 0.1 + 0.2;
        let found = stats(vec![("f", Arc::new(Float64Array::from(vec![awkward, awkward])))]);
        let again: Value = serde_json::from_str(&found.to_string()).unwrap();
        assert_eq!(again["maxValues"]["f"].as_f64(), Some(awkward));
    }
}

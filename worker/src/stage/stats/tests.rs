//! Bounds of real files against the values in them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, ListArray, StringArray, TimestampMicrosecondArray, UInt32Array, types::Int32Type as Key,
};
use arrow_cast::cast;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::stage::{FileFormat, encode::Encoder};

fn stats(columns: Vec<(&str, ArrayRef)>) -> Value {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    stats_of(&batch, batch.num_rows() / 2)
}

/// Of a file with the rows before and from a place in row groups of their own.
fn stats_of(batch: &RecordBatch, cut: usize) -> Value {
    let mut stats = Stats::new(&batch.schema());
    let mut file = Encoder::new(&FileFormat::Parquet { metadata: [].into() }, &batch.schema(), 1).unwrap();
    for part in [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)] {
        stats.add(&part);
        file.write(&part).unwrap();
    }
    let footer = file.finish().unwrap().footer.unwrap();
    assert_eq!(footer.num_row_groups(), usize::from(cut > 0) + usize::from(cut < batch.num_rows()));
    stats.into_json(Some(&footer))
}

/// What a look at every value finds.
fn looked_at(batch: &RecordBatch) -> (Value, Value) {
    let (mut least, mut most) = (Map::new(), Map::new());
    for (field, values) in batch.schema().fields().iter().zip(batch.columns()) {
        let (low, high) = range_of(values).bounds(field.data_type());
        least.extend(low.map(|low| (field.name().clone(), low)));
        most.extend(high.map(|high| (field.name().clone(), high)));
    }
    (least.into(), most.into())
}

/// The numbers and texts in every type that is written.
fn every_type(numbers: &[Option<i64>], texts: &[Option<String>]) -> RecordBatch {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Time64,
        Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8, Utf8View,
    };
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let with = |of: fn(i64) -> i64| numbers.iter().map(move |number| number.map(of));
    let wide: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let narrow: ArrayRef = Arc::new(with(|n| n).map(|n| n.map(|n| n as i32)).collect::<Int32Array>());
    let unsigned: ArrayRef = Arc::new(with(|n| n).map(|n| n.map(|n| n as u32)).collect::<UInt32Array>());
    let days: ArrayRef = Arc::new(with(|n| n % 3_000_000).map(|n| n.map(|n| n as i32)).collect::<Int32Array>());
    let small: ArrayRef = Arc::new(with(|n| n % 100).collect::<Int64Array>());
    let bytes: ArrayRef = Arc::new(with(|n| n & 0xff).collect::<Int64Array>());
    let text: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let lists = numbers.iter().map(|n| n.map(|n| vec![Some(n as i32), None]));
    let words: DictionaryArray<Key> = texts.iter().map(Option::as_deref).collect();
    let decimal = |precision: u8, scale: i8| -> ArrayRef {
        let most = 10_i128.pow(u32::from(precision));
        let values = numbers.iter().map(|number| number.map(|number| i128::from(number) % most));
        Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let of = |array: &ArrayRef, kinds: &[DataType]| {
        kinds.iter().map(|kind| cast(array, kind).unwrap()).collect::<Vec<ArrayRef>>()
    };
    let zone = Some(Arc::<str>::from("UTC"));
    let columns = [
        of(&wide, &[Int64, Float64, Timestamp(Second, None), Timestamp(Millisecond, zone.clone())]),
        of(&wide, &[Timestamp(Microsecond, zone), Timestamp(Microsecond, None), Timestamp(Nanosecond, None)]),
        of(&narrow, &[Int32, Float32, Date32]),
        of(&days, &[Date32, Date64]),
        of(&unsigned, &[UInt32, UInt64]),
        of(&small, &[Int8, Int16, Boolean, Time64(Microsecond)]),
        of(&bytes, &[UInt8, UInt16]),
        vec![decimal(9, 2), decimal(15, 3), decimal(15, 0), decimal(18, 2), decimal(38, 0)],
        of(&text, &[Utf8, LargeUtf8, Utf8View, Binary, BinaryView]),
        vec![Arc::new(ListArray::from_iter_primitive::<Key, _, _>(lists)), Arc::new(words)],
    ];
    let columns = columns.into_iter().flatten().enumerate();
    let named = columns.map(|(number, column)| (format!("{number} {}", column.data_type()), column, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

/// Of all lengths, in characters of all widths.
fn text() -> impl Strategy<Value = String> {
    let pieces = vec(select(vec!["a", "z", "ä", "я", "日", "😀", "aaaaaaaa", "日日日日日日日日"]), 0..40);
    pieces.prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever the values are, the footer tells the same of them as they do.
    #[test]
    fn what_the_footer_tells_is_what_the_values_are(
        rows in vec((option::of(prop_oneof![any::<i64>(), -300_i64..300]), option::of(text())), 1..12),
        cut in 0_usize..12,
    ) {
        let (numbers, texts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let batch = every_type(&numbers, &texts);
        prop_assert!(batch.num_columns() <= MAX_COLUMNS);
        let found = stats_of(&batch, cut.min(batch.num_rows()));
        let (least, most) = looked_at(&batch);
        prop_assert_eq!(&found["minValues"], &least);
        prop_assert_eq!(&found["maxValues"], &most);
        for (field, values) in batch.schema().fields().iter().zip(batch.columns()) {
            prop_assert_eq!(&found["nullCount"][field.name()], values.null_count());
        }
    }
}

/// A footer can neither hold the whole text nor raise its beginning.
#[test]
fn what_the_footer_cannot_tell_is_left_out() {
    let endless = format!("a{}", "\u{7f}".repeat(2 * NOTED_BYTES));
    let found = stats(vec![("s", Arc::new(StringArray::from(vec![endless.as_str()])))]);
    assert_eq!((&found["minValues"], &found["maxValues"]), (&json!({}), &json!({})));
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
        ("negative", Arc::new(Float64Array::from(vec![1.0, -f64::NAN, 2.0]))),
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

//! Every type in every format, with nulls.

use std::io::Cursor;

use arrow_array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StringViewArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
    builder::{Int64Builder, MapBuilder, StringBuilder},
    types::{Int32Type, Int64Type},
};
use arrow_schema::{DataType, Field, Fields};

use super::*;

/// Columns that text formats can hold too.
fn flat() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)]))),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("i32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::MAX)]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None, Some(f64::MIN_POSITIVE)]))),
        ("text", Arc::new(StringArray::from(vec![Some("a,\"b\"\nc"), None, Some("ünï\u{1F600}")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-1), None, Some(15_706)]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(0), None, Some(86_399_999_999)]))),
        ("naive", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_356_998_400_000_001)]))),
        (
            "instant",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_356_998_400_000_001)]).with_timezone("UTC"),
            ),
        ),
        (
            "money",
            Arc::new(
                Decimal128Array::from(vec![Some(-12_345), None, Some(99_999_999_999)])
                    .with_precision_and_scale(18, 2)
                    .unwrap(),
            ),
        ),
    ]
}

fn nested() -> Vec<(&'static str, ArrayRef)> {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None, Some(vec![])]);
    let fields = Fields::from(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8, true)]);
    let children: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        Arc::new(StringArray::from(vec![None, Some("b"), Some("c")])),
    ];
    let record = StructArray::new(fields, children, Some(vec![true, true, false].into()));
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let map: MapArray = map.finish();
    vec![("list", Arc::new(list)), ("record", Arc::new(record)), ("map", Arc::new(map))]
}

#[tokio::test]
async fn every_type_comes_back_from_parquet_as_it_went() {
    let mut columns = flat();
    columns.extend(nested());
    columns.push(("bytes", Arc::new(BinaryArray::from(vec![Some(b"\0\xff".as_slice()), None, Some(b"")]))));
    columns.push(("empty", Arc::new(StringArray::from(vec![Some(""), None, Some(" ")]))));
    columns.push(("nan", Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(f64::NEG_INFINITY)]))));
    let given = batch(columns);
    let place = Place::new();
    let layout = layout(given.schema(), parquet());
    let staged = stage(&place.storage, &layout, &attempt(), rows(vec![given.clone()])).await.unwrap();
    assert_eq!(read_parquet(place.read(&staged[0])), [given]);
}

#[tokio::test]
async fn every_flat_type_comes_back_from_csv_as_it_went() {
    let given = batch(flat());
    for (delimiter, header) in [(b',', true), (b';', false), (b'\t', true)] {
        let place = Place::new();
        let layout = layout(given.schema(), FileFormat::Csv { delimiter, header });
        let staged =
            stage(&place.storage, &layout, &attempt(), rows(vec![given.clone(), given.clone()])).await.unwrap();
        let bytes = place.read(&staged[0]);
        let reader = arrow_csv::ReaderBuilder::new(given.schema()).with_delimiter(delimiter).with_header(header);
        let found: Vec<_> = reader.build(Cursor::new(bytes)).unwrap().map(Result::unwrap).collect();
        let found = arrow::compute::concat_batches(&given.schema(), &found).unwrap();
        assert_eq!(found, arrow::compute::concat_batches(&given.schema(), [&given, &given]).unwrap());
    }
}

#[tokio::test]
async fn every_type_json_knows_comes_back_from_json_lines_as_it_went() {
    let mut columns = flat();
    columns.extend(nested());
    let given = batch(columns);
    let place = Place::new();
    let layout = layout(given.schema(), FileFormat::JsonLines);
    let staged = stage(&place.storage, &layout, &attempt(), rows(vec![given.clone()])).await.unwrap();
    let bytes = place.read(&staged[0]);
    let lines = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.lines().all(|line| line.contains("\"i64\":")), "a null column is written: {lines}");
    let reader = arrow_json::ReaderBuilder::new(given.schema()).build(Cursor::new(bytes)).unwrap();
    let found: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(found, [given]);
}

#[tokio::test]
async fn rows_in_other_encodings_arrive_in_the_tables_types() {
    let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    let given = batch(vec![
        ("words", Arc::new(words)),
        ("views", Arc::new(StringViewArray::from(vec![Some("longer than twelve bytes"), None, Some("x")]))),
        ("counts", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)]))),
    ]);
    let table = Arc::new(arrow_schema::Schema::new(vec![
        Field::new("counts", DataType::Decimal128(20, 0), true),
        Field::new("words", DataType::Utf8, true),
        Field::new("views", DataType::Utf8, true),
    ]));
    let place = Place::new();
    let staged = stage(&place.storage, &layout(table.clone(), parquet()), &attempt(), rows(vec![given])).await.unwrap();
    let found = read_parquet(place.read(&staged[0]));
    let largest =
        Decimal128Array::from(vec![Some(i128::from(u64::MAX)), None, Some(0)]).with_precision_and_scale(20, 0);
    assert_eq!(found[0].column(0).as_ref(), &largest.unwrap() as &dyn arrow_array::Array);
    assert_eq!(
        found[0].column(1).as_ref(),
        &StringArray::from(vec![Some("a"), None, Some("a")]) as &dyn arrow_array::Array
    );
}

#[tokio::test]
async fn what_a_text_format_cannot_say_is_refused_and_never_null() {
    let nan = batch(vec![("n", Arc::new(Float64Array::from(vec![1.0, f64::NAN])))]);
    let inner =
        ListArray::from_iter_primitive::<arrow_array::types::Float64Type, _, _>(vec![Some(vec![Some(f64::INFINITY)])]);
    let deep = batch(vec![("n", Arc::new(inner))]);
    for given in [nan, deep] {
        let place = Place::new();
        let layout = layout(given.schema(), FileFormat::JsonLines);
        let error = stage(&place.storage, &layout, &attempt(), rows(vec![given])).await.unwrap_err();
        assert_eq!(error.code(), windrow_common::error::VALUE_MALFORMED);
        assert_eq!(place.all_files(), Vec::<String>::new());
    }
    let bytes = batch(vec![("b", Arc::new(BinaryArray::from(vec![b"x".as_slice()])))]);
    let list =
        batch(vec![("l", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)])])))]);
    let csv = FileFormat::Csv { delimiter: b',', header: true };
    for (given, format) in [(bytes.clone(), FileFormat::JsonLines), (bytes, csv.clone()), (list, csv)] {
        let place = Place::new();
        let layout = layout(given.schema(), format);
        let error = stage(&place.storage, &layout, &attempt(), rows(vec![given])).await.unwrap_err();
        assert_eq!(error.code(), windrow_common::error::SINK_UNSUPPORTED_TYPE);
    }
}

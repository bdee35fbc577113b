//! Parquet files, as written by somebody else.

use ::parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use arrow_array::{
    ArrayRef, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};

use super::*;

/// Row groups of 100 rows; row `i` has the instant of `i` seconds.
fn events(rows: i64, zone: Option<&str>) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let at = TimestampMicrosecondArray::from_iter_values((0..rows).map(|i| i * 1_000_000)).with_timezone_opt(zone);
    let name: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("{}", i % 10))));
    file(vec![("id", ids), ("at", Arc::new(at)), ("name", name)])
}

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn seconds(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start * 1_000_000, end * 1_000_000).unwrap()
}

/// Proves IL2.
#[tokio::test]
async fn a_window_of_a_parquet_file_holds_its_rows_and_no_others() {
    let folder = Folder::with("in.parquet", events(1_000, Some("UTC")));
    let source = folder.source(json!({ "path": "in.parquet", "cursor": "at" }));
    let mut rows = 0;
    for (start, end) in [(0, 99), (99, 100), (100, 350), (350, 1_000), (1_000, 2_000)] {
        let taken = take(&source, &seconds(start, end)).await.unwrap();
        assert_eq!(taken.rows.num_rows() as i64, (end.min(1_000) - start).max(0), "[{start}, {end})");
        rows += taken.rows.num_rows();
    }
    assert_eq!(rows, 1_000);
    assert_eq!(take_all(&source).await.unwrap().rows.num_rows(), 1_000);
}

#[tokio::test]
async fn row_groups_outside_the_window_are_not_read() {
    let mut bytes = events(1_000, Some("UTC"));
    // The first row group is destroyed; whoever reads it finds out.
    bytes[4..500].fill(0xff);
    let folder = Folder::with("in.parquet", bytes);
    let source = folder.source(json!({ "path": "in.parquet", "cursor": "at" }));
    assert_eq!(take(&source, &seconds(500, 600)).await.unwrap().rows.num_rows(), 100);
    let error = take(&source, &seconds(0, 10)).await.unwrap_err();
    assert_eq!(error.code(), error::SOURCE_CORRUPT);
}

#[tokio::test]
async fn a_declared_schema_casts_and_rejects_what_does_not_fit_by_row_number() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter((0..250).map(|i| (i != 7).then_some(i))));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..250).map(|i| match i {
        120 | 240 => "x".to_owned(),
        i => i.to_string(),
    })));
    let folder = Folder::with("in.parquet", file(vec![("text", text), ("at", ids)]));
    let source = folder.source(json!({
        "path": "in.parquet", "cursor": "at", "schema": [{ "at": "int" }, { "text": "int32" }],
    }));
    let early = take(&source, &Window::new(Axis::Time, 0, 200).unwrap()).await.unwrap();
    assert_eq!(early.rows.num_rows(), 198);
    assert_eq!(
        early.faults(),
        [(8, "WR-S007", "the cursor is null"), (121, "WR-S005", "column \"text\": the value is no Int32")]
    );
    let late = take(&source, &Window::new(Axis::Time, 200, 300).unwrap()).await.unwrap();
    // The first row group is read for its null alone.
    assert_eq!(late.faults().iter().map(|fault| fault.0).collect::<Vec<_>>(), [8, 241]);
    assert_eq!(late.rows.num_rows(), 49);
}

/// Proves IL14.
#[tokio::test]
async fn naive_instants_need_a_declared_zone() {
    let folder = Folder::with("in.parquet", events(7_200, None));
    let first_hour = seconds(-3_600, 0);
    let error = take(&folder.source(json!({ "path": "in.parquet", "cursor": "at" })), &first_hour).await.unwrap_err();
    assert_eq!(error.code(), error::CURSOR_MISSING);
    let params = json!({ "path": "in.parquet", "cursor": "at", "cursor_timezone": "Europe/Paris" });
    assert_eq!(take(&folder.source(params), &first_hour).await.unwrap().rows.num_rows(), 3_600);
}

#[tokio::test]
async fn nanoseconds_before_the_epoch_fall_into_the_right_window() {
    let at: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![-1_i64, 0, 999]).with_timezone("UTC"));
    let folder = Folder::with("in.parquet", file(vec![("at", at)]));
    let source = folder.source(json!({ "path": "in.parquet", "cursor": "at" }));
    let rows =
        async |start, end| take(&source, &Window::new(Axis::Time, start, end).unwrap()).await.unwrap().rows.num_rows();
    assert_eq!((rows(-1, 0).await, rows(0, 1).await), (1, 2));
}

#[tokio::test]
async fn a_damaged_parquet_file_is_an_error() {
    let bytes = events(100, Some("UTC"));
    let folder = Folder::with("in.parquet", &bytes[..bytes.len() - 20]);
    let error = take_all(&folder.source(json!({ "path": "in.parquet" }))).await.unwrap_err();
    assert_eq!(error.code(), error::SOURCE_CORRUPT);
}

/// Files of others hold dates and instants no calendar reaches. They lie outside every window, in any zone.
#[tokio::test]
async fn cursors_of_any_year_are_placed() {
    let days: ArrayRef = Arc::new(Date32Array::from(vec![i32::MIN, -5_000_000, 0, 5_000_000, i32::MAX]));
    let at: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MIN, -1, 0, 1, i64::MAX]));
    let folder = Folder::with("in.parquet", file(vec![("day", days), ("at", at)]));
    for cursor in ["day", "at"] {
        for zone in ["UTC", "Europe/Paris"] {
            let params = json!({ "path": "in.parquet", "cursor": cursor, "cursor_timezone": zone });
            let taken = take(&folder.source(params), &seconds(-86_400, 86_400)).await.unwrap();
            let expected = if cursor == "day" { 1 } else { 3 };
            assert_eq!((taken.rows.num_rows(), taken.faults().len()), (expected, 0), "{cursor} in {zone}");
        }
    }
}

//! Real data: the flights that left New York City in 2013, gzipped.

use arrow_array::{
    cast::AsArray,
    types::{Int64Type, TimestampMicrosecondType},
};
use arrow_schema::DataType;

use super::*;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/flights/data");
const HOUR: i64 = 3_600_000_000;

fn flights(extra: Value) -> Arc<dyn Source> {
    let mut params = json!({
        "path": "flights.csv.gz",
        "format": { "type": "csv", "nulls": ["NA"] },
        "cursor": "time_hour",
    });
    params.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    source(Path::new(DATA), params)
}

fn sum(taken: &Taken, column: &str) -> i64 {
    taken.column(column).as_primitive::<Int64Type>().iter().flatten().sum()
}

#[tokio::test]
async fn a_whole_file_is_read_with_inferred_types_and_declared_nulls() {
    let all = take_all(&flights(json!({}))).await.unwrap();
    assert_eq!((all.rows.num_rows(), all.rejects.len()), (336_776, 0));
    assert_eq!(sum(&all, "distance"), 350_217_607);
    for (column, nulls) in [("dep_time", 8_255), ("arr_delay", 9_430), ("tailnum", 2_512), ("time_hour", 0)] {
        assert_eq!(all.column(column).null_count(), nulls, "{column}");
    }
    let kind = |name: &str| all.column(name).data_type().clone();
    assert_eq!(kind("dep_time"), DataType::Int64);
    assert_eq!(kind("carrier"), DataType::Utf8);
    assert!(matches!(kind("time_hour"), DataType::Timestamp(_, Some(_))));
}

/// Proves IL2, IL15.
#[tokio::test]
async fn every_row_lies_in_exactly_one_window_of_a_tiling() {
    let source = flights(json!({}));
    let year = window("2013-01-01T00:00:00Z", "2014-02-01T00:00:00Z");
    let (mut rows, mut distance) = (0, 0);
    // Windows of unequal lengths whose bounds all lie on hours, where every row lies too.
    let mut start = year.start();
    for hours in [10, 1, 1_333, 5_000, 9_000].iter().cycle() {
        let end = (start + hours * HOUR).min(year.end());
        let some = take(&source, &Window::new(Axis::Time, start, end).unwrap()).await.unwrap();
        let hours = some.column("time_hour").as_primitive::<TimestampMicrosecondType>();
        assert!(hours.iter().flatten().all(|at| (start..end).contains(&at)));
        rows += some.rows.num_rows();
        distance += sum(&some, "distance");
        start = end;
        if start == year.end() {
            break;
        }
    }
    assert_eq!((rows, distance), (336_776, 350_217_607));
}

/// Proves IL2.
#[tokio::test]
async fn a_row_on_the_edge_belongs_to_the_window_that_starts_there() {
    let source = flights(json!({}));
    let rows = async |start, end| take(&source, &window(start, end)).await.unwrap().rows.num_rows();
    assert_eq!(rows("2013-01-01T09:00:00Z", "2013-01-01T10:00:00Z").await, 0);
    assert_eq!(rows("2013-01-01T10:00:00Z", "2013-01-01T11:00:00Z").await, 6);
    assert_eq!(rows("2013-01-01T10:00:00Z", "2013-01-01T10:00:00.000001Z").await, 6);
    assert_eq!(rows("2013-01-01T10:00:00.000001Z", "2013-01-01T11:00:00Z").await, 0);
}

/// Proves IL3.
#[tokio::test]
async fn reading_a_window_again_gives_the_same_rows_in_the_same_order() {
    let day = window("2013-07-04T00:00:00Z", "2013-07-05T00:00:00Z");
    let first = take(&flights(json!({})), &day).await.unwrap();
    let again = take(&flights(json!({})), &day).await.unwrap();
    assert!(first.rows.num_rows() > 500);
    assert_eq!(first.rows, again.rows);
}

#[tokio::test]
async fn as_text_keeps_every_value_as_it_stands_and_still_finds_the_window() {
    let source = flights(json!({ "format": "csv", "as_text": true }));
    let hour = take(&source, &window("2013-01-01T10:00:00Z", "2013-01-01T11:00:00Z")).await.unwrap();
    assert_eq!(
        hour.text().lines().next().unwrap(),
        "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"
    );
    let all = take_all(&source).await.unwrap();
    let na = all.column("dep_time").as_string::<i32>().iter().filter(|text| *text == Some("NA")).count();
    assert_eq!((na, all.column("dep_time").null_count()), (8_255, 0));
}

#[tokio::test]
async fn a_declared_schema_by_name_takes_the_order_of_the_header() {
    let source = source(
        Path::new(DATA),
        json!({
            "path": "planes.csv",
            "format": { "type": "csv", "nulls": ["NA"] },
            "schema": {
                "tailnum": "string", "year": "int32", "type": "string", "manufacturer": "string", "model": "string",
                "engines": "int32", "seats": "int", "speed": "decimal(6,1)", "engine": "string",
            },
        }),
    );
    let planes = take_all(&source).await.unwrap();
    assert_eq!((planes.rows.num_rows(), planes.rejects.len()), (3_322, 0));
    let schema = planes.rows.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names[..3], ["tailnum", "year", "type"]);
    assert_eq!(schema.field(1).data_type(), &DataType::Int32);
    assert_eq!(schema.field(7).data_type(), &DataType::Decimal128(6, 1));
}

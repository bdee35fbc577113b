//! Pages as APIs have them: by number, offset, token and link; and where they end.

use std::{fs, path::Path, sync::Arc};

use arrow_array::{Array, Int64Array, RecordBatch, StringArray, cast::AsArray};
use futures::TryStreamExt;
use serde_json::{Value, json};
use windrow_common::{pipeline::SourceSpec, window::Window};
use windrow_tests::api::{Api, Asked, Reply};
use windrow_worker::{
    error::Result,
    source::{self, Chunk, Reject, Source},
};

/// The planes of the example as an API has them.
pub(super) fn planes() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/flights/data/planes.csv");
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    let value = |name: &str, text: &str| match (name, text) {
        (_, "NA") => Value::Null,
        ("year" | "engines" | "seats" | "speed", text) => text.parse::<i64>().unwrap().into(),
        _ => text.into(),
    };
    let record = |line: &str| {
        names.iter().zip(line.split(',')).map(|(name, text)| ((*name).to_owned(), value(name, text))).collect()
    };
    lines.map(|line| Value::Object(record(line))).collect()
}

/// Planes and their seats, as the publisher of the data counts them.
const PLANES: (usize, i64) = (3_322, 512_639);

/// The part of a list that a page has.
pub(super) fn part(records: &[Value], from: usize, size: usize) -> Vec<Value> {
    records.iter().skip(from).take(size).cloned().collect()
}

/// A source over the API.
pub(super) fn source(connection: Value, mut params: Value) -> Arc<dyn Source> {
    let mut from = json!({ "name": "api", "type": "http" });
    from.as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
    params["from"] = from;
    let schema = json!([{ "tailnum": "string" }, { "seats": "int" }, { "year": "int" }]);
    params.as_object_mut().unwrap().entry("schema").or_insert(schema);
    let spec: SourceSpec = serde_json::from_value(params).unwrap();
    (source::find(&spec).unwrap().build)(&spec).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// What a full load reads.
pub(super) async fn all(source: &Arc<dyn Source>) -> Result<(Vec<RecordBatch>, Vec<Reject>)> {
    let window = Window::version(1);
    let (mut rows, mut rejects) = (Vec::new(), Vec::new());
    for slice in source.resolve(&window).await? {
        let mut chunks = source.read(&slice, &window).await?;
        while let Some(chunk) = chunks.try_next().await? {
            match chunk {
                Chunk::Rows(batch) => rows.push(batch),
                Chunk::Rejected(some) => rejects.extend(some),
            }
        }
    }
    Ok((rows, rejects))
}

/// How many planes there are, how many are distinct, and their seats.
pub(super) fn counted(rows: &[RecordBatch]) -> (usize, usize, i64) {
    let seats = |batch: &RecordBatch| -> i64 {
        let seats: &Int64Array = batch.column_by_name("seats").unwrap().as_primitive();
        seats.iter().flatten().sum()
    };
    let names = rows.iter().flat_map(|batch| {
        let names: &StringArray = batch.column_by_name("tailnum").unwrap().as_string();
        names.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    });
    let distinct: std::collections::BTreeSet<_> = names.collect();
    (rows.iter().map(RecordBatch::num_rows).sum(), distinct.len(), rows.iter().map(seats).sum())
}

async fn check_all_planes(api: &Api, params: Value) {
    let source = source(json!({ "url": api.url() }), params.clone());
    let (rows, rejects) = all(&source).await.unwrap_or_else(|error| panic!("{params}: {error}"));
    assert_eq!(counted(&rows), (PLANES.0, PLANES.0, PLANES.1), "{params}");
    assert_eq!(rejects, []);
    let nulls: usize = rows.iter().map(|batch| batch.column_by_name("year").unwrap().null_count()).sum();
    assert_eq!(nulls, 70, "years nobody knows are null");
}

#[tokio::test]
async fn every_way_to_page_brings_every_record_once() {
    let planes = planes();
    let api = Api::serve(move |asked| match asked.path.as_str() {
        "/whole" => Reply::json(json!(planes)),
        "/page" => {
            let page = asked.number("page").unwrap_or(1);
            Reply::json(json!({ "data": part(&planes, (page - 1) * 500, 500) }))
        }
        // Fewer than it is asked for.
        "/offset" => Reply::json(json!({ "data": { "items": part(&planes, asked.number("skip").unwrap(), 300) } })),
        "/counted" => {
            let page = asked.number("page").unwrap();
            assert!(page * 1_000 < planes.len(), "the count tells the end");
            Reply::json(json!({ "meta": { "total": planes.len() }, "data": part(&planes, page * 1_000, 1_000) }))
        }
        "/token" => {
            let from = asked.query.get("after").map_or(0, |token| token.trim_start_matches("t=+/").parse().unwrap());
            let next = (from + 700 < planes.len()).then(|| format!("t=+/{}", from + 700));
            Reply::json(json!({ "next": next, "data": part(&planes, from, 700) }))
        }
        "/link" => {
            let from = asked.number("from").unwrap_or(0);
            let reply = Reply::json(json!(part(&planes, from, 900)));
            match from + 900 < planes.len() {
                true => reply.with("Link", format!("</link>; rel=\"first\", <?from={}>; rel=\"next\"", from + 900)),
                false => reply.with("Link", "</link>; rel=\"first\""),
            }
        }
        "/told" => {
            let from = asked.number("from").unwrap_or(0);
            let next = format!("/told?from={}", from + 900);
            let next = if from + 900 < planes.len() { json!(next) } else { json!(null) };
            Reply::json(json!({ "links": { "next": next }, "data": part(&planes, from, 900) }))
        }
        other => Reply::status(404, other),
    })
    .unwrap();
    for params in [
        json!({ "path": "/whole" }),
        json!({ "path": "/page", "records": "/data", "pages": { "by": "page" } }),
        json!({ "path": "/offset", "records": "/data/items",
            "pages": { "by": "offset", "param": "skip", "size": 1_000 } }),
        json!({ "path": "/counted", "records": "/data",
            "pages": { "by": "page", "start": 0, "total": "/meta/total" } }),
        json!({ "path": "/token", "records": "/data",
            "pages": { "by": "cursor", "param": "after", "at": "/next" } }),
        json!({ "path": "/link", "pages": { "by": "link" } }),
        json!({ "path": "/told", "records": "/data", "pages": { "by": "link", "at": "/links/next" } }),
    ] {
        check_all_planes(&api, params).await;
    }
    let sizes: Vec<_> = api.asked().iter().filter_map(|asked| asked.number("limit")).collect();
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size == 1_000));
}

/// A record that is no row is rejected with its number over all pages; it is not lost and stops nothing by itself.
#[tokio::test]
async fn records_that_are_no_rows_are_rejected_with_their_number() {
    let api = Api::serve(|asked| {
        Reply::json(match asked.number("page").unwrap() {
            1 => "[{\"seats\": 1},\n {\"seats\": \"many\"}, [7]]",
            2 => "[{\"seats\": 3}, {\"seats\": 1e99}, {\"seats\": null, \"more\": {\"x\": 1}}]",
            _ => "null",
        })
    })
    .unwrap();
    let source = source(json!({ "url": api.url() }), json!({ "path": "/", "pages": { "by": "page" } }));
    let (rows, rejects) = all(&source).await.unwrap();
    let seats: Vec<_> =
        rows.iter().flat_map(|batch| batch["seats"].as_primitive::<arrow_array::types::Int64Type>().iter()).collect();
    assert_eq!(seats, [Some(1), Some(3), None]);
    let mut told: Vec<_> = rejects.iter().map(|reject| (reject.position, reject.code, reject.raw.as_str())).collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [(2, "WR-S005", "{\"seats\": \"many\"}"), (3, "WR-S004", "[7]"), (5, "WR-S005", "{\"seats\": 1e99}"),]
    );
    assert!(rejects.iter().all(|reject| reject.input == format!("{}/", api.url())));
}

/// What a filled-in placeholder needs to stand in a query it gets.
#[tokio::test]
async fn the_window_is_put_into_path_and_query() {
    use windrow_common::window::Axis;
    let api = Api::serve(|_: &Asked| Reply::json("[]")).unwrap();
    let source = source(
        json!({ "url": format!("{}/base/", api.url()), "query": { "key": "k&=" } }),
        json!({
            "path": "/v1/{window.start:%Y}/orders?since={window.start:%Y-%m-%dT%H:%M:%S%:z}&state=a%20b",
            "query": { "until": "{window.end:%d/%m %H+}" },
            "timezone": "Europe/Paris",
        }),
    );
    assert!(source.by_window());
    let micros = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let window = Window::new(Axis::Time, micros("2024-06-30T22:00:00Z"), micros("2024-07-01T22:00:00Z")).unwrap();
    let slices = source.resolve(&window).await.unwrap();
    let shown = format!("{}/base/v1/2024/orders?since=2024-07-01T00%3A00%3A00%2B02%3A00&state=a%20b", api.url());
    assert_eq!((slices.len(), slices[0].input.name.as_str()), (1, shown.as_str()));
    let mut rows = source.read(&slices[0], &window).await.unwrap();
    assert!(rows.try_next().await.unwrap().is_none());
    let asked = api.asked().pop().unwrap();
    assert_eq!(asked.path, "/base/v1/2024/orders");
    let query: Vec<_> = asked.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let expected = [("key", "k&="), ("since", "2024-07-01T00:00:00+02:00"), ("state", "a b"), ("until", "02/07 00+")];
    assert_eq!(query, expected);
}

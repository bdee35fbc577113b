//! Streams that do not come to their end, and receivers that do not keep up.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use arrow_flight::{FlightData, flight_service_client::FlightServiceClient};
use tonic::{Request, metadata::MetadataValue};

use super::*;
use crate::error::in_one_line;

#[tokio::test]
async fn a_source_that_fails_is_told_as_it_failed_and_leaves_nothing() {
    let house = House::new("json").await;
    for (name, hop) in house.hops() {
        let batches: Vec<Result<RecordBatch>> = vec![
            Ok(numbers(0..50_000)),
            Err(WorkerError::never(error::ROW_MALFORMED, "a row is short").at("line 7").fix("mend it")),
        ];
        let schema = numbers(0..0).schema();
        let error = hop.put(&house.pass(), Part::Rows, schema, stream::iter(batches).boxed()).await.unwrap_err();
        assert_eq!((error.code(), error.fix_text()), (error::ROW_MALFORMED, Some("mend it")), "{name}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.staged_files(), 0);
    house.assert_healthy().await;
}

#[tokio::test]
async fn a_sender_that_vanishes_leaves_nothing_and_frees_its_place() {
    let house = House::with_puts("json", 1).await;
    for (_, hop) in house.hops() {
        let endless = many(vec![numbers(0..50_000)]).chain(stream::pending()).boxed();
        let signed = house.pass();
        let put = hop.put(&signed, Part::Rows, numbers(0..0).schema(), endless);
        assert!(tokio::time::timeout(Duration::from_millis(500), put).await.is_err());
    }
    tokio::time::timeout(Duration::from_secs(5), house.assert_healthy()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.staged_files(), 2, "only the files of the health check are there");
}

async fn put_raw(house: &House, messages: Vec<FlightData>) -> tonic::Status {
    let mut client = FlightServiceClient::new(endpoint(house.address).connect().await.unwrap());
    let mut request = Request::new(stream::iter(messages));
    request.metadata_mut().insert_bin(wire::TICKET, MetadataValue::from_bytes(&house.pass().ticket));
    request.metadata_mut().insert(wire::PART, MetadataValue::from_static("rows"));
    client.do_put(request).await.unwrap_err()
}

#[tokio::test]
async fn a_stream_that_was_cut_off_or_tampered_with_makes_no_file() {
    let house = House::new("json").await;
    let batch = numbers(0..50_000);
    let whole: Vec<FlightData> =
        client::messages(house.pipeline.clone(), batch.schema(), once(batch), client::Failure::default())
            .collect()
            .await;
    let (end, data) = whole.split_last().unwrap();
    let first = FlightData { app_metadata: house.pipeline.clone(), ..data[1].clone() };
    let miscounted = wire::EndMark { rows: 49_999 }.into_message();
    let garbage = FlightData { data_header: Bytes::from_static(b"garbage"), ..FlightData::default() };
    let cases: Vec<(&str, Vec<FlightData>)> = vec![
        ("nothing", vec![]),
        ("no end mark", data.to_vec()),
        ("a lost message", [&data[..2], &data[3..], std::slice::from_ref(end)].concat()),
        ("a wrong count", [data, &[miscounted]].concat()),
        ("more after the end", [&whole[..], &data[1..2]].concat()),
        ("two ends", [&whole[..], std::slice::from_ref(end)].concat()),
        ("no schema", [std::slice::from_ref(&first), std::slice::from_ref(end)].concat()),
        ("two schemas", [&data[..1], &whole[..]].concat()),
        ("garbage", [&data[..1], &[garbage]].concat()),
    ];
    for (label, messages) in cases {
        let status = put_raw(&house, messages).await;
        let error = wire::from_status(&status);
        assert_eq!(error.code(), error::FLIGHT_BROKEN, "{label}: {}", in_one_line(&error));
    }
    assert_eq!(house.staged_files(), 0);
    house.assert_healthy().await;
}

#[tokio::test]
async fn a_message_past_the_limit_is_refused() {
    let house = House::new("json").await;
    let big = FlightData {
        app_metadata: house.pipeline.clone(),
        data_body: vec![0; MAX_MESSAGE_BYTES + 1].into(),
        ..FlightData::default()
    };
    assert_eq!(wire::from_status(&put_raw(&house, vec![big]).await).code(), error::FLIGHT_BROKEN);
    let long = "x".repeat(MAX_MESSAGE_BYTES);
    let row =
        RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(vec![long.as_str()])) as ArrayRef)]).unwrap();
    let error = house.remote.put(&house.pass(), Part::Rows, row.schema(), once(row)).await.unwrap_err();
    assert_eq!(error.code(), error::INPUT_TOO_LARGE);
    house.assert_healthy().await;
}

#[tokio::test]
async fn a_sink_worker_that_is_not_there_is_worth_another_try() {
    let house = House::new("json").await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hop = FlightHop::new(endpoint(gone).connect_lazy());
    let batch = numbers(0..1);
    let error = hop.put(&house.pass(), Part::Rows, batch.schema(), once(batch)).await.unwrap_err();
    assert_eq!(error.code(), error::FLIGHT_BROKEN);
    assert_eq!(error.outcome(), crate::error::Outcome::Failed(windrow_common::task::Retry::Later));
}

/// Proves CL13.
#[tokio::test]
async fn a_receiver_that_is_busy_holds_its_sender_back() {
    let house = House::with_puts("json", 1).await;
    let schema: SchemaRef = numbers(0..0).schema();
    let signed = house.pass();
    let (local, busy_ticket, busy_schema) = (house.local.clone(), signed.clone(), Arc::clone(&schema));
    let busy =
        tokio::spawn(async move { local.put(&busy_ticket, Part::Rows, busy_schema, stream::pending().boxed()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let batch = numbers(0..10_000);
    let bytes = batch.get_array_memory_size() as u64;
    let endless = stream::repeat_with(move || {
        counter.fetch_add(bytes, Ordering::Relaxed);
        Ok(batch.clone())
    });
    let put = house.remote.put(&signed, Part::Rows, schema, endless.boxed());
    assert!(tokio::time::timeout(Duration::from_secs(2), put).await.is_err());
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent < 4 * u64::from(server::WINDOW_BYTES), "{sent} bytes were taken from the source");
    busy.abort();
}

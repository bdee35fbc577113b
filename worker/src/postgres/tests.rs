//! On a real server, which `tests/it/postgres` starts: its address is in `WINDROW_TEST_POSTGRES`.
#![allow(clippy::unwrap_used)]

use std::{net::TcpListener, pin::pin};

use arrow_array::RecordBatch;
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use pgpq::ArrowToPostgresBinaryEncoder;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde_json::json;
use windrow_common::pipeline::{Connection, SourceLimits};

use super::{
    Kind, Session, Settings,
    copy::{
        Decoder, Form, Limits, Special,
        tests::pgpq::{batches, forms},
    },
    kind_of, relation,
};

const TABLE: &str = "CREATE TABLE trip (\"bool\" bool, \"int2\" int2, \"int4\" int4, \"int8\" int8, \"float4\" float4, \"float8\" float8, \
    \"numeric\" numeric(38,9), \"text\" text, \"bytea\" bytea, \"date\" date, \"time\" time, \"timestamptz\" timestamptz, \
    \"timestamp\" timestamp, \"list\" int4[])";

fn settings(url: &str) -> Settings {
    let params = json!({ "url": url }).as_object().unwrap().clone();
    let connection =
        Connection { name: "shop".to_owned(), kind: "postgres".to_owned(), limits: SourceLimits::default(), params };
    Settings::of(&connection, "windrow tests").unwrap()
}

async fn session() -> Session {
    Session::open(&settings(&std::env::var("WINDROW_TEST_POSTGRES").unwrap())).await.unwrap()
}

/// A server that takes the connection and never says a word is one that cannot be reached.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://me@{}/shop?sslmode=disable", silent.local_addr().unwrap());
    let error = Session::open(&settings(&url)).await.map(drop).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Unreachable, "{error}");
}

async fn put(session: &Session, batch: &RecordBatch) {
    let mut encoder = ArrowToPostgresBinaryEncoder::try_new(&batch.schema()).unwrap();
    let mut bytes = BytesMut::new();
    encoder.write_header(&mut bytes).unwrap();
    encoder.write_batch(batch, &mut bytes).unwrap();
    encoder.write_footer(&mut bytes).unwrap();
    let mut copy = pin!(session.client().copy_in::<_, Bytes>("COPY trip FROM STDIN (FORMAT BINARY)").await.unwrap());
    copy.send(bytes.freeze()).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), batch.num_rows() as u64);
}

async fn got(session: &Session, batch: &RecordBatch, forms: Vec<Form>) -> RecordBatch {
    let mut decoder = Decoder::new(batch.schema(), forms, Special::Reject, Limits::default());
    let mut copy = pin!(session.client().copy_out("COPY trip TO STDOUT (FORMAT BINARY)").await.unwrap());
    while let Some(chunk) = copy.try_next().await.unwrap() {
        assert!(!decoder.feed(&mut &chunk[..]).unwrap());
    }
    decoder.finish().unwrap();
    let (read, flawed) = decoder.take().unwrap();
    assert_eq!(flawed, []);
    read
}

/// Arrow by pgpq into a server and by our decoder out of it again, at random.
#[tokio::test]
#[ignore = "needs a server: tests/it/postgres starts it"]
async fn what_pgpq_puts_in_comes_out_equal() {
    let session = session().await;
    session.client().batch_execute(TABLE).await.unwrap();
    let table = relation(session.client(), "public", "trip").await.unwrap().unwrap();
    let by_catalogue: Vec<_> = table.columns.iter().map(|column| Form::of(&column.data_type).unwrap()).collect();
    assert_eq!(by_catalogue, forms());
    let mut runner = TestRunner::deterministic();
    for _ in 0..50 {
        let batch = batches().new_tree(&mut runner).unwrap().current();
        session.client().batch_execute("TRUNCATE trip").await.unwrap();
        put(&session, &batch).await;
        let read = got(&session, &batch, by_catalogue.clone()).await;
        for (was, is) in batch.columns().iter().zip(read.columns()) {
            assert_eq!(format!("{was:?}"), format!("{is:?}"));
        }
    }
}

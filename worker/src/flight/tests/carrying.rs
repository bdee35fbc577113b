//! What arrives is what was sent, whichever way it went.

use arrow_array::{DictionaryArray, types::Int32Type};

use super::*;
use crate::{
    source::Reject,
    stage::{Attempt, dead_letters},
};

/// Proves CL13.
#[tokio::test]
async fn both_ways_stage_the_same_bytes() {
    let house = House::new("json").await;
    let mut digests = Vec::new();
    for (name, hop) in house.hops() {
        let batches: Vec<_> = (0..20).map(|n| numbers(n * 5_000..(n + 1) * 5_000).slice(1_000, 3_000)).collect();
        let staged = hop.put(&house.pass(), Part::Rows, batches[0].schema(), many(batches)).await.unwrap();
        assert_eq!(staged.rest.unwrap().schema["fields"][0]["name"], "n", "{name}");
        let files = staged.files;
        assert_eq!((files.len(), files[0].rows, files[0].window), (1, 60_000, house.ticket().window), "{name}");
        digests.push((files[0].sha256, files[0].bytes));
    }
    assert_eq!(digests[0], digests[1]);
}

/// A sink is asked under the claim's ticket, whichever way; this one has its own reason.
#[tokio::test]
async fn the_sink_is_asked_whether_rows_may_come_as_they_are() {
    use crate::verbatim::Verbatim;
    let house = House::new("json").await;
    let rows = Verbatim { form: "x".to_owned(), server: 1, columns: Vec::new() };
    for (name, hop) in house.hops() {
        let why = hop.verbatim(&house.pass(), &rows).await.unwrap();
        assert_eq!(why.as_deref(), Some("the sink takes values alone"), "{name}");
        let forged = Pass { ticket: Bytes::from_static(b"x"), ..house.pass() };
        let refused = hop.verbatim(&forged, &rows).await.unwrap_err();
        assert_eq!(refused.code(), error::TICKET_REFUSED, "{name}");
    }
}

#[tokio::test]
async fn whether_a_sink_shows_a_commit_is_asked_under_a_ticket() {
    let house = House::new("parquet").await;
    let other = Pass { ticket: Bytes::from_static(b"forged"), pipeline: house.pipeline.clone() };
    for (name, hop) in house.hops() {
        assert!(!hop.shows(&house.pass(), 1, 10).await.unwrap(), "{name}: nothing was ever committed");
        let refused = hop.shows(&other, 1, 10).await.unwrap_err();
        assert_eq!(refused.code(), error::TICKET_REFUSED, "{name}");
    }
}

#[tokio::test]
async fn a_stream_without_rows_or_with_dictionaries_goes_both_ways() {
    let house = House::new("parquet").await;
    let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    let words = RecordBatch::try_from_iter_with_nullable([("w", Arc::new(words) as ArrayRef, true)]).unwrap();
    for (name, hop) in house.hops() {
        let empty = numbers(0..0);
        let files = hop.put(&house.pass(), Part::Rows, empty.schema(), many(vec![])).await.unwrap().files;
        assert_eq!(files, [], "{name}");
        let files = hop.put(&house.pass(), Part::Rows, words.schema(), once(words.clone())).await.unwrap().files;
        let bytes = Bytes::from(house.read(&files[0]));
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let found: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
        assert_eq!(
            found[0].column(0).as_ref(),
            &StringArray::from(vec![Some("a"), None, Some("a")]) as &dyn arrow_array::Array
        );
    }
}

/// Proves CL13.
#[tokio::test]
async fn a_batch_of_64_megabytes_is_split_and_arrives_whole() {
    let batch = numbers(0..600_000);
    assert!(batch.get_array_memory_size() > 64 << 20);
    let messages: Vec<_> =
        client::messages(Bytes::new(), batch.schema(), once(batch.clone()), client::Failure::default()).collect().await;
    assert!(messages.len() > 30, "{}", messages.len());
    assert!(messages.iter().all(|message| message.data_body.len() < 4 << 20));
    let house = House::new("parquet").await;
    let files = house.remote.put(&house.pass(), Part::Rows, batch.schema(), once(batch)).await.unwrap().files;
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 600_000);
}

#[tokio::test]
async fn a_manifest_is_counted_where_the_files_are_and_sealed_by_its_digest() {
    let house = House::new("parquet").await;
    for (name, hop) in house.hops() {
        let signed = house.pass();
        let files = hop.put(&signed, Part::Rows, numbers(0..10).schema(), once(numbers(0..10))).await.unwrap().files;
        let reject = Reject { input: "x".into(), position: 1, code: "WR-S004", reason: "r".into(), raw: "raw".into() };
        let attempt = Attempt { task: house.ticket().task, token: house.ticket().token, window: house.ticket().window };
        let letters = dead_letters::rows(&[reject], &attempt).unwrap();
        let letters = hop.put(&signed, Part::DeadLetters, letters.schema(), once(letters)).await.unwrap().files;
        let bytes = files[0].bytes;
        let draft = Manifest { dead_letters: letters, ..draft(&house.ticket(), files) };
        let reference = hop.finish(&signed, draft.clone()).await.unwrap();
        let counts = Counts {
            rows_read: 10,
            rows_written: 10,
            rows_rejected: 1,
            bytes_written: bytes,
            files: 1,
            values_discarded: 0,
            rows_deleted: 0,
        };
        assert_eq!(reference.counts, counts, "{name}");
        let sink = house.sink();
        let found = crate::stage::manifest::get_manifest(sink.storage(), &reference).await.unwrap();
        assert_eq!(found, Manifest { counts, ..draft });
    }
}

#[tokio::test]
async fn an_error_is_the_same_error_from_either_side() {
    let house = House::new("parquet").await;
    let mut told = Vec::new();
    for (_, hop) in house.hops() {
        let good = numbers(0..10);
        let bad = RecordBatch::try_from_iter([("n", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
        let lists = arrow_array::DurationSecondArray::from(vec![1]);
        let odd = RecordBatch::try_from_iter([("d", Arc::new(lists) as ArrayRef)]).unwrap();
        for (schema, rows) in [(good.schema(), bad), (odd.schema(), odd)] {
            // Over the wire a batch that is not of the stream's schema fails before it is sent.
            if schema != rows.schema() {
                continue;
            }
            let error = hop.put(&house.pass(), Part::Rows, schema, once(rows)).await.unwrap_err();
            told.push((error.code(), error.outcome(), error.to_string(), error.fix_text().map(str::to_owned)));
        }
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].0, error::SINK_UNSUPPORTED_TYPE);
}

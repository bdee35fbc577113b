//! The source on tables written by hand, so that they hold what other writers would put there.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use ::parquet::arrow::ArrowWriter;
use arrow_array::{Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_cast::pretty::pretty_format_batches;
use futures::TryStreamExt;
use serde_json::json;

use super::*;
use crate::{
    error::Outcome,
    source::{Chunk, find},
};

const COLUMNS: &str = r#"{"type":"struct","fields":[
    {"name":"id","type":"long","nullable":true,"metadata":{}},
    {"name":"at","type":"timestamp","nullable":true,"metadata":{}},
    {"name":"note","type":"string","nullable":true,"metadata":{}},
    {"name":"day","type":"date","nullable":true,"metadata":{}}]}"#;

/// A table partitioned by `day`.
struct HandMade {
    folder: tempfile::TempDir,
    version: u64,
}

impl HandMade {
    fn new() -> Self {
        let table = Self { folder: tempfile::tempdir().unwrap(), version: 0 };
        fs::create_dir_all(table.path().join("_delta_log")).unwrap();
        table
    }

    fn with_columns(features: Value) -> Self {
        let mut table = Self::new();
        let metadata = json!({ "metaData": { "id": "5f0d1a52-5c9f-4b1d-9f3a-0e3b8f0c6a01",
            "format": { "provider": "parquet", "options": {} }, "schemaString": COLUMNS, "partitionColumns": ["day"],
            "configuration": {}, "createdTime": 0 } });
        table.commit(&[json!({ "protocol": features }), metadata]);
        table
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn commit(&mut self, actions: &[Value]) {
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        fs::write(self.path().join(format!("_delta_log/{:020}.json", self.version)), text).unwrap();
        self.version += 1;
    }

    /// Writes a file of rows `ids`, each at so many seconds, and what the log says of it.
    fn file(&self, name: &str, day: Option<&str>, ids: &[i64], note: Option<&str>) -> Value {
        let at = TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| id * 1_000_000)).with_timezone("UTC");
        let id = Int64Array::from(ids.to_vec());
        let mut columns: Vec<(&str, Arc<dyn Array>)> = vec![("at", Arc::new(at)), ("id", Arc::new(id))];
        if let Some(note) = note {
            columns.push(("note", Arc::new(StringArray::from(vec![note; ids.len()]))));
        }
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        fs::write(self.path().join(name), &bytes).unwrap();
        let time = |id: &i64| format!("1970-01-01T00:00:{id:02}.000Z");
        let stats = json!({ "numRecords": ids.len(), "nullCount": { "at": 0 },
            "minValues": { "at": ids.iter().min().map(time) }, "maxValues": { "at": ids.iter().max().map(time) } });
        json!({ "add": { "path": name.replace(' ', "%20"), "partitionValues": { "day": day }, "size": bytes.len(),
            "modificationTime": 0, "dataChange": true, "stats": stats.to_string() } })
    }

    fn source(&self, mut params: Value) -> Arc<dyn Source> {
        params["from"] = json!({ "name": "lake", "type": "local", "root": self.path().parent().unwrap() });
        params["format"] = json!("delta");
        params["path"] = json!(self.path().file_name().unwrap().to_str().unwrap());
        let spec: SourceSpec = serde_json::from_value(params).unwrap();
        (find(&spec).unwrap().build)(&spec).unwrap_or_else(|faults| panic!("{faults:?}"))
    }
}

fn plain() -> Value {
    json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
}

async fn read(source: &Arc<dyn Source>, window: &Window) -> Result<String> {
    let mut batches = Vec::new();
    for slice in source.resolve(window).await? {
        let mut chunks = source.read(&slice, window).await?;
        while let Some(chunk) = chunks.try_next().await? {
            match chunk {
                Chunk::Rows(batch) => batches.push(batch),
                Chunk::Rejected(rejects) => panic!("{rejects:?}"),
            }
        }
    }
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

fn seconds(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start * 1_000_000, end * 1_000_000).unwrap()
}

#[tokio::test]
async fn rows_get_their_partitions_values_and_nulls_for_columns_that_came_later() {
    let mut table = HandMade::with_columns(plain());
    let adds = [
        table.file("a b.parquet", Some("2024-02-29"), &[1, 2], None),
        table.file("c.parquet", None, &[3], Some("new")),
    ];
    table.commit(&adds);
    let rows = read(&table.source(json!({})), &Window::version(1)).await.unwrap();
    let expected = "\
+----+----------------------+------+------------+
| id | at                   | note | day        |
+----+----------------------+------+------------+
| 1  | 1970-01-01T00:00:01Z |      | 2024-02-29 |
| 2  | 1970-01-01T00:00:02Z |      | 2024-02-29 |
| 3  | 1970-01-01T00:00:03Z | new  |            |
+----+----------------------+------+------------+";
    assert_eq!(rows, expected);
}

/// The file that the window cannot meet is not there at all, and nobody notices.
#[tokio::test]
async fn a_window_is_read_from_the_files_that_may_hold_its_rows() {
    let mut table = HandMade::with_columns(plain());
    let adds = [table.file("a.parquet", None, &[1, 2, 3], None), table.file("b.parquet", None, &[10, 11], None)];
    table.commit(&adds);
    fs::remove_file(table.path().join("b.parquet")).unwrap();
    let source = table.source(json!({ "cursor": "at" }));
    assert!(read(&source, &seconds(2, 10)).await.unwrap().contains("| 3 "));
    assert!(!read(&source, &seconds(2, 3)).await.unwrap().contains("| 3 "));
    let gone = read(&source, &seconds(2, 11)).await.unwrap_err();
    assert_eq!(
        (gone.code(), gone.outcome()),
        (error::SOURCE_CHANGED, Outcome::Failed(windrow_common::task::Retry::Later))
    );
}

#[tokio::test]
async fn days_in_folder_names_tell_windows_too() {
    let mut table = HandMade::with_columns(plain());
    let adds = [
        table.file("a.parquet", Some("1970-01-02"), &[1], None),
        table.file("b.parquet", Some("1970-01-03"), &[2], None),
    ];
    table.commit(&adds);
    let day = 86_400;
    for zone in [None, Some("Asia/Tokyo")] {
        let source = table.source(json!({ "cursor": "day", "cursor_timezone": zone }));
        // Midnight in Tokyo comes nine hours earlier.
        let shift = if zone.is_some() { -9 * 3_600 } else { 0 };
        let rows = read(&source, &seconds(2 * day + shift, 2 * day + shift + 1)).await.unwrap();
        assert!(rows.contains("1970-01-03") && !rows.contains("1970-01-02"), "{zone:?}: {rows}");
    }
}

/// Proves IL11. A version that is not there yet is waited for.
#[tokio::test]
async fn a_version_is_read_as_it_was_and_one_that_is_not_there_is_waited_for() {
    let mut table = HandMade::new();
    assert_eq!(read(&table.source(json!({})), &Window::version(1)).await.unwrap_err().outcome(), Outcome::NotReady);
    table = HandMade::with_columns(plain());
    let first = table.file("a.parquet", None, &[1], None);
    table.commit(&[first]);
    let second = table.file("b.parquet", None, &[2], None);
    let remove = json!({ "remove": { "path": "a.parquet", "deletionTimestamp": 0, "dataChange": true } });
    table.commit(&[second, remove]);
    let rows = |version: Value| {
        let source = table.source(json!({ "version": version }));
        async move { read(&source, &Window::version(1)).await }
    };
    assert!(rows(json!(1)).await.unwrap().contains("| 1 "));
    assert!(rows(json!(2)).await.unwrap().contains("| 2 "));
    assert!(!rows(Value::Null).await.unwrap().contains("| 1 "));
    assert_eq!(rows(json!(3)).await.unwrap_err().outcome(), Outcome::NotReady);
}

/// A slice is read from the version it was found in, also when the table has moved on.
#[tokio::test]
async fn what_was_found_is_read_whatever_is_committed_meanwhile() {
    let mut table = HandMade::with_columns(plain());
    let first = table.file("a.parquet", Some("2024-02-29"), &[1], None);
    table.commit(&[first]);
    let (source, window) = (table.source(json!({})), Window::version(1));
    let found = source.resolve(&window).await.unwrap();
    for id in 2..6 {
        let next = table.file(&format!("{id}.parquet"), None, &[id], None);
        let remove = json!({ "remove": { "path": "a.parquet", "deletionTimestamp": 0, "dataChange": true } });
        table.commit(&[next, remove]);
        source.resolve(&window).await.unwrap();
    }
    let chunks: Vec<_> = source.read(&found[0], &window).await.unwrap().try_collect().await.unwrap();
    let [Chunk::Rows(rows)] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(rows.num_rows(), 1);
    assert!(rows.column_by_name("day").unwrap().is_valid(0));
}

#[tokio::test]
async fn a_table_with_deletion_vectors_is_refused() {
    let features = json!({ "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"] });
    let mut table = HandMade::with_columns(features);
    let mut add = table.file("a.parquet", None, &[1], None);
    add["add"]["deletionVector"] = json!({ "storageType": "i", "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40, "cardinality": 6 });
    table.commit(&[add]);
    let refused = read(&table.source(json!({})), &Window::version(1)).await.unwrap_err();
    assert_eq!(refused.code(), error::SOURCE_REFUSED, "{refused}");
}

#[test]
fn what_is_not_a_parameter_is_told() {
    let spec = |mut params: Value| -> Vec<ParamError> {
        params["from"] = json!({ "name": "lake", "type": "local", "root": "/" });
        params["format"] = json!("delta");
        let spec: SourceSpec = serde_json::from_value(params).unwrap();
        (find(&spec).unwrap().build)(&spec).err().unwrap_or_default()
    };
    assert_eq!(spec(json!({ "path": "x" })), []);
    assert_eq!(spec(json!({}))[0].code, error::MISSING_KEY);
    assert_eq!(spec(json!({ "path": "x", "schema": {} }))[0].code, error::UNKNOWN_KEY);
    assert_eq!(spec(json!({ "path": "x", "cursor_timezone": "Nowhere" }))[0].path, "cursor_timezone");
}

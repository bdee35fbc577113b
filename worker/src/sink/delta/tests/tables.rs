//! Which tables come out: types, partitions, names, readers.

use std::collections::BTreeSet;

use arrow_schema::TimeUnit;
use windrow_common::error;

use super::*;
use crate::{sink::delta, stage::FileFormat};

#[tokio::test]
async fn the_layout_casts_rows_to_the_tables_types() {
    let world = World::partitioned();
    let sink = world.sink();
    let rows = Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, Some("+01:00".into())), false),
        Field::new("id", DataType::UInt32, false),
        Field::new("region", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), true),
    ]);
    let layout = sink.layout(Arc::new(rows)).await.unwrap();
    assert_eq!(layout.schema, schema());
    assert_eq!(layout.partition_by, ["region"]);
    assert_eq!(layout.cursor.as_deref(), Some("at"));
    assert!(layout.delta_stats && matches!(layout.format, FileFormat::Parquet { .. }));

    // Once the table exists its order and types hold, and columns the rows lack are left out.
    publish(&sink, 1, &[load(time(0, 10), WriteMode::Append, &[(Some(1), 1, "a")])]).await;
    let rows = Schema::new(vec![Field::new("region", DataType::Utf8, true), Field::new("id", DataType::Int16, true)]);
    let layout = sink.layout(Arc::new(rows)).await.unwrap();
    let columns: Vec<_> = layout.schema.fields().iter().map(|f| (f.name().as_str(), f.data_type().clone())).collect();
    assert_eq!(columns, [("id", DataType::Int64), ("region", DataType::Utf8)]);
    assert_eq!(layout.cursor, None);

    let refused = [
        (
            Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)]),
            error::SINK_UNSUPPORTED_TYPE,
        ),
        (Schema::new(vec![Field::new("fresh", DataType::Utf8, true)]), error::SINK_SCHEMA),
        (Schema::new(vec![Field::new("id", DataType::Int64, true)]), error::SINK_SCHEMA),
        (Schema::new(vec![Field::new("region", DataType::Utf8, true)]), error::SINK_SCHEMA),
    ];
    for (schema, code) in refused {
        assert_eq!(sink.layout(Arc::new(schema.clone())).await.unwrap_err().code(), code, "{schema}");
    }
}

#[tokio::test]
async fn odd_values_of_a_partition_survive_the_log() {
    let world = World::partitioned();
    let sink = world.sink();
    let rows = [(Some(1), 1, "New York"), (Some(2), 2, "100%"), (Some(3), 3, "zürich"), (Some(4), 4, "a+b?c")];
    publish(&sink, 1, &[load(time(0, 10), WriteMode::Append, &rows)]).await;
    assert_eq!(world.rows().await, sorted(&rows));
    // Read back from the log, paths are the same as in memory, so the files can be removed.
    let again = world.sink();
    let replaced = Load { revision: 1, ..load(time(0, 10), WriteMode::ReplaceWindow, &[(Some(5), 5, "x")]) };
    publish(&again, 2, &[replaced]).await;
    assert_eq!(world.rows().await, sorted(&[(Some(5), 5, "x")]));
}

#[tokio::test]
async fn the_log_tells_people_which_intent_a_commit_is() {
    let world = World::new();
    let sink = world.sink();
    let recorded = publish(&sink, 1, &[load(time(0, 10), WriteMode::Append, &[(Some(1), 1, "a")])]).await;
    let text = std::fs::read_to_string(world.folder.path().join("_delta_log/00000000000000000001.json")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let info = &lines[0]["commitInfo"]["windrow"];
    assert_eq!(info["digest"], recorded.digest.to_string());
    assert_eq!(info["seq"], 1);
    assert_eq!(info["tasks"][0], recorded.body.tasks[0].task.to_string());
    let add = &lines.iter().find(|line| line.get("add").is_some()).unwrap()["add"];
    assert_eq!(add["tags"]["windrow.window"], "time:0..10");
    assert_eq!(add["tags"]["windrow.task"], recorded.body.tasks[0].task.short());
}

#[tokio::test]
async fn staged_files_nobody_named_are_no_part_of_the_table() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[load(time(0, 10), WriteMode::Append, &[(Some(1), 1, "a")])]).await;
    let (_, orphan) = stage(&sink, &load(time(10, 20), WriteMode::Append, &[(Some(11), 2, "a")])).await;
    assert_eq!(world.file_count().await, 1);
    let referenced: BTreeSet<String> = sink.referenced().await.unwrap();
    assert!(!referenced.contains(&orphan.files[0].path));
}

#[test]
fn the_connector_opens_a_folder_and_refuses_parameters_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = |params: serde_json::Value| -> Pipeline {
        let mut sink = json!({
            "to": { "name": "lake", "type": "local", "root": folder.path() }, "format": "delta", "write": "append",
        });
        sink.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let source = json!({ "from": { "name": "s", "type": "synthetic" } });
        serde_json::from_value(json!({ "name": "p", "pattern": "incremental", "source": source, "sink": sink }))
            .unwrap()
    };
    let opened = (delta::KIND.build)(&pipeline(json!({ "path": "new/table" }))).unwrap();
    assert!(opened.storage().url().path().ends_with("/new/table/"));
    let refused = (delta::KIND.build)(&pipeline(json!({ "path": "t", "partitioned_by": ["x"] }))).err().unwrap();
    assert_eq!((refused[0].path.as_str(), refused[0].code), ("partitioned_by", error::UNKNOWN_KEY));
    assert!(serde_json::to_string(&(delta::KIND.schema)()).unwrap().contains("target_file_size"));
}

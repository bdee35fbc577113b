//! Which tables come out: types, partitions, names, readers.

use std::collections::BTreeSet;

use arrow_array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, ListArray, StructArray, types::Int32Type,
};
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
    assert!(layout.stats && matches!(layout.format, FileFormat::Parquet { .. }));

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
            error::SINK_SCHEMA,
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

/// One row of every type a table can have, and one of nulls.
fn every_type() -> RecordBatch {
    let at = TimestampMicrosecondArray::from(vec![Some(1_500_007), None]).with_timezone("UTC");
    let decimal = Decimal128Array::from(vec![Some(1_234), None]).with_precision_and_scale(12, 2).unwrap();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    let DataType::List(item) = list.data_type() else { unreachable!() };
    let element = Arc::new(Field::new("element", item.data_type().clone(), true));
    let list = ListArray::new(element, list.offsets().clone(), list.values().clone(), list.nulls().cloned());
    let inner = Arc::new(StringArray::from(vec![Some("in"), None])) as ArrayRef;
    let inner = StructArray::from(vec![(Arc::new(Field::new("inner", DataType::Utf8, true)), inner)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("at", Arc::new(at)),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("tiny", Arc::new(Int8Array::from(vec![Some(-1), None]))),
        ("small", Arc::new(Int16Array::from(vec![Some(-2), None]))),
        ("middle", Arc::new(Int32Array::from(vec![Some(-3), None]))),
        ("big", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ("single", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
        ("double", Arc::new(Float64Array::from(vec![Some(f64::INFINITY), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("ä".repeat(200)), None]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(15_706), None]))),
        ("price", Arc::new(decimal)),
        ("list", Arc::new(list)),
        ("nested", Arc::new(inner)),
    ];
    let fields: Vec<_> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .unwrap()
}

#[tokio::test]
async fn every_type_makes_a_table_with_bounds_that_hold_every_value() {
    let world = World::new();
    let sink = world.sink();
    let rows = every_type();
    let layout = sink.layout(rows.schema()).await.unwrap();
    assert_eq!(layout.schema, rows.schema(), "these are the table's own types");
    let (task, mut manifest) = stage(&sink, &load(time(0, 10_000_000), WriteMode::Append, &[])).await;
    let attempt = Attempt { task: task.task, token: task.token, window: task.window };
    let stream = futures::stream::iter([Ok(rows.clone())]).boxed();
    manifest.files = crate::stage::stage(&sink.storage, &layout, &attempt, stream).await.unwrap();
    manifest.schema = serde_json::to_value(layout.schema.as_ref()).unwrap();
    let stats = manifest.files[0].stats.clone().unwrap();
    let next = Next { seq: 1, previous: None, previous_aborted: false, tasks: vec![(task, manifest)] };
    let body = sink.prepare(next).await.unwrap();
    sink.commit(&body, &Digest([3; 32])).await.unwrap();

    let table = world.table().await;
    let state = table.snapshot().unwrap();
    assert_eq!(state.snapshot().arrow_schema().fields().len(), rows.num_columns());
    assert_eq!(state.log_data().iter().next().unwrap().num_records(), Some(2));
    assert_eq!(sink.newest().await.unwrap().unwrap().schema, world.sink().newest().await.unwrap().unwrap().schema);

    let (min, max, nulls) = (&stats["minValues"], &stats["maxValues"], &stats["nullCount"]);
    assert_eq!((&min["day"], &max["day"]), (&json!("2013-01-01"), &json!("2013-01-01")));
    assert_eq!(
        (&min["at"], &max["at"]),
        (&json!("1970-01-01T00:00:01.500007Z"), &json!("1970-01-01T00:00:01.500007Z"))
    );
    assert_eq!((&min["big"], &min["price"], &min["single"]), (&json!(i64::MIN), &json!(12.34), &json!(0.5)));
    let (least, greatest) = (min["text"].as_str().unwrap(), max["text"].as_str().unwrap());
    let value = "ä".repeat(200);
    assert!(least.len() <= 64 && value.starts_with(least));
    assert!(greatest.len() <= 66 && greatest > value.as_str(), "{greatest}");
    for unbounded in ["flag", "bytes", "double", "list", "nested"] {
        assert!(min.get(unbounded).is_none() && max.get(unbounded).is_none(), "{unbounded}");
    }
    assert_eq!((&nulls["flag"], &nulls["text"]), (&json!(1), &json!(1)));
}

//! Others at the same table: writers, restores, sweeps.

use windrow_common::error;

use super::*;
use crate::sink::Refusal;

fn nth(n: i64) -> Load {
    load(time(n, n + 1), WriteMode::Append, &[(Some(n), n, "a")])
}

#[tokio::test]
async fn commits_of_another_writer_in_between_are_built_upon() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[nth(1)]).await;
    let recorded = record(&sink, 2, &[nth(2)]).await.unwrap();
    world.foreign_commit(2, &[world.foreign_add("theirs.parquet", &[(Some(50), 50, "x")], true)]);
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Committed { version: 3 });
    let expected = sorted(&[(Some(1), 1, "a"), (Some(2), 2, "a"), (Some(50), 50, "x")]);
    assert_eq!(world.rows().await, expected);
    assert_eq!(sink.probe().await.unwrap(), world.sink().probe().await.unwrap());
}

#[tokio::test]
async fn a_column_added_by_another_writer_is_fine_and_a_changed_one_refuses_the_intent() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[nth(1)]).await;
    let recorded = record(&sink, 2, &[nth(2)]).await.unwrap();
    let metadata = serde_json::to_value(world.table().await.snapshot().unwrap().metadata()).unwrap();
    let with_schema = |edit: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut metadata = metadata.clone();
        let mut schema: serde_json::Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
        edit(schema["fields"].as_array_mut().unwrap());
        metadata["schemaString"] = json!(schema.to_string());
        json!({ "metaData": metadata })
    };
    let note = json!({ "name": "note", "type": "string", "nullable": true, "metadata": {} });
    world.foreign_commit(2, &[with_schema(&|fields| fields.push(note.clone()))]);
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Committed { version: 3 });

    let recorded = record(&sink, 3, &[nth(3)]).await.unwrap();
    world.foreign_commit(4, &[with_schema(&|fields| fields[1]["type"] = json!("string"))]);
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Schema));
    let refused = sink.layout(schema()).await.unwrap_err();
    assert_eq!(refused.code(), error::SINK_SCHEMA);
    assert!(refused.to_string().contains("\"id\""), "{refused}");
}

#[tokio::test]
async fn a_table_restored_from_a_backup_halts_instead_of_growing_a_gap() {
    let world = World::new();
    let sink = world.sink();
    for seq in 1..=3 {
        publish(&sink, seq, &[nth(i64::try_from(seq).unwrap())]).await;
    }
    let recorded = record(&sink, 4, &[nth(4)]).await.unwrap();
    for version in 2..=3 {
        std::fs::remove_file(world.folder.path().join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Halt));
    assert_eq!(sink.probe().await.unwrap().unwrap().seq, 1);
    assert_eq!(world.table().await.version(), Some(1));
}

#[tokio::test]
async fn a_sweep_is_told_of_active_and_of_lately_removed_files() {
    let world = World::new();
    let sink = world.sink();
    assert!(sink.referenced().await.unwrap().is_empty());
    let first = publish(&sink, 1, &[nth(1)]).await;
    let second =
        publish(&sink, 2, &[Load { revision: 1, ..load(time(1, 2), WriteMode::ReplaceWindow, &[]) }, nth(5)]).await;
    let old = json!({ "remove": { "path": "ancient.parquet", "dataChange": true, "deletionTimestamp": 1 } });
    world.foreign_commit(3, &[old]);
    let referenced = sink.referenced().await.unwrap();
    let expected = [&first.body.add[0].path, &second.body.add[0].path];
    assert_eq!(referenced, expected.into_iter().cloned().collect());
}

#[tokio::test]
async fn a_table_that_forgets_transactions_is_refused() {
    let world = World::new();
    publish(&world.sink(), 1, &[nth(1)]).await;
    let mut metadata = serde_json::to_value(world.table().await.snapshot().unwrap().metadata()).unwrap();
    metadata["configuration"] = json!({ "delta.setTransactionRetentionDuration": "interval 1 day" });
    world.foreign_commit(2, &[json!({ "metaData": metadata })]);
    assert_eq!(world.sink().probe().await.unwrap_err().code(), error::SINK_UNSUPPORTED);
}

#[tokio::test]
async fn a_table_partitioned_otherwise_is_refused() {
    let world = World::new();
    publish(&world.sink(), 1, &[nth(1)]).await;
    let other = World { partition_by: vec!["region".to_owned()], ..world };
    let refused = other.sink().layout(schema()).await.unwrap_err();
    assert_eq!(refused.code(), error::SINK_SCHEMA);
}

#[tokio::test]
async fn a_file_with_deleted_rows_is_never_replaced_nor_brought_back() {
    let world = World::new();
    let sink = world.sink();
    let before = publish(&sink, 1, &[nth(1)]).await;
    let replacing = Load { revision: 1, ..load(time(1, 2), WriteMode::ReplaceWindow, &[]) };
    let recorded = record(&sink, 2, std::slice::from_ref(&replacing)).await.unwrap();

    // Another writer deletes the row by a vector instead of a new file.
    let protocol = json!({ "protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
    }});
    let log = world.folder.path().join("_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut add = lines.into_iter().find(|line| line.get("add").is_some()).unwrap();
    let vector = json!({
        "storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
        "sizeInBytes": 40, "cardinality": 1,
    });
    add["add"]["deletionVector"] = vector;
    let remove = json!({ "remove": { "path": before.body.add[0].path, "dataChange": true, "deletionTimestamp": 1 } });
    world.foreign_commit(2, &[protocol, remove, add]);

    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Conflict));
    assert_eq!(recorded.abort(&sink).await.unwrap(), Applied::Aborted { version: 3 });
    for sink in [&sink, &world.sink()] {
        let refused = record(sink, 3, std::slice::from_ref(&replacing)).await.err().unwrap();
        assert_eq!(refused.code(), error::SINK_UNSUPPORTED);
    }
    publish(&sink, 3, &[nth(2)]).await;
}

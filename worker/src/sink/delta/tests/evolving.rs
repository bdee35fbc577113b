//! Tables that get columns: in one version with the rows that bring them, once, and only as long as the table is what it was.

use windrow_common::{error, schema::OnChange};

use super::*;
use crate::error::WorkerError;

/// A sink whose pipeline lets its table follow.
fn evolving(world: &World) -> DeltaSink {
    let mut pipeline = world.pipeline();
    pipeline.schema.new_column = Some(OnChange::Evolve);
    let params = Params::decode(&pipeline.sink.params).unwrap();
    DeltaSink::new(&pipeline, params, Storage::over(world.objects.clone(), world.place.clone()))
}

/// The rows of a load with a column more.
fn with_extra(load: &Load, extra: ArrayRef) -> RecordBatch {
    let rows = batch(&load.rows);
    let fields = rows.schema_ref().fields().iter().cloned();
    let field = Arc::new(Field::new("extra", extra.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.chain([field]).collect::<Vec<_>>()));
    RecordBatch::try_new(schema, rows.columns().iter().cloned().chain([extra]).collect()).unwrap()
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

async fn recorded(sink: &DeltaSink, seq: Seq, tasks: Vec<(IntentTask, Manifest)>) -> Result<Recorded, WorkerError> {
    let body = sink.prepare(Next { seq, previous: None, previous_aborted: false, tasks }).await?;
    let digest = Digest(Sha256::digest(serde_json::to_vec(&body).unwrap()).into());
    Ok(Recorded { body, digest })
}

fn day(number: i64) -> Load {
    load(time(number * 10, number * 10 + 10), WriteMode::ReplaceWindow, &[(Some(number * 10), number, "x")])
}

#[tokio::test]
async fn a_column_comes_with_its_rows_in_one_version_and_once() {
    let world = World::new();
    publish(&world.sink(), 1, &[day(1)]).await;
    let sink = evolving(&world);
    let load = day(2);
    let task = stage_batch(&sink, &load, with_extra(&load, text("new"))).await;
    let recorded = recorded(&sink, 2, vec![task]).await.unwrap();
    let first = recorded.commit(&sink).await.unwrap();
    // Whoever did not hear of it tries again, and so does another process.
    assert_eq!(recorded.commit(&sink).await.unwrap(), first);
    assert_eq!(recorded.commit(&evolving(&world)).await.unwrap(), first);

    let table = world.table().await;
    assert_eq!(table.version(), Some(2), "one version for the rows and their column");
    let columns: Vec<String> =
        table.snapshot().unwrap().schema().fields().map(|field| field.name().to_string()).collect();
    assert_eq!(columns, ["at", "id", "region", "extra"]);
    assert_eq!(world.rows().await, sorted(&[(Some(10), 1, "x"), (Some(20), 2, "x")]));
    // Rows without the column go on as before, for whoever knows nothing of it.
    publish(&world.sink(), 3, &[day(3)]).await;
    assert_eq!(world.rows().await.len(), 3);
}

#[tokio::test]
async fn of_two_tasks_that_bring_one_column_in_two_types_the_later_is_staged_again() {
    let world = World::new();
    publish(&world.sink(), 1, &[day(1)]).await;
    let sink = evolving(&world);
    let (one, other) = (day(2), day(3));
    let first = stage_batch(&sink, &one, with_extra(&one, text("new"))).await;
    let number: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let second = stage_batch(&sink, &other, with_extra(&other, number.clone())).await;
    let refused = recorded(&sink, 2, vec![first.clone(), second.clone()]).await.err().unwrap();
    assert_eq!((refused.code(), refused.stale()), (error::SINK_SCHEMA, Some(second.0.task)));
    let alone = recorded(&sink, 2, vec![first]).await.unwrap();
    assert!(matches!(alone.commit(&sink).await.unwrap(), Applied::Committed { .. }));
    // Now there is a column, and the other type does not fit it.
    let error = sink.layout(with_extra(&other, number).schema()).await.unwrap_err();
    assert!(error.to_string().contains("\"extra\""), "{error}");
}

/// Somebody else gave the column another type meanwhile: the intent is given up, the table stays as they made it.
#[tokio::test]
async fn a_table_that_changed_meanwhile_is_not_changed_again() {
    let world = World::new();
    publish(&world.sink(), 1, &[day(1)]).await;
    let sink = evolving(&world);
    let (one, other) = (day(2), day(3));
    let task = stage_batch(&sink, &one, with_extra(&one, text("new"))).await;
    let waits = recorded(&sink, 2, vec![task]).await.unwrap();
    let mut metadata = serde_json::Value::Null;
    for line in
        std::fs::read_to_string(world.folder.path().join("_delta_log/00000000000000000000.json")).unwrap().lines()
    {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line.get("metaData").is_some() {
            metadata = line;
        }
    }
    let schema = metadata["metaData"]["schemaString"].as_str().unwrap();
    let column = r#",{"name":"extra","type":"date","nullable":true,"metadata":{}}]}"#;
    metadata["metaData"]["schemaString"] = schema.replacen("]}", column, 1).into();
    world.foreign_commit(2, &[metadata]);
    assert_eq!(waits.commit(&sink).await.unwrap(), Applied::Refused(crate::sink::Refusal::Schema));
    assert!(matches!(waits.abort(&sink).await.unwrap(), Applied::Aborted { .. }));
    assert!(sink.layout(with_extra(&other, text("x")).schema()).await.is_err());
}

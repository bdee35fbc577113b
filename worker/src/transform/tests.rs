//! SQL on streams: what passes, what is refused, what it may take.
#![allow(clippy::unwrap_used)]

use arrow_array::{Array, Int64Array, StringArray, TimestampMicrosecondArray, cast::AsArray, types::Int64Type};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use futures::{TryStreamExt, stream};
use windrow_common::task::Retry;

use super::*;
use crate::error::Outcome;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let names = StringArray::from_iter_values(ids.clone().map(|id| format!("name {id}")));
    let at = TimestampMicrosecondArray::from_iter_values(ids.clone()).with_timezone("UTC");
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(at), Arc::new(names)])
        .unwrap()
}

fn transform(steps: &[&str], memory: u64) -> Transform {
    let steps: Vec<_> = steps.iter().map(|sql| TransformStep::Sql((*sql).to_owned())).collect();
    Transform::new(&steps, TransformLimits { memory: ByteSize(memory), spill: None })
}

async fn check(steps: &[&str]) -> Result<Shape> {
    transform(steps, 64 << 20).check(schema(), Some("at")).await
}

async fn run(steps: &[&str], batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let transform = transform(steps, 64 << 20);
    let shape = transform.check(schema(), Some("at")).await?;
    let rows = stream::iter(batches.into_iter().map(Ok)).boxed();
    let batches: Vec<RecordBatch> = transform.apply(schema(), rows).await?.try_collect().await?;
    assert!(batches.iter().all(|batch| batch.schema() == shape.output));
    Ok(batches)
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().iter().flatten()).collect()
}

#[tokio::test]
async fn no_step_changes_nothing() {
    let shape = check(&[]).await.unwrap();
    assert_eq!(shape, Shape { output: schema(), row_wise: true, keeps_cursor: true });
    assert_eq!(run(&[], vec![batch(0..3)]).await.unwrap(), [batch(0..3)]);
}

#[tokio::test]
async fn columns_are_dropped_and_rows_filtered_in_their_order() {
    let sql = "SELECT * EXCEPT (name) FROM input WHERE id % 2 = 0";
    let rows = run(&[sql], vec![batch(0..5), batch(5..10)]).await.unwrap();
    assert_eq!(ids(&rows), [0, 2, 4, 6, 8]);
    assert_eq!(rows[0].num_columns(), 2);
}

#[tokio::test]
async fn what_a_step_does_to_rows_and_cursor_is_told_beforehand() {
    let cases: &[(&[&str], bool, bool)] = &[
        (&["SELECT * FROM input"], true, true),
        (&["SELECT * EXCEPT (name) FROM input WHERE id > 1"], true, true),
        (&["SELECT id, upper(name) AS name, at FROM input"], true, true),
        (&["SELECT i.at FROM (SELECT * FROM input WHERE id > 1) i"], true, true),
        (&["WITH kept AS (SELECT * FROM input) SELECT * FROM kept"], true, true),
        (&["SELECT id FROM input"], true, false),
        (&["SELECT at AS moment FROM input"], true, false),
        (&["SELECT date_trunc('hour', at) AS at FROM input"], true, false),
        (&["SELECT at + INTERVAL '1 hour' AS at FROM input"], true, false),
        (&["SELECT at AS moment FROM input", "SELECT moment AS at FROM input"], true, true),
        (&["SELECT at AS id, id AS at FROM input"], true, false),
        (&["SELECT at AS id, id AS at FROM input", "SELECT id AS at, at AS id FROM input"], true, true),
        (&["SELECT at, count(*) AS n FROM input GROUP BY at"], false, true),
        (&["SELECT count(*) AS n FROM input"], false, false),
        (&["SELECT DISTINCT name FROM input"], false, false),
        (&["SELECT * FROM input ORDER BY id"], false, true),
        (&["SELECT * FROM input LIMIT 5"], false, true),
        (&["SELECT *, row_number() OVER (ORDER BY id) AS n FROM input"], false, false),
        (&["SELECT * FROM input", "SELECT max(id) AS id FROM input", "SELECT id FROM input"], false, false),
    ];
    for (steps, row_wise, keeps_cursor) in cases {
        let shape = check(steps).await.unwrap();
        assert_eq!((shape.row_wise, shape.keeps_cursor), (*row_wise, *keeps_cursor), "{steps:?}");
    }
}

#[tokio::test]
async fn steps_follow_one_another() {
    let steps = [
        "SELECT id, id * 2 AS double, name FROM input",
        "SELECT double + 1 AS odd, sha256(name) AS digest FROM input WHERE double >= 4",
        "SELECT sum(odd) AS total, count(digest) AS n FROM input",
    ];
    let rows = run(&steps, vec![batch(0..3), batch(3..6)]).await.unwrap();
    assert_eq!(ids(&rows), [5 + 7 + 9 + 11]);
    assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().value(0), 4);
}

#[tokio::test]
async fn only_a_repeatable_select_over_the_input_is_let_through() {
    let cases = [
        ("SELECT now() AS at FROM input", "now() gives another result"),
        ("SELECT current_date AS day FROM input", "gives another result"),
        ("SELECT id FROM input WHERE random() < 0.5", "random() gives another result"),
        ("SELECT uuid() AS id FROM input", "uuid() gives another result"),
        ("SELECT max(random()) AS x FROM input", "random() gives another result"),
        (
            "SELECT id FROM input WHERE id IN (SELECT CAST(random() AS BIGINT) FROM (VALUES (1)) v)",
            "gives another result",
        ),
        ("INSERT INTO input SELECT * FROM input", ""),
        ("CREATE TABLE t AS SELECT * FROM input", ""),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "no SELECT"),
        ("COPY input TO '/tmp/x.csv'", ""),
        ("SET datafusion.execution.batch_size = 1", ""),
        ("DROP TABLE input", ""),
        ("EXPLAIN SELECT * FROM input", ""),
        ("SELECT * FROM input; SELECT * FROM input", ""),
        ("SELECT * FROM '/etc/passwd'", ""),
        ("SELECT * FROM read_csv('/etc/passwd')", ""),
        ("SELECT * FROM generate_series(1, 1000000000)", ""),
        ("SELECT * FROM information_schema.tables", ""),
        ("SELECT 1 AS one", "does not read the table"),
        ("SELECT a.id FROM input a JOIN input b ON a.id = b.id", "more than once"),
        ("SELECT id FROM input WHERE id > (SELECT avg(id) FROM input)", "more than once"),
        ("WITH RECURSIVE r AS (SELECT id FROM input UNION ALL SELECT id + 1 FROM r) SELECT * FROM r", "recursive"),
        ("SELECT $1 AS x FROM input", ""),
        ("SELECT nothing FROM input", "nothing"),
        ("SELEC id FROM input", ""),
        ("", ""),
    ];
    for (sql, told) in cases {
        let error = check(&[sql]).await.expect_err(sql);
        assert_eq!(error.code(), error::BAD_SQL, "{sql}: {error}");
        let text = error.to_string();
        assert!(text.contains(told) && text.contains("transform step 1"), "{sql}: {text}");
        assert!(!text.contains('\n') && !text.starts_with("Error"), "{text}");
    }
}

#[tokio::test]
async fn a_value_the_sql_fails_on_fails_the_attempt_for_good() {
    let error = run(&["SELECT CAST(name AS BIGINT) AS n FROM input"], vec![batch(0..3)]).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (error::SQL_FAILED, Outcome::Failed(Retry::Never)));
    assert!(error.to_string().contains("name 0"), "{error}");
}

#[tokio::test]
async fn an_error_of_the_input_comes_out_as_it_went_in() {
    let transform = transform(&["SELECT id FROM input", "SELECT max(id) AS id FROM input"], 64 << 20);
    let broken = WorkerError::never(error::SOURCE_CORRUPT, "the gzip data ends too early").at("in.csv.gz");
    let rows = stream::iter([Ok(batch(0..3)), Err(broken)]).boxed();
    let result: Result<Vec<_>> = transform.apply(schema(), rows).await.unwrap().try_collect().await;
    let error = result.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (error::SOURCE_CORRUPT, "the gzip data ends too early (in.csv.gz)".to_owned())
    );
}

/// Many batches, made as they are asked for.
fn many(batches: i64) -> BatchStream {
    stream::iter(0..batches).map(|i| Ok(batch(i * 8_192..(i + 1) * 8_192))).boxed()
}

#[tokio::test]
async fn a_sort_larger_than_its_memory_spills() {
    let transform = transform(&["SELECT * FROM input ORDER BY id DESC"], 8 << 20);
    let rows = transform.apply(schema(), many(100)).await.unwrap();
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    let ids = ids(&batches);
    assert_eq!(ids.len(), 819_200);
    assert!(ids.is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn what_cannot_spill_is_refused_with_the_limit_named() {
    let transform = transform(&["SELECT array_agg(name) AS names FROM input"], 1 << 20);
    let result: Result<Vec<_>> = transform.apply(schema(), many(200)).await.unwrap().try_collect().await;
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (error::OUT_OF_MEMORY, Outcome::Failed(Retry::Never)), "{error}");
    assert!(error.fix_text().unwrap().contains("limits.memory"));
}

#[tokio::test]
async fn the_input_flows_and_is_not_gathered() {
    use std::sync::atomic::{AtomicI64, Ordering};
    let made = Arc::new(AtomicI64::new(0));
    let count = made.clone();
    let rows = many(1_000).inspect_ok(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut out =
        transform(&["SELECT id FROM input WHERE id >= 0"], 1 << 20).apply(schema(), rows.boxed()).await.unwrap();
    for _ in 0..3 {
        out.try_next().await.unwrap().unwrap();
    }
    assert!(made.load(Ordering::Relaxed) < 20);
}

#[tokio::test]
async fn the_output_has_plain_types() {
    let sql = "SELECT CAST(id AS VARCHAR) AS a, substr(name, 1, 2) AS b, arrow_cast(name, 'Utf8View') AS c, NULL AS d FROM input";
    let rows = run(&[sql], vec![batch(0..2)]).await.unwrap();
    assert!(rows[0].schema().fields().iter().all(|field| field.data_type() == &DataType::Utf8));
    assert_eq!(rows[0].column(2).as_string::<i32>().value(1), "name 1");
    assert_eq!(rows[0].column(3).null_count(), 2);
}

#[tokio::test]
async fn rows_that_a_condition_holds_for_are_marked_and_others_are_not() {
    let limits = TransformLimits { memory: ByteSize(64 << 20), spill: None };
    let marking = |condition: &str| Transform::new(&[], limits.clone()).marking(Some(condition));
    // Null is no deletion, and a comment ends with its line.
    let transform = marking("CASE WHEN id = 1 THEN NULL ELSE id > 1 END -- op = 'D'");
    let shape = transform.check(schema(), Some("at")).await.unwrap();
    assert_eq!((shape.row_wise, shape.keeps_cursor), (true, true));
    let rows = stream::iter([Ok(batch(0..4))]).boxed();
    let batches: Vec<RecordBatch> = transform.apply(schema(), rows).await.unwrap().try_collect().await.unwrap();
    let marks = batches[0].column_by_name(DELETED_COLUMN).unwrap().as_boolean().clone();
    assert_eq!(marks.iter().collect::<Vec<_>>(), [Some(false), Some(false), Some(true), Some(true)]);
    assert_eq!(batches[0].num_columns(), 4);
    for wrong in ["name", "id", "nothing = 1", "id > 1) OR (", "count(*) > 1", "now() > at"] {
        let refused = marking(wrong).check(schema(), Some("at")).await.unwrap_err();
        assert_eq!(refused.code(), error::BAD_SQL, "{wrong}");
        assert!(refused.to_string().contains("sink.deleted"), "{wrong}: {refused}");
    }
}

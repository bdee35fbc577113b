//! Full loads: tables, partitions, views and queries, each out of one snapshot, into Delta tables read by somebody else.

use futures::StreamExt;
use serde_json::json;
use windrow_common::{error, window::Window};
use windrow_tests::{
    declared::Declared,
    process::{ran, run_in, said},
    reader,
    skip::skip,
};
use windrow_worker::source::Chunk;

use super::{Project, delta, read, rows_of, server, source};

fn full() -> Window {
    Window::version(1)
}

/// A shop with types, constraints, views and partitions; a pipeline for each, in one file.
#[test]
fn tables_partitions_views_and_queries_are_loaded_whole() {
    let test = "tables_partitions_views_and_queries_are_loaded_whole";
    let Some(postgres) = server(test) else { return };
    postgres
        .psql(
            "CREATE TYPE size AS ENUM ('small', 'large'); CREATE DOMAIN sku AS text CHECK (VALUE ~ '^[A-Z]+');
             CREATE TABLE devices (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku sku NOT NULL, size size, tags text[],
                price numeric(12,2) NOT NULL, vat numeric(12,4) GENERATED ALWAYS AS (price * 0.2) STORED, spec jsonb, photo bytea,
                key uuid NOT NULL DEFAULT gen_random_uuid(), host inet, opens time, valid daterange, added date, updated timestamptz,
                seen timestamp, warranty interval, dropped int);
             ALTER TABLE devices DROP COLUMN dropped;
             INSERT INTO devices (sku, size, tags, price, spec, photo, host, opens, valid, added, updated, seen, warranty)
             SELECT 'SKU' || n, CASE WHEN n % 2 = 0 THEN 'small' ELSE 'large' END::size, ARRAY['a' || n, NULL], n * 1.25,
                jsonb_build_object('n', n), decode(lpad(to_hex(n), 8, '0'), 'hex'), '10.0.0.0'::inet + n, time '08:00' + n * interval '1 s',
                daterange(date '2024-01-01', date '2024-01-01' + n), date '2024-01-01' + n % 365,
                timestamptz '2024-01-01Z' + n * interval '1 minute', timestamp '2024-03-31 02:30' + n * interval '1 s', make_interval(days => n)
             FROM generate_series(1, 3000) n;
             CREATE TABLE events (id int, day date NOT NULL, note text) PARTITION BY RANGE (day);
             CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
             CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2024-02-01') TO ('2024-03-01') PARTITION BY LIST (note);
             CREATE TABLE events_2_any PARTITION OF events_2 DEFAULT;
             INSERT INTO events SELECT n, date '2024-01-01' + n % 59, 'n' || n FROM generate_series(1, 5000) n;
             CREATE VIEW cheap AS SELECT id, sku, price FROM devices WHERE price < 100;
             CREATE MATERIALIZED VIEW totals AS SELECT size, sum(price) AS total FROM devices GROUP BY size",
        )
        .unwrap();
    let pipeline = |name: &str, source: &str| {
        format!(
            "  {name}:\n    pattern: full\n    source: {{ from: shop, {source} }}\n    sink: {{ to: lake, format: delta, path: {name} }}\n"
        )
    };
    let text = [
        pipeline("devices", "table: public.devices, schema: { opens: text }"),
        pipeline("events", "table: events"),
        pipeline("cheap", "table: cheap"),
        pipeline("totals", "table: totals, schema: { total: \"decimal(20,2)\" }"),
        pipeline(
            "joined",
            "query: \"SELECT d.id, count(*) AS n FROM devices d JOIN events e ON e.id = d.id GROUP BY d.id;\"",
        ),
    ];
    let project = Project::new(&postgres.url(), &text.concat());
    let output = project.run(&["run"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("canary"));
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    for (table, in_database, in_table) in [
        (
            "devices",
            "SELECT count(*), sum(id), sum(price), sum(vat), count(DISTINCT key), min(host(host)), sum(extract(epoch FROM updated))::bigint,
                min(sku), max(size::text), max(tags[1]), sum((spec->>'n')::int), md5(string_agg(encode(photo, 'hex'), '' ORDER BY id)),
                max(valid::text), sum(added - date '1970-01-01'), max(opens::text), max(seen), upper(pg_typeof(max(seen))::text) FROM devices",
            "SELECT count(*), sum(id), sum(price), sum(vat), count(DISTINCT key), min(host), sum(epoch_us(updated) // 1000000)::BIGINT,
                min(sku), max(size), max(tags[1]), sum((spec->>'n')::INT), md5(string_agg(lower(hex(photo)), '' ORDER BY id)),
                max(valid), sum(added - DATE '1970-01-01'), max(opens), max(seen), CASE typeof(max(seen)) WHEN 'TIMESTAMP' THEN 'TIMESTAMP WITHOUT TIME ZONE' END FROM t",
        ),
        ("events", "SELECT count(*), sum(id), max(note) FROM events", "SELECT count(*), sum(id), max(note) FROM t"),
        ("cheap", "SELECT count(*), sum(price) FROM cheap", "SELECT count(*), sum(price) FROM t"),
        ("totals", "SELECT count(*), sum(total) FROM totals", "SELECT count(*), sum(total) FROM t"),
        ("joined", "SELECT count(*), sum(id) FROM devices WHERE id <= 5000", "SELECT count(*), sum(id) FROM t"),
    ] {
        assert_eq!(delta(&python, &project.table(table), in_table).join("|"), postgres.psql(in_database).unwrap(), "{table}");
    }

    // Again, with less in the source: the table is what the source is.
    postgres.psql("DELETE FROM events WHERE id > 10").unwrap();
    let again = project.run(&["backfill", "create", "events", "--reprocess", "all", "--local"]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(crate::demo::rows_by_log(&project.table("events")), Some(10));
}

/// What is written while a load is under way is either all in it or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_sees_one_moment() {
    let Some(postgres) = server("a_load_sees_one_moment") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql("CREATE TABLE visits AS SELECT n AS id, repeat('x', 200) AS x FROM generate_series(1, 100000) n")
        .unwrap();
    let visits = source(&postgres.url(), folder.path(), json!({ "table": "visits" }), None);
    let slice = visits.resolve(&full()).await.unwrap().remove(0);
    let mut rows = visits.read(&slice, &full()).await.unwrap();
    let mut seen = 0;
    while let Some(chunk) = rows.next().await {
        let Chunk::Rows(batch) = chunk.unwrap() else { panic!("nothing is rejected") };
        if seen == 0 {
            postgres.psql("DELETE FROM visits WHERE id % 2 = 0; INSERT INTO visits SELECT n, 'y' FROM generate_series(1, 7) n").unwrap();
        }
        seen += batch.num_rows();
    }
    assert_eq!(seen, 100_000);
    assert_eq!(rows_of(&read(&visits, &full()).await.unwrap().0), 50_007);
}

/// A column that came or changed its type between looking and reading is told; the next attempt has the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_change_meanwhile_are_noticed() {
    let Some(postgres) = server("columns_that_change_meanwhile_are_noticed") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres.psql("CREATE TABLE visits (id int); INSERT INTO visits VALUES (1)").unwrap();
    let visits = source(&postgres.url(), folder.path(), json!({ "table": "visits" }), None);
    for change in ["ADD COLUMN page text", "ALTER COLUMN id TYPE bigint", "DROP COLUMN page"] {
        let slice = visits.resolve(&full()).await.unwrap().remove(0);
        postgres.psql(&format!("ALTER TABLE visits {change}")).unwrap();
        let error = visits.read(&slice, &full()).await.err().unwrap();
        assert_eq!(error.code(), error::SOURCE_CHANGED, "{change}: {error}");
        assert_eq!(rows_of(&read(&visits, &full()).await.unwrap().0), 1);
    }
}

/// The example does what its first lines say.
#[test]
fn the_example_runs() {
    let Some(postgres) = server("the_example_runs") else { return };
    postgres.psql(include_str!("../../../examples/postgres/shop.sql")).unwrap();
    let declared = Declared::new(include_str!("../../../examples/postgres/pipelines.yaml")).unwrap();
    let environment = [("SHOP_PG_URL".to_owned(), postgres.url())];
    let output = run_in(&["run", declared.arg()], &environment).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let rows = |table: &str| crate::demo::rows_by_log(&declared.path().join("lake").join(table));
    assert_eq!((rows("devices"), rows("visits")), (Some(50), Some(4_000)));
    assert_eq!(postgres.psql("SELECT count(*), count(*) FILTER (WHERE gone) FROM customers_now").unwrap(), "81|0");
}

/// What a file says of a database is checked without one.
#[test]
fn what_a_file_says_of_a_database_is_checked_before_anything_runs() {
    let pipelines = include_str!("../../../examples/postgres/pipelines.yaml");
    let of = |from: &str, to: &str| {
        assert!(pipelines.contains(from), "{from}");
        let declared = Declared::new(&pipelines.replace(from, to)).unwrap();
        ran(&["validate", declared.arg()]).unwrap()
    };
    let (code, text) = of("cursor: visited", "null_cursor: ignore");
    assert!(
        code == Some(2) && text.contains("WR-P009") && text.contains("fix: name the column of time in `cursor`"),
        "{text}"
    );
    let (code, text) = of("\"${env:SHOP_PG_URL}\"", "\"postgres://me:canary@one:5432,two:5433/shop\"");
    assert!(code == Some(2) && text.contains("WR-P011") && !text.contains("canary"), "{text}");
    let (code, text) = of("cursor: visited", "cursor: visited, cursor_timezon: UTC");
    assert!(code == Some(2) && text.contains("WR-P003") && text.contains("write `cursor_timezone`"), "{text}");
    // Without the variable nothing more can be said here, and nothing is wrong.
    let (code, text) = of("visits:", "visits:");
    assert!(code == Some(0) && text.contains("WR-P010"), "{text}");
}

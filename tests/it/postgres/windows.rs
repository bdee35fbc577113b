//! Windows over a delta column: half-open, by index, in any zone, and rows without a cursor.

use arrow_array::{cast::AsArray, types::Int32Type};
use serde_json::json;
use windrow_common::{
    error,
    window::{Axis, Window},
};
use windrow_tests::{process::said, reader, skip::skip};

use super::{Project, delta, hours, read, rows_of, server, source};

/// Proves IL1, IL2, IL3, IL15. Two days in hourly windows, many rows on each edge: what a reader that is not ours finds has the
/// count and the digest the database has; a backfill replaces windows by the same rows and by what changed in them.
#[test]
fn a_table_arrives_by_hourly_windows() {
    let test = "a_table_arrives_by_hourly_windows";
    let Some(postgres) = server(test) else { return };
    postgres
        .psql(
            "CREATE TABLE visits (id int PRIMARY KEY, at timestamptz NOT NULL, page text, price numeric(12,2), seen boolean);
             INSERT INTO visits SELECT n,
                CASE WHEN n % 10 = 0 THEN date_trunc('hour', t) ELSE t END,
                CASE WHEN n % 7 = 0 THEN NULL ELSE 'page ' || n % 100 || ' Ö''' END, (n % 1000) * 1.37, n % 3 = 0
             FROM (SELECT n, timestamptz '2024-01-01Z' + n * interval '8.64 seconds' AS t FROM generate_series(0, 19999) n) rows;
             CREATE INDEX ON visits (at); ANALYZE visits",
        )
        .unwrap();
    let project = Project::new(
        &postgres.url(),
        "  visits:\n    pattern: incremental\n    source: { from: shop, table: visits, cursor: at }\n    \
         window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-03T00:00, per_task: 7 }\n    \
         sink: { to: lake, format: delta, path: visits }\n",
    );
    let first = project.run(&["run"]);
    assert!(first.status.success(), "{}", said(&first));
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let in_database = || {
        let row =
            "concat_ws('|', id, (extract(epoch FROM at) * 1000000)::bigint, coalesce(page, '~'), price, seen::int)";
        postgres
            .psql(&format!(
                "SELECT count(*), sum(('x' || substr(md5({row}), 1, 7))::bit(28)::int), count(DISTINCT id) FROM visits"
            ))
            .unwrap()
    };
    let in_table = || {
        let row = "concat_ws('|', id, epoch_us(\"at\"), coalesce(page, '~'), price, seen::int)";
        let sql =
            format!("SELECT count(*), sum(('0x' || substr(md5({row}), 1, 7))::BIGINT), count(DISTINCT id) FROM t");
        delta(&python, &project.table("visits"), &sql).join("|")
    };
    assert_eq!(in_table(), in_database());
    assert!(in_database().starts_with("20000|"));

    let again = project.run(&["run"]);
    assert!(said(&again).contains("nothing to do"), "{}", said(&again));
    postgres
        .psql(
            "UPDATE visits SET page = 'changed' WHERE at >= '2024-01-01T05:00Z' AND at < '2024-01-01T06:00Z' AND id % 2 = 0;
             DELETE FROM visits WHERE at >= '2024-01-01T07:00Z' AND at < '2024-01-01T08:00Z'",
        )
        .unwrap();
    let range = [
        "backfill",
        "create",
        "visits",
        "--from",
        "2024-01-01T04:00",
        "--to",
        "2024-01-01T09:00",
        "--reprocess",
        "all",
        "--local",
    ];
    let backfill = project.run(&range);
    assert!(backfill.status.success(), "{}", said(&backfill));
    assert_eq!(in_table(), in_database());
}

/// Proves IL14. Local times around a change of clocks, an hour that stands twice and one that never was: each row is in one
/// window, and the windows of two days hold them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_local_times_loses_no_hour_when_clocks_change() {
    let Some(postgres) = server("a_cursor_of_local_times_loses_no_hour_when_clocks_change") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (day, rows) in [("2024-03-31", 192), ("2024-10-27", 192)] {
        postgres
            .psql(&format!(
                "DROP TABLE IF EXISTS local; CREATE TABLE local AS SELECT n AS id, timestamp '{day}' - interval '12 hours' + n * interval '15 minutes' AS at
                 FROM generate_series(0, 191) n"
            ))
            .unwrap();
        let params = json!({ "table": "local", "cursor_timezone": "Europe/Paris" });
        let local = source(&postgres.url(), folder.path(), params, Some("at"));
        let start: i64 = postgres
            .psql(&format!("SELECT (extract(epoch FROM timestamptz '{day}Z' - interval '1 day') * 1000000)::bigint"))
            .unwrap()
            .parse()
            .unwrap();
        let mut found = Vec::new();
        for step in 0..36 {
            let window =
                Window::new(Axis::Time, start + step * 7_200_000_000, start + (step + 1) * 7_200_000_000).unwrap();
            let (batches, rejected) = read(&local, &window).await.unwrap();
            assert_eq!(rejected, []);
            found.extend(batches.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()));
        }
        found.sort_unstable();
        assert_eq!(found, (0..rows).collect::<Vec<_>>(), "{day}");
    }
    let bare = source(&postgres.url(), folder.path(), json!({ "table": "local" }), Some("at"));
    assert_eq!(bare.resolve(&hours(0, 1)).await.unwrap_err().code(), error::CURSOR_MISSING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_and_microseconds_are_cursors_too() {
    let Some(postgres) = server("days_and_microseconds_are_cursors_too") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE TABLE daily AS SELECT date '2024-01-01' + n AS day, 1704067200000000 + n * 86400000000 AS micros FROM generate_series(0, 9) n",
        )
        .unwrap();
    let of = |cursor: &str, zone: Option<&str>| {
        let mut params = json!({ "table": "daily" });
        if let Some(zone) = zone {
            params["cursor_timezone"] = json!(zone);
        }
        source(&postgres.url(), folder.path(), params, Some(cursor))
    };
    for (source, window, rows) in [
        (of("day", None), hours(0, 24), 1),
        (of("day", None), hours(1, 24), 0),
        (of("day", None), hours(24, 96), 3),
        // In Paris the day begins an hour before it does in UTC.
        (of("day", Some("Europe/Paris")), hours(-1, 0), 1),
        (of("micros", None), hours(0, 24), 1),
        (of("micros", None), hours(1, 25), 1),
    ] {
        assert_eq!(rows_of(&read(&source, &window).await.unwrap().0), rows, "{window}");
    }
}

/// Rows without a cursor belong to no window: they are counted and refused, rejected, or left out, as is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_cursor_are_treated_as_is_said() {
    let Some(postgres) = server("rows_without_a_cursor_are_treated_as_is_said") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql("CREATE TABLE visits (id int, at timestamptz); INSERT INTO visits VALUES (1, '2024-01-01T00:00Z'), (2, NULL), (3, NULL)")
        .unwrap();
    let of = |policy: &str| {
        source(&postgres.url(), folder.path(), json!({ "table": "visits", "null_cursor": policy }), Some("at"))
    };
    let refused = read(&of("refuse"), &hours(0, 1)).await.unwrap_err();
    assert_eq!(refused.code(), error::CURSOR_MISSING);
    assert!(refused.to_string().contains("null in 2 rows"), "{refused}");
    let (rows, rejected) = read(&of("reject"), &hours(0, 1)).await.unwrap();
    assert_eq!((rows_of(&rows), rejected.len()), (1, 2));
    assert!(rejected.iter().all(|reject| reject.code == "WR-S007" && reject.raw.contains("at=null")), "{rejected:?}");
    let (rows, rejected) = read(&of("ignore"), &hours(0, 1)).await.unwrap();
    assert_eq!((rows_of(&rows), rejected.len()), (1, 0));
}

/// A window reads what it holds and not the whole table: the cursor's index finds it, for local times as well.
#[test]
fn a_window_is_found_by_the_index_on_its_cursor() {
    let Some(postgres) = server("a_window_is_found_by_the_index_on_its_cursor") else { return };
    postgres
        .psql(
            "CREATE TABLE visits AS SELECT n AS id, timestamp '2024-01-01' + n * interval '1 minute' AS at FROM generate_series(0, 99999) n;
             CREATE INDEX visits_at ON visits (at); ANALYZE visits",
        )
        .unwrap();
    // What a session did it tells at its end.
    postgres.psql("SELECT pg_stat_reset()").unwrap();
    let project = Project::new(
        &postgres.url(),
        "  visits:\n    pattern: incremental\n    source: { from: shop, table: visits, cursor: at, timezone: Europe/Paris, null_cursor: ignore }\n    \
         window: { every: 1h, start: 2024-01-10T00:00, end: 2024-01-10T03:00, per_task: 1 }\n    \
         sink: { to: lake, format: delta, path: visits }\n",
    );
    let output = project.run(&["run"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(crate::demo::rows_by_log(&project.table("visits")), Some(180));
    let scans = postgres.psql("SELECT pg_stat_force_next_flush(), pg_sleep(1.2)::text; SELECT seq_scan, idx_scan > 0 FROM pg_stat_user_tables WHERE relname = 'visits'").unwrap();
    assert_eq!(scans.lines().last(), Some("0|t"), "sequential scans and index scans: {scans}");
}

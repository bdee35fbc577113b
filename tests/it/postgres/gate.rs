//! When a window closes: nothing that may still be added to it is ever missed.

use std::time::{Duration, Instant};

use serde_json::json;
use windrow_common::{
    error,
    window::{Axis, Window},
};
use windrow_tests::{
    postgres::{Postgres, Psql},
    process::{Process, Surroundings, said},
};
use windrow_worker::error::{Outcome, in_one_line};

use super::{Project, URL, read, rows_of, server, source};
use crate::demo::rows_by_log;

/// The database's clock in microseconds.
fn now(postgres: &Postgres) -> i64 {
    postgres.psql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").unwrap().parse().unwrap()
}

fn window(start: i64, end: i64) -> Window {
    Window::new(Axis::Time, start, end).unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(120), "{what} did not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Proves IL5. The row is stamped within the window and committed after its end. As long as its transaction is open the
/// window is not read and the reason names who holds it up; then it has the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_waits_for_who_may_still_add_to_it() {
    let Some(postgres) = server("a_window_waits_for_who_may_still_add_to_it") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql("CREATE TABLE visits (id int, at timestamptz NOT NULL DEFAULT now()); INSERT INTO visits VALUES (1)")
        .unwrap();
    let visits = source(&postgres.url(), folder.path(), json!({ "table": "visits" }), Some("at"));
    let start = now(&postgres) - 60_000_000;

    let mut slow = postgres.session().unwrap();
    slow.run("BEGIN").unwrap();
    slow.run("INSERT INTO visits VALUES (2)").unwrap();
    let pid = slow.run("SELECT pg_backend_pid()").unwrap();
    let stamped = window(start, now(&postgres));
    // Others come and go meanwhile, and hold nothing up.
    postgres.psql("INSERT INTO visits VALUES (3)").unwrap();

    let open = visits.resolve(&stamped).await.unwrap_err();
    assert_eq!((open.code(), open.outcome()), (error::SOURCE_OPEN, Outcome::NotReady));
    let said = in_one_line(&open);
    assert!(
        said.contains(&format!("process {pid} of user \"windrow\"")) && said.contains("idle in transaction"),
        "{said}"
    );
    assert!(said.contains(" s ("), "its age: {said}");
    assert!(open.fix_text().unwrap().contains(&format!("pg_terminate_backend({pid})")));

    // A transaction that began after a window's end may stamp nothing into it.
    slow.run("COMMIT").unwrap();
    slow.run("BEGIN").unwrap();
    slow.run("INSERT INTO visits VALUES (4)").unwrap();
    let (rows, _) = read(&visits, &stamped).await.unwrap();
    assert_eq!(rows_of(&rows), 2, "rows 1 and 2, not 3 and 4");
}

/// Prepared transactions, sessions that tell nothing of themselves, and the database's clock count too; our own readers
/// do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_waits_for_prepared_transactions_and_for_the_clock() {
    let Some(postgres) = server("a_window_waits_for_prepared_transactions_and_for_the_clock") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres.psql("CREATE TABLE visits (id int, at timestamptz NOT NULL DEFAULT now())").unwrap();
    let visits = source(&postgres.url(), folder.path(), json!({ "table": "visits" }), Some("at"));
    let start = now(&postgres) - 60_000_000;

    let mut reader = postgres.session().unwrap();
    reader.run("SET application_name = 'windrow source'").unwrap();
    reader.run("BEGIN READ ONLY; SELECT count(*) FROM visits").unwrap();
    postgres.psql("BEGIN; INSERT INTO visits VALUES (1); PREPARE TRANSACTION 'left behind'").unwrap();
    let past = window(start, now(&postgres));
    let open = visits.resolve(&past).await.unwrap_err();
    assert!(in_one_line(&open).contains("\"left behind\" of user \"windrow\""), "{open}");
    assert!(open.fix_text().unwrap().contains("ROLLBACK PREPARED 'left behind'"));
    postgres.psql("COMMIT PREPARED 'left behind'").unwrap();
    assert_eq!(rows_of(&read(&visits, &past).await.unwrap().0), 1);

    let future = window(start, now(&postgres) + 3_600_000_000);
    let open = visits.resolve(&future).await.unwrap_err();
    assert_eq!(open.outcome(), Outcome::NotReady);
    assert!(in_one_line(&open).contains("by the database's clock"), "{open}");

    let mut silent = postgres.session().unwrap();
    silent.run("SET track_activities = off").unwrap();
    silent.run("SELECT 1").unwrap();
    let open = visits.resolve(&past).await.unwrap_err();
    assert!(in_one_line(&open).contains("track_activities"), "{open}");
    drop(silent);

    // Its transaction is older than the window's end.
    reader.run("SELECT count(*) FROM visits").unwrap();
    visits.resolve(&past).await.unwrap();
}

/// A stated lag closes by the database's clock alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stated_lag_closes_a_window_by_time_alone() {
    let Some(postgres) = server("a_stated_lag_closes_a_window_by_time_alone") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE TABLE visits (id int, at timestamptz NOT NULL DEFAULT now()); INSERT INTO visits VALUES (1);
             CREATE USER reader PASSWORD 'reader'; GRANT SELECT ON visits TO reader",
        )
        .unwrap();
    let mut slow = postgres.session().unwrap();
    slow.run("BEGIN; INSERT INTO visits VALUES (2)").unwrap();
    let url = postgres.url_of("reader", "reader", "shop");
    let past = window(now(&postgres) - 60_000_000, now(&postgres));
    let strict = source(&url, folder.path(), json!({ "table": "visits" }), Some("at"));
    let refused = strict.resolve(&past).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.outcome()),
        (error::SOURCE_FORBIDDEN, Outcome::Failed(windrow_common::task::Retry::Never))
    );
    assert!(refused.fix_text().unwrap().starts_with("GRANT pg_read_all_stats TO \"reader\""), "{refused}");

    let lagging = source(&url, folder.path(), json!({ "table": "visits", "commit_lag": "2s" }), Some("at"));
    assert_eq!(rows_of(&read(&lagging, &past).await.unwrap().0), 1);
    let long = source(&url, folder.path(), json!({ "table": "visits", "commit_lag": "1h" }), Some("at"));
    assert_eq!(long.resolve(&past).await.unwrap_err().outcome(), Outcome::NotReady);

    postgres.psql("GRANT pg_read_all_stats TO reader").unwrap();
    assert_eq!(strict.resolve(&past).await.unwrap_err().outcome(), Outcome::NotReady);
    slow.run("ROLLBACK").unwrap();
    assert_eq!(rows_of(&read(&strict, &past).await.unwrap().0), 1);
}

/// Proves IL5, IL10. The whole of windrow: the window waits without a slot for the open transaction, the others of its run
/// are loaded meanwhile, and nothing is lost.
#[test]
fn a_late_commit_is_loaded_and_waiting_for_it_holds_no_slot() {
    let Some(postgres) = server("a_late_commit_is_loaded_and_waiting_for_it_holds_no_slot") else { return };
    postgres.psql("CREATE TABLE visits (id int, at timestamptz NOT NULL DEFAULT now())").unwrap();
    let mut slow = postgres.session().unwrap();
    slow.run("BEGIN").unwrap();
    // The window its own stamp lies in, after five that are over.
    let bound = |slow: &mut Psql, offset: i32| {
        let at = format!("date_trunc('second', now()) + {offset} * interval '1 second'");
        slow.run(&format!("SELECT to_char({at}, 'YYYY-MM-DD\"T\"HH24:MI:SS')")).unwrap()
    };
    slow.run("SET LOCAL TimeZone = 'UTC'").unwrap();
    let (start, middle, end) = (bound(&mut slow, -25), bound(&mut slow, 0), bound(&mut slow, 5));
    let earlier = format!("timestamptz '{middle}Z' - n * interval '5 seconds'");
    postgres.psql(&format!("INSERT INTO visits SELECT n, {earlier} FROM generate_series(1, 5) n")).unwrap();
    slow.run("INSERT INTO visits VALUES (100)").unwrap();
    let project = Project::new(
        &postgres.url(),
        &format!(
            "  visits:\n    pattern: incremental\n    source: {{ from: shop, table: visits, cursor: at }}\n    \
             window: {{ every: 5s, start: {start}, end: {end}, per_task: 6 }}\n    \
             sink: {{ to: lake, format: delta, path: visits }}\n    limits: {{ concurrency: 1 }}\n"
        ),
    );
    let surroundings = Surroundings::default().with_env(URL, postgres.url());
    let log = tempfile::NamedTempFile::new().unwrap();
    let start = || Process::start_in(&surroundings, &["dev", project.arg()], log.path()).unwrap();
    let wait_for = |windrow: &mut Process, rows: u64| {
        wait_until(&format!("{rows} rows"), || {
            if let Some(status) = windrow.ended().unwrap() {
                panic!("windrow ended with {status}: {}", windrow.log());
            }
            rows_by_log(&project.table("visits")) == Some(rows)
        });
    };
    let mut windrow = start();
    wait_for(&mut windrow, 5);
    // By then the last window is over and was looked at.
    std::thread::sleep(Duration::from_secs(15));
    windrow.terminate().unwrap();
    wait_until("the end", || windrow.ended().unwrap().is_some());
    let window = said(&project.run(&["explain", "window", "visits", &middle, "--local"]));
    assert!(window.contains("idle in transaction"), "{window}");
    let claimed = project.ask(&["get", "tasks"]).to_string();
    assert!(!claimed.contains("claimed"), "no slot is held: {claimed}");

    let mut windrow = start();
    slow.run("COMMIT").unwrap();
    wait_for(&mut windrow, 6);
}

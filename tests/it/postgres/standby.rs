//! A standby: what is open only its primary knows, and what the primary had it may not have yet.

use serde_json::json;
use windrow_common::window::{Axis, Window};
use windrow_worker::error::{Outcome, in_one_line};

use super::{read, rows_of, server, source, source_over};

/// Proves IL5. On a standby, too: a transaction open on the primary holds the window up, and so does a replay that is behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_read_from_a_standby_waits_for_the_primary_and_for_the_replay() {
    let Some(primary) = server("a_window_read_from_a_standby_waits_for_the_primary_and_for_the_replay") else { return };
    primary
        .psql("CREATE TABLE visits (id int, at timestamptz NOT NULL DEFAULT now()); INSERT INTO visits VALUES (1)")
        .unwrap();
    let standby = primary.standby().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let now: i64 =
        primary.psql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").unwrap().parse().unwrap();
    let mut slow = primary.session().unwrap();
    slow.run("BEGIN; INSERT INTO visits VALUES (2)").unwrap();
    let end: i64 =
        primary.psql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").unwrap().parse().unwrap();
    let window = Window::new(Axis::Time, now - 60_000_000, end).unwrap();

    let alone = source(&standby.url(), folder.path(), json!({ "table": "visits" }), Some("at"));
    let refused = alone.resolve(&window).await.unwrap_err();
    assert_eq!(refused.code().code, "WR-S011");
    assert!(refused.fix_text().unwrap().contains("`primary`"), "{refused}");

    let with_primary = json!({ "primary": primary.url() });
    let visits = source_over(with_primary, &standby.url(), folder.path(), json!({ "table": "visits" }), Some("at"));
    let open = visits.resolve(&window).await.unwrap_err();
    assert_eq!(open.outcome(), Outcome::NotReady);
    assert!(in_one_line(&open).contains("idle in transaction"), "{open}");

    standby.psql("SELECT pg_wal_replay_pause()").unwrap();
    slow.run("COMMIT").unwrap();
    let behind = visits.resolve(&window).await.unwrap_err();
    assert_eq!(behind.outcome(), Outcome::NotReady);
    assert!(in_one_line(&behind).contains("the standby has replayed up to"), "{behind}");
    standby.psql("SELECT pg_wal_replay_resume()").unwrap();
    assert_eq!(rows_of(&read(&visits, &window).await.unwrap().0), 2);
}

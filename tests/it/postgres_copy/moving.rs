//! Rows as they are through everything a window goes through: windows and their replacement, shards, workers of two roles, deaths.

use std::{fs, time::Duration};

use windrow_tests::{
    cluster::Cluster,
    process::{Process, Surroundings, ran},
    skip::skip,
};

use super::Pair;
use crate::cluster::TURN;

const ROWS: u64 = 60_000;
const VISITS: &str = "CREATE TABLE visits (id bigint, at timestamptz NOT NULL, page varchar(40), price numeric(12,2), tags text[]);
    INSERT INTO visits SELECT n, timestamptz '2024-01-01Z' + n * interval '10 seconds', md5(n::text), CASE WHEN n % 1000 = 0 THEN 'NaN' ELSE n / 7.0 END,
    ARRAY['a' || n, NULL] FROM generate_series(0, 59999) n; ANALYZE visits";

/// Seven days of them, a task a day.
fn days(source: &str, sink: &str) -> String {
    format!(
        "  visits:
    pattern: incremental
    source: {{ from: here, table: visits, cursor: at, commit_lag: 1s{source} }}
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-08, per_task: 2 }}
    sink: {{ to: there, format: postgres, table: visits, staging: files{sink} }}
    retries: {{ attempts: 2, backoff: 10ms }}
"
    )
}

/// Proves FL1, IL3. Windows are told in the database, so nothing has to be decoded for them; one that is loaded again is replaced.
#[test]
fn windows_are_loaded_and_replaced_as_they_are() {
    let Some(pair) = Pair::open("windows_are_loaded_and_replaced_as_they_are") else { return };
    pair.here.psql(VISITS).unwrap();
    pair.declare(&days("", ""));
    assert_eq!(pair.planned(), Ok(()));
    let (code, text) = pair.run();
    assert_eq!(code, Some(0), "{text}");
    pair.check_equal("visits");
    let (verbatim, values) = pair.staged();
    assert!(verbatim >= 4 && values == 0, "{verbatim} {values}");
    pair.here
        .psql("UPDATE visits SET page = 'changed', price = 'NaN' WHERE at < '2024-01-02Z'; DELETE FROM visits WHERE id = 9000")
        .unwrap();
    let create = ["backfill", "create", "visits", "--from", "2024-01-01", "--to", "2024-01-03", "--reprocess", "all"];
    let (code, text) = ran(&[&create[..], &["--local", pair.arg()]].concat()).unwrap();
    assert_eq!(code, Some(0), "{text}");
    pair.check_equal("visits");
    assert_eq!(pair.there.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'windrow_stage'").unwrap(), "");
}

/// Rows as they are and rows of values, of two pipelines, go into one table; also where one commit has both.
#[test]
fn rows_as_they_are_and_rows_of_values_go_into_one_table() {
    let Some(pair) = Pair::open("rows_as_they_are_and_rows_of_values_go_into_one_table") else { return };
    pair.here
        .psql(
            "CREATE TABLE one (id bigint, note text); INSERT INTO one SELECT n, 'here' FROM generate_series(1, 1000) n",
        )
        .unwrap();
    pair.here.psql("CREATE TABLE two (id bigint, more date); INSERT INTO two SELECT n, 'infinity' FROM generate_series(1, 500) n").unwrap();
    pair.there.psql("CREATE TABLE rows (id bigint, note text, more date)").unwrap();
    fs::write(pair.folder.path().join("three.csv"), "id,note\n1,file\n2,file\n").unwrap();
    let pipeline = |name: &str, source: &str| {
        format!(
            "  {name}:\n    pattern: full\n    source: {{ {source} }}\n    sink: {{ to: there, format: postgres, table: rows, staging: files, \
             write: append }}\n"
        )
    };
    let file = "from: files, path: three.csv, schema: { id: int, note: string }";
    let all = [("one", "from: here, table: one"), ("two", "from: here, table: two"), ("three", file), ("four", file)];
    pair.declare(&all.map(|(name, source)| pipeline(name, source)).concat());
    // Held when the first commit is worked out until all are staged: the second has the other three, which are of both sorts.
    let traps = pair.folder.path().join("traps");
    fs::create_dir(&traps).unwrap();
    let armed = Surroundings::default()
        .with_env("WINDROW_FAILPOINTS", "F5=hold")
        .with_env("WINDROW_FAILPOINT_FOLDER", traps.display().to_string());
    let mut running = Process::start_in(&armed, &["run", pair.arg()], &pair.folder.path().join("log")).unwrap();
    while !traps.join("F5.hit").exists() || pair.staged() != (2, 2) {
        assert!(running.ended().unwrap().is_none(), "{}", running.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    fs::write(traps.join("F5.go"), "").unwrap();
    while running.ended().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(running.ended().unwrap().is_some_and(|status| status.success()), "{}", running.log());
    assert_eq!(pair.there.psql("SELECT count(*) FROM windrow.commit").unwrap(), "2");
    let counts = "SELECT count(*), count(*) FILTER (WHERE note = 'here'), count(*) FILTER (WHERE note = 'file'), \
        count(*) FILTER (WHERE more = 'infinity') FROM rows";
    assert_eq!(pair.there.psql(counts).unwrap(), "1504|1000|4|500");
}

/// Proves FL1, FL3. A cluster whose readers know nothing of the target and whose sink worker knows nothing of the source: a table is
/// read in shards, goes over Flight and is shown whole, while workers die at every step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_in_shards_between_workers_of_two_roles_outlives_deaths() {
    let test = "a_load_in_shards_between_workers_of_two_roles_outlives_deaths";
    let _turn = TURN.lock().await;
    let Some(pair) = Pair::open(test) else { return };
    let Some(mut cluster) = Cluster::start(1, 0).await.unwrap() else { return skip(test, "there is no etcd") };
    pair.here.psql(VISITS).unwrap();
    // However often the snapshot is lost.
    pair.declare(&format!(
        "  load:
    pattern: full
    source: {{ from: here, table: visits, shards: {{ rows: {}, most: 4 }} }}
    sink: {{ to: there, format: postgres, table: visits, staging: files, primary_key: [id] }}
    retries: {{ attempts: 100, lost_leases: 100, backoff: 10ms, max_backoff: 100ms }}
",
        ROWS / 4
    ));
    cluster.apply(pair.arg()).unwrap();
    cluster.add_worker_with("sink", &["--role", "sink"]).unwrap();
    for (worker, trap) in [("r1", "F2=kill"), ("r2", "F3=kill")] {
        cluster.add_reader_armed(worker, trap).unwrap();
    }
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    while cluster.workers.iter_mut().skip(1).any(|(_, process)| process.ended().unwrap().is_none()) {
        assert!(tokio::time::Instant::now() < patience, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for worker in ["r3", "r4"] {
        cluster.add_worker_with(worker, &["--role", "ingest", "--slots", "1"]).unwrap();
    }
    let counted = "SELECT count(*) FROM pg_views WHERE viewname = 'visits'";
    while pair.there.psql(counted).unwrap() == "0" {
        assert!(tokio::time::Instant::now() < patience + Duration::from_secs(60), "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pair.check_equal("visits");
    assert_eq!(pair.there.psql("SELECT count(*), count(DISTINCT id) FROM visits").unwrap(), format!("{ROWS}|{ROWS}"));
    let (verbatim, values) = pair.staged();
    assert!(verbatim >= 4 && values == 0, "{verbatim} {values}");
}

/// Proves FL1, FL4. Whatever dies, and when, the view shows the old rows or the new ones.
#[test]
fn a_load_that_is_killed_at_any_step_shows_the_old_rows_or_the_new_ones() {
    let Some(pair) = Pair::open("a_load_that_is_killed_at_any_step_shows_the_old_rows_or_the_new_ones") else { return };
    pair.here.psql(VISITS).unwrap();
    pair.declare_load("visits", "", ", expose: { keep_versions: 2 }");
    assert_eq!(pair.run().0, Some(0));
    pair.here.psql("UPDATE visits SET price = 'NaN'; DELETE FROM visits WHERE id % 2 = 0").unwrap();
    let seen = "SELECT count(*), count(*) FILTER (WHERE price = 'NaN') FROM visits";
    let (old, new) = ("60000|60", "30000|30000");
    let create = ["backfill", "create", "load", "--reprocess", "all", "--request-id", "second", "--local", pair.arg()];
    for trap in ["F2=kill", "F2b=kill", "F3=kill", "F5=kill", "F7=kill"] {
        let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", trap);
        let mut killed = Process::start_in(&armed, &create, &pair.folder.path().join(trap)).unwrap();
        while killed.ended().unwrap().is_none() {
            assert!([old, new].contains(&pair.there.psql(seen).unwrap().as_str()), "{trap}");
        }
        assert!(!killed.ended().unwrap().unwrap().success(), "{trap} was not met: {}", killed.log());
        assert_eq!(pair.there.psql(seen).unwrap(), old, "{trap}");
    }
    let (code, text) = ran(&create).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(pair.there.psql(seen).unwrap(), new);
    pair.check_equal("visits");
    // The version before is a table of its own, and can be shown again.
    let (code, text) = ran(&["rollback", "load", "--local", pair.arg()]).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(pair.there.psql(seen).unwrap(), old);
}

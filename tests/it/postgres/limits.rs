//! What a connection allows all workers together: a real database counts who reads it, and how fast.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use windrow_common::{error, task::Retry, window::Window};
use windrow_tests::{cluster::Cluster, postgres::Psql, process::said, skip::skip};
use windrow_worker::error::{Outcome, Result, WorkerError};

use super::{Project, URL, hours, read, server, source_over};
use crate::{cluster::TURN, demo::rows_by_log};

const TABLES: [&str; 5] = ["devices", "visits", "orders", "carts", "users"];
const ROWS: u32 = 20_000;
const RATE: u32 = 25_000;
const CONNECTIONS: usize = 2;

/// The most sessions of readers there were at once, looked at again and again.
fn watch(mut session: Psql, stop: Arc<AtomicBool>) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            let count =
                session.run("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'windrow source'").unwrap();
            most = most.max(count.parse().unwrap());
            thread::sleep(Duration::from_millis(10));
        }
        most
    })
}

/// Proves CL14. Five pipelines, two workers with four slots each: they could read five tables at once, and much faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_a_database_hold_over_all_pipelines_and_workers() {
    let test = "the_limits_of_a_database_hold_over_all_pipelines_and_workers";
    let _turn = TURN.lock().await;
    let Some(postgres) = server(test) else { return };
    for table in TABLES {
        postgres.psql(&format!("CREATE TABLE {table} AS SELECT n AS id FROM generate_series(1, {ROWS}) n")).unwrap();
    }
    let pipelines = TABLES.map(|name| {
        format!(
            "  {name}:\n    pattern: full\n    source: {{ from: shop, table: {name} }}\n    sink: {{ to: lake, format: delta, path: {name} }}\n"
        )
    });
    let limits = format!("limits: {{ connections: {CONNECTIONS}, rows_per_s: {RATE} }}");
    let project = Project::with_shop(&postgres.url(), &limits, &pipelines.concat());
    let environment = vec![
        (URL.to_owned(), postgres.url()),
        ("WINDROW_LOG".to_owned(), "info,windrow_worker::attempt=debug".to_owned()),
    ];
    let Some(mut cluster) = Cluster::start_in(environment, 1, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    for worker in ["w1", "w2"] {
        cluster.add_worker_with(worker, &["--slots", "4"]).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watched = watch(postgres.session().unwrap(), stop.clone());
    cluster.apply(project.arg()).unwrap();
    let began = Instant::now();
    let loaded = |name: &&str| rows_by_log(&project.table(name)) == Some(u64::from(ROWS));
    while !TABLES.iter().all(loaded) {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", cluster.logs());
        thread::sleep(Duration::from_millis(20));
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(watched.join().unwrap(), CONNECTIONS, "sessions at once");
    let least = Duration::from_secs(u64::from(ROWS) * TABLES.len() as u64 / u64::from(RATE));
    println!("{} rows in {took:?}, {least:?} at the limit", ROWS as usize * TABLES.len());
    assert!(took >= least, "{took:?}");
    let shares = cluster.workers.iter().filter(|(_, worker)| worker.log().contains("\"message\":\"sealed\""));
    assert_eq!(shares.count(), 2, "both workers took part\n{}", cluster.logs());
}

/// Longer than it takes to ask something that nobody is in the way of.
const STATEMENT: &str = "1500ms";

/// What somebody is in the way of ends when its time is over, and says what to do.
fn check_ended<T>(what: &str, asked: Result<T>) {
    let ended: WorkerError = asked.map(drop).expect_err(what);
    assert_eq!((ended.code(), ended.outcome()), (error::DEADLINE, Outcome::Failed(Retry::Later)), "{what}: {ended}");
    let fix = ended.fix_text().unwrap_or_default();
    for wanted in ["smaller windows", "`shards`", "`statement_timeout`"] {
        assert!(fix.contains(wanted), "{what}: {fix}");
    }
}

/// Proves CL14. Whatever a source asks of the database takes no longer than the connection lets it: looks at the columns, proofs, cuts,
/// counts, the rows themselves, and keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_source_takes_longer_than_the_connection_lets_it() {
    let Some(postgres) = server("no_statement_of_a_source_takes_longer_than_the_connection_lets_it") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE TABLE visits AS SELECT n AS id, timestamptz '2024-01-01' + n * interval '1 s' AS at FROM generate_series(1, 5000) n;
             ANALYZE visits",
        )
        .unwrap();
    let bound = json!({ "statement_timeout": STATEMENT });
    let of = |params| source_over(bound.clone(), &postgres.url(), folder.path(), params, Some("at"));
    let visits = || of(json!({ "table": "visits", "shards": { "rows": 1000, "most": 4 } }));
    let (full, windows) = (Window::version(1), hours(0, 1));
    let mut locking = postgres.session().unwrap();
    let slow = "SELECT pg_sleep(30)::text AS x, now() AS at";

    let slow = of(json!({ "query": slow }));
    check_ended("rows", read(&slow, &full).await);
    let slices = slow.resolve(&full).await.unwrap();
    check_ended("a proof", slow.prove(&slices, &full).await);
    check_ended("a count", slow.count(&full).await);

    let known = visits();
    let (whole, hour) = (known.resolve(&full).await.unwrap(), known.resolve(&windows).await.unwrap());
    let shards = known.cut(&whole[0], &full).await.unwrap();
    assert!(shards.len() > 1, "{shards:?}");
    let again = known.resolve(&full).await.unwrap();
    let keys = known.keys(&["id".to_owned()], &known.written().await.unwrap()).unwrap();
    locking.run("BEGIN; LOCK TABLE visits IN ACCESS EXCLUSIVE MODE").unwrap();
    check_ended("a window's rows", async { known.read(&hour[0], &windows).await.map(drop) }.await);
    check_ended("a cut", known.cut(&again[0], &full).await);
    check_ended("keys", read(&keys, &full).await);
    locking.run("ROLLBACK").unwrap();
    drop(shards);
    assert_eq!(super::rows_of(&read(&known, &full).await.unwrap().0), 5_000, "nothing of it is left in the way");
}

/// As a user meets it: a run of windows that takes too long is cut in halves until each is read in time, and a window that never is says
/// what to do.
#[test]
fn windows_that_take_too_long_become_smaller_ones_or_say_what_to_do() {
    let Some(postgres) = server("windows_that_take_too_long_become_smaller_ones_or_say_what_to_do") else { return };
    postgres
        .psql(
            "CREATE TABLE visits AS SELECT n AS id, timestamptz '2024-01-01' + n * interval '10 minutes' AS at FROM generate_series(0, 23) n",
        )
        .unwrap();
    // Each row takes its time; of the last window one takes more than a statement has.
    let query = "SELECT id, at, pg_sleep(CASE WHEN id = 23 THEN 5 ELSE 0.05 END)::text AS slept FROM visits";
    let pipeline = format!(
        "  visits:\n    pattern: incremental\n    source: {{ from: shop, query: \"{query}\", cursor: at }}\n    \
         window: {{ every: 1h, start: 2024-01-01T00:00, end: 2024-01-01T04:00, per_task: 4 }}\n    \
         sink: {{ to: lake, format: delta, path: visits }}\n    retries: {{ attempts: 1 }}\n"
    );
    let project = Project::with_shop(&postgres.url(), "statement_timeout: 900ms", &pipeline);
    let output = project.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("WR-N005") && said(&output).contains("smaller windows"), "{}", said(&output));
    assert_eq!(rows_by_log(&project.table("visits")), Some(18), "{}", said(&output));
}

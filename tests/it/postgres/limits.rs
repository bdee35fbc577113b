//! What a connection allows all workers together: a real database counts who reads it, and how fast.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use windrow_tests::{cluster::Cluster, postgres::Psql, skip::skip};

use super::{Project, URL, server};
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

//! Servers that go away and readers that do, and how much memory reading takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use serde_json::json;
use windrow_common::{error, task::Retry, window::Window};
use windrow_tests::{
    postgres::Postgres,
    process::{Process, Surroundings, said},
};
use windrow_worker::{
    error::Outcome,
    source::{Chunk, Source},
};

use super::{Project, URL, server, source};
use crate::demo::rows_by_log;

fn full() -> Window {
    Window::version(1)
}

fn backends(postgres: &Postgres) -> String {
    postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'windrow source'").unwrap()
}

async fn first_chunk(source: &Arc<dyn Source>) -> windrow_worker::source::RowStream {
    let slice = source.resolve(&full()).await.unwrap().remove(0);
    let mut rows = source.read(&slice, &full()).await.unwrap();
    assert!(matches!(rows.next().await, Some(Ok(Chunk::Rows(_)))));
    rows
}

/// Whoever stops reading leaves nothing running, whether rows are being sent or the server is still at work on the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_leaves_nothing_running() {
    let Some(postgres) = server("a_reader_that_stops_leaves_nothing_running") else { return };
    let folder = tempfile::tempdir().unwrap();
    let endless = json!({ "query": "SELECT generate_series(1, 100000000) AS g, repeat('x', 500) AS x" });
    let endless = source(&postgres.url(), folder.path(), endless, None);
    let rows = first_chunk(&endless).await;
    assert_eq!(backends(&postgres), "1");
    drop(rows);
    gone(&postgres).await;

    let silent = json!({ "query": "SELECT count(*) AS n FROM (SELECT generate_series(1, 100000000000)) AS many" });
    let silent = source(&postgres.url(), folder.path(), silent, None);
    let slice = silent.resolve(&full()).await.unwrap().remove(0);
    let waiting = tokio::time::timeout(Duration::from_secs(2), async {
        let mut rows = silent.read(&slice, &full()).await.unwrap();
        rows.next().await.is_some()
    });
    assert!(waiting.await.is_err(), "it is counted for longer");
    gone(&postgres).await;
}

async fn gone(postgres: &Postgres) {
    let started = Instant::now();
    while backends(postgres) != "0" {
        assert!(started.elapsed() < Duration::from_secs(10), "the statement goes on for nobody");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A server that dies while it sends is an outage, and what came is never taken for all there was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_while_it_sends_is_an_outage() {
    let Some(mut postgres) = server("a_server_that_dies_while_it_sends_is_an_outage") else { return };
    let folder = tempfile::tempdir().unwrap();
    let endless = json!({ "query": "SELECT generate_series(1, 100000000) AS g, repeat('x', 500) AS x" });
    let endless = source(&postgres.url(), folder.path(), endless, None);
    for how in ["shut down", "killed", "terminated"] {
        let mut rows = first_chunk(&endless).await;
        match how {
            "shut down" => postgres.shut_down().unwrap(),
            "killed" => postgres.kill().unwrap(),
            _ => drop(postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'windrow source'").unwrap()),
        }
        let error = loop {
            match rows.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("a part was taken for the whole ({how})"),
            }
        };
        assert_eq!(
            (error.code(), error.outcome()),
            (error::SOURCE_UNREADABLE, Outcome::Failed(Retry::Later)),
            "{how}: {error:?}"
        );
        if how != "terminated" {
            let away = endless.resolve(&full()).await.unwrap_err();
            assert_eq!((away.code(), away.outcome()), (error::SOURCE_UNREADABLE, Outcome::Failed(Retry::Later)));
            std::thread::sleep(Duration::from_secs(1));
            postgres.start_again().unwrap();
        }
    }
}

/// A database that is away costs the windows no attempt; when it is back the run ends by itself.
#[test]
fn a_database_that_is_away_costs_no_attempt() {
    let Some(mut postgres) = server("a_database_that_is_away_costs_no_attempt") else { return };
    postgres
        .psql("CREATE TABLE visits AS SELECT n AS id, timestamptz '2024-01-01Z' + n * interval '1 minute' AS at FROM generate_series(0, 599) n")
        .unwrap();
    let project = Project::new(
        &postgres.url(),
        "  visits:\n    pattern: incremental\n    source: { from: shop, table: visits, cursor: at }\n    \
         window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-01T10:00, per_task: 1 }\n    \
         sink: { to: lake, format: delta, path: visits }\n    retries: { attempts: 1, backoff: 100ms }\n",
    );
    postgres.kill().unwrap();
    let surroundings = Surroundings::default().with_env(URL, postgres.url());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut windrow = Process::start_in(&surroundings, &["run", project.arg()], log.path()).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert!(windrow.ended().unwrap().is_none(), "{}", windrow.log());
    postgres.start_again().unwrap();
    let started = Instant::now();
    while windrow.ended().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(120), "{}", windrow.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(windrow.ended().unwrap().unwrap().success(), "{}", windrow.log());
    assert_eq!(rows_by_log(&project.table("visits")), Some(600));
}

/// Half a gigabyte goes by; what is kept of it are a few batches, however slow the reader is.
#[test]
fn memory_does_not_grow_with_what_is_read() {
    let Some(postgres) = server("memory_does_not_grow_with_what_is_read") else { return };
    // In a process of its own, for others' memory is not its own.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "postgres::outages::half_a_gigabyte_is_read", "--nocapture"])
        .env(URL, postgres.url())
        .output()
        .unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{}", said.lines().find(|line| line.contains("KiB")).unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by memory_does_not_grow_with_what_is_read"]
async fn half_a_gigabyte_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let wide = json!({ "query": "SELECT generate_series(1, 500000) AS g, repeat('x', 1000) AS x" });
    let wide = source(&std::env::var(URL).unwrap(), folder.path(), wide, None);
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    let slice = wide.resolve(&full()).await.unwrap().remove(0);
    let mut rows = wide.read(&slice, &full()).await.unwrap();
    let (mut seen, mut most, mut largest) = (0, 0, 0);
    let before = resident();
    while let Some(chunk) = rows.next().await {
        let Chunk::Rows(batch) = chunk.unwrap() else { panic!("nothing is rejected") };
        seen += batch.num_rows();
        largest = largest.max(batch.get_array_memory_size());
        tokio::time::sleep(Duration::from_millis(5)).await;
        most = most.max(resident().saturating_sub(before));
    }
    assert_eq!(seen, 500_000);
    assert!(largest < 32 << 20, "a batch has {largest} bytes");
    assert!(most < 100 << 10, "{most} KiB more than before");
    println!("read 500 MB: at most {most} KiB more than before, the largest batch {} KiB", largest >> 10);
}

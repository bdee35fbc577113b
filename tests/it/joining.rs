//! Workers that join and leave a cluster at work.

use std::time::Duration;

use windrow_tests::{cluster::Cluster, example::Example, reader, skip::skip};

use crate::cluster::TURN;

const YEAR: u64 = 8_755;
const PER_TASK: u64 = 100;

/// Proves CL9, CL12. A worker joins while others are at work, and another is asked to leave: it ends what it has first. So
/// each task is given out once, which nothing but keeping every running task where it is can bring about. Meanwhile
/// the backlog counts what runs and what waits, for whoever scales by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_join_or_leave_move_no_task_that_runs() {
    let test = "workers_that_join_or_leave_move_no_task_that_runs";
    let _turn = TURN.lock().await;
    // A lease as long as a drain, so that a machine with much to do ends none.
    let Some(mut cluster) = Cluster::start_with_lease(1, "30s").await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    cluster.add_worker_with("sink", &["--role", "sink"]).unwrap();
    // What it checks tickets by comes with its session; rows that arrive before that are sent again, which would count.
    let is_here = |cluster: &Cluster| {
        cluster.ask(&["get", "workers"]).is_ok_and(|found| found.as_array().is_some_and(|workers| !workers.is_empty()))
    };
    wait_until(&cluster, is_here).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for name in ["w1", "w2"] {
        cluster.add_worker_with(name, &["--role", "ingest", "--slots", "2", "--drain", "100s"]).unwrap();
    }
    let example = Example::with_tasks_of(u32::try_from(PER_TASK).unwrap()).unwrap();
    cluster.apply(example.arg()).unwrap();
    cluster.wait_for(PER_TASK).await.unwrap();
    wait_until(&cluster, |cluster| holds(cluster, "w1")).await;
    wait_until(&cluster, |cluster| holds(cluster, "w2")).await;
    // It is measured every few seconds.
    wait_until(&cluster, |cluster| (1..=YEAR + 1).contains(&cluster.metric("windrow_backlog_windows"))).await;

    cluster.add_worker_with("w3", &["--role", "ingest", "--slots", "2"]).unwrap();
    wait_until(&cluster, |cluster| holds(cluster, "w3")).await;
    // It has something to end.
    wait_until(&cluster, |cluster| holds(cluster, "w1")).await;
    let leaver = cluster.workers.iter().position(|(name, _)| name == "w1").unwrap();
    cluster.workers[leaver].1.terminate().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(100);
    while cluster.workers[leaver].1.ended().unwrap().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!holds(&cluster, "w1"));
    cluster.wait_for(YEAR).await.unwrap();
    wait_until(&cluster, |cluster| cluster.metric("windrow_backlog_windows") == 0).await;
    let tasks = YEAR.div_ceil(PER_TASK) + 1;
    assert_eq!(cluster.metric("windrow_claims"), tasks, "of flights, and one of planes\n{}", cluster.logs());
    assert_eq!(cluster.metric("windrow_lease_expired"), 0);
    match reader::python() {
        Ok(python) => reader::flights(&python, &example.table()).unwrap().check_year().unwrap(),
        Err(reason) => skip(&format!("{test}: reading the table"), &reason),
    }
}

fn holds(cluster: &Cluster, name: &str) -> bool {
    let workers = cluster.ask(&["get", "workers"]).unwrap_or_default();
    let holds = |worker: &serde_json::Value| {
        worker["id"].as_str().is_some_and(|id| id.starts_with(&format!("{name}-"))) && worker["claims"] != 0
    };
    workers.as_array().is_some_and(|workers| workers.iter().any(holds))
}

async fn wait_until(cluster: &Cluster, holds: impl Fn(&Cluster) -> bool) {
    let held = async {
        while !holds(cluster) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(90), held).await.is_ok(), "{}", cluster.logs());
}

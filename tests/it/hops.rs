//! The way from the worker that reads to the worker that stages, when it is not there: no window is given up for that, and
//! another sink worker is found.

use std::time::Duration;

use windrow_tests::{cluster::Cluster, process::free_port, skip::skip};

use crate::{
    cluster::TURN,
    visits::{ROWS, Visits, WINDOWS, rows_of, told},
};

/// A cluster whose only sink worker, started with `more`, commits to visits, and beside it one that is idle.
async fn start(test: &str, lease: &str, more: &[&str]) -> Option<(Cluster, Visits)> {
    let Some(mut cluster) = Cluster::start_with_lease(1, lease).await.unwrap() else {
        skip(test, "there is no etcd");
        return None;
    };
    cluster.add_worker_with("first", &[&["--role", "sink"], more].concat()).unwrap();
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    within(Duration::from_secs(30), &cluster, |cluster| committer(cluster).is_some_and(|id| id.starts_with("first-")))
        .await;
    cluster.add_worker_with("idle", &["--role", "sink"]).unwrap();
    within(Duration::from_secs(30), &cluster, |cluster| {
        cluster.ask(&["get", "workers"]).is_ok_and(|workers| workers.as_array().unwrap().len() == 2)
    })
    .await;
    Some((cluster, visits))
}

/// The worker that commits, as the cluster tells.
fn committer(cluster: &Cluster) -> Option<String> {
    let workers = cluster.ask(&["get", "workers"]).ok()?;
    let commits = |worker: &&serde_json::Value| worker["sinks"].as_array().is_some_and(|sinks| !sinks.is_empty());
    Some(workers.as_array()?.iter().find(commits)?["id"].as_str()?.to_owned())
}

async fn within(patience: Duration, cluster: &Cluster, holds: impl Fn(&Cluster) -> bool) {
    let held = async {
        while !holds(cluster) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(patience, held).await.is_ok(), "{:?}\n{}", told(cluster), cluster.logs());
}

fn all_published(cluster: &Cluster) -> bool {
    told(cluster).is_some_and(|(published, _)| published == WINDOWS)
}

/// Every window has two attempts and hardly a pause between them; each would be used up in a moment.
fn check(cluster: &Cluster, visits: &Visits) {
    assert_eq!(told(cluster), Some((WINDOWS, ROWS)));
    assert_eq!(rows_of(&visits.table()), ROWS);
    assert!(committer(cluster).unwrap().starts_with("idle-"), "{}", cluster.logs());
    assert!(cluster.metric("windrow_broken_hops") >= 2, "{}", cluster.logs());
    assert_eq!(cluster.metric("windrow_lease_expired"), 0, "nobody's lease ended: {}", cluster.logs());
}

/// Its session is well; its address is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_worker_nobody_can_reach_is_replaced_and_no_window_is_given_up() {
    let _turn = TURN.lock().await;
    let nowhere = format!("http://127.0.0.1:{}", free_port().unwrap());
    let test = "a_sink_worker_nobody_can_reach_is_replaced_and_no_window_is_given_up";
    let Some((mut cluster, visits)) = start(test, "6s", &["--flight-advertise", &nowhere]).await else { return };
    cluster.add_worker_with("reader", &["--role", "ingest", "--slots", "4"]).unwrap();
    within(Duration::from_secs(60), &cluster, all_published).await;
    check(&cluster, &visits);
}

/// It stands still, and its lease is long: its peers find that out sooner than the coordinator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_worker_that_stands_still_is_replaced_before_its_lease_ends() {
    let _turn = TURN.lock().await;
    let test = "a_sink_worker_that_stands_still_is_replaced_before_its_lease_ends";
    let Some((mut cluster, visits)) = start(test, "90s", &[]).await else { return };
    cluster.workers[0].1.stop().unwrap();
    cluster.add_worker_with("reader", &["--role", "ingest", "--slots", "4"]).unwrap();
    within(Duration::from_secs(80), &cluster, all_published).await;
    check(&cluster, &visits);
    cluster.workers[0].1.cont().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rows_of(&visits.table()), ROWS, "what it still had to do changes nothing");
}

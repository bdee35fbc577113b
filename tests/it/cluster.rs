//! A cluster of real processes on a three-member etcd, and what may befall it in the middle of the year.

use std::time::Duration;

use tokio::sync::Mutex;
use windrow_tests::{cluster::Cluster, example::Example, reader, skip::skip};

/// One cluster at a time: two cores are few for eight processes as it is.
pub(crate) static TURN: Mutex<()> = Mutex::const_new(());

const YEAR: u64 = 8_755;

/// A cluster that works on the year in tasks of so many windows; `None` after saying why there is none.
async fn start(test: &str, per_task: u32) -> Option<(Cluster, Example)> {
    let Some(cluster) = Cluster::start(2, 3).await.unwrap() else {
        skip(test, "there is no etcd");
        return None;
    };
    let example = Example::with_tasks_of(per_task).unwrap();
    cluster.apply(example.arg()).unwrap();
    Some((cluster, example))
}

/// The table as somebody else reads it is the year, every row once.
fn check(test: &str, example: &Example) {
    match reader::python() {
        Ok(python) => reader::flights(&python, &example.table()).unwrap().check_year().unwrap(),
        Err(reason) => skip(&format!("{test}: reading the table"), &reason),
    }
}

/// Proves CL1, CL5, CL6. The committer, the leading coordinator and another worker are killed in the middle of the year.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_committers_leaders_and_workers_lose_and_double_nothing() {
    let test = "killed_committers_leaders_and_workers_lose_and_double_nothing";
    let _turn = TURN.lock().await;
    let Some((mut cluster, example)) = start(test, 200).await else { return };
    cluster.wait_for(500).await.unwrap();
    let committer = cluster.committer().unwrap();
    cluster.workers[committer].1.kill().unwrap();
    cluster.add_worker("w4").unwrap();
    cluster.wait_for(2_000).await.unwrap();
    let leader = cluster.leader().unwrap();
    cluster.coordinators[leader].process.kill().unwrap();
    cluster.wait_for(3_500).await.unwrap();
    let committer = cluster.committer().unwrap();
    let other = (0..cluster.workers.len()).find(|worker| *worker != committer && *worker != 0).unwrap();
    cluster.workers[other].1.kill().unwrap();
    cluster.add_worker("w5").unwrap();
    cluster.wait_for(YEAR).await.unwrap();
    check(test, &example);
}

/// Proves CL3. A worker is stopped past its lease while it has a task, and goes on when another has published it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_up_past_its_lease_is_refused() {
    let test = "a_worker_that_wakes_up_past_its_lease_is_refused";
    let _turn = TURN.lock().await;
    let Some((cluster, example)) = start(test, 300).await else { return };
    cluster.wait_for(300).await.unwrap();
    // Not the committer: its sleep would hold up everybody, which is another test's matter.
    let (zombie, start) = loop {
        let committer = cluster.committer().unwrap();
        let sleeper = cluster.holders().unwrap().into_iter().find(|(worker, _)| *worker != committer);
        if let Some((worker, start)) = sleeper {
            cluster.workers[worker].1.stop().unwrap();
            // It may have sealed in the meantime; then it is no zombie.
            let holds = cluster.holders().unwrap().iter().any(|holder| *holder == (worker, start.clone()));
            if holds {
                break (worker, start);
            }
            cluster.workers[worker].1.cont().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    cluster.wait_for(YEAR).await.unwrap();
    cluster.workers[zombie].1.cont().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.published().unwrap(), YEAR, "the task from {start} on");
    assert!(cluster.metric("windrow_lease_expired") >= 1, "{}", cluster.logs());
    check(test, &example);
}

/// Proves CL15. One etcd dies; then all of them stand still for longer than a leader may go without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_outlives_an_etcd_that_dies_and_one_that_is_away() {
    let test = "the_cluster_outlives_an_etcd_that_dies_and_one_that_is_away";
    let _turn = TURN.lock().await;
    let Some((mut cluster, example)) = start(test, 200).await else { return };
    cluster.wait_for(400).await.unwrap();
    let leader = cluster.etcd.leader().await.unwrap();
    cluster.etcd.kill(leader).unwrap();
    cluster.wait_for(1_500).await.unwrap();
    cluster.etcd.restart(leader).await.unwrap();
    for member in 0..3 {
        cluster.etcd.stop(member).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    for member in 0..3 {
        cluster.etcd.cont(member).unwrap();
    }
    cluster.wait_for(YEAR).await.unwrap();
    check(test, &example);
}

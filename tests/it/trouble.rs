//! A commit that does not come about says why, wherever somebody may look.

use std::{fs, time::Duration};

use windrow_tests::{
    cluster::Cluster,
    process::{Process, run},
    skip::skip,
};

use crate::{
    cluster::TURN,
    visits::{Visits, WINDOWS, told},
};

/// Takes the last commit out of a table's log, as a restore of the table from a copy would.
fn roll_back(visits: &Visits) {
    let log = visits.table().join("_delta_log");
    let mut commits: Vec<_> = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()).collect();
    commits.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    assert!(commits.len() > 1);
    fs::remove_file(commits.last().unwrap()).unwrap();
}

async fn until(cluster: &Cluster, what: &str, holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), held).await.is_ok(), "{what}\n{}", cluster.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_sink_shows_its_reason_in_every_view() {
    let test = "a_halted_sink_shows_its_reason_in_every_view";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start_with_lease(1, "6s").await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    cluster.add_worker_with("first", &[]).unwrap();
    let visits = Visits::new();
    cluster.apply(visits.arg()).unwrap();
    until(&cluster, "published", || told(&cluster).is_some_and(|(published, _)| published == WINDOWS)).await;
    // Another worker, which has not seen the table as it was.
    cluster.workers[0].1.kill().unwrap();
    roll_back(&visits);
    cluster.add_worker_with("second", &[]).unwrap();
    let addresses = cluster.addresses();
    let of = |args: &[&str]| {
        let output = run(&[args, &["--coordinator", &addresses]].concat()).unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let again = ["backfill", "create", "visits", "--reprocess", "all", "--no-watch", "--coordinator", &addresses];
    assert!(run(&again).unwrap().status.success());
    until(&cluster, "halted", || of(&["get", "pipelines"]).contains("halted WR-K0")).await;
    let value = cluster.ask(&["get", "pipelines"]).unwrap();
    assert_eq!((&value[0]["state"], &value[0]["trouble"]["halted"]), (&"halted".into(), &true.into()), "{value}");
    assert!(
        of(&["describe", "visits"]).contains("halted until somebody has looked"),
        "{}",
        of(&["describe", "visits"])
    );
    let sealed = value[0]["windows"]["sealed"].as_u64().unwrap();
    assert!(sealed > 0, "{value}");
    let windows = cluster.ask(&["get", "windows", "visits"]).unwrap();
    let window = windows.as_array().unwrap().iter().find(|window| window["state"] == "sealed").unwrap();
    let explained = of(&["explain", "window", "visits", window["start"].as_str().unwrap()]);
    assert!(explained.contains("its sink is halted") && explained.contains("[WR-K0"), "{explained}");
}

/// The same in one process: the run ends by itself, says why, and exits with 1.
#[test]
fn a_run_whose_sink_is_halted_ends_and_says_why() {
    let visits = Visits::new();
    assert!(run(&["run", visits.arg()]).unwrap().status.success());
    roll_back(&visits);
    let file = visits.path().join("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("end: 2024-01-02T00:00", "end: 2024-01-02T02:00")).unwrap();
    let log = visits.path().join("run.log");
    let mut running = Process::start(&["run", visits.arg()], &log).unwrap();
    let tries = 600;
    let ended = (0..tries).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        running.ended().unwrap().is_some()
    });
    let said = running.log();
    assert!(ended, "{said}");
    assert_eq!(running.ended().unwrap().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("visits: sink is halted: "), "as it happens: {said}");
    assert!(said.contains("2 windows are left; the sink is halted until somebody has looked"), "at the end: {said}");
}

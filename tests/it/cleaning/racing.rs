//! Cleaning under kills, and pins that come in the middle of it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use windrow_tests::{
    cluster::Cluster,
    http,
    process::{Process, Surroundings, free_port, run},
    reader,
    skip::skip,
};

use super::{Read, Table};
use crate::cluster::TURN;

const DAY: Duration = Duration::from_secs(86_400);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let held = (0..PATIENCE.as_millis() / PAUSE.as_millis()).any(|_| {
        std::thread::sleep(PAUSE);
        holds()
    });
    assert!(held, "waited for {what}");
}

fn wait_for_end(process: &mut Process) -> bool {
    wait("a process to end", || process.ended().unwrap().is_some());
    process.ended().unwrap().unwrap().success()
}

/// Has a version of the table have been made so many days ago, as its log and the store tell it.
fn age(table: &Path, version: u64, days: u32) {
    let path = table.join(format!("_delta_log/{version:020}.json"));
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(at) = line["remove"]["deletionTimestamp"].as_i64() {
            line["remove"]["deletionTimestamp"] = (at - i64::from(days) * 86_400_000).into();
        }
        line.to_string() + "\n"
    });
    fs::write(&path, lines.collect::<String>()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - DAY * days).unwrap();
}

/// Proves CO9, CO10. Killed between the list and the first delete, and between two deletes: the next cleaning goes on, the table
/// and its pinned version read as before.
#[test]
fn a_committer_that_is_killed_while_it_cleans_leaves_the_rest_to_the_next() {
    let test = "a_committer_that_is_killed_while_it_cleans_leaves_the_rest_to_the_next";
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let table = Table::published(python, None);
    let mut pinned = 0;
    for generation in 1..=4 {
        table.load(generation, None);
        if generation == 2 {
            pinned = table.newest();
            table.pin(&pinned.to_string()).unwrap();
        }
    }
    let before = table.read(None);
    let (files, newest) = (table.files(), table.newest());
    assert_eq!(files.len(), 30, "a file for each day of five generations");
    for (trap, gone) in [("F12=kill", 0..=0), ("F12@2=kill", 1..=17)] {
        let armed =
            Surroundings::default().with_env("WINDROW_FAILPOINTS", trap).with_env("WINDROW_PLAY_DAYS_LATER", "8");
        let args = ["clean", "days", "--local", table.arg()];
        let mut killed = Process::start_in(&armed, &args, &table.folder.path().join(trap)).unwrap();
        assert!(!wait_for_end(&mut killed), "{trap} was not met: {}", killed.log());
        let left = files.len() - table.files().len();
        assert!(gone.contains(&left), "{left} are gone after {trap}");
        let after = table.read(Some(&[pinned, newest].into()));
        assert_eq!((&after[&pinned], &after[&newest]), (&before[&pinned], &before[&newest]), "{trap}");
    }
    let done = table.clean(8, &[]);
    assert!(done["files"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(table.files().len(), 12, "the newest and the pinned one");
    let after = table.read(None);
    assert_eq!(after, BTreeMap::from([pinned, newest].map(|version| (version, before[&version].clone()))));
}

/// A cluster whose worker has a trap, and the table after three versions, of which the first is old.
async fn trapped(test: &str, trap: &str, metrics: &str) -> Option<(Cluster, Table)> {
    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => {
            skip(test, &reason);
            return None;
        }
    };
    let table = Table::declared(python, None, ", cleaning: { keep: 7d, log: 30d }");
    let folder = table.folder.path().join("points");
    fs::create_dir(&folder).unwrap();
    let environment = vec![("WINDROW_FAILPOINT_FOLDER".to_owned(), folder.display().to_string())];
    let Some(mut cluster) = Cluster::start_in(environment, 1, 0).await.unwrap() else {
        skip(test, "there is no etcd");
        return None;
    };
    cluster.add_worker_armed_with("w1", trap, &["--slots", "1", "--metrics", metrics]).unwrap();
    cluster.apply(table.pipelines().to_str().unwrap()).unwrap();
    let published = |cluster: &Cluster| {
        let all = cluster.ask(&["get", "pipelines"]).unwrap_or_default();
        all[0]["windows"]["published"].as_u64().unwrap_or(0)
    };
    wait("the first generation", || published(&cluster) == super::DAYS);
    for generation in 1..=2 {
        table.deliver(generation);
        let before = table.newest();
        #[rustfmt::skip]
        let args = [
            "backfill", "create", "days", "--from", "2024-01-02", "--to", "2024-01-03", "--reprocess", "all",
            "--coordinator", &cluster.addresses(),
        ];
        assert!(run(&args).unwrap().status.success());
        wait("the next version", || table.newest() > before);
    }
    let (newest, log) = (table.newest(), table.folder.path().join("table"));
    (0..newest).for_each(|version| age(&log, version, 8));
    Some((cluster, table))
}

fn start(cluster: &Cluster, table: &Table, args: &[&str], log: &str) -> Process {
    let addresses = cluster.addresses();
    let args = [args, &["--coordinator", &addresses]].concat();
    Process::start(&args, &table.folder.path().join(log)).unwrap()
}

/// The newest version and the one before it read as they did, and the one before these is gone.
fn check(table: &Table, before: &Read, newest: u64) {
    let after = table.read(None);
    for version in [newest - 1, newest] {
        assert_eq!(after.get(&version), before.get(&version), "version {version}");
    }
    assert!(before.contains_key(&(newest - 2)) && !after.contains_key(&(newest - 2)));
}

fn pinning(version: &str) -> [&str; 6] {
    ["pin", "days", "--version", version, "--for", "1d"]
}

/// Proves CO10. Asked for after the list was decided on and before anything is deleted: the pin is answered when that is over, and
/// held only if its version is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_comes_while_files_are_deleted_is_held_whole_or_refused() {
    let test = "a_pin_that_comes_while_files_are_deleted_is_held_whole_or_refused";
    let _turn = TURN.lock().await;
    let metrics = format!("127.0.0.1:{}", free_port().unwrap());
    let Some((cluster, table)) = trapped(test, "F12=hold", &metrics).await else { return };
    let before = table.read(None);
    let newest = table.newest();
    let (old, last) = ((newest - 2).to_string(), (newest - 1).to_string());
    let points = table.folder.path().join("points");
    let mut clean = start(&cluster, &table, &["clean", "days"], "clean");
    wait("the list", || points.join("F12.hit").exists());
    let mut pins = [&old, &last].map(|version| start(&cluster, &table, &pinning(version), version));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(pins.iter_mut().all(|pin| pin.ended().unwrap().is_none()), "nobody can know yet");
    fs::write(points.join("F12.go"), "").unwrap();
    assert!(wait_for_end(&mut clean), "{}", clean.log());
    assert!(clean.log().contains("took away 1 file "), "{}", clean.log());
    let held = pins.iter_mut().map(wait_for_end).collect::<Vec<_>>();
    assert_eq!(held, [false, true], "{} {}", pins[0].log(), pins[1].log());
    assert!(pins[0].log().contains("WR-K050"), "{}", pins[0].log());
    check(&table, &before, newest);
    let page = http::get(&metrics, "/metrics").unwrap().body;
    let cleaned = |name: &str| page.lines().find(|line| line.starts_with(name)).map(|line| line.ends_with(" 1"));
    assert_eq!(cleaned("windrow_cleaned_files_total{"), Some(true), "{page}");
    assert_eq!(cleaned("windrow_cleaned_bytes_total{"), Some(false), "{page}");
}

/// Proves CO10. A committer stands still with its list in hand, another takes its place and a pin is held; when the first wakes up
/// and deletes what it was told to, the pinned version is whole all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committer_that_wakes_up_late_deletes_nothing_that_was_pinned_meanwhile() {
    let test = "a_committer_that_wakes_up_late_deletes_nothing_that_was_pinned_meanwhile";
    let _turn = TURN.lock().await;
    let metrics = format!("127.0.0.1:{}", free_port().unwrap());
    let Some((mut cluster, table)) = trapped(test, "F12=stop", &metrics).await else { return };
    let before = table.read(None);
    let newest = table.newest();
    let mut clean = start(&cluster, &table, &["clean", "days"], "clean");
    wait("the first to stand still", || cluster.workers[0].1.is_stopped());
    cluster.add_worker("other").unwrap();
    assert!(wait_for_end(&mut clean), "{}", clean.log());
    let last = (newest - 1).to_string();
    let mut pin = start(&cluster, &table, &pinning(&last), "pin");
    assert!(wait_for_end(&mut pin), "{}", pin.log());
    let mut refused = start(&cluster, &table, &pinning(&(newest - 2).to_string()), "refused");
    assert!(!wait_for_end(&mut refused), "{}", refused.log());
    cluster.workers[0].1.cont().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    check(&table, &before, newest);
}

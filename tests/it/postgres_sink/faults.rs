//! Committers that stand still and answers that are lost.

use std::{fs, path::PathBuf, time::Duration};

use windrow_tests::{
    cluster::Cluster,
    example::Example,
    fault::{FaultProxy, Speaks},
    process::{Process, Surroundings},
    skip::skip,
};

use super::{COUNTS, Shop, YEAR, into_database, wait, wait_for_end};
use crate::cluster::TURN;

const WINDOWS: u64 = 8_755;
/// Sessions that are inside COPY for the flights.
const COPYING: &str = "SELECT count(*) FROM pg_stat_progress_copy c JOIN pg_stat_activity a USING (pid) \
    WHERE a.application_name LIKE 'windrow:flights-%' AND a.query LIKE 'COPY %'";
/// Sessions that hold the row that says what is committed of the flights.
const HOLDING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid) \
    WHERE c.relname = 'head' AND l.granted AND l.mode = 'RowShareLock' AND a.application_name LIKE 'windrow:flights-%'";

async fn start(test: &str, coordinators: usize) -> Option<(Shop, Cluster)> {
    let shop = Shop::open(test)?;
    let cluster = Cluster::start(coordinators, 0).await.unwrap();
    if cluster.is_none() {
        skip(test, "there is no etcd");
    }
    Some((shop, cluster?))
}

/// Proves CL2, CL3. A committer that is stopped inside COPY holds nothing: another commits, and what the first still does when it
/// goes on doubles nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committer_that_is_stopped_inside_copy_holds_up_nobody() {
    let test = "a_committer_that_is_stopped_inside_copy_holds_up_nobody";
    let _turn = TURN.lock().await;
    let Some((shop, mut cluster)) = start(test, 2).await else { return };
    let example = Example::with_tasks_of(2_000).unwrap();
    into_database(&example, &shop.postgres);
    cluster.apply(example.arg()).unwrap();
    cluster.add_worker("w1").unwrap();
    let mut tries = 0;
    let mut looking = shop.postgres.session().unwrap();
    loop {
        wait("a COPY", || looking.run(COPYING).unwrap() != "0");
        cluster.workers[0].1.stop().unwrap();
        // It may have been over a moment before.
        std::thread::sleep(Duration::from_millis(200));
        if shop.psql(COPYING) != "0" {
            break;
        }
        cluster.workers[0].1.cont().unwrap();
        tries += 1;
        assert!(tries < 4, "no COPY was met\n{}", cluster.logs());
    }
    assert_eq!(shop.psql(HOLDING), "0");
    cluster.add_worker("w2").unwrap();
    cluster.add_worker("w3").unwrap();
    cluster.wait_for(WINDOWS).await.unwrap();
    assert_eq!(shop.psql(COUNTS), YEAR);
    cluster.workers[0].1.cont().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shop.psql(COUNTS), YEAR);
    assert_eq!(cluster.published().unwrap(), WINDOWS);
    shop.check_commits("flights");
}

/// Proves CL2, CL3. A committer that is stopped within the transaction holds the row; its session is ended by the next one, and
/// what it wanted to commit when it goes on is not committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committer_that_is_stopped_within_its_transaction_is_put_out_of_it() {
    let test = "a_committer_that_is_stopped_within_its_transaction_is_put_out_of_it";
    let _turn = TURN.lock().await;
    let Some((shop, mut cluster)) = start(test, 2).await else { return };
    let example = Example::new().unwrap();
    into_database(&example, &shop.postgres);
    cluster.apply(example.arg()).unwrap();
    cluster.add_worker_armed("w1", "F7=stop").unwrap();
    wait("the committer to stand still", || cluster.workers[0].1.is_stopped());
    assert_ne!(shop.psql(&HOLDING.replace("flights-", "")), "0");
    cluster.add_worker("w2").unwrap();
    cluster.wait_for(WINDOWS).await.unwrap();
    assert_eq!(shop.psql(COUNTS), YEAR);
    cluster.workers[0].1.cont().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shop.psql(COUNTS), YEAR);
    shop.check_commits("flights");
}

/// Proves CL2. The database commits and its answer is lost: whoever asks again finds it done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_not_made_twice() {
    let Some(shop) = Shop::open("a_commit_whose_answer_is_lost_is_not_made_twice") else { return };
    let upstream = format!("127.0.0.1:{}", shop.postgres.port());
    let proxy = FaultProxy::start(upstream.clone(), Speaks::Bytes, 7).await.unwrap();
    let example = Example::new().unwrap();
    into_database(&example, &shop.postgres);
    let url = shop.postgres.url().replace(&upstream, &proxy.address());
    fs::write(example.path().join("url"), url).unwrap();
    let (mut running, traps) = held_at_its_commit(&example);
    let commits = || shop.psql("SELECT count(*) FROM windrow.commit");
    let before = commits();
    proxy.mute();
    fs::write(traps.join("F7.go"), "").unwrap();
    wait("the commit to be made", || commits() != before);
    proxy.sever();
    proxy.thaw();
    wait_for_end(&mut running);
    assert!(running.ended().unwrap().is_some_and(|status| status.success()), "{}", running.log());
    assert!(running.log().contains("commit failed"), "{}", running.log());
    assert_eq!(shop.psql(COUNTS), YEAR);
    assert_eq!(shop.psql("SELECT count(*) FROM planes"), "3322");
    shop.check_commits("flights");
    shop.check_tidy();
}

/// A server that is killed and comes back has lost what was loaded and not committed; it is loaded again.
#[test]
fn a_server_that_is_killed_between_load_and_commit_gets_the_rows_again() {
    let Some(mut shop) = Shop::open("a_server_that_is_killed_between_load_and_commit_gets_the_rows_again") else {
        return;
    };
    let example = Example::new().unwrap();
    into_database(&example, &shop.postgres);
    let (mut running, traps) = held_at_its_commit(&example);
    shop.postgres.kill().unwrap();
    fs::write(traps.join("F7.go"), "").unwrap();
    // The old one's children take a moment to end.
    wait("the server", || shop.postgres.start_again().is_ok());
    wait_for_end(&mut running);
    assert!(running.ended().unwrap().is_some_and(|status| status.success()), "{}", running.log());
    assert_eq!(shop.psql(COUNTS), YEAR);
    assert_eq!(shop.psql("SELECT count(*) FROM planes"), "3322");
    shop.check_commits("flights");
    shop.check_tidy();
}

/// The example, run until its first commit is about to be made; it goes on when `F7.go` is in the folder.
fn held_at_its_commit(example: &Example) -> (Process, PathBuf) {
    let traps = example.path().join("traps");
    fs::create_dir(&traps).unwrap();
    let armed = Surroundings::default()
        .with_env("WINDROW_FAILPOINTS", "F7=hold")
        .with_env("WINDROW_FAILPOINT_FOLDER", traps.display().to_string());
    let running = Process::start_in(&armed, &["run", example.arg()], &example.path().join("log")).unwrap();
    wait("a commit", || traps.join("F7.hit").exists());
    (running, traps)
}

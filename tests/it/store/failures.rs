//! etcd members that die, hang, fill up or are not there.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use windrow_coordinator::store::{Compare, EtcdCredentials, Range, StoreError, Watch, WatchBatch};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_resumes_without_a_gap_after_etcd_was_killed() {
    let Some(mut etcd) = cluster("a_watch_resumes_without_a_gap_after_etcd_was_killed", 1).await else { return };
    let store = connect(&etcd).await;
    let mut watch = store.watch(b"a".to_vec(), None).await.unwrap();
    let mut expected = write(&store, "a", "before").await;
    assert_eq!(next(&mut watch).await.revision, expected);
    for round in 0..3 {
        etcd.restart(0).await.unwrap();
        for _ in 0..5 {
            expected.0 += 1;
            assert_eq!(write_through(&store, "a", &round.to_string()).await, expected);
        }
        for behind in (0..5).rev() {
            assert_eq!(next(&mut watch).await.revision, Revision(expected.0 - behind));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_was_cut_off_during_a_compaction_ends_with_compacted() {
    let Some(mut etcd) = cluster("a_watch_that_was_cut_off_during_a_compaction_ends_with_compacted", 1).await else {
        return;
    };
    let store = connect(&etcd).await;
    let mut watch = store.watch(b"a".to_vec(), None).await.unwrap();
    let seen = write(&store, "a", "seen").await;
    assert_eq!(next(&mut watch).await.revision, seen);
    // The reader does not come back to the stream before history is gone: the buffer is full.
    for _ in 0..600 {
        write(&store, "a", "x").await;
    }
    etcd.restart(0).await.unwrap();
    let newest = write_through(&store, "a", "newest").await;
    store.compact(newest).await.unwrap();
    let mut expected = seen;
    loop {
        expected.0 += 1;
        match timeout(Duration::from_secs(20), watch.batches.recv()).await.unwrap().unwrap() {
            Ok(batch) => assert_eq!(batch.revision, expected, "no gaps before the end"),
            Err(StoreError::Compacted { requested, oldest }) => {
                assert_eq!((requested, oldest), (expected, Revision(newest.0 + 1)));
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_etcd_leaves_the_outcome_unknown_within_the_timeout() {
    let Some(etcd) = cluster("a_hanging_etcd_leaves_the_outcome_unknown_within_the_timeout", 1).await else { return };
    let store = connect(&etcd).await;
    write(&store, "a", "1").await;
    etcd.stop(0).unwrap();
    let asked = Instant::now();
    let absent = Compare::ModRevision { key: b"b".to_vec(), equals: Revision(0) };
    let error = store.txn(vec![absent], vec![put("b", "1")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert!(matches!(store.range(Range::default()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.lease_grant(10).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.watch(vec![], None).await, Err(StoreError::Unavailable(_))));
    etcd.cont(0).unwrap();
    write_through(&store, "a", "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_leader_costs_a_watch_nothing() {
    let Some(mut etcd) = cluster("losing_the_leader_costs_a_watch_nothing", 3).await else { return };
    let store = connect(&etcd).await;
    let mut watch = store.watch(b"a".to_vec(), None).await.unwrap();
    let mut acknowledged = vec![write(&store, "a", "0").await];
    let leader = etcd.leader().await.unwrap();
    etcd.kill(leader).unwrap();
    for round in 1..20 {
        acknowledged.push(write_through(&store, "a", &round.to_string()).await);
    }
    etcd.restart(leader).await.unwrap();
    acknowledged.push(write_through(&store, "a", "last").await);
    let last = *acknowledged.last().unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        seen.push(next(&mut watch).await.revision);
    }
    // A write without an answer may have happened as well; what was acknowledged has to be there, in order, once.
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert!(acknowledged.iter().all(|revision| seen.contains(revision)), "{acknowledged:?} {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_does_not_answer() {
    let Some(mut etcd) = cluster("a_minority_does_not_answer", 3).await else { return };
    let store = connect(&etcd).await;
    write(&store, "a", "1").await;
    etcd.kill(0).unwrap();
    etcd.kill(1).unwrap();
    assert!(matches!(store.txn(vec![], vec![put("b", "1")]).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.range(Range::default()).await, Err(StoreError::Unavailable(_))));
    // Nor do the compares alone of a transaction, which a lone member could answer from what it has.
    let compare = Compare::Value { key: b"a".to_vec(), equals: b"1".to_vec() };
    assert!(matches!(store.txn(vec![compare], vec![]).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_says_so() {
    let etcd = Etcd::start_with(1, &["--quota-backend-bytes=4194304"]).await.unwrap();
    let Some(etcd) = etcd else { return skip("a_full_etcd_says_so", "there is no etcd") };
    let store = connect(&etcd).await;
    let value = "x".repeat(512 * 1024);
    for round in 0..100 {
        match store.txn(vec![], vec![put(&format!("k{round}"), &value)]).await {
            Ok(_) => {}
            Err(StoreError::NoSpace(_)) => return,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("a store of 4 MiB took 50 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_to_nobody_fails_in_time() {
    let asked = Instant::now();
    let options = EtcdOptions { endpoints: vec!["http://127.0.0.1:1".into()], ..EtcdOptions::default() };
    let error = EtcdStore::connect(options).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_works_within_its_rights_only() {
    let Some(etcd) = cluster("a_user_works_within_its_rights_only", 1).await else { return };
    enable_auth(&etcd).await.unwrap();
    let credentials = |password: &str| Some(EtcdCredentials { user: "windrow".into(), password: password.into() });
    let options = |password| EtcdOptions {
        endpoints: etcd.endpoints(),
        credentials: credentials(password),
        ..EtcdOptions::default()
    };
    assert!(matches!(EtcdStore::connect(options("wrong")).await, Err(StoreError::Broken(_))));
    let store = EtcdStore::connect(options("secret")).await.unwrap();
    write(&store, "windrow/a", "1").await;
    assert!(matches!(store.txn(vec![], vec![put("other/a", "1")]).await, Err(StoreError::Broken(_))));
    assert!(matches!(store.watch(b"other/".to_vec(), None).await, Err(StoreError::Broken(_))));
    let compare = Compare::Value { key: b"windrow/a".to_vec(), equals: b"1".to_vec() };
    assert!(store.txn(vec![compare], vec![]).await.unwrap().succeeded);
    let mut watch = store.watch(b"windrow/".to_vec(), None).await.unwrap();
    let revision = write(&store, "windrow/a", "2").await;
    assert_eq!(next(&mut watch).await.revision, revision);
}

/// A user `windrow` with the password `secret` and all rights under `windrow/`.
async fn enable_auth(etcd: &Etcd) -> Result<(), etcd_client::Error> {
    let mut admin = etcd_client::Client::connect(etcd.endpoints(), None).await?;
    admin.user_add("root", "root", None).await?;
    admin.role_add("root").await?;
    admin.user_grant_role("root", "root").await?;
    admin.user_add("windrow", "secret", None).await?;
    admin.role_add("windrow").await?;
    let all_under = etcd_client::Permission::read_write("windrow/").with_prefix();
    admin.role_grant_permission("windrow", all_under).await?;
    admin.user_grant_role("windrow", "windrow").await?;
    admin.auth_enable().await?;
    Ok(())
}

/// Writes, trying again while etcd does not answer.
async fn write_through(store: &EtcdStore, key: &str, value: &str) -> Revision {
    for _ in 0..200 {
        match store.txn(vec![], vec![put(key, value)]).await {
            Ok(outcome) => return outcome.revision,
            Err(StoreError::Unavailable(_)) => sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("etcd does not come back");
}

async fn next(watch: &mut Watch) -> WatchBatch {
    timeout(Duration::from_secs(20), watch.batches.recv()).await.unwrap().unwrap().unwrap()
}

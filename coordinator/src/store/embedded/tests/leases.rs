//! Lease time: paused in memory, real on disk.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lease_ends_at_its_deadline_and_not_before() {
    let store = EmbeddedStore::in_memory();
    let lease = store.lease_grant(10).await.unwrap();
    write(&store, vec![put_under("a", lease), put_under("b", lease), put("c", "stays")]).await;
    tokio::time::sleep(Duration::from_millis(9_900)).await;
    assert_eq!(keys(&store).await, ["a", "b", "c"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(keys(&store).await, ["c"]);
    assert_eq!(store.range(Range::default()).await.unwrap().revision, Revision(3));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_kept_alive_does_not_end() {
    let store = EmbeddedStore::in_memory();
    let lease = store.lease_grant(10).await.unwrap();
    write(&store, vec![put_under("a", lease)]).await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(store.lease_keep_alive(lease).await.unwrap(), 10);
    }
    assert_eq!(keys(&store).await, ["a"]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(keys(&store).await.is_empty());
    assert!(matches!(store.lease_keep_alive(lease).await, Err(StoreError::LeaseNotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_lease_granted_later_ends_first() {
    let store = EmbeddedStore::in_memory();
    let long = store.lease_grant(100).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let short = store.lease_grant(2).await.unwrap();
    write(&store, vec![put_under("long", long), put_under("short", short)]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(keys(&store).await, ["long"]);
}

#[tokio::test(start_paused = true)]
async fn many_leases_ending_at_once_take_one_revision_each() {
    let store = EmbeddedStore::in_memory();
    for n in 0..50 {
        let lease = store.lease_grant(5).await.unwrap();
        write(&store, vec![put_under(&format!("{n}/a"), lease), put_under(&format!("{n}/b"), lease)]).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let page = store.range(Range::default()).await.unwrap();
    assert_eq!((page.entries.len(), page.revision), (0, Revision(101)));
}

#[tokio::test]
async fn the_longest_lease_is_granted_and_ids_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    let first = store.lease_grant(9_000_000_000).await.unwrap();
    assert_eq!(store.lease_keep_alive(first).await.unwrap(), 9_000_000_000);
    store.lease_revoke(first).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert!(store.lease_grant(1).await.unwrap() > first);
}

#[tokio::test]
async fn reopening_arms_leases_with_their_full_time_and_ends_them_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    let (short, long) = (store.lease_grant(2).await.unwrap(), store.lease_grant(600).await.unwrap());
    write(&store, vec![put_under("long", long), put_under("short", short), put("plain", "x")]).await;
    drop(store);
    // Longer than the short lease's time to live: while closed, no lease ends.
    tokio::time::sleep(Duration::from_millis(2_100)).await;

    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(keys(&store).await, ["long", "plain", "short"]);
    assert_eq!(store.lease_keep_alive(short).await.unwrap(), 2);
    wait_for_keys(&store, &["long", "plain"]).await;
    assert!(matches!(store.lease_revoke(short).await, Err(StoreError::LeaseNotFound(_))));
    store.lease_revoke(long).await.unwrap();
    assert_eq!(keys(&store).await, ["plain"]);
}

#[tokio::test]
async fn a_dropped_store_does_not_wait_for_its_leases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    for _ in 0..20 {
        let store = EmbeddedStore::open(&path).unwrap();
        store.lease_grant(1).await.unwrap();
        drop(store);
    }
}

#[test]
fn expiry_goes_on_in_another_runtime() {
    let store = EmbeddedStore::in_memory();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(async {
        let lease = store.lease_grant(1).await.unwrap();
        write(&store, vec![put_under("a", lease)]).await;
    });
    runtime().block_on(wait_for_keys(&store, &[]));
}

//! A disk that runs full and gets room again.

use super::image::Image;
use super::*;

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_of_the_transaction_is_seen() {
    let image = Image::default();
    let store = image.store();
    write(&store, vec![put("a", "1")]).await;
    let mut watch = store.watch(vec![], Some(Revision(2))).await.unwrap();
    image.set_full();
    for _ in 0..3 {
        let error = store.txn(vec![], vec![put("b", &"x".repeat(1_000_000))]).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSpace(_)), "{error}");
    }
    assert_eq!(keys(&store).await, ["a"]);
    image.set_roomy();
    assert_eq!(write(&store, vec![put("c", "1")]).await, Revision(3));
    assert_eq!(keys(&store).await, ["a", "c"]);
    assert_eq!(next(&mut watch).await.unwrap().revision, Revision(2));
    assert_eq!(next(&mut watch).await.unwrap().revision, Revision(3));
    drop(store);
    assert_eq!(keys(&image.store()).await, ["a", "c"]);
}

#[tokio::test]
async fn a_dead_disk_leaves_the_outcome_unknown_and_the_old_state_readable() {
    let image = Image::default();
    let store = image.store();
    write(&store, vec![put("a", "1")]).await;
    image.set_dead(true);
    assert!(matches!(store.txn(vec![], vec![put("b", "1")]).await, Err(StoreError::Unavailable(_))));
    assert!(store.txn(vec![], vec![put("b", "1")]).await.is_err());
    assert_eq!(keys(&store).await, ["a"]);
    image.set_dead(false);
    assert_eq!(write(&store, vec![put("c", "1")]).await, Revision(3));
    assert_eq!(keys(&store).await, ["a", "c"]);
}

#[tokio::test]
async fn leases_and_their_keys_survive_a_dead_disk() {
    let image = Image::default();
    let store = image.store();
    let lease = store.lease_grant(60).await.unwrap();
    write(&store, vec![put_under("a", lease)]).await;
    image.set_dead(true);
    assert!(store.lease_revoke(lease).await.is_err());
    assert!(store.lease_grant(60).await.is_err());
    assert!(store.lease_keep_alive(lease).await.is_err());
    image.set_dead(false);
    assert_eq!(store.lease_keep_alive(lease).await.unwrap(), 60);
    store.lease_revoke(lease).await.unwrap();
    assert!(keys(&store).await.is_empty());
}

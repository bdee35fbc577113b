//! Leases: who is under one, and what ends with it.

use std::time::Duration;

use super::super::{LeaseId, StoreError};
use super::space::{Space, assert_quiet, next, plus};

super::cases![
    leases_have_different_ids,
    a_grant_does_not_raise_the_revision,
    a_key_tells_its_lease,
    a_watch_tells_a_keys_lease,
    keeping_alive_tells_the_time_to_live,
    keeping_alive_does_not_raise_the_revision,
    the_longest_time_to_live_is_granted,
    a_longer_time_to_live_is_refused,
    revoking_deletes_the_keys_in_one_revision,
    revoking_comes_in_one_batch_in_key_order,
    revoking_a_lease_without_keys_does_not_raise_the_revision,
    revoking_leaves_other_leases_alone,
    revoking_twice_is_refused,
    revoking_an_unknown_lease_is_refused,
    keeping_alive_a_revoked_lease_is_refused,
    keeping_alive_an_unknown_lease_is_refused,
    lease_zero_does_not_exist,
    a_put_under_an_unknown_lease_is_refused_whole,
    a_put_under_a_revoked_lease_is_refused,
    an_unknown_lease_does_not_matter_when_a_compare_fails,
    a_failed_transaction_attaches_nothing,
    putting_again_without_a_lease_detaches,
    putting_again_under_another_lease_moves_the_key,
    putting_again_under_the_same_lease_keeps_it,
    deleting_detaches,
    a_lease_collects_keys_of_many_transactions,
    a_lease_that_ends_deletes_its_keys_in_one_revision,
    a_lease_that_ended_is_not_found,
    a_lease_kept_alive_does_not_end,
    a_key_detached_in_time_outlives_the_lease,
    a_new_lease_takes_over_a_key_for_good,
];

const LONG: i64 = 600;
/// Nobody was ever granted this.
const UNKNOWN: LeaseId = LeaseId(0x7fff_ffff_0000_0001);

async fn leases_have_different_ids(s: Space) {
    let (a, b) = (grant(&s).await, grant(&s).await);
    assert_ne!(a, b);
    assert!(a.0 != 0 && b.0 != 0);
}

async fn a_grant_does_not_raise_the_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    grant(&s).await;
    assert_eq!(s.revision().await, revision);
}

async fn a_key_tells_its_lease(s: Space) {
    let lease = grant(&s).await;
    s.write(vec![s.put_under("a", lease)]).await;
    assert_eq!(s.get("a").await.unwrap().lease, Some(lease));
}

async fn a_watch_tells_a_keys_lease(s: Space) {
    let lease = grant(&s).await;
    let mut watch = s.watch(None).await;
    s.write(vec![s.put_under("a", lease)]).await;
    let batch = next(&mut watch).await;
    assert!(matches!(&batch.events[0], super::super::Event::Put(a) if a.lease == Some(lease)), "{batch:?}");
}

async fn keeping_alive_tells_the_time_to_live(s: Space) {
    let lease = s.store.lease_grant(30).await.unwrap();
    assert_eq!(s.store.lease_keep_alive(lease).await.unwrap(), 30);
}

async fn keeping_alive_does_not_raise_the_revision(s: Space) {
    let lease = grant(&s).await;
    let revision = s.write(vec![s.put_under("a", lease)]).await;
    s.store.lease_keep_alive(lease).await.unwrap();
    assert_eq!(s.revision().await, revision);
}

async fn the_longest_time_to_live_is_granted(s: Space) {
    let lease = s.store.lease_grant(9_000_000_000).await.unwrap();
    assert_eq!(s.store.lease_keep_alive(lease).await.unwrap(), 9_000_000_000);
    s.store.lease_revoke(lease).await.unwrap();
}

async fn a_longer_time_to_live_is_refused(s: Space) {
    let error = s.store.lease_grant(9_000_000_001).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
}

async fn revoking_deletes_the_keys_in_one_revision(s: Space) {
    let lease = grant(&s).await;
    let revision = s.write(vec![s.put_under("a", lease), s.put("b", "stays"), s.put_under("c", lease)]).await;
    s.store.lease_revoke(lease).await.unwrap();
    assert_eq!(s.names().await, ["b"]);
    assert_eq!(s.revision().await, plus(revision, 1));
    assert_eq!(s.names_at(revision).await, ["a", "b", "c"]);
}

async fn revoking_comes_in_one_batch_in_key_order(s: Space) {
    let lease = grant(&s).await;
    s.write(vec![s.put_under("b", lease)]).await;
    let revision = s.write(vec![s.put_under("a", lease), s.put("c", "stays")]).await;
    let mut watch = s.watch(None).await;
    s.store.lease_revoke(lease).await.unwrap();
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (plus(revision, 1), vec!["-a".to_owned(), "-b".to_owned()]));
    assert_quiet(&mut watch).await;
}

async fn revoking_a_lease_without_keys_does_not_raise_the_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    s.store.lease_revoke(grant(&s).await).await.unwrap();
    assert_eq!(s.revision().await, revision);
}

async fn revoking_leaves_other_leases_alone(s: Space) {
    let (one, two) = (grant(&s).await, grant(&s).await);
    s.write(vec![s.put_under("one", one), s.put_under("two", two)]).await;
    s.store.lease_revoke(one).await.unwrap();
    assert_eq!(s.names().await, ["two"]);
    assert_eq!(s.store.lease_keep_alive(two).await.unwrap(), LONG);
}

async fn revoking_twice_is_refused(s: Space) {
    let lease = grant(&s).await;
    s.store.lease_revoke(lease).await.unwrap();
    assert_not_found(s.store.lease_revoke(lease).await, lease);
}

async fn revoking_an_unknown_lease_is_refused(s: Space) {
    assert_not_found(s.store.lease_revoke(UNKNOWN).await, UNKNOWN);
}

async fn keeping_alive_a_revoked_lease_is_refused(s: Space) {
    let lease = grant(&s).await;
    s.store.lease_revoke(lease).await.unwrap();
    assert_not_found(s.store.lease_keep_alive(lease).await, lease);
}

async fn keeping_alive_an_unknown_lease_is_refused(s: Space) {
    assert_not_found(s.store.lease_keep_alive(UNKNOWN).await, UNKNOWN);
}

async fn lease_zero_does_not_exist(s: Space) {
    let zero = LeaseId(0);
    assert_not_found(s.store.lease_keep_alive(zero).await, zero);
    assert_not_found(s.store.lease_revoke(zero).await, zero);
    assert_not_found(s.txn(vec![], vec![s.put_under("a", zero)]).await, zero);
}

async fn a_put_under_an_unknown_lease_is_refused_whole(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    assert_not_found(s.txn(vec![], vec![s.put("b", "1"), s.put_under("c", UNKNOWN)]).await, UNKNOWN);
    assert_eq!((s.names().await, s.revision().await), (vec!["a".to_owned()], revision));
}

async fn a_put_under_a_revoked_lease_is_refused(s: Space) {
    let lease = grant(&s).await;
    s.store.lease_revoke(lease).await.unwrap();
    assert_not_found(s.txn(vec![], vec![s.put_under("a", lease)]).await, lease);
}

async fn an_unknown_lease_does_not_matter_when_a_compare_fails(s: Space) {
    let compare = s.value("a", "no");
    assert!(!s.txn(vec![compare], vec![s.put_under("a", UNKNOWN)]).await.unwrap().succeeded);
}

async fn a_failed_transaction_attaches_nothing(s: Space) {
    let lease = grant(&s).await;
    s.write(vec![s.put("a", "1")]).await;
    assert!(!s.txn(vec![s.value("a", "no")], vec![s.put_under("a", lease)]).await.unwrap().succeeded);
    s.store.lease_revoke(lease).await.unwrap();
    assert_eq!(s.names().await, ["a"]);
}

async fn putting_again_without_a_lease_detaches(s: Space) {
    let lease = grant(&s).await;
    s.write(vec![s.put_under("a", lease), s.put_under("b", lease)]).await;
    s.write(vec![s.put("a", "free")]).await;
    assert_eq!(s.get("a").await.unwrap().lease, None);
    s.store.lease_revoke(lease).await.unwrap();
    assert_eq!(s.names().await, ["a"]);
}

async fn putting_again_under_another_lease_moves_the_key(s: Space) {
    let (one, two) = (grant(&s).await, grant(&s).await);
    s.write(vec![s.put_under("a", one)]).await;
    s.write(vec![s.put_under("a", two)]).await;
    s.store.lease_revoke(one).await.unwrap();
    assert_eq!(s.get("a").await.unwrap().lease, Some(two));
    s.store.lease_revoke(two).await.unwrap();
    assert!(s.names().await.is_empty());
}

async fn putting_again_under_the_same_lease_keeps_it(s: Space) {
    let lease = grant(&s).await;
    s.write(vec![s.put_under("a", lease)]).await;
    s.write(vec![s.put_under("a", lease)]).await;
    assert_eq!(s.get("a").await.unwrap().lease, Some(lease));
    s.store.lease_revoke(lease).await.unwrap();
    assert!(s.names().await.is_empty());
}

async fn deleting_detaches(s: Space) {
    let lease = grant(&s).await;
    s.write(vec![s.put_under("a", lease)]).await;
    s.write(vec![s.delete("a")]).await;
    let revision = s.write(vec![s.put("a", "free")]).await;
    s.store.lease_revoke(lease).await.unwrap();
    assert_eq!((s.names().await, s.revision().await), (vec!["a".to_owned()], revision));
}

async fn a_lease_collects_keys_of_many_transactions(s: Space) {
    let lease = grant(&s).await;
    for round in 0..20 {
        s.write(vec![s.put_under(&format!("k{round}"), lease)]).await;
    }
    let revision = s.revision().await;
    s.store.lease_revoke(lease).await.unwrap();
    assert!(s.names().await.is_empty());
    assert_eq!(s.revision().await, plus(revision, 1));
}

async fn a_lease_that_ends_deletes_its_keys_in_one_revision(s: Space) {
    let lease = s.store.lease_grant(1).await.unwrap();
    let revision = s.write(vec![s.put_under("b", lease), s.put("c", "stays"), s.put_under("a", lease)]).await;
    let mut watch = s.watch(None).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (plus(revision, 1), vec!["-a".to_owned(), "-b".to_owned()]));
    assert_eq!(s.names().await, ["c"]);
}

async fn a_lease_that_ended_is_not_found(s: Space) {
    let lease = s.store.lease_grant(1).await.unwrap();
    s.write(vec![s.put_under("a", lease)]).await;
    s.wait_until_gone("a").await;
    assert_not_found(s.store.lease_keep_alive(lease).await, lease);
    assert_not_found(s.store.lease_revoke(lease).await, lease);
    assert_not_found(s.txn(vec![], vec![s.put_under("a", lease)]).await, lease);
}

async fn a_lease_kept_alive_does_not_end(s: Space) {
    let lease = s.store.lease_grant(2).await.unwrap();
    s.write(vec![s.put_under("a", lease)]).await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(s.store.lease_keep_alive(lease).await.unwrap() >= 2);
    }
    assert_eq!(s.names().await, ["a"]);
    s.wait_until_gone("a").await;
}

async fn a_key_detached_in_time_outlives_the_lease(s: Space) {
    let lease = s.store.lease_grant(1).await.unwrap();
    s.write(vec![s.put_under("a", lease), s.put_under("b", lease)]).await;
    s.write(vec![s.put("a", "free")]).await;
    s.wait_until_gone("b").await;
    assert_eq!(s.names().await, ["a"]);
}

async fn a_new_lease_takes_over_a_key_for_good(s: Space) {
    let (short, long) = (s.store.lease_grant(1).await.unwrap(), grant(&s).await);
    s.write(vec![s.put_under("a", short), s.put_under("witness", short)]).await;
    s.write(vec![s.put_under("a", long)]).await;
    s.wait_until_gone("witness").await;
    assert_eq!(s.get("a").await.unwrap().lease, Some(long));
}

async fn grant(s: &Space) -> LeaseId {
    s.store.lease_grant(LONG).await.unwrap()
}

fn assert_not_found<T: std::fmt::Debug>(answer: Result<T, StoreError>, lease: LeaseId) {
    match answer {
        Err(StoreError::LeaseNotFound(named)) => assert_eq!(named, lease),
        other => panic!("expected that lease {lease:?} is not found, got {other:?}"),
    }
}

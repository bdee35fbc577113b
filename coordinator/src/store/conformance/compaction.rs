//! What is left after history was forgotten.

use super::super::{Range, Revision, StoreError, Watch};
use super::space::{Space, next, next_item, plus};

super::cases![
    a_read_below_the_horizon_fails_and_names_it,
    a_read_at_the_horizon_shows_its_state,
    a_read_above_the_horizon_shows_its_state,
    a_watch_from_below_the_horizon_ends_with_compacted,
    a_watch_from_the_horizon_ends_with_compacted,
    a_watch_from_right_above_the_horizon_goes_on,
    a_watch_that_waits_survives_compaction,
    compacting_the_future_is_refused,
    compacting_what_is_compacted_is_refused,
    compacting_below_the_horizon_is_refused,
    compacting_revision_zero_is_refused,
    compacting_does_not_raise_the_revision,
    keys_survive_compaction_with_their_revisions,
    deleted_keys_stay_deleted_after_compaction,
    a_key_deleted_and_compacted_can_be_created_again,
    compares_work_across_compaction,
    leases_survive_compaction,
];

async fn a_read_below_the_horizon_fails_and_names_it(s: Space) {
    let horizon = compacted(&s).await;
    let error = s.store.range(at(&s, plus(horizon, -1))).await.unwrap_err();
    let StoreError::Compacted { requested, oldest } = error else { panic!("{error}") };
    assert_eq!((requested, oldest), (plus(horizon, -1), horizon));
    assert!(matches!(s.store.range(at(&s, Revision(1))).await, Err(StoreError::Compacted { .. })));
}

async fn a_read_at_the_horizon_shows_its_state(s: Space) {
    let horizon = compacted(&s).await;
    let page = s.page(at(&s, horizon)).await;
    assert_eq!((s.names_of(&page.entries), page.entries[0].value.as_slice()), (vec!["a".to_owned()], &b"2"[..]));
}

async fn a_read_above_the_horizon_shows_its_state(s: Space) {
    let horizon = compacted(&s).await;
    assert_eq!(s.names_at(plus(horizon, 1)).await, ["a", "c"]);
}

async fn a_watch_from_below_the_horizon_ends_with_compacted(s: Space) {
    let horizon = compacted(&s).await;
    let mut watch = s.watch(Some(plus(horizon, -1))).await;
    assert_ends_compacted(&mut watch, plus(horizon, -1), horizon).await;
}

async fn a_watch_from_the_horizon_ends_with_compacted(s: Space) {
    let horizon = compacted(&s).await;
    let mut watch = s.watch(Some(horizon)).await;
    assert_ends_compacted(&mut watch, horizon, horizon).await;
}

async fn a_watch_from_right_above_the_horizon_goes_on(s: Space) {
    let horizon = compacted(&s).await;
    let mut watch = s.watch(Some(plus(horizon, 1))).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (plus(horizon, 1), vec!["+c".to_owned()]));
    assert_eq!(s.shape(&next(&mut watch).await), ["+a"]);
}

async fn a_watch_that_waits_survives_compaction(s: Space) {
    let mut watch = s.watch(None).await;
    let revision = s.write(vec![s.put("a", "1")]).await;
    assert_eq!(next(&mut watch).await.revision, revision);
    s.store.compact(revision).await.unwrap();
    let later = s.write(vec![s.put("a", "2")]).await;
    assert_eq!(next(&mut watch).await.revision, later);
}

async fn compacting_the_future_is_refused(s: Space) {
    let future = plus(s.write(vec![s.put("a", "1")]).await, 1);
    let error = s.store.compact(future).await.unwrap_err();
    assert!(matches!(error, StoreError::FutureRevision(revision) if revision == future), "{error}");
}

async fn compacting_what_is_compacted_is_refused(s: Space) {
    let horizon = compacted(&s).await;
    let error = s.store.compact(horizon).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { requested, .. } if requested == horizon), "{error}");
}

async fn compacting_below_the_horizon_is_refused(s: Space) {
    let below = plus(compacted(&s).await, -1);
    let error = s.store.compact(below).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { requested, .. } if requested == below), "{error}");
}

async fn compacting_revision_zero_is_refused(s: Space) {
    let error = s.store.compact(Revision(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
}

async fn compacting_does_not_raise_the_revision(s: Space) {
    let horizon = compacted(&s).await;
    assert_eq!(s.revision().await, plus(horizon, 2));
    assert_eq!(s.write(vec![s.put("a", "4")]).await, plus(horizon, 3));
}

async fn keys_survive_compaction_with_their_revisions(s: Space) {
    s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    s.write(vec![s.put("a", "2")]).await;
    let before = s.all().await;
    let newest = s.write(vec![s.put("other", "1")]).await;
    s.store.compact(newest).await.unwrap();
    assert_eq!(s.all().await[..2], before[..]);
    s.write(vec![s.put("a", "3")]).await;
    assert_eq!(s.get("a").await.unwrap().version, 3);
}

async fn deleted_keys_stay_deleted_after_compaction(s: Space) {
    s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    let deletion = s.write(vec![s.delete("a")]).await;
    s.store.compact(deletion).await.unwrap();
    assert_eq!(s.names().await, ["b"]);
    assert_eq!(s.names_at(deletion).await, ["b"]);
}

async fn a_key_deleted_and_compacted_can_be_created_again(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let deletion = s.write(vec![s.delete("a")]).await;
    s.store.compact(deletion).await.unwrap();
    assert!(s.txn(vec![s.created("a", Revision(0))], vec![s.put("a", "2")]).await.unwrap().succeeded);
    assert_eq!(s.get("a").await.unwrap().version, 1);
}

async fn compares_work_across_compaction(s: Space) {
    let old = s.write(vec![s.put("a", "1")]).await;
    let newest = s.write(vec![s.put("b", "1")]).await;
    s.store.compact(newest).await.unwrap();
    assert!(s.holds(s.modified("a", old)).await);
    assert!(s.holds(s.created("a", old)).await);
    assert!(s.holds(s.value("a", "1")).await);
}

async fn leases_survive_compaction(s: Space) {
    let lease = s.store.lease_grant(600).await.unwrap();
    s.write(vec![s.put_under("a", lease)]).await;
    let newest = s.write(vec![s.put("b", "1")]).await;
    s.store.compact(newest).await.unwrap();
    s.store.lease_revoke(lease).await.unwrap();
    assert_eq!(s.names().await, ["b"]);
}

/// Writes some history and compacts it at the deletion of `b`; two more revisions follow, `+c` and `+a`.
async fn compacted(s: &Space) -> Revision {
    s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    s.write(vec![s.put("a", "2")]).await;
    let horizon = s.write(vec![s.delete("b")]).await;
    s.write(vec![s.put("c", "1")]).await;
    s.write(vec![s.put("a", "3")]).await;
    s.store.compact(horizon).await.unwrap();
    horizon
}

fn at(s: &Space, revision: Revision) -> Range {
    Range { at: Some(revision), ..Range::prefix(s.prefix()) }
}

async fn assert_ends_compacted(watch: &mut Watch, from: Revision, horizon: Revision) {
    match next_item(watch).await {
        Err(StoreError::Compacted { requested, oldest }) => assert_eq!((requested, oldest), (from, plus(horizon, 1))),
        other => panic!("expected the end of the watch, got {other:?}"),
    }
    assert!(watch.batches.recv().await.is_none(), "the watch ends after an error");
}

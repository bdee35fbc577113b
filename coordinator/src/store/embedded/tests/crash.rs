//! Power loss and group commit.

use std::sync::Arc;

use futures::future::join_all;

use super::image::Image;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_power_loss_is_there_after_it() {
    let image = Image::default();
    let store = Arc::new(image.store());
    let (acked, mut acks) = tokio::sync::mpsc::unbounded_channel();
    for writer in 0..8 {
        let (store, acked) = (store.clone(), acked.clone());
        tokio::spawn(async move {
            for round in 0..40 {
                let key = format!("w{writer}/{round:03}");
                let revision = write(&store, vec![put(&key, "x"), put(&format!("w{writer}/newest"), &key)]).await;
                acked.send((key, revision)).unwrap();
            }
        });
    }
    drop(acked);
    let mut acknowledged = Vec::new();
    while let Some(ack) = acks.recv().await {
        acknowledged.push(ack);
        if acknowledged.len() % 23 == 0 {
            let survivor = image.after_power_loss().store();
            for (key, revision) in &acknowledged {
                let page = survivor.range(Range::prefix(key.as_bytes())).await.unwrap();
                assert_eq!(page.entries.len(), 1, "{key} was acknowledged and is lost");
                assert_eq!(page.entries[0].mod_revision, *revision);
            }
        }
    }
    assert_eq!(acknowledged.len(), 320);
}

#[tokio::test]
async fn transactions_that_arrive_together_share_a_commit_and_keep_their_own_revisions() {
    let image = Image::default();
    let store = image.store();
    let before = image.syncs();
    let mut revisions: Vec<_> = join_all((0..200).map(|n| async move { format!("k{n}") }).map(|key| async {
        let key = key.await;
        write(&store, vec![put(&key, "x")]).await.0
    }))
    .await;
    revisions.sort_unstable();
    assert_eq!(revisions, (2..202).collect::<Vec<_>>());
    let commits = image.syncs() - before;
    assert!(commits < 50, "200 transactions took {commits} syncs");
}

#[tokio::test]
async fn compares_that_fail_cost_no_sync() {
    let image = Image::default();
    let store = image.store();
    let before = image.syncs();
    let absent = Compare::ModRevision { key: b"a".to_vec(), equals: Revision(7) };
    assert!(!store.txn(vec![absent], vec![put("a", "1")]).await.unwrap().succeeded);
    assert!(store.txn(vec![], vec![delete("a")]).await.unwrap().succeeded);
    assert_eq!(image.syncs(), before);
}

//! The bounded history.

use super::super::keyspace::Retention;
use super::*;

fn keeping(revisions: usize) -> EmbeddedStore {
    EmbeddedStore::in_memory_keeping(Retention { revisions, ..Retention::default() })
}

async fn oldest_readable(store: &EmbeddedStore) -> Revision {
    match store.range(Range { at: Some(Revision(1)), ..Range::default() }).await {
        Ok(_) => Revision(1),
        Err(StoreError::Compacted { oldest, .. }) => oldest,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn history_is_kept_for_the_set_number_of_revisions() {
    let store = keeping(10);
    for round in 0..10 {
        write(&store, vec![put("a", &round.to_string())]).await;
    }
    assert_eq!(oldest_readable(&store).await, Revision(1));
    for round in 10..100 {
        write(&store, vec![put("a", &round.to_string())]).await;
        assert_eq!(oldest_readable(&store).await, Revision(round - 8));
    }
}

#[tokio::test]
async fn history_is_kept_for_the_set_number_of_bytes() {
    let store = EmbeddedStore::in_memory_keeping(Retention { revisions: 1_000, bytes: 10_000 });
    for _ in 0..100 {
        write(&store, vec![put("a", &"x".repeat(1_000))]).await;
    }
    let oldest = oldest_readable(&store).await;
    assert!(oldest > Revision(90), "{oldest}");
    assert_eq!(all(&store).await[0].version, 100);
}

#[tokio::test]
async fn a_key_untouched_for_longer_than_history_stays_readable() {
    let store = keeping(5);
    write(&store, vec![put("old", "1"), put("gone", "1")]).await;
    write(&store, vec![delete("gone")]).await;
    for _ in 0..50 {
        write(&store, vec![put("busy", "x")]).await;
    }
    assert_eq!(keys(&store).await, ["busy", "old"]);
    let at = Some(oldest_readable(&store).await);
    let page = store.range(Range { at, prefix: b"old".to_vec(), ..Range::default() }).await.unwrap();
    assert_eq!((page.entries[0].mod_revision, page.entries[0].version), (Revision(2), 1));
}

#[tokio::test]
async fn a_watch_that_falls_behind_history_ends_with_compacted() {
    let store = keeping(100);
    let mut watch = store.watch(b"a".to_vec(), None).await.unwrap();
    for round in 0..1_000 {
        write(&store, vec![put("a", &round.to_string())]).await;
    }
    let mut expected = 2;
    loop {
        match next(&mut watch).await {
            Ok(batch) => assert_eq!(batch.revision, Revision(expected), "no gaps before the end"),
            Err(StoreError::Compacted { requested, oldest }) => {
                assert_eq!(requested, Revision(expected));
                assert!(oldest > requested);
                break;
            }
            Err(other) => panic!("{other}"),
        }
        expected += 1;
    }
    assert!(watch.batches.recv().await.is_none());
}

#[tokio::test]
async fn a_watch_that_keeps_up_sees_everything_however_short_history_is() {
    let store = keeping(1);
    let mut watch = store.watch(b"a".to_vec(), None).await.unwrap();
    for round in 0..500 {
        let revision = write(&store, vec![put("a", &round.to_string())]).await;
        assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn compaction_and_its_horizon_are_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let retention = Retention { revisions: 20, ..Retention::default() };
    let open = || EmbeddedStore::on_disk(Disk::at_path(&path).unwrap(), retention).unwrap();
    let store = open();
    for round in 0..100 {
        write(&store, vec![put("a", &round.to_string()), put(&format!("b{}", round % 7), "x")]).await;
    }
    let (before, horizon) = (all(&store).await, oldest_readable(&store).await);
    assert_eq!(horizon, Revision(81));
    drop(store);
    let records = Disk::at_path(&path).unwrap().load().unwrap().records.len();
    assert!(records <= 20 * 2 + 8, "{records} records are left on disk");
    let store = open();
    assert_eq!(all(&store).await, before);
    assert_eq!(oldest_readable(&store).await, horizon);
}

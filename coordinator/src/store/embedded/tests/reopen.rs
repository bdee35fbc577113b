//! Closing and opening a store on disk.

use super::*;

#[tokio::test]
async fn a_reopened_store_holds_keys_revisions_versions_and_history() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(write(&store, vec![put("a", "1"), put("b", "1")]).await, Revision(2));
    write(&store, vec![put("a", "2"), delete("b")]).await;
    let before = all(&store).await;
    drop(store);

    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(all(&store).await, before);
    assert_eq!((before[0].create_revision, before[0].mod_revision, before[0].version), (Revision(2), Revision(3), 2));
    let old = store.range(Range { at: Some(Revision(2)), ..Range::default() }).await.unwrap();
    assert_eq!(old.entries.len(), 2);
    let mut watch = store.watch(vec![], Some(Revision(3))).await.unwrap();
    let batch = next(&mut watch).await.unwrap();
    assert_eq!((batch.revision, batch.events.len()), (Revision(3), 2));
    assert_eq!(batch.events[1], Event::Delete { key: b"b".to_vec(), revision: Revision(3) });
    assert_eq!(write(&store, vec![put("c", "1")]).await, Revision(4));
}

#[tokio::test]
async fn a_deletion_as_the_last_act_keeps_its_revision_across_reopen_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    write(&store, vec![put("a", "1")]).await;
    let last = write(&store, vec![delete("a")]).await;
    store.compact(last).await.unwrap();
    drop(store);

    let store = EmbeddedStore::open(&path).unwrap();
    assert!(all(&store).await.is_empty());
    assert!(matches!(
        store.range(Range { at: Some(Revision(2)), ..Range::default() }).await,
        Err(StoreError::Compacted { oldest: Revision(3), .. })
    ));
    assert_eq!(write(&store, vec![put("a", "2")]).await, Revision(4));
}

#[tokio::test]
async fn a_second_open_is_refused_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let first = EmbeddedStore::open(&path).unwrap();
    let error = EmbeddedStore::open(&path).err().unwrap();
    assert!(matches!(&error, StoreError::Locked(name) if name.contains("store.redb")), "{error}");
    assert_eq!(error.code().code, "WR-L004");
    drop(first);
    EmbeddedStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    std::fs::write(&path, b"not a store").unwrap();
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::Broken(text)) if text.contains("store.redb")));
    assert!(matches!(EmbeddedStore::open(Path::new("/no/such/dir/store.redb")), Err(StoreError::Broken(_))));
}

#[tokio::test]
async fn dropping_the_store_ends_its_watches_after_the_last_batch() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("store.redb")).unwrap();
    let mut watch = store.watch(b"a".to_vec(), None).await.unwrap();
    write(&store, vec![put("a", "1")]).await;
    drop(store);
    assert_eq!(next(&mut watch).await.unwrap().revision, Revision(2));
    assert!(watch.batches.recv().await.is_none());
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_disturb_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("store.redb")).unwrap();
    {
        let mut abandoned = std::pin::pin!(store.txn(vec![], vec![put("abandoned", "1")]));
        assert!(futures::poll!(abandoned.as_mut()).is_pending());
    }
    assert_eq!(write(&store, vec![put("b", "1")]).await, Revision(3));
    assert_eq!(keys(&store).await, ["abandoned", "b"]);
}

//! What a commit costs when the log grows, and what checkpoints leave behind.

use super::{faults::Requests, *};

const START: i64 = 1_356_998_400_000_000;

fn nth(n: u64) -> Load {
    let at = START + i64::try_from(n).unwrap() * 1_000;
    load(time(at, at + 1_000), WriteMode::Append, &[(Some(at), i64::try_from(n).unwrap(), "a")])
}

/// Publishes the seqs and tells the requests they took, checkpoints included.
async fn publish_all(world: &World, sink: &DeltaSink, seqs: std::ops::RangeInclusive<u64>) -> Requests {
    let before = world.objects.requests();
    for seq in seqs {
        publish(sink, seq, &[nth(seq)]).await;
        sink.checkpoints.settled().await;
    }
    let after = world.objects.requests();
    Requests { gets: after.gets - before.gets, puts: after.puts - before.puts, lists: after.lists - before.lists }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_asks_the_store_for_the_same_however_long_the_log_is() {
    let world = World::new();
    let sink = world.sink();
    publish_all(&world, &sink, 1..=5).await;
    let early = publish_all(&world, &sink, 6..=55).await;
    publish_all(&world, &sink, 56..=205).await;
    let late = publish_all(&world, &sink, 206..=255).await;
    assert_eq!(early, late);
    assert_eq!(early.lists, 0);
    // The staged file, the commit; a look for a newer commit and at the newest one for each of layout, prepare, commit.
    // At staged files the committer looks, before it asks the sink.
    assert_eq!((early.puts, early.gets), (50 * 2, 50 * 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_opened_again_from_its_checkpoint() {
    let world = World::new();
    let sink = world.sink();
    publish_all(&world, &sink, 1..=130).await;
    let log = world.folder.path().join("_delta_log");
    assert!(log.join("00000000000000000100.checkpoint.parquet").exists());
    assert!(log.join("_last_checkpoint").exists());
    // Without the commits the checkpoint stands for, only the checkpoint can be read.
    for version in 0..100 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let again = world.sink();
    assert_eq!(again.probe().await.unwrap(), sink.probe().await.unwrap());
    let (kept, loaded) = (sink.newest().await.unwrap().unwrap(), again.newest().await.unwrap().unwrap());
    assert_eq!(kept.files, loaded.files, "tags and all survive the checkpoint");
    assert_eq!(kept.version, loaded.version);
    assert_eq!(kept.txns, loaded.txns);

    let window = nth(50).window;
    publish(&again, 131, &[Load { revision: 1, ..load(window, WriteMode::ReplaceWindow, &[]) }]).await;
    assert_eq!(world.rows().await.len(), 129);
    assert_eq!(world.file_count().await, 129);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_tells_how_often_it_wants_checkpoints() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[nth(1)]).await;
    let mut metadata = serde_json::to_value(world.table().await.snapshot().unwrap().metadata()).unwrap();
    metadata["configuration"] = json!({ "delta.checkpointInterval": "7" });
    world.foreign_commit(2, &[json!({ "metaData": metadata })]);
    publish_all(&world, &sink, 2..=20).await;
    let checkpoints = std::fs::read_dir(world.folder.path().join("_delta_log"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".checkpoint."))
        .count();
    assert_eq!(checkpoints, 3);
    assert_eq!(world.rows().await.len(), 20);
}

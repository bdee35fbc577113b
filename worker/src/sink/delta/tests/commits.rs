//! One intent, one effect: replays, zombies, lost replies, aborts.

use std::sync::atomic::Ordering;

use windrow_common::{
    error,
    intent::{Committed, Effect, Fingerprint},
};

use super::{faults::Fault, *};
use crate::sink::{
    Refusal,
    delta::actions::{Deed, Writing},
};

fn first() -> Load {
    load(time(0, 10), WriteMode::Append, &[(Some(1), 1, "a"), (Some(2), 2, "b")])
}

fn second() -> Load {
    load(time(10, 20), WriteMode::Append, &[(Some(11), 3, "a")])
}

fn both() -> Vec<Found> {
    sorted(&[(Some(1), 1, "a"), (Some(2), 2, "b"), (Some(11), 3, "a")])
}

#[tokio::test]
async fn an_intent_creates_the_table_and_the_probe_tells_of_it() {
    let world = World::new();
    let sink = world.sink();
    assert_eq!(sink.probe().await.unwrap(), None);
    let recorded = publish(&sink, 1, &[first()]).await;
    let committed = Committed { seq: 1, effect: Effect::Applied(Fingerprint::of(&recorded.digest)) };
    assert_eq!(sink.probe().await.unwrap(), Some(committed));
    assert_eq!(world.sink().probe().await.unwrap(), Some(committed));

    let table = world.table().await;
    assert_eq!(table.version(), Some(1));
    let protocol = serde_json::to_value(table.snapshot().unwrap().protocol()).unwrap();
    assert_eq!((protocol["minReaderVersion"].as_i64(), protocol["minWriterVersion"].as_i64()), (Some(1), Some(2)));
    assert_eq!(world.rows().await, sorted(&first().rows));
}

#[tokio::test]
async fn repeating_an_intent_changes_nothing() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[first()]).await;
    let recorded = publish(&sink, 2, &[second()]).await;
    for again in [&sink, &world.sink()] {
        assert_eq!(recorded.commit(again).await.unwrap(), Applied::Committed { version: 2 });
        assert_eq!(recorded.abort(again).await.unwrap(), Applied::Committed { version: 2 });
    }
    assert_eq!(world.table().await.version(), Some(2));
    assert_eq!(world.rows().await, both());
}

/// Proves CL2.
#[tokio::test]
async fn an_old_intent_is_stale_and_a_future_or_different_one_halts() {
    let world = World::new();
    let sink = world.sink();
    let old = publish(&sink, 1, &[first()]).await;
    let mine = publish(&sink, 2, &[second()]).await;
    assert_eq!(old.commit(&sink).await.unwrap(), Applied::Stale);

    let mut other = mine.clone();
    other.digest = Digest([9; 32]);
    assert_eq!(other.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Halt));
    let mut future = mine;
    future.body.seq = 4;
    assert_eq!(future.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Halt));
    assert_eq!(world.rows().await, both());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_committers_of_one_seq_make_one_commit() {
    for round in 0..8 {
        let world = World::new();
        let (one, two) = (Arc::new(world.sink()), Arc::new(world.sink()));
        if round % 2 == 0 {
            publish(&one, 1, &[first()]).await;
            two.probe().await.unwrap();
        }
        let seq = if round % 2 == 0 { 2 } else { 1 };
        let recorded = record(&one, seq, &[second()]).await.unwrap();
        let race = [&one, &two].map(|sink| {
            let (sink, recorded) = (sink.clone(), recorded.clone());
            tokio::spawn(async move { recorded.commit(&sink).await.unwrap() })
        });
        for applied in futures::future::join_all(race).await {
            assert_eq!(applied.unwrap(), Applied::Committed { version: seq });
        }
        assert_eq!(world.table().await.version(), Some(seq));
        assert_eq!(world.file_count().await, usize::try_from(seq).unwrap());
    }
}

/// The text another committer would write for an intent on the newest version.
async fn text_of(sink: &DeltaSink, recorded: &Recorded, deed: Deed) -> bytes::Bytes {
    let table = sink.newest().await.unwrap().unwrap();
    let apps = &sink.log.reading().apps;
    let writing = Writing { body: &recorded.body, digest: &recorded.digest, apps, now: 1 };
    writing.text(deed, &table).unwrap()
}

#[tokio::test]
async fn a_commit_made_between_the_look_and_the_write_is_never_overwritten() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[first()]).await;

    // A writer of another make: both commits stand.
    let recorded = record(&sink, 2, &[second()]).await.unwrap();
    let theirs = world.foreign_add("theirs.parquet", &[(Some(50), 50, "x")], true);
    world.objects.overtake(format!("{theirs}\n"));
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Committed { version: 3 });
    let mut expected = [both(), sorted(&[(Some(50), 50, "x")])].concat();
    expected.sort();
    assert_eq!(world.rows().await, expected);

    // A committer of the same intent, and one of its abort: the first effect is the only one.
    let third = load(time(20, 30), WriteMode::Append, &[(Some(21), 4, "a")]);
    for (seq, deed) in [(3, Deed::Apply), (4, Deed::Abort)] {
        let recorded = record(&sink, seq, std::slice::from_ref(&third)).await.unwrap();
        world.objects.overtake(text_of(&sink, &recorded, deed).await);
        let applied = recorded.commit(&sink).await.unwrap();
        let version = seq + 1;
        match deed {
            Deed::Apply => assert_eq!(applied, Applied::Committed { version }),
            Deed::Abort => assert_eq!(applied, Applied::Aborted { version }),
        }
        assert_eq!(world.table().await.version(), Some(version));
        assert_eq!(world.file_count().await, 4);
    }
}

#[tokio::test]
async fn a_file_removed_between_the_look_and_the_write_refuses_the_intent() {
    let world = World::new();
    let sink = world.sink();
    let before = publish(&sink, 1, &[first()]).await;
    let replacing = Load { revision: 1, ..load(time(0, 10), WriteMode::ReplaceWindow, &[]) };
    let recorded = record(&sink, 2, &[replacing]).await.unwrap();
    let path = &before.body.add[0].path;
    let removed = json!({ "remove": { "path": path, "dataChange": true, "deletionTimestamp": 1 } });
    world.objects.overtake(format!("{removed}\n"));
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Conflict));
    assert_eq!(world.table().await.version(), Some(2));
}

#[tokio::test]
async fn whatever_a_reply_says_an_intent_is_committed_once() {
    let courses: [&[Fault]; 5] = [
        &[Fault::ReplyLost],
        &[Fault::Refused],
        &[Fault::SaidToExist],
        &[Fault::Refused, Fault::SaidToExist, Fault::Refused, Fault::ReplyLost],
        // The first of these meets the creation of the table.
        &[Fault::ReplyLost, Fault::ReplyLost],
    ];
    for course in courses {
        let world = World::new();
        let sink = world.sink();
        let recorded = record(&sink, 1, &[first()]).await.unwrap();
        world.objects.next(course);
        assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Committed { version: 1 }, "{course:?}");
        world.objects.next(course);
        let recorded = record(&sink, 2, &[second()]).await.unwrap();
        assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Committed { version: 2 }, "{course:?}");
        assert_eq!(world.rows().await, both(), "{course:?}");
        assert_eq!(world.table().await.version(), Some(2), "{course:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_silent_leaves_the_outcome_unknown_and_a_later_try_settles_it() {
    if Ground::is_bucket() {
        return; // The clock stands still, and every request would time out at once.
    }
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[first()]).await;
    let recorded = record(&sink, 2, &[second()]).await.unwrap();
    world.objects.next(&[Fault::Refused; 12]);
    let unknown = recorded.commit(&sink).await.unwrap_err();
    assert_eq!(unknown.code(), error::SINK_UNREACHABLE);
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Committed { version: 2 });
    assert_eq!(world.rows().await, both());
}

#[tokio::test]
async fn an_abort_spends_the_seq_and_the_intent_can_never_be_applied_after() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[first()]).await;
    let recorded = record(&sink, 2, &[second()]).await.unwrap();
    assert_eq!(recorded.abort(&sink).await.unwrap(), Applied::Aborted { version: 2 });
    assert_eq!(recorded.commit(&world.sink()).await.unwrap(), Applied::Aborted { version: 2 });
    let aborted = Committed { seq: 2, effect: Effect::Aborted(Fingerprint::of(&recorded.digest)) };
    assert_eq!(world.sink().probe().await.unwrap(), Some(aborted));
    assert_eq!(world.rows().await, sorted(&first().rows));
    publish(&sink, 3, &[second()]).await;
    assert_eq!(world.rows().await, both());
}

#[tokio::test]
async fn the_first_intent_of_a_table_can_be_aborted() {
    let world = World::new();
    let sink = world.sink();
    let recorded = record(&sink, 1, &[first()]).await.unwrap();
    assert_eq!(recorded.abort(&sink).await.unwrap(), Applied::Aborted { version: 1 });
    assert!(world.rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_commit_and_an_abort_one_wins_and_both_learn_which() {
    for _ in 0..8 {
        let world = World::new();
        let (one, two) = (world.sink(), world.sink());
        publish(&one, 1, &[first()]).await;
        let recorded = record(&one, 2, &[second()]).await.unwrap();
        let (committed, aborted) = tokio::join!(recorded.commit(&one), recorded.abort(&two));
        let outcome = committed.unwrap();
        assert_eq!(outcome, aborted.unwrap());
        let expected = match outcome {
            Applied::Committed { version: 2 } => both(),
            Applied::Aborted { version: 2 } => sorted(&first().rows),
            other => panic!("{other:?}"),
        };
        assert_eq!(world.rows().await, expected);
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_before_anything_is_written() {
    let world = World::new();
    world.objects.forgetful.store(true, Ordering::Relaxed);
    let sink = world.sink();
    let refused = sink.layout(schema()).await.unwrap_err();
    assert_eq!(refused.code(), error::SINK_UNCONDITIONAL);
    let next = Next { seq: 1, previous: None, previous_aborted: false, tasks: Vec::new() };
    assert_eq!(sink.prepare(next).await.unwrap_err().code(), error::SINK_UNCONDITIONAL);
    assert!(!world.folder.path().join("_delta_log").exists());
}

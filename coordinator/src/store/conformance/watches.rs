//! Watches: what comes, in which order, in which batches.

use std::time::Duration;

use super::super::{Event, Revision};
use super::space::{Space, assert_quiet, next, plus};

super::cases![
    a_watch_from_now_sees_the_next_write,
    a_watch_from_now_does_not_see_what_was_before,
    watches_from_now_never_begin_before_what_was_acknowledged,
    a_watch_from_a_revision_includes_it,
    a_watch_from_the_past_replays_in_order,
    a_watch_goes_from_replay_to_live_without_a_gap,
    a_watch_from_the_next_revision_sees_the_next_write,
    a_watch_from_the_future_waits_for_it,
    operations_of_one_transaction_come_in_one_batch_in_key_order,
    a_replayed_transaction_comes_in_one_batch_in_key_order,
    a_put_event_carries_the_whole_entry,
    a_replayed_put_event_carries_the_entry_of_its_time,
    a_delete_event_carries_key_and_revision,
    a_recreation_comes_as_delete_and_put,
    events_of_other_prefixes_do_not_come,
    a_batch_holds_only_the_events_of_the_prefix,
    a_watch_of_a_key_sees_its_extensions,
    a_watch_of_everything_sees_the_space,
    failed_transactions_do_not_come,
    deletions_of_absent_keys_do_not_come,
    empty_transactions_do_not_come,
    an_overwrite_with_the_same_value_comes,
    two_watches_see_the_same,
    a_dropped_watch_does_not_disturb_another,
    a_reader_that_is_slow_misses_nothing,
    a_revision_of_the_most_operations_comes_whole,
    a_revision_of_the_most_bytes_comes_whole,
    many_large_revisions_are_replayed_whole,
    writes_of_many_writers_come_once_each_in_order,
];

async fn a_watch_from_now_sees_the_next_write(s: Space) {
    let mut watch = s.watch(None).await;
    let revision = s.write(vec![s.put("a", "1")]).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (revision, vec!["+a".to_owned()]));
}

async fn a_watch_from_now_does_not_see_what_was_before(s: Space) {
    s.write(vec![s.put("before", "1")]).await;
    let mut watch = s.watch(None).await;
    s.write(vec![s.put("after", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+after"]);
}

async fn watches_from_now_never_begin_before_what_was_acknowledged(s: Space) {
    for _ in 0..30 {
        s.write(vec![s.put("before", "1")]).await;
        let mut watch = s.watch(None).await;
        s.write(vec![s.put("after", "1")]).await;
        assert_eq!(s.shape(&next(&mut watch).await), ["+after"]);
    }
}

async fn a_watch_from_a_revision_includes_it(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let from = s.write(vec![s.put("b", "1")]).await;
    s.write(vec![s.put("c", "1")]).await;
    let mut watch = s.watch(Some(from)).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+b"]);
    assert_eq!(s.shape(&next(&mut watch).await), ["+c"]);
    assert_quiet(&mut watch).await;
}

async fn a_watch_from_the_past_replays_in_order(s: Space) {
    let first = s.write(vec![s.put("a", "0")]).await;
    for round in 1..200 {
        s.write(vec![s.put("a", &round.to_string())]).await;
    }
    let mut watch = s.watch(Some(first)).await;
    for more in 0..200 {
        assert_eq!(next(&mut watch).await.revision, plus(first, more));
    }
}

async fn a_watch_goes_from_replay_to_live_without_a_gap(s: Space) {
    let first = s.write(vec![s.put("a", "0")]).await;
    for _ in 0..100 {
        s.write(vec![s.put("a", "past")]).await;
    }
    let writer = tokio::spawn({
        let s = s.clone();
        async move {
            for _ in 0..100 {
                s.write(vec![s.put("a", "live")]).await;
            }
        }
    });
    let mut watch = s.watch(Some(first)).await;
    for more in 0..=200 {
        assert_eq!(next(&mut watch).await.revision, plus(first, more));
    }
    writer.await.unwrap();
}

async fn a_watch_from_the_next_revision_sees_the_next_write(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let mut watch = s.watch(Some(plus(revision, 1))).await;
    assert_quiet(&mut watch).await;
    s.write(vec![s.put("b", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+b"]);
}

async fn a_watch_from_the_future_waits_for_it(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let mut watch = s.watch(Some(plus(revision, 3))).await;
    for name in ["b", "c", "d", "e"] {
        s.write(vec![s.put(name, "1")]).await;
    }
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (plus(revision, 3), vec!["+d".to_owned()]));
    assert_eq!(s.shape(&next(&mut watch).await), ["+e"]);
}

async fn operations_of_one_transaction_come_in_one_batch_in_key_order(s: Space) {
    s.write(vec![s.put("b", "1")]).await;
    let mut watch = s.watch(None).await;
    let revision = s.write(vec![s.put("c", "1"), s.delete("b"), s.put("a", "1")]).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (revision, vec!["+a".into(), "-b".into(), "+c".into()]));
    assert_quiet(&mut watch).await;
}

async fn a_replayed_transaction_comes_in_one_batch_in_key_order(s: Space) {
    s.write(vec![s.put("b", "1")]).await;
    let revision = s.write(vec![s.put("c", "1"), s.delete("b"), s.put("a", "1")]).await;
    s.write(vec![s.put("a", "2")]).await;
    let mut watch = s.watch(Some(revision)).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+a", "-b", "+c"]);
    assert_eq!(s.shape(&next(&mut watch).await), ["+a"]);
}

async fn a_put_event_carries_the_whole_entry(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let mut watch = s.watch(None).await;
    s.write(vec![s.put("a", "2")]).await;
    let batch = next(&mut watch).await;
    assert_eq!(batch.events, [Event::Put(s.get("a").await.unwrap())]);
}

async fn a_replayed_put_event_carries_the_entry_of_its_time(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let then = s.get("a").await.unwrap();
    s.write(vec![s.put("a", "2")]).await;
    s.write(vec![s.delete("a")]).await;
    let mut watch = s.watch(Some(revision)).await;
    assert_eq!(next(&mut watch).await.events, [Event::Put(then)]);
}

async fn a_delete_event_carries_key_and_revision(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let mut watch = s.watch(None).await;
    let revision = s.write(vec![s.delete("a")]).await;
    let batch = next(&mut watch).await;
    assert_eq!(batch.events, [Event::Delete { key: s.key("a"), revision }]);
    assert_eq!(batch.revision, revision);
}

async fn a_recreation_comes_as_delete_and_put(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let mut watch = s.watch(None).await;
    s.write(vec![s.delete("a")]).await;
    let revision = s.write(vec![s.put("a", "2")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["-a"]);
    let batch = next(&mut watch).await;
    let Event::Put(a) = &batch.events[0] else { panic!("{batch:?}") };
    assert_eq!((a.version, a.create_revision), (1, revision));
}

async fn events_of_other_prefixes_do_not_come(s: Space) {
    let mut watch = s.store.watch(s.key("a/"), None).await.unwrap();
    for name in ["b/1", "a", "a0", "A/1", "a/1"] {
        s.write(vec![s.put(name, "1")]).await;
    }
    assert_eq!(s.shape(&next(&mut watch).await), ["+a/1"]);
    assert_quiet(&mut watch).await;
}

async fn a_batch_holds_only_the_events_of_the_prefix(s: Space) {
    let mut watch = s.store.watch(s.key("a/"), None).await.unwrap();
    s.write(vec![s.put("a/2", "1"), s.put("b/1", "1"), s.put("a/1", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+a/1", "+a/2"]);
}

async fn a_watch_of_a_key_sees_its_extensions(s: Space) {
    let mut watch = s.store.watch(s.key("a"), None).await.unwrap();
    s.write(vec![s.put("a", "1"), s.put("a/b", "1"), s.put("b", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+a", "+a/b"]);
}

async fn a_watch_of_everything_sees_the_space(s: Space) {
    let mut watch = s.store.watch(vec![], None).await.unwrap();
    let revision = s.write(vec![s.put("a", "1")]).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, s.shape(&batch)), (revision, vec!["+a".to_owned()]));
}

async fn failed_transactions_do_not_come(s: Space) {
    let mut watch = s.watch(None).await;
    assert!(!s.txn(vec![s.value("a", "no")], vec![s.put("a", "1")]).await.unwrap().succeeded);
    s.write(vec![s.put("b", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+b"]);
}

async fn deletions_of_absent_keys_do_not_come(s: Space) {
    let mut watch = s.watch(None).await;
    s.write(vec![s.delete("a")]).await;
    s.write(vec![s.delete("a"), s.put("b", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+b"]);
}

async fn empty_transactions_do_not_come(s: Space) {
    let mut watch = s.watch(None).await;
    s.write(vec![]).await;
    assert_quiet(&mut watch).await;
}

async fn an_overwrite_with_the_same_value_comes(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let mut watch = s.watch(None).await;
    s.write(vec![s.put("a", "1")]).await;
    assert_eq!(s.shape(&next(&mut watch).await), ["+a"]);
}

async fn two_watches_see_the_same(s: Space) {
    let (mut one, mut two) = (s.watch(None).await, s.watch(None).await);
    for round in 0..20 {
        s.write(vec![s.put("a", &round.to_string())]).await;
    }
    for _ in 0..20 {
        assert_eq!(next(&mut one).await, next(&mut two).await);
    }
}

async fn a_dropped_watch_does_not_disturb_another(s: Space) {
    let (one, mut two) = (s.watch(None).await, s.watch(None).await);
    drop(one);
    s.write(vec![s.put("a", "1")]).await;
    assert_eq!(s.shape(&next(&mut two).await), ["+a"]);
}

async fn a_reader_that_is_slow_misses_nothing(s: Space) {
    let mut watch = s.watch(None).await;
    let first = s.write(vec![s.put("a", "0")]).await;
    for _ in 0..500 {
        s.write(vec![s.put("a", "x"), s.put("b", "x")]).await;
    }
    for more in 0..=500 {
        if more % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(next(&mut watch).await.revision, plus(first, more));
    }
}

async fn a_revision_of_the_most_operations_comes_whole(s: Space) {
    let mut watch = s.watch(None).await;
    s.write((0..128).map(|n| s.put(&format!("{n:03}"), &"x".repeat(8_192))).collect()).await;
    assert_eq!(next(&mut watch).await.events.len(), 128);
    assert_quiet(&mut watch).await;
}

async fn a_revision_of_the_most_bytes_comes_whole(s: Space) {
    let mut watch = s.watch(None).await;
    let revision = s.write((0..100).map(|n| s.put(&format!("{n:03}"), &"x".repeat(15_000))).collect()).await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (revision, 100));
    assert_quiet(&mut watch).await;
}

async fn many_large_revisions_are_replayed_whole(s: Space) {
    let first = s.revision().await;
    for _ in 0..8 {
        s.write((0..50).map(|n| s.put(&format!("{n:03}"), &"x".repeat(20_000))).collect()).await;
    }
    let mut watch = s.watch(Some(plus(first, 1))).await;
    for more in 1..=8 {
        let batch = next(&mut watch).await;
        assert_eq!((batch.revision, batch.events.len()), (plus(first, more), 50));
    }
}

async fn writes_of_many_writers_come_once_each_in_order(s: Space) {
    let mut watch = s.watch(None).await;
    for writer in 0..8 {
        let s = s.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                s.write(vec![s.put(&format!("w{writer}"), "x"), s.put("shared", "x")]).await;
            }
        });
    }
    let mut last = Revision(0);
    for _ in 0..200 {
        let batch = next(&mut watch).await;
        assert_eq!(batch.events.len(), 2);
        assert!(last == Revision(0) || batch.revision == plus(last, 1));
        last = batch.revision;
    }
    assert_eq!(s.get("shared").await.unwrap().version, 200);
}

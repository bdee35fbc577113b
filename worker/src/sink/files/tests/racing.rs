//! Two committers who both believe to be the one.

use super::*;

/// Proves CL2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_committers_of_one_intent_publish_it_once() {
    for _ in 0..10 {
        let place = Place::new();
        let (one, two) = (sink(&place), sink(&place));
        let task = sealed(&one, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
        let (body, digest) = intent(&one, 1, None, vec![task]).await;
        let (first, second) = tokio::join!(one.commit(&body, &digest), two.commit(&body, &digest));
        assert_eq!(first.unwrap(), Applied::Committed { version: 1 });
        assert_eq!(second.unwrap(), Applied::Committed { version: 1 });
        assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_commit_and_an_abort_exactly_one_happens_and_both_sides_learn_which() {
    for _ in 0..10 {
        let place = Place::new();
        let (one, two) = (sink(&place), sink(&place));
        let task = sealed(&one, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
        let (body, digest) = intent(&one, 1, None, vec![task]).await;
        let (committing, aborting) = tokio::join!(one.commit(&body, &digest), two.abort(&body, &digest));
        let (committing, aborting) = (committing.unwrap(), aborting.unwrap());
        assert_eq!(committing, aborting);
        let rows = visible(&place).len();
        match committing {
            Applied::Committed { version: 1 } => assert_eq!(rows, 10),
            Applied::Aborted { version: 1 } => assert_eq!(rows, 0),
            other => panic!("{other:?}"),
        }
    }
}

/// A committer that was stopped after it read the log wakes up when its files were published, replaced and removed.
///
/// Proves CL2.
#[tokio::test]
async fn a_zombie_brings_no_removed_file_back() {
    let place = Place::new();
    let zombie = sink(&place);
    let task = sealed(&zombie, 1, WriteMode::ReplaceWindow, hours(0, 10), rows_of(hours(0, 10), "old")).await;
    let (body, digest) = intent(&zombie, 1, None, vec![task]).await;
    // It got as far as the log entry.
    let entry = entry::Entry::applied(&body, &digest, zombie.committer());
    assert!(matches!(zombie.log.create(&entry).await.unwrap(), log::Created::Mine));
    // Another finishes the commit and replaces its window.
    let other = sink(&place);
    assert_eq!(other.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
    load(&other, 2, Some(digest), 2, WriteMode::ReplaceWindow, hours(0, 10)).await;
    // It wakes up in the middle of publishing.
    assert_eq!(publish::publish(&zombie.log, &entry).await.unwrap(), publish::Publishing::Overtaken);
    assert_eq!(visible(&place), expected(&[(0, 10, "task 2")]));
    assert_eq!(zombie.commit(&body, &digest).await.unwrap(), Applied::Stale);
    assert_eq!(visible(&place), expected(&[(0, 10, "task 2")]));
}

#[tokio::test]
async fn two_prepared_intents_of_one_seq_do_not_both_happen() {
    let place = Place::new();
    let (one, two) = (sink(&place), sink(&place));
    let a = sealed(&one, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
    let b = sealed(&two, 2, WriteMode::Append, hours(10, 20), rows_of(hours(10, 20), "b")).await;
    let (first, first_digest) = intent(&one, 1, None, vec![a]).await;
    let (second, second_digest) = intent(&two, 1, None, vec![b]).await;
    assert_eq!(one.commit(&first, &first_digest).await.unwrap(), Applied::Committed { version: 1 });
    assert_eq!(two.commit(&second, &second_digest).await.unwrap(), Applied::Refused(Refusal::Halt));
    assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
}

//! The rule of committing, by cases.

use windrow_common::marker::Markers;

use super::*;

#[tokio::test]
async fn a_commit_shows_its_rows_and_repeating_it_changes_nothing() {
    let place = Place::new();
    let sink = sink(&place);
    assert_eq!(sink.probe().await.unwrap(), None);
    let task = sealed(&sink, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
    assert_eq!(visible_files(&place), Vec::<String>::new());
    let (body, digest) = intent(&sink, 1, None, vec![task]).await;
    assert_eq!(visible_files(&place), Vec::<String>::new());
    for _ in 0..3 {
        assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
        assert_eq!(visible_files(&place), ["part-0101010101010101-0.parquet"]);
        assert_eq!(visible(&place), expected(&[(0, 10, "a")]));
    }
    let found = sink.probe().await.unwrap().unwrap();
    assert_eq!((found.seq, found.effect), (1, Effect::Applied(Fingerprint::of(&digest))));
}

/// Proves CL2.
#[tokio::test]
async fn an_old_intent_is_stale_and_another_history_halts() {
    let place = Place::new();
    let sink = sink(&place);
    let task = sealed(&sink, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
    let (body, first) = intent(&sink, 1, None, vec![task]).await;
    sink.commit(&body, &first).await.unwrap();
    load(&sink, 2, Some(first), 2, WriteMode::Append, hours(10, 20)).await;
    assert_eq!(sink.commit(&body, &first).await.unwrap(), Applied::Stale);
    assert_eq!(sink.abort(&body, &first).await.unwrap(), Applied::Stale);
    let other = Digest([9; 32]);
    let forked = IntentBody { seq: 2, previous: Some(first), ..body.clone() };
    assert_eq!(sink.commit(&forked, &other).await.unwrap(), Applied::Refused(Refusal::Halt));
    let ahead = IntentBody { seq: 4, ..body.clone() };
    assert_eq!(sink.commit(&ahead, &other).await.unwrap(), Applied::Refused(Refusal::Halt));
    let unchained = IntentBody { seq: 3, previous: Some(other), ..body };
    assert_eq!(sink.commit(&unchained, &other).await.unwrap(), Applied::Refused(Refusal::Halt));
    assert_eq!(visible(&place).len(), 20);
}

#[tokio::test]
async fn an_abort_spends_the_seq_and_shows_nothing() {
    let place = Place::new();
    let sink = sink(&place);
    let task = sealed(&sink, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
    let (body, digest) = intent(&sink, 1, None, vec![task]).await;
    for _ in 0..2 {
        assert_eq!(sink.abort(&body, &digest).await.unwrap(), Applied::Aborted { version: 1 });
    }
    // Whoever still tries to commit learns that it was aborted.
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Aborted { version: 1 });
    assert_eq!(visible_files(&place), Vec::<String>::new());
    load(&sink, 2, Some(digest), 2, WriteMode::Append, hours(0, 10)).await;
    assert_eq!(visible(&place), expected(&[(0, 10, "task 2")]));
}

#[tokio::test]
async fn an_abort_that_comes_too_late_tells_that_the_commit_was_applied() {
    let place = Place::new();
    let sink = sink(&place);
    let task = sealed(&sink, 1, WriteMode::Append, hours(0, 10), rows_of(hours(0, 10), "a")).await;
    let (body, digest) = intent(&sink, 1, None, vec![task]).await;
    sink.commit(&body, &digest).await.unwrap();
    assert_eq!(sink.abort(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
    assert_eq!(visible(&place).len(), 10);
}

#[tokio::test]
async fn a_file_to_be_removed_that_is_gone_is_a_conflict_and_nothing_is_written() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::Append, hours(0, 10)).await;
    let task = sealed(&sink, 2, WriteMode::Append, hours(10, 20), rows_of(hours(10, 20), "b")).await;
    let (mut body, _) = intent(&sink, 2, Some(first), vec![task]).await;
    body.remove = vec!["part-ffffffffffffffff-0.parquet".to_owned()];
    let digest = Digest([7; 32]);
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Refused(Refusal::Conflict));
    assert_eq!(sink.probe().await.unwrap().unwrap().seq, 1);
    assert_eq!(sink.abort(&body, &digest).await.unwrap(), Applied::Aborted { version: 2 });
}

#[tokio::test]
async fn the_log_is_known_from_a_snapshot_and_the_few_commits_after_it() {
    let place = Place::new();
    let sink = sink(&place);
    let mut previous = None;
    for seq in 1..=205_u64 {
        // Aborts are the cheapest commits.
        let body = IntentBody {
            sink: "lake".parse().unwrap(),
            seq,
            previous,
            previous_aborted: seq > 1,
            tasks: Vec::new(),
            schema: json!({}),
            add: Vec::new(),
            remove: Vec::new(),
            dead_letters: Vec::new(),
            change: None,
            shows: None,
            markers: Markers::default(),
        };
        let digest = Digest([(seq % 251) as u8 + 1; 32]);
        assert_eq!(sink.abort(&body, &digest).await.unwrap(), Applied::Aborted { version: seq });
        previous = Some(digest);
    }
    // Without the entries a snapshot covers, the state is still known.
    for seq in 1..=200 {
        std::fs::remove_file(place.folder.path().join(format!("_windrow/log/{seq:020}.json"))).unwrap();
    }
    let fresh = super::sink(&place);
    assert_eq!(fresh.probe().await.unwrap().unwrap().seq, 205);
    assert_eq!(fresh.log.refresh().await.unwrap(), sink.log.refresh().await.unwrap());
}

#[tokio::test]
async fn a_changed_log_is_noticed() {
    let place = Place::new();
    let first = load(&sink(&place), 1, None, 1, WriteMode::Append, hours(0, 10)).await;
    load(&sink(&place), 2, Some(first), 2, WriteMode::Append, hours(10, 20)).await;
    let path = place.folder.path().join(format!("_windrow/log/{:020}.json", 1));
    let text = std::fs::read_to_string(&path).unwrap().replace(&first.to_string(), &Digest([3; 32]).to_string());
    std::fs::write(&path, text).unwrap();
    assert_eq!(sink(&place).probe().await.unwrap_err().code(), windrow_common::error::SINK_BROKEN);
}

#[tokio::test]
async fn the_sweep_is_told_every_file_that_is_in_use() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::Append, hours(0, 10)).await;
    let task = sealed(&sink, 2, WriteMode::Append, hours(10, 20), rows_of(hours(10, 20), "b")).await;
    let (body, digest) = intent(&sink, 2, Some(first), vec![task]).await;
    sink.commit(&body, &digest).await.unwrap();
    let referenced = sink.referenced().await.unwrap();
    for path in visible_files(&place).iter().chain(&staged_paths(&body)) {
        assert!(referenced.contains(path), "{path}");
    }
    // The staged files of the commit before the newest are gone.
    let staged: Vec<_> = place.all_files().into_iter().filter(|path| path.contains("_windrow/stage")).collect();
    assert_eq!(staged.len(), 1, "{staged:?}");
}

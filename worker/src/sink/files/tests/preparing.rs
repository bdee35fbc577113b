//! What each way of writing does to the rows.

use super::*;

/// Proves IL3.
#[tokio::test]
async fn replacing_a_window_again_and_again_leaves_one_copy_of_its_rows() {
    let place = Place::new();
    let sink = sink(&place);
    let mut previous = load(&sink, 1, None, 1, WriteMode::ReplaceWindow, hours(0, 10)).await;
    previous = load(&sink, 2, Some(previous), 2, WriteMode::ReplaceWindow, hours(10, 20)).await;
    for (seq, id) in [(3, 3), (4, 4)] {
        previous = load(&sink, seq, Some(previous), id, WriteMode::ReplaceWindow, hours(0, 10)).await;
    }
    assert_eq!(visible(&place), expected(&[(0, 10, "task 4"), (10, 20, "task 2")]));
}

#[tokio::test]
async fn replacing_one_window_of_a_file_of_many_keeps_the_others() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::ReplaceWindow, hours(0, 100)).await;
    let second = load(&sink, 2, Some(first), 2, WriteMode::ReplaceWindow, hours(40, 50)).await;
    assert_eq!(visible(&place), expected(&[(0, 40, "task 1"), (40, 50, "task 2"), (50, 100, "task 1")]));
    // The rewritten files are tagged with what they hold, so that whole ones go whole.
    load(&sink, 3, Some(second), 3, WriteMode::ReplaceWindow, hours(50, 100)).await;
    assert_eq!(visible(&place), expected(&[(0, 40, "task 1"), (40, 50, "task 2"), (50, 100, "task 3")]));
}

#[tokio::test]
async fn a_window_that_has_no_rows_any_more_loses_those_it_had() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::ReplaceWindow, hours(0, 10)).await;
    let empty = rows_of(hours(0, 10), "x").slice(0, 0);
    let task = sealed(&sink, 2, WriteMode::ReplaceWindow, hours(0, 10), empty).await;
    let (body, digest) = intent(&sink, 2, Some(first), vec![task]).await;
    sink.commit(&body, &digest).await.unwrap();
    assert_eq!(visible_files(&place), Vec::<String>::new());
}

#[tokio::test]
async fn many_windows_are_published_by_one_commit() {
    let place = Place::new();
    let sink = sink(&place);
    let mut tasks = Vec::new();
    for id in 1..=20_u8 {
        let window = hours(i64::from(id) * 10, i64::from(id) * 10 + 10);
        tasks.push(sealed(&sink, id, WriteMode::ReplaceWindow, window, rows_of(window, "x")).await);
    }
    let (body, digest) = intent(&sink, 1, None, tasks).await;
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 1 });
    assert_eq!(visible(&place), expected(&[(10, 210, "x")]));
    assert_eq!(visible_files(&place), ["part-0101010101010101-0.parquet"], "small neighbours are one file");
}

#[tokio::test]
async fn small_files_are_merged_up_to_a_gap_and_their_windows_can_still_be_replaced() {
    let place = Place::new();
    let sink = sink(&place);
    let mut tasks = Vec::new();
    for id in [1, 2, 3, 5, 6_u8] {
        let window = hours(i64::from(id) * 10, i64::from(id) * 10 + 10);
        tasks.push(sealed(&sink, id, WriteMode::ReplaceWindow, window, rows_of(window, "x")).await);
    }
    let (body, digest) = intent(&sink, 1, None, tasks).await;
    let spans: Vec<_> = body.add.iter().map(|file| (file.window.start(), file.window.end(), file.rows)).collect();
    assert_eq!(spans, [(10, 40, 30), (50, 70, 20)]);
    sink.commit(&body, &digest).await.unwrap();
    load(&sink, 2, Some(digest), 9, WriteMode::ReplaceWindow, hours(20, 30)).await;
    assert_eq!(visible(&place), expected(&[(10, 20, "x"), (20, 30, "task 9"), (30, 40, "x"), (50, 70, "x")]));
}

#[tokio::test]
async fn files_of_text_stay_apart_since_their_rows_could_not_be_told_apart() {
    let place = Place::new();
    let sink = FilesSink::new(place.storage.clone(), Settings { format: FileFormat::JsonLines, ..settings() });
    let mut tasks = Vec::new();
    for id in 1..=3_u8 {
        let window = hours(i64::from(id) * 10, i64::from(id) * 10 + 10);
        tasks.push(sealed(&sink, id, WriteMode::ReplaceWindow, window, rows_of(window, "x")).await);
    }
    let (body, _) = intent(&sink, 1, None, tasks).await;
    assert_eq!(body.add.len(), 3);
}

#[tokio::test]
async fn replacing_all_takes_the_new_rows_and_their_schema() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::Append, hours(0, 10)).await;
    let other = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(Int64Array::from(vec![7])) as ArrayRef, true),
        ("label", Arc::new(StringArray::from(vec!["new"])), true),
    ])
    .unwrap();
    let attempt_schema = other.schema();
    let manifest = sealed_with(&sink, 2, other).await;
    let (body, digest) = intent(&sink, 2, Some(first), vec![manifest]).await;
    sink.commit(&body, &digest).await.unwrap();
    assert_eq!(visible(&place), [(7, "new".to_owned())]);
    assert_eq!(sink.layout(attempt_schema.clone()).await.unwrap().schema, attempt_schema);
}

/// A full load whose files have a schema of their own.
async fn sealed_with(sink: &FilesSink, id: u8, batch: RecordBatch) -> (IntentTask, Manifest) {
    let fresh = schema::layout(&batch.schema(), None, &sink.settings).unwrap();
    let attempt = Attempt {
        task: TaskId::from_bytes([id; 16]),
        token: Token { epoch: 1, revision: 9 },
        window: Window::version(2),
    };
    let empty = batch.slice(0, 0);
    let files = stage(sink.storage(), &fresh, &attempt, stream::iter([Ok(batch)]).boxed()).await.unwrap();
    let schema = serde_json::to_value(empty.schema().as_ref()).unwrap();
    let manifest = Manifest {
        task: attempt.task,
        token: attempt.token,
        attempt: 1,
        pipeline: "flights".parse().unwrap(),
        sink: "lake".parse().unwrap(),
        window: attempt.window,
        write: WriteMode::ReplaceAll,
        schema,
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts: Counts::default(),
    };
    let reference = manifest::put_manifest(sink.storage(), &manifest).await.unwrap();
    let task = IntentTask {
        task: manifest.task,
        pipeline: manifest.pipeline.clone(),
        window: manifest.window,
        revision: 0,
        token: manifest.token,
        manifest: reference,
        declared: None,
    };
    (task, manifest)
}

#[tokio::test]
async fn rows_of_partitions_are_published_in_their_folders() {
    let place = Place::new();
    let settings = Settings { partition_by: vec!["label".to_owned()], ..settings() };
    let sink = FilesSink::new(place.storage.clone(), settings);
    let first = load(&sink, 1, None, 1, WriteMode::ReplaceWindow, hours(0, 100)).await;
    assert_eq!(visible_files(&place), ["label=task%201/part-0101010101010101-0.parquet"]);
    // Rewritten rows stay in their folder.
    load(&sink, 2, Some(first), 2, WriteMode::ReplaceWindow, hours(0, 50)).await;
    assert_eq!(
        visible_files(&place),
        ["label=task%201/part-0202020202020202-1.parquet", "label=task%202/part-0202020202020202-0.parquet"]
    );
}

#[tokio::test]
async fn text_files_of_several_windows_are_not_torn_apart() {
    let place = Place::new();
    let sink = FilesSink::new(place.storage.clone(), Settings { format: FileFormat::JsonLines, ..settings() });
    let first = load(&sink, 1, None, 1, WriteMode::ReplaceWindow, hours(0, 100)).await;
    let task = sealed(&sink, 2, WriteMode::ReplaceWindow, hours(0, 10), rows_of(hours(0, 10), "x")).await;
    let error = sink
        .prepare(Next { seq: 2, previous: Some(first), previous_aborted: false, tasks: vec![task] })
        .await
        .unwrap_err();
    assert_eq!(error.code(), windrow_common::error::SINK_UNSUPPORTED);
    assert!(error.fix_text().unwrap().contains("per_task: 1"));
}

#[tokio::test]
async fn rows_that_do_not_fit_the_files_are_refused_before_they_are_staged() {
    let place = Place::new();
    let sink = sink(&place);
    load(&sink, 1, None, 1, WriteMode::Append, hours(0, 10)).await;
    let text = RecordBatch::try_from_iter([("n", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    let extra = RecordBatch::try_from_iter([("extra", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    for bad in [text, extra] {
        let error = sink.layout(bad.schema()).await.unwrap_err();
        assert_eq!(error.code(), windrow_common::error::SINK_SCHEMA);
    }
}

#[tokio::test]
async fn an_intent_for_another_history_is_not_prepared() {
    let place = Place::new();
    let sink = sink(&place);
    let first = load(&sink, 1, None, 1, WriteMode::Append, hours(0, 10)).await;
    for (seq, previous, code) in [
        (3, Some(first), windrow_common::error::SINK_ROLLED_BACK),
        (1, None, windrow_common::error::SINK_FORKED),
        (2, Some(Digest([1; 32])), windrow_common::error::SINK_FORKED),
    ] {
        let task = sealed(&sink, 2, WriteMode::Append, hours(10, 20), rows_of(hours(10, 20), "b")).await;
        let error = sink.prepare(Next { seq, previous, previous_aborted: false, tasks: vec![task] }).await.unwrap_err();
        assert_eq!(error.code(), code, "seq {seq}");
    }
}

//! Replacing a window: whole files, parts of files, files of other writers, several tasks in one intent.

use windrow_common::error;

use super::*;
use crate::sink::Refusal;

const A: Row = (Some(1), 1, "a");
const B: Row = (Some(9), 2, "b");
const C: Row = (Some(12), 3, "a");
const D: Row = (Some(25), 4, "b");
/// What replaces rows.
const X: Row = (Some(13), 100, "a");

fn replace(window: Window, rows: &[Row]) -> Load {
    Load { revision: 1, ..load(window, WriteMode::ReplaceWindow, rows) }
}

/// The windows of the active files, as their tags tell.
async fn windows(world: &World) -> Vec<(i64, i64)> {
    let sink = world.sink();
    let table = sink.newest().await.unwrap().unwrap();
    let mut found: Vec<_> =
        table.files.values().map(|file| file.window.map_or((-1, -1), |w| (w.start(), w.end()))).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn a_window_in_files_of_its_own_is_replaced_without_reading_them() {
    let world = World::new();
    let sink = world.sink();
    let loads = [load(time(0, 10), WriteMode::Append, &[A, B]), load(time(10, 20), WriteMode::Append, &[C])];
    let before = publish(&sink, 1, &loads).await;
    let recorded = publish(&sink, 2, &[replace(time(10, 20), &[X])]).await;
    assert_eq!(recorded.body.remove, [before.body.add[1].path.clone()]);
    assert_eq!(recorded.body.add.len(), 1);
    assert_eq!(world.rows().await, sorted(&[A, B, X]));

    recorded.commit(&world.sink()).await.unwrap();
    assert_eq!(world.rows().await, sorted(&[A, B, X]));
    // Replacing by nothing empties the window.
    publish(&sink, 3, &[Load { revision: 2, ..replace(time(10, 20), &[]) }]).await;
    assert_eq!(world.rows().await, sorted(&[A, B]));
}

#[tokio::test]
async fn a_part_of_a_file_is_replaced_and_every_other_row_stays() {
    let none = (None, 7, "n");
    for world in [World::new(), World::partitioned()] {
        let sink = world.sink();
        publish(&sink, 1, &[load(time(0, 30), WriteMode::Append, &[A, B, C, D, none])]).await;
        let recorded = publish(&sink, 2, &[replace(time(10, 20), &[X])]).await;
        assert_eq!(world.rows().await, sorted(&[A, B, X, D, none]));
        let expected: &[(i64, i64)] = if world.partition_by.is_empty() {
            &[(i64::MIN, i64::MIN + 1), (0, 10), (10, 20), (20, 30)]
        } else {
            &[(i64::MIN, i64::MIN + 1), (0, 10), (0, 10), (10, 20), (20, 30)]
        };
        assert_eq!(windows(&world).await, expected);
        assert!(recorded.body.add.iter().all(|file| file.rows > 0));

        // The same window once more: now it stands in files of its own.
        let again = publish(&sink, 3, &[Load { revision: 2, ..replace(time(10, 20), &[C]) }]).await;
        assert_eq!((again.body.remove.len(), again.body.add.len()), (1, 1));
        assert_eq!(world.rows().await, sorted(&[A, B, C, D, none]));
    }
}

#[tokio::test]
async fn a_window_that_covers_some_files_and_cuts_others_replaces_exactly_its_rows() {
    let world = World::new();
    let sink = world.sink();
    let loads = [
        load(time(0, 10), WriteMode::Append, &[A, B]),
        load(time(10, 20), WriteMode::Append, &[C]),
        load(time(20, 30), WriteMode::Append, &[D]),
    ];
    publish(&sink, 1, &loads).await;
    publish(&sink, 2, &[replace(time(5, 25), &[X])]).await;
    assert_eq!(world.rows().await, sorted(&[A, X, D]));
    assert_eq!(windows(&world).await, [(0, 5), (5, 25), (25, 30)]);
}

#[tokio::test]
async fn tasks_of_one_intent_are_worked_off_in_order() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[load(time(0, 30), WriteMode::Append, &[A, C, D])]).await;
    let (first, second) = ((Some(14), 5, "a"), (Some(16), 6, "a"));
    let loads = [
        replace(time(10, 20), &[X, first]),
        Load { revision: 2, ..replace(time(14, 20), &[second]) },
        Load { revision: 3, ..replace(time(24, 26), &[]) },
    ];
    let recorded = publish(&sink, 2, &loads).await;
    assert_eq!(recorded.body.remove.len(), 1, "the file is rewritten once for all three");
    assert_eq!(world.rows().await, sorted(&[A, X, second]));
}

#[tokio::test]
async fn everything_is_replaced_at_once() {
    let world = World::partitioned();
    let sink = world.sink();
    publish(&sink, 1, &[load(time(0, 30), WriteMode::Append, &[A, B, C])]).await;
    world.foreign_commit(2, &[world.foreign_add("foreign.parquet", &[D], true)]);
    let loads = [
        load(Window::version(1), WriteMode::ReplaceAll, &[A]),
        load(Window::version(2), WriteMode::ReplaceAll, &[X, D]),
    ];
    publish(&sink, 2, &loads).await;
    assert_eq!(world.rows().await, sorted(&[X, D]));
    assert_eq!(world.table().await.version(), Some(3));
}

#[tokio::test]
async fn rows_of_other_writers_are_replaced_by_their_cursor() {
    let world = World::new();
    let sink = world.sink();
    let none = (None, 7, "n");
    publish(&sink, 1, &[load(time(0, 10), WriteMode::Append, &[A])]).await;
    world.foreign_commit(
        2,
        &[
            world.foreign_add("elsewhere.parquet", &[D], true),
            world.foreign_add("mixed.parquet", &[B, C, D, none], true),
            world.foreign_add("silent.parquet", &[C], false),
        ],
    );
    let recorded = publish(&sink, 2, &[replace(time(10, 20), &[X])]).await;
    assert_eq!(recorded.body.remove, ["mixed.parquet", "silent.parquet"], "statistics spare a file from being read");
    assert_eq!(world.rows().await, sorted(&[A, B, X, D, D, none]));
    // The remainders have tags, so the next time nothing is rewritten.
    let again = publish(&sink, 3, &[Load { revision: 2, ..replace(time(10, 20), &[C]) }]).await;
    assert_eq!((again.body.remove.len(), again.body.add.len()), (1, 1));
}

#[tokio::test]
async fn without_a_cursor_whole_files_are_replaced_and_parts_are_refused() {
    let world = World { cursor: None, target: "1MiB", ..World::new() };
    let sink = world.sink();
    let loads = [load(time(0, 10), WriteMode::Append, &[A]), load(time(10, 20), WriteMode::Append, &[C])];
    let recorded = publish(&sink, 1, &loads).await;
    assert_eq!(recorded.body.add.len(), 2, "windows that could not be told apart later are not merged");
    publish(&sink, 2, &[replace(time(10, 20), &[X])]).await;
    assert_eq!(world.rows().await, sorted(&[A, X]));
    let refused = record(&sink, 3, &[replace(time(5, 20), &[X])]).await.err().unwrap();
    assert_eq!(refused.code(), error::SINK_UNSUPPORTED);
    assert!(refused.fix_text().unwrap().contains("source.cursor"));
}

#[tokio::test]
async fn an_intent_whose_files_somebody_else_removed_is_refused_and_can_be_aborted() {
    let world = World::new();
    let sink = world.sink();
    let before = publish(&sink, 1, &[load(time(10, 20), WriteMode::Append, &[C])]).await;
    let recorded = record(&sink, 2, &[replace(time(10, 20), &[X])]).await.unwrap();
    let path = &before.body.add[0].path;
    world.foreign_commit(
        2,
        &[
            json!({ "remove": { "path": path, "dataChange": false, "deletionTimestamp": 1 } }),
            world.foreign_add("compacted.parquet", &[C], true),
        ],
    );
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Conflict));
    assert_eq!(recorded.abort(&sink).await.unwrap(), Applied::Aborted { version: 3 });
    publish(&sink, 3, &[replace(time(10, 20), &[X])]).await;
    assert_eq!(world.rows().await, sorted(&[X]));
}

#[tokio::test]
async fn an_append_only_table_takes_rows_and_gives_none_back() {
    let world = World::new();
    let sink = world.sink();
    publish(&sink, 1, &[load(time(10, 20), WriteMode::Append, &[C])]).await;
    let table = world.table().await;
    let mut metadata = serde_json::to_value(table.snapshot().unwrap().metadata()).unwrap();
    metadata["configuration"] = json!({ "delta.appendOnly": "true" });
    world.foreign_commit(2, &[json!({ "metaData": metadata })]);
    publish(&sink, 2, &[load(time(20, 30), WriteMode::Append, &[D])]).await;
    let refused = record(&sink, 3, &[replace(time(10, 20), &[X])]).await.err().unwrap();
    assert_eq!(refused.code(), error::SINK_UNSUPPORTED);
    assert_eq!(world.rows().await, sorted(&[C, D]));
}

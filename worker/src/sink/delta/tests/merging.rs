//! Small staged files become one.

use super::*;

fn hour(n: i64) -> Load {
    load(time(10 * n, 10 * n + 10), WriteMode::Append, &[(Some(10 * n + 1), n, "a"), (Some(10 * n + 2), n, "b")])
}

#[tokio::test]
async fn adjacent_small_windows_share_a_file_with_exact_statistics() {
    let world = World { target: "1MiB", ..World::new() };
    let sink = world.sink();
    let loads: Vec<_> = (0..20).filter(|n| *n != 12).map(hour).collect();
    let recorded = publish(&sink, 1, &loads).await;
    assert_eq!(recorded.body.tasks.len(), 19);
    let spans: Vec<_> = recorded.body.add.iter().map(|file| (file.window.start(), file.window.end())).collect();
    assert_eq!(spans, [(0, 120), (130, 200)], "never across a gap");
    let stats = recorded.body.add[1].stats.as_ref().unwrap();
    assert_eq!(stats["numRecords"], 14);
    assert_eq!(stats["minValues"]["id"], 13);
    assert_eq!(stats["maxValues"]["id"], 19);
    assert_eq!(stats["minValues"]["region"], "a");
    assert_eq!(stats["minValues"]["at"], "1970-01-01T00:00:00.000131Z");
    assert_eq!(stats["nullCount"]["at"], 0);

    let expected: Vec<Row> = loads.iter().flat_map(|load| load.rows.clone()).collect();
    assert_eq!(world.rows().await, sorted(&expected));
    assert_eq!(world.file_count().await, 2);
    // The file that is named is the file that is there, to the byte.
    for file in &recorded.body.add {
        let bytes = std::fs::read(world.folder.path().join(&file.path)).unwrap();
        assert_eq!((bytes.len() as u64, Digest(Sha256::digest(&bytes).into())), (file.bytes, file.sha256));
    }
}

#[tokio::test]
async fn one_window_of_a_merged_file_can_still_be_replaced() {
    let world = World { target: "1MiB", ..World::new() };
    let sink = world.sink();
    let loads: Vec<_> = (0..6).map(hour).collect();
    publish(&sink, 1, &loads).await;
    assert_eq!(world.file_count().await, 1);
    let fresh = (Some(35), 99, "c");
    let again = Load { revision: 1, ..load(time(30, 40), WriteMode::ReplaceWindow, &[fresh]) };
    publish(&sink, 2, &[again]).await;
    let mut expected: Vec<Row> =
        loads.iter().filter(|load| load.window.start() != 30).flat_map(|l| l.rows.clone()).collect();
    expected.push(fresh);
    assert_eq!(world.rows().await, sorted(&expected));
    assert_eq!(world.file_count().await, 3);
}

#[tokio::test]
async fn partitions_are_merged_each_for_itself() {
    let world = World { target: "1MiB", ..World::partitioned() };
    let sink = world.sink();
    let loads: Vec<_> = (0..5).map(hour).collect();
    let recorded = publish(&sink, 1, &loads).await;
    let folders: Vec<_> = recorded.body.add.iter().map(|file| file.path.split('/').next().unwrap()).collect();
    assert_eq!(folders.len(), 2);
    assert!(folders.contains(&"region=a") && folders.contains(&"region=b"), "{folders:?}");
    let expected: Vec<Row> = loads.iter().flat_map(|load| load.rows.clone()).collect();
    assert_eq!(world.rows().await, sorted(&expected));
}

#[tokio::test]
async fn rows_without_a_cursor_stay_in_their_windows_file_and_are_replaced_with_it() {
    let world = World { target: "1MiB", ..World::new() };
    let sink = world.sink();
    let with_null =
        |n: i64| load(time(10 * n, 10 * n + 10), WriteMode::ReplaceWindow, &[(Some(10 * n), n, "a"), (None, n, "b")]);
    publish(&sink, 1, &[with_null(0), with_null(1)]).await;
    assert_eq!(world.file_count().await, 2);
    publish(&sink, 2, &[Load { revision: 1, ..with_null(0) }]).await;
    assert_eq!(world.rows().await, sorted(&[with_null(0).rows, with_null(1).rows].concat()));
}

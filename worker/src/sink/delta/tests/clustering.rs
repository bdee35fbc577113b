//! Rows that are put in order across files, beside everything else that may happen to a table: which files hold what is told by their
//! statistics, as any reader tells it.

use std::collections::BTreeSet;

use serde_json::Value;
use windrow_common::{
    compaction::{Clustering, Order},
    error,
};

use super::{
    compacting::{commit, compact, replacing, rewritten},
    *,
};
use crate::sink::regroup::{
    Group, MajorRule, Packing,
    tests::{RULE, groups},
};

fn by(columns: &[&str], order: Order) -> Clustering {
    Clustering { columns: columns.iter().map(|&name| name.to_owned()).collect(), order }
}

/// Files of four kilobytes, of which at most so many bytes are clustered together.
fn rule(clustering: &Clustering, asked: bool, most: u64) -> Packing {
    let major = MajorRule { clustering: clustering.clone(), asked, most };
    Packing { target: 4 << 10, small_below: 2 << 10, major: Some(major), ..RULE }
}

/// A window's rows, whose ids lie anywhere between 0 and 1,000.
fn rows(hour: i64) -> Vec<Row> {
    let row = |n: i64| (Some(10 * hour + n % 10), (hour * 50 + n) * 7_919 % 1_000, if n % 2 == 0 { "a" } else { "b" });
    (0..50).map(row).collect()
}

/// Twenty windows of ten microseconds each.
async fn loaded(world: &World, write: WriteMode) -> Vec<Row> {
    let sink = world.sink();
    let mut all = Vec::new();
    for hour in 0..20 {
        let rows = rows(hour);
        publish(&sink, hour as u64 + 1, &[load(time(10 * hour, 10 * hour + 10), write, &rows)]).await;
        all.extend(rows);
    }
    all
}

/// The statistics of the files that the newest commit added.
async fn added(world: &World) -> Vec<Value> {
    let version = world.table().await.version().unwrap();
    let adds = commit(world, version).into_iter().filter_map(|line| line.get("add").cloned());
    adds.map(|add| serde_json::from_str(add["stats"].as_str().unwrap()).unwrap()).collect()
}

/// How many of them may hold a row with that id.
fn with_id(files: &[Value], id: i64) -> usize {
    let bound = |file: &Value, which: &str| file[which]["id"].as_i64().unwrap();
    files.iter().filter(|file| bound(file, "minValues") <= id && id <= bound(file, "maxValues")).count()
}

/// How many may hold a row of that microsecond.
fn with_instant(files: &[Value], at: i64) -> usize {
    let bound = |file: &Value, which: &str| {
        file[which]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond()
    };
    files.iter().filter(|file| bound(file, "minValues") <= at && at <= bound(file, "maxValues")).count()
}

#[tokio::test]
async fn whoever_looks_for_a_value_reads_few_files() {
    let world = World::new();
    let all = loaded(&world, WriteMode::Append).await;
    let rule = rule(&by(&["id"], Order::Sort), false, 1 << 20);
    let recorded = compact(&world, 21, rule.clone()).await;
    let files = added(&world).await;
    assert!(files.len() >= 5 && recorded.body.remove.len() == 20, "{} files", files.len());
    for id in 0..1_000 {
        // One file, or two where the value lies at a seam.
        assert!((1..=2).contains(&with_id(&files, id)), "{id}");
    }
    let counts: Vec<u64> = files.iter().map(|file| file["numRecords"].as_u64().unwrap()).collect();
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= files.len() as u64, "{counts:?}");
    assert_eq!(world.rows().await, sorted(&all));
    let version = world.table().await.version().unwrap();
    let lines = commit(&world, version);
    for add in lines.iter().filter_map(|line| line.get("add")) {
        assert_eq!((&add["dataChange"], &add["tags"]["windrow.window"]), (&json!(false), &json!("time:0..200")));
        assert_eq!(add["tags"]["windrow.clustered"], r#"{"columns":["id"],"order":"sort"}"#);
    }
    // What lies as it should is left alone, by a process that has only the log, too.
    for asked in [false, true] {
        let major = rule.major.clone().map(|major| MajorRule { asked, ..major });
        assert!(groups(&world.sink(), Packing { major, ..rule.clone() }).await.is_empty());
    }
}

#[tokio::test]
async fn along_the_curve_any_of_the_columns_tells_which_files_to_read() {
    let world = World::new();
    let all = loaded(&world, WriteMode::Append).await;
    let zorder = by(&["id", "at"], Order::Zorder);
    let recorded = compact(&world, 21, Packing { target: 1_600, ..rule(&zorder, false, 1 << 20) }).await;
    assert_eq!(world.rows().await, sorted(&all));
    let files = added(&world).await;
    assert!(files.len() >= 12 && files.len() == recorded.body.add.len(), "{} files", files.len());
    let mean = |touched: Vec<usize>| touched.iter().sum::<usize>() as f64 / touched.len() as f64;
    let by_id = mean((0..1_000).step_by(7).map(|id| with_id(&files, id)).collect());
    let by_instant = mean((0..200).step_by(3).map(|at| with_instant(&files, at)).collect());
    let share = |touched: f64| touched / files.len() as f64;
    assert!(share(by_id) < 0.55 && share(by_instant) < 0.55, "{by_id} and {by_instant} of {}", files.len());
    // Sorted by one of them the other tells nothing.
    let sorted_by_id = World::new();
    loaded(&sorted_by_id, WriteMode::Append).await;
    let sort = by(&["id", "at"], Order::Sort);
    compact(&sorted_by_id, 21, Packing { target: 2 << 10, ..rule(&sort, false, 1 << 20) }).await;
    let files = added(&sorted_by_id).await;
    let by_instant = mean((0..200).step_by(3).map(|at| with_instant(&files, at)).collect());
    assert!(by_instant / files.len() as f64 > 0.9, "{by_instant} of {}", files.len());
}

/// Proves CO3. A window is replaced afterwards: exactly its rows go, from whatever files they have come to lie in; and what is new is clustered
/// with the rest when somebody asks.
#[tokio::test]
async fn a_window_is_replaced_among_clustered_rows() {
    let world = World::new();
    let all = loaded(&world, WriteMode::ReplaceWindow).await;
    let clustering = by(&["id"], Order::Sort);
    compact(&world, 21, rule(&clustering, false, 1 << 20)).await;
    let new: Vec<Row> = vec![(Some(55), 7_000, "new")];
    let again = Load { revision: 1, ..load(time(50, 60), WriteMode::ReplaceWindow, &new) };
    publish(&world.sink(), 22, &[again]).await;
    let kept = all.iter().filter(|row| !(50..60).contains(&row.0.unwrap())).copied();
    let expected = sorted(&kept.chain(new).collect::<Vec<_>>());
    assert_eq!(world.rows().await, expected);
    compact(&world, 23, rule(&clustering, true, 1 << 20)).await;
    assert_eq!(world.rows().await, expected);
    assert_eq!(with_id(&added(&world).await, 7_000), 1);
}

/// Rows that cannot be told apart by a cursor stay in files of their windows.
#[tokio::test]
async fn windows_without_a_cursor_are_clustered_each_by_itself() {
    let world = World { cursor: None, ..World::new() };
    let all = loaded(&world, WriteMode::Append).await;
    let found = groups(&world.sink(), rule(&by(&["id"], Order::Sort), true, 1 << 20)).await;
    let bins: Vec<_> = found.iter().flat_map(|group| &group.bins).collect();
    assert_eq!(bins.len(), 20);
    assert!(bins.iter().all(|bin| bin.files.len() == 1 && bin.window.is_some()));
    compact(&world, 21, rule(&by(&["id"], Order::Sort), true, 1 << 20)).await;
    assert_eq!(world.rows().await, sorted(&all));
    let again = Load { revision: 1, ..load(time(50, 60), WriteMode::ReplaceWindow, &[]) };
    publish(&world.sink(), 22, &[again]).await;
    let kept: Vec<Row> = all.iter().filter(|row| !(50..60).contains(&row.0.unwrap())).copied().collect();
    assert_eq!(world.rows().await, sorted(&kept));
}

/// Proves CO12. A table larger than a task's share becomes sets of that size, neighbours in time first, each with an order of its own.
#[tokio::test]
async fn a_large_table_becomes_sets_of_bounded_size() {
    let world = World::new();
    let all = loaded(&world, WriteMode::Append).await;
    let most = 10 << 10;
    let clustering = by(&["id"], Order::Sort);
    let rule = Packing { target: 2 << 10, ..rule(&clustering, false, most) };
    let found = groups(&world.sink(), rule.clone()).await;
    assert!(found.len() > 2 && found.iter().all(|group| group.bytes() <= most), "{} groups", found.len());
    let members: BTreeSet<&str> = found.iter().flat_map(Group::members).map(|member| member.path.as_str()).collect();
    assert_eq!(members.len(), 20);
    compact(&world, 21, rule.clone()).await;
    assert_eq!(world.rows().await, sorted(&all));
    let (files, sets) = (added(&world).await, found.len());
    for id in (0..1_000).step_by(11) {
        assert!(with_id(&files, id) <= 2 * sets, "{id}: {} of {} files", with_id(&files, id), files.len());
    }
    // Full sets stay when more rows come; those join each other.
    let full: BTreeSet<String> = world.sink().newest().await.unwrap().unwrap().files.keys().cloned().collect();
    for hour in 20..26 {
        let more = load(time(10 * hour, 10 * hour + 10), WriteMode::Append, &rows(hour));
        publish(&world.sink(), hour as u64 + 2, &[more]).await;
    }
    let found = groups(&world.sink(), rule).await;
    let again = found.iter().flat_map(Group::members).filter(|member| full.contains(&member.path)).count();
    assert!(!found.is_empty() && again < full.len() / 2, "{again} of {} are clustered again", full.len());
}

/// Partitions are clustered each by itself, and a table of others like any.
#[tokio::test]
async fn partitions_and_tables_of_others_are_clustered() {
    let world = World::partitioned();
    let all = loaded(&world, WriteMode::Append).await;
    let recorded = compact(&world, 21, rule(&by(&["id"], Order::Sort), false, 1 << 20)).await;
    let partitions: BTreeSet<_> = recorded.body.add.iter().map(|file| file.partition.clone()).collect();
    assert_eq!(partitions.len(), 2);
    assert_eq!(world.rows().await, sorted(&all));

    let world = World::new();
    let mut all = rows(0);
    publish(&world.sink(), 1, &[load(time(0, 10), WriteMode::Append, &all)]).await;
    let theirs: Vec<Row> = (0..500).map(|n| (None, n * 7_919 % 1_000, "x")).chain([(Some(3), 1, "y")]).collect();
    world.foreign_commit(2, &[world.foreign_add("theirs.parquet", &theirs, false)]);
    all.extend(&theirs);
    compact(&world, 2, rule(&by(&["region", "id"], Order::Zorder), true, 1 << 20)).await;
    assert_eq!(world.rows().await, sorted(&all));
}

/// Proves CO3. A file that goes while its rows are put in order takes the group with it.
#[tokio::test]
async fn rows_that_are_taken_away_meanwhile_stay_away() {
    let world = World::new();
    loaded(&world, WriteMode::ReplaceWindow).await;
    let sink = world.sink();
    let clustering = by(&["id"], Order::Sort);
    let group = groups(&sink, rule(&clustering, false, 1 << 20)).await.remove(0);
    let done = rewritten(&sink, &group, 1).await.unwrap();
    let again = Load { revision: 1, ..load(time(10, 20), WriteMode::ReplaceWindow, &[]) };
    publish(&sink, 21, &[again]).await;
    let left = world.rows().await;
    let refused = replacing(&sink, 22, vec![done.clone()]).await.err().unwrap();
    assert_eq!((refused.code(), refused.stale()), (error::GROUP_GONE, Some(done.0.task)));
    assert_eq!(world.rows().await, left);
    // Of rows that are not what the table says none is written in another's place.
    let mut group = groups(&sink, rule(&clustering, false, 1 << 20)).await.remove(0);
    group.bins[0].files[1].rows = Some(7);
    assert_eq!(rewritten(&sink, &group, 2).await.unwrap_err().code(), error::GROUP_DIFFERS);
}

#[tokio::test]
async fn columns_that_rows_cannot_be_clustered_by_are_named() {
    let world = World::partitioned();
    loaded(&world, WriteMode::Append).await;
    for (column, message) in [("nothing", "no such column"), ("region", "no such column")] {
        let refused = world.sink().small_files(&rule(&by(&[column], Order::Sort), false, 1 << 20)).await.unwrap_err();
        assert_eq!(refused.code(), error::COMPACTION_UNSUPPORTED);
        assert!(refused.to_string().contains(message) && refused.fix_text().is_some(), "{refused}");
    }
}

/// Without columns files become as large as they should be, and rows stay in the order of their windows.
#[tokio::test]
async fn without_columns_sizes_alone_change() {
    let world = World::new();
    let mut all = loaded(&world, WriteMode::Append).await;
    let huge: Vec<Row> = (0..5_000).map(|n| (Some(300 + n % 10), n * n % 999_983 * 7_919 % 999_983, "h")).collect();
    publish(&world.sink(), 21, &[load(time(300, 310), WriteMode::Append, &huge)]).await;
    all.extend(&huge);
    let asked = Packing { target: 8 << 10, ..rule(&Clustering::default(), true, 1 << 20) };
    let recorded = compact(&world, 22, asked.clone()).await;
    assert_eq!(recorded.body.remove.len(), 21);
    let sizes: Vec<u64> = recorded.body.add.iter().map(|file| file.bytes).collect();
    assert!(sizes.len() > 3 && sizes.iter().all(|bytes| *bytes <= 16 << 10), "{sizes:?}");
    let instants = added(&world).await;
    assert_eq!(with_instant(&instants, 5), 1, "the first window is in the first file");
    assert_eq!(world.rows().await, sorted(&all));
    assert!(groups(&world.sink(), asked).await.is_empty(), "once");
}

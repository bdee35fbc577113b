//! Small files that become few large ones, beside everything else that may happen to a table. What a reader that is not ours
//! finds is compared row by row.

use windrow_common::error;

use super::*;
use crate::sink::{
    Refusal,
    regroup::{
        Bin, Group, Packing,
        tests::{RULE, groups, rewrite, task_of},
    },
};

fn rows(hour: i64, count: i64) -> Vec<Row> {
    (0..count).map(|id| (Some(10 * hour + id % 10), 100 * hour + id, if id % 2 == 0 { "a" } else { "b" })).collect()
}

/// So many windows of ten microseconds each, a commit each.
async fn loaded(world: &World, windows: i64, write: WriteMode) -> Vec<Row> {
    let sink = world.sink();
    let mut all = Vec::new();
    for hour in 0..windows {
        let rows = rows(hour, 6);
        publish(&sink, hour as u64 + 1, &[load(time(10 * hour, 10 * hour + 10), write, &rows)]).await;
        all.extend(rows);
    }
    all
}

/// A group rewritten and sealed.
pub(super) async fn rewritten(sink: &DeltaSink, group: &Group, number: u8) -> Result<(IntentTask, Manifest)> {
    let made = rewrite(sink, group, number).await?;
    let path = format!("_windrow/{}", made.task);
    let reference = ManifestRef { path, sha256: Digest([1; 32]), counts: made.counts, proof: None };
    Ok((task_of(&made, reference), made))
}

pub(super) async fn replacing(sink: &DeltaSink, seq: Seq, tasks: Vec<(IntentTask, Manifest)>) -> Result<Recorded> {
    let body = sink.replace_files(Next { seq, previous: None, previous_aborted: false, tasks }).await?;
    let digest = Digest(Sha256::digest(serde_json::to_vec(&body).unwrap()).into());
    Ok(Recorded { body, digest })
}

/// Everything worth it is rewritten and committed.
pub(super) async fn compact(world: &World, seq: Seq, rule: Packing) -> Recorded {
    let sink = world.sink();
    let mut tasks = Vec::new();
    for (number, group) in (0..).zip(&groups(&sink, rule).await) {
        tasks.push(rewritten(&sink, group, number).await.unwrap());
    }
    let recorded = replacing(&sink, seq, tasks).await.unwrap();
    assert!(matches!(recorded.commit(&sink).await.unwrap(), Applied::Committed { .. }));
    recorded
}

/// The lines of a commit.
pub(super) fn commit(world: &World, version: u64) -> Vec<serde_json::Value> {
    let path = world.folder.path().join(format!("_delta_log/{version:020}.json"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Proves CO1. One commit that changes no data takes the place of many files, and is made once.
#[tokio::test]
async fn many_files_become_one_by_a_commit_that_changes_no_data() {
    for world in [World::new(), World::partitioned()] {
        let all = loaded(&world, 5, WriteMode::Append).await;
        let partitions = if world.partition_by.is_empty() { 1 } else { 2 };
        assert_eq!(world.file_count().await, 5 * partitions);
        let recorded = compact(&world, 6, RULE).await;
        assert_eq!((recorded.body.add.len(), recorded.body.remove.len()), (partitions, 5 * partitions));
        assert!(recorded.body.tasks.is_empty(), "no window is published by it");
        assert_eq!(world.file_count().await, partitions);
        assert_eq!(world.rows().await, sorted(&all));
        let version = world.table().await.version().unwrap();
        let lines = commit(&world, version);
        assert_eq!(lines[0]["commitInfo"]["operation"], "OPTIMIZE");
        assert_eq!(lines[0]["commitInfo"]["isBlindAppend"], false);
        for action in lines.iter().filter_map(|line| line.get("add").or(line.get("remove"))) {
            assert_eq!(action["dataChange"], false, "{action}");
        }
        // A repeat, by whoever it is, finds it done.
        assert_eq!(recorded.commit(&world.sink()).await.unwrap(), Applied::Committed { version });
        assert_eq!(world.table().await.version(), Some(version));
        assert!(groups(&world.sink(), RULE).await.is_empty(), "there is nothing left to do");
    }
}

/// Proves CO3. A window is replaced afterwards: exactly its rows go, though they lie in one file with all others.
#[tokio::test]
async fn a_window_is_replaced_in_a_file_that_was_made_of_many() {
    let world = World::new();
    let all = loaded(&world, 5, WriteMode::ReplaceWindow).await;
    compact(&world, 6, RULE).await;
    let new: Vec<Row> = vec![(Some(25), 7_000, "new")];
    let again = Load { revision: 1, ..load(time(20, 30), WriteMode::ReplaceWindow, &new) };
    publish(&world.sink(), 7, &[again]).await;
    let kept = all.iter().filter(|row| !(20..30).contains(&row.0.unwrap())).copied();
    assert_eq!(world.rows().await, sorted(&kept.chain(new).collect::<Vec<_>>()));
}

/// Proves CO3. Rows that cannot be told apart by a cursor stay in files of their windows, for a window has to be replaceable.
#[tokio::test]
async fn windows_without_a_cursor_are_not_mixed() {
    let world = World { cursor: None, ..World::new() };
    let sink = world.sink();
    for hour in 0..2 {
        for part in 0..3 {
            let rows = [(None, 10 * hour + part, "a")];
            let load = load(time(10 * hour, 10 * hour + 10), WriteMode::Append, &rows);
            publish(&sink, (3 * hour + part) as u64 + 1, &[load]).await;
        }
    }
    let found = groups(&sink, RULE).await;
    let windows: Vec<_> = found.iter().flat_map(|group| &group.bins).map(|bin| (bin.files.len(), bin.window)).collect();
    assert_eq!(windows, [(3, Some(time(0, 10))), (3, Some(time(10, 20)))]);
    compact(&world, 7, RULE).await;
    let again = Load { revision: 1, ..load(time(10, 20), WriteMode::ReplaceWindow, &[(None, 99, "z")]) };
    publish(&sink, 8, &[again]).await;
    assert_eq!(world.rows().await, sorted(&[(None, 0, "a"), (None, 1, "a"), (None, 2, "a"), (None, 99, "z")]));
    // Where no window is ever replaced, they may be.
    let together = groups(&sink, Packing { windows_are_replaced: false, ..RULE }).await;
    assert_eq!(together[0].bins[0].window, Some(time(0, 20)));
}

/// Proves CO1. Rows that come while files are rewritten are there afterwards, whoever brings them.
#[tokio::test]
async fn rows_that_are_added_meanwhile_stay() {
    let world = World::new();
    let mut all = loaded(&world, 4, WriteMode::Append).await;
    let sink = world.sink();
    let group = groups(&sink, RULE).await.remove(0);
    let done = rewritten(&sink, &group, 1).await.unwrap();
    let (ours, theirs) = (rows(7, 3), [(Some(1), 9_000, "x")]);
    publish(&sink, 5, &[load(time(70, 80), WriteMode::Append, &ours)]).await;
    let recorded = replacing(&sink, 6, vec![done]).await.unwrap();
    // Worked out, and not made yet.
    let next = world.table().await.version().unwrap() + 1;
    world.foreign_commit(next, &[world.foreign_add("theirs.parquet", &theirs, true)]);
    assert!(matches!(recorded.commit(&sink).await.unwrap(), Applied::Committed { .. }));
    all.extend(ours);
    all.extend(theirs);
    assert_eq!(world.rows().await, sorted(&all));
}

/// Proves CO3. A window that was replaced meanwhile is never brought back: the group is dropped, by the committer that prepares
/// or by the sink, and nothing is changed.
#[tokio::test]
async fn rows_that_were_taken_away_meanwhile_stay_away() {
    let world = World::new();
    loaded(&world, 4, WriteMode::ReplaceWindow).await;
    let sink = world.sink();
    let group = groups(&sink, RULE).await.remove(0);
    let done = rewritten(&sink, &group, 1).await.unwrap();
    let again = Load { revision: 1, ..load(time(10, 20), WriteMode::ReplaceWindow, &[]) };
    publish(&sink, 5, &[again]).await;
    let left = world.rows().await;
    assert!(left.iter().all(|row| !(10..20).contains(&row.0.unwrap())));
    let refused = replacing(&sink, 6, vec![done.clone()]).await.err().unwrap();
    assert_eq!((refused.code(), refused.stale()), (error::GROUP_GONE, Some(done.0.task)));
    assert_eq!(rewritten(&sink, &group, 2).await.unwrap_err().code(), error::GROUP_GONE);

    // Another writer takes a file away between working the commit out and making it.
    let group = groups(&sink, RULE).await.remove(0);
    let recorded = replacing(&sink, 6, vec![rewritten(&sink, &group, 3).await.unwrap()]).await.unwrap();
    let gone = &group.bins[0].files[0].path;
    let next = world.table().await.version().unwrap() + 1;
    world.foreign_commit(next, &[json!({ "remove": { "path": gone, "dataChange": true, "deletionTimestamp": 1 } })]);
    let left = world.rows().await;
    assert_eq!(recorded.commit(&sink).await.unwrap(), Applied::Refused(Refusal::Conflict));
    assert!(matches!(recorded.abort(&sink).await.unwrap(), Applied::Aborted { .. }));
    assert_eq!(world.rows().await, left);
    let before = world.file_count().await;
    compact(&world, 7, RULE).await;
    assert!(world.file_count().await < before);
    assert_eq!(world.rows().await, left);
}

/// Proves CO13. Two workers rewrite the same files, as when a lease runs out: one commit is made, and the other's files are nobody's.
#[tokio::test]
async fn of_two_that_rewrite_the_same_files_one_is_committed() {
    let world = World::new();
    let all = loaded(&world, 4, WriteMode::Append).await;
    let sink = world.sink();
    let group = groups(&sink, RULE).await.remove(0);
    let (first, second) = tokio::join!(rewritten(&sink, &group, 1), rewritten(&sink, &group, 2));
    let (first, second) = (first.unwrap(), second.unwrap());
    let both = replacing(&sink, 5, vec![first.clone(), second.clone()]).await.err().unwrap();
    assert_eq!((both.code(), both.stale()), (error::GROUP_GONE, Some(second.0.task)));
    let recorded = replacing(&sink, 5, vec![first]).await.unwrap();
    assert!(matches!(recorded.commit(&sink).await.unwrap(), Applied::Committed { .. }));
    let late = replacing(&sink, 6, vec![second.clone()]).await.err().unwrap();
    assert_eq!(late.stale(), Some(second.0.task));
    assert_eq!(world.rows().await, sorted(&all));
    assert!(!sink.referenced().await.unwrap().contains(&second.1.files[0].path), "the sweep takes it away");
}

/// Any Delta table: one that windrow never wrote, whose files say nothing of windows.
#[tokio::test]
async fn a_table_of_others_is_compacted() {
    let world = World::new();
    let first = loaded(&world, 1, WriteMode::Append).await;
    let mut all = first.clone();
    let adds: Vec<serde_json::Value> = (0..5)
        .map(|part| {
            let rows = [(Some(part), 500 + part, "x"), (None, 600 + part, "y")];
            all.extend(rows);
            world.foreign_add(&format!("f{part}.parquet"), &rows, part % 2 == 0)
        })
        .collect();
    world.foreign_commit(2, &adds);
    let recorded = compact(&world, 2, RULE).await;
    assert_eq!(recorded.body.remove.len(), 5);
    assert_eq!(world.rows().await, sorted(&all));
    let table = world.sink().newest().await.unwrap().unwrap();
    let made = &table.files[&recorded.body.add[0].path];
    assert_eq!((made.window, made.rows), (None, Some(10)), "of whose rows nobody says when they are of");
    // And they are still found where a window is replaced.
    let again = Load { revision: 1, ..load(time(0, 3), WriteMode::ReplaceWindow, &[]) };
    publish(&world.sink(), 3, &[again]).await;
    all.retain(|row| row.0.is_none_or(|at| !(0..3).contains(&at)));
    assert_eq!(world.rows().await, sorted(&all));
}

#[tokio::test]
async fn files_with_deletion_vectors_and_files_elsewhere_are_left_alone() {
    let world = World::new();
    loaded(&world, 2, WriteMode::Append).await;
    let sink = world.sink();
    let mut held = sink.table.lock().await;
    sink.catch_up(&mut held).await.unwrap();
    let table = Arc::make_mut(held.as_mut().unwrap());
    let file = table.files.values().next().unwrap().clone();
    let vector = serde_json::from_value(json!({
        "storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40, "cardinality": 1,
    }));
    table.files.insert(
        "dv.parquet".to_owned(),
        super::super::table::ActiveFile { deletion_vector: Some(vector.unwrap()), ..file.clone() },
    );
    table.files.insert("s3://other/x.parquet".to_owned(), file);
    let found = {
        let files = table.clone();
        drop(held);
        files
    };
    assert_eq!(found.files.len(), 4);
    let members: Vec<String> =
        groups(&sink, RULE).await.iter().flat_map(Group::members).map(|member| member.path.clone()).collect();
    assert!(members.len() == 2 && members.iter().all(|path| path.starts_with("part-")), "{members:?}");
}

/// Proves CO3. A file that lost rows, as by a broken encoder or disk, is not taken.
#[tokio::test]
async fn rows_that_are_not_what_the_table_says_end_it() {
    let world = World::new();
    let all = loaded(&world, 3, WriteMode::Append).await;
    let sink = world.sink();
    let mut group = groups(&sink, RULE).await.remove(0);
    group.bins[0].files[1].rows = Some(7);
    let refused = rewritten(&sink, &group, 1).await.unwrap_err();
    assert_eq!(refused.code(), error::GROUP_DIFFERS);
    assert!(refused.to_string().contains("holds 6 rows, and the table says 7"), "{refused}");
    assert_eq!(world.rows().await, sorted(&all));
}

#[tokio::test]
async fn files_come_in_the_order_of_their_bins_and_each_has_its_own_name() {
    let world = World::partitioned();
    loaded(&world, 5, WriteMode::Append).await;
    let sink = world.sink();
    let mut group = groups(&sink, RULE).await.remove(0);
    for _ in 0..3 {
        group.bins.extend_from_within(..);
    }
    let (_, made) = rewritten(&sink, &group, 1).await.unwrap();
    let found: Vec<_> = made.files.iter().map(|file| &file.partition).collect();
    assert_eq!(found, group.bins.iter().map(|bin| &bin.partition).collect::<Vec<_>>());
    let paths: std::collections::BTreeSet<_> = made.files.iter().map(|file| &file.path).collect();
    assert_eq!((paths.len(), group.bins.len()), (16, 16));
}

/// A list of files that are not the table's, or of another size, is not followed.
#[tokio::test]
async fn a_list_that_is_not_of_this_table_is_refused() {
    let world = World::new();
    loaded(&world, 2, WriteMode::Append).await;
    let sink = world.sink();
    let group = groups(&sink, RULE).await.remove(0);
    let with = |change: fn(&mut Bin)| {
        let mut other = group.clone();
        change(&mut other.bins[0]);
        other
    };
    for other in [with(|bin| bin.files[0].path.push('x')), with(|bin| bin.files[0].bytes += 1)] {
        assert_eq!(rewritten(&sink, &other, 1).await.unwrap_err().code(), error::GROUP_GONE);
    }
}

/// Where there is no table yet, nothing is found and nothing fails.
#[tokio::test]
async fn an_empty_place_has_nothing_to_rewrite() {
    let world = World::new();
    let found = world.sink().small_files(&RULE).await.unwrap();
    assert!(found.groups.is_empty() && found.layout.files == 0);
}

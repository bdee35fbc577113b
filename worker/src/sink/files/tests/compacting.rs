//! Small files that become few: what readers by the list find, and what those find who know of none.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::Value;
use windrow_common::error;

use super::*;
use crate::{
    sink::{
        Refusal,
        cleaning::Extent,
        regroup::{
            Group, Packing, Rewrites,
            tests::{RULE, groups, rewrite, task_of},
        },
    },
    sweep::{self, LiveSet},
};

pub(super) const DAY: i64 = 86_400_000;

/// A group rewritten and sealed.
pub(super) async fn rewritten(sink: &FilesSink, group: &Group, number: u8) -> Result<(IntentTask, Manifest)> {
    let made = rewrite(sink, group, number).await?;
    let reference = manifest::put_manifest(sink.storage(), &made).await.unwrap();
    Ok((task_of(&made, reference), made))
}

pub(super) async fn replacing(
    sink: &FilesSink,
    seq: u64,
    previous: Option<Digest>,
    tasks: Vec<(IntentTask, Manifest)>,
) -> Result<(IntentBody, Digest)> {
    let body = sink.replace_files(Next { seq, previous, previous_aborted: false, tasks }).await?;
    let (_, digest) = manifest::put_intent(sink.storage(), &body).await.unwrap();
    Ok((body, digest))
}

/// Everything worth it is rewritten and committed.
pub(super) async fn compact(sink: &FilesSink, seq: u64, previous: Option<Digest>, rule: Packing) -> Digest {
    let mut tasks = Vec::new();
    for (number, group) in (seq as u8 * 10..).zip(&groups(sink, rule).await) {
        tasks.push(rewritten(sink, group, number).await.unwrap());
    }
    let (body, digest) = replacing(sink, seq, previous, tasks).await.unwrap();
    assert!(body.tasks.is_empty(), "no window is published by it");
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: seq });
    digest
}

/// The newest list.
pub(super) fn list(place: &Place) -> Value {
    let newest = place.all_files().into_iter().filter(|path| path.contains("/_windrow/files/")).max().unwrap();
    serde_json::from_slice(&fs::read(newest).unwrap()).unwrap()
}

pub(super) fn paths(list: &Value, key: &str) -> BTreeSet<String> {
    let path = |one: &Value| one.as_str().or(one["path"].as_str()).unwrap().to_owned();
    list[key].as_array().unwrap().iter().map(path).collect()
}

/// Rows by the list, as (n, label), sorted.
pub(super) fn listed(place: &Place) -> Vec<(i64, String)> {
    let files = paths(&list(place), "files");
    let mut found: Vec<_> = files.iter().flat_map(|path| rows_in(&place.folder.path().join(path))).collect();
    found.sort_unstable();
    found
}

/// So many windows of ten rows, a commit each; the last digest.
async fn loaded(sink: &FilesSink, windows: u8, write: WriteMode) -> Digest {
    let mut previous = None;
    for id in 1..=windows {
        let start = i64::from(id) * 10 - 10;
        previous = Some(load(sink, id.into(), previous, id, write, hours(start, start + 10)).await);
    }
    previous.unwrap()
}

fn labelled(windows: u8) -> Vec<(i64, String)> {
    let mut all: Vec<_> = (1..=i64::from(windows))
        .flat_map(|id| (id * 10 - 10..id * 10).map(move |n| (n, format!("task {id}"))))
        .collect();
    all.sort_unstable();
    all
}

/// Proves CO8. Rewritten files lie aside: whoever knows no list sees the files there were, whoever reads by the list few files, and
/// both each row once. Both do, too, after a window was replaced in what was rewritten, and after it was rewritten twice.
#[tokio::test]
async fn each_row_is_seen_once_with_the_list_and_without() {
    let place = Place::new();
    let sink = sink(&place);
    let mut previous = loaded(&sink, 5, WriteMode::ReplaceWindow).await;
    let before = visible_files(&place);
    previous = compact(&sink, 6, Some(previous), RULE).await;
    assert_eq!((visible_files(&place), visible(&place)), (before.clone(), labelled(5)));
    assert_eq!(listed(&place), labelled(5));
    assert_eq!(paths(&list(&place), "files").len(), 1);
    assert_eq!(paths(&list(&place), "instead_of"), before.into_iter().collect());
    assert!(groups(&sink, RULE).await.is_empty(), "there is nothing left to do");

    previous = load(&sink, 7, Some(previous), 7, WriteMode::Append, hours(50, 60)).await;
    previous = load(&sink, 8, Some(previous), 8, WriteMode::Append, hours(60, 70)).await;
    let stale = Packing { stale_before: i64::MAX, ..RULE };
    previous = compact(&sink, 9, Some(previous), stale).await;
    assert_eq!(paths(&list(&place), "files").len(), 1, "what was rewritten is rewritten with what came later");
    assert_eq!(listed(&place), visible(&place));
    assert_eq!(listed(&place).len(), 70);

    load(&sink, 10, Some(previous), 10, WriteMode::ReplaceWindow, hours(10, 20)).await;
    let mut expected = labelled(5);
    expected.retain(|(n, _)| !(10..20).contains(n));
    expected.extend((10..20).map(|n| (n, "task 10".to_owned())));
    expected.extend((50..60).map(|n| (n, "task 7".to_owned())).chain((60..70).map(|n| (n, "task 8".to_owned()))));
    expected.sort_unstable();
    assert_eq!((listed(&place), visible(&place)), (expected.clone(), expected));
}

/// Proves CO8. Whoever dies between the log and the list leaves the old list whole, and whoever comes next writes the new one.
#[tokio::test]
async fn a_commit_that_was_not_finished_is_and_repeating_it_changes_nothing() {
    let place = Place::new();
    let sink = sink(&place);
    let first = loaded(&sink, 3, WriteMode::ReplaceWindow).await;
    let task = rewritten(&sink, &groups(&sink, RULE).await[0], 9).await.unwrap();
    let (body, digest) = replacing(&sink, 4, Some(first), vec![task]).await.unwrap();
    assert!(Rewrites::of(&body).is_some_and(|rewrites| rewrites.retire.len() == 3));
    let entry = entry::Entry::applied(&body, &digest, sink.committer());
    assert!(matches!(sink.log.create(&entry).await.unwrap(), log::Created::Mine));
    for _ in 0..2 {
        let other = super::sink(&place);
        assert_eq!(other.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 4 });
        assert_eq!((listed(&place), visible(&place)), (labelled(3), labelled(3)));
    }
    assert_eq!(sink.rows().await.unwrap(), Some(30));
}

/// Files that are not there any more when their group's turn comes end that group and nothing else.
#[tokio::test]
async fn a_window_that_is_replaced_meanwhile_wins() {
    let place = Place::new();
    let sink = sink(&place);
    let first = loaded(&sink, 3, WriteMode::ReplaceWindow).await;
    let task = rewritten(&sink, &groups(&sink, RULE).await[0], 9).await.unwrap();
    let (stale, stale_digest) = replacing(&sink, 4, Some(first), vec![task.clone()]).await.unwrap();
    let next = load(&sink, 4, Some(first), 4, WriteMode::ReplaceWindow, hours(10, 20)).await;
    let late = replacing(&sink, 5, Some(next), vec![task]).await.unwrap_err();
    assert_eq!((late.code(), late.stale()), (error::GROUP_GONE, Some(TaskId::from_bytes([9; 16]))));
    let body = IntentBody { seq: 5, previous: Some(next), ..stale };
    assert_eq!(sink.commit(&body, &stale_digest).await.unwrap(), Applied::Refused(Refusal::Conflict));
    assert_eq!(sink.rows().await.unwrap(), Some(30));
}

/// Rows that do not say which window they are of are not mixed where windows are replaced.
#[tokio::test]
async fn lines_of_different_windows_become_one_file_only_where_none_is_replaced() {
    let place = Place::new();
    let lines = |cursor| Settings { format: FileFormat::JsonLines, cursor, ..settings() };
    let sink = FilesSink::new(place.storage.clone(), lines(Some("at".to_owned())));
    let last = loaded(&sink, 3, WriteMode::Append).await;
    assert!(groups(&sink, RULE).await.is_empty());
    compact(&sink, 4, Some(last), Packing { windows_are_replaced: false, ..RULE }).await;
    let files = paths(&list(&place), "files");
    assert_eq!(files.len(), 1);
    let lines = |paths: &[String]| {
        let text: String =
            paths.iter().map(|path| fs::read_to_string(place.folder.path().join(path)).unwrap()).collect();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let rewritten: Vec<String> = files.into_iter().collect();
    assert_eq!(lines(&rewritten), lines(&visible_files(&place)));
    assert_eq!(lines(&rewritten).len(), 30);
}

fn entries(place: &Place) -> Vec<String> {
    place.all_files().into_iter().filter(|path| path.contains("/_windrow/log/")).collect()
}

/// Has the log's commits say that they were made days ago.
pub(super) fn backdate(place: &Place, days: i64) {
    for path in entries(place) {
        let text = fs::read_to_string(&path).unwrap();
        let mut entry: Value = serde_json::from_str(&text).unwrap();
        entry["at"] = (entry["at"].as_i64().unwrap() - days * DAY).into();
        fs::write(&path, entry.to_string()).unwrap();
    }
}

/// Has them be as old.
pub(super) fn age(place: &Place, days: i64) {
    backdate(place, days);
    let then = std::time::SystemTime::now() - Duration::from_secs(days as u64 * 86_400);
    for path in entries(place) {
        fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    }
}

/// Proves CO9. A file that was rewritten twice stays for those who read it by an older list, and is swept when its time is over.
#[tokio::test]
async fn what_lies_aside_is_swept_when_no_list_that_counts_names_it() {
    let place = Place::new();
    let sink = sink(&place);
    let first = loaded(&sink, 3, WriteMode::Append).await;
    let second = compact(&sink, 4, Some(first), RULE).await;
    let third = load(&sink, 5, Some(second), 5, WriteMode::Append, hours(30, 40)).await;
    compact(&sink, 6, Some(third), Packing { stale_before: i64::MAX, ..RULE }).await;
    let aside = || place.all_files().into_iter().filter(|path| path.contains("/_windrow/aside/")).count();
    let swept = |sink: FilesSink| async move {
        let later = jiff::Timestamp::from_millisecond(sink.now()).unwrap() + Duration::from_secs(100 * 86_400);
        let listed = sweep::list(&sink, later, Duration::ZERO).await.unwrap();
        let kept = sweep::kept(&sink, &[]).await.unwrap();
        sweep::take_away(&sink, &listed, &LiveSet::default(), &kept).await.unwrap()
    };
    swept(super::sink(&place)).await;
    assert_eq!(aside(), 2, "both are kept");
    age(&place, 8);
    swept(super::sink(&place)).await;
    assert_eq!(aside(), 1);
    assert_eq!(listed(&place), visible(&place));
    let stale = super::sink(&place).stale(Extent::Asked).await.unwrap();
    assert_eq!(stale.files.len(), 4, "files readers see go when somebody asks for it");
    assert!(super::sink(&place).stale(Extent::Declared).await.unwrap().files.is_empty());
}

/// A version of a full load is rewritten by itself, and one that was can be gone back to.
#[tokio::test]
async fn versions_are_kept_whole_whatever_was_rewritten() {
    let place = Place::new();
    let settings = Settings { keep_versions: 2, target_bytes: 1, ..settings() };
    let sink = FilesSink::new(place.storage.clone(), settings);
    let first = version_of(&sink, 1, None, 0).await;
    let second = compact(&sink, 2, Some(first), RULE).await;
    assert_eq!((listed(&place).len(), visible(&place).len()), (40, 40));
    let third = version_of(&sink, 3, Some(second), 1).await;
    let all = crate::sink::versions::walk(&sink.storage, sink.probe().await.unwrap(), 9).await.unwrap();
    let old = all.iter().find(|version| version.number == 0).unwrap();
    let again = Again {
        seq: 4,
        previous: Some(third),
        previous_aborted: false,
        id: TaskId::from_bytes([0xee; 16]),
        token: Token { epoch: 1, revision: 100 },
    };
    let body = sink.show_again(old, again).await.unwrap();
    let (_, digest) = manifest::put_intent(&sink.storage, &body).await.unwrap();
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: 4 });
    assert!(visible(&place).iter().all(|(_, label)| label == "v0"));
    assert_eq!((listed(&place).len(), visible(&place).len()), (40, 40));
}

/// Loads a version of forty rows in several files.
async fn version_of(sink: &FilesSink, seq: u64, previous: Option<Digest>, number: u32) -> Digest {
    let window = Window::version(number);
    let attempt =
        Attempt { task: TaskId::from_bytes([seq as u8; 16]), token: Token { epoch: 1, revision: seq as i64 }, window };
    let (mut task, mut manifest) =
        sealed(sink, seq as u8, WriteMode::ReplaceAll, window, rows_of(hours(0, 10), &format!("v{number}"))).await;
    for part in 1..4 {
        let rows = rows_of(hours(part * 10, part * 10 + 10), &format!("v{number}"));
        let layout = sink.layout(rows.schema()).await.unwrap();
        manifest
            .files
            .extend(stage(sink.storage(), &layout, &attempt, stream::iter([Ok(rows)]).boxed()).await.unwrap());
    }
    task.manifest = manifest::put_manifest(sink.storage(), &manifest).await.unwrap();
    let (body, digest) = intent(sink, seq, previous, vec![(task, manifest)]).await;
    assert_eq!(sink.commit(&body, &digest).await.unwrap(), Applied::Committed { version: seq });
    digest
}

fn rows_in(path: &Path) -> Vec<(i64, String)> {
    use arrow_array::{cast::AsArray, types::Int64Type};
    let bytes = bytes::Bytes::from(fs::read(path).unwrap());
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batches = reader.build().unwrap().map(std::result::Result::unwrap);
    let rows = batches.flat_map(|batch| {
        let numbers = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
        let labels = batch.column_by_name("label").unwrap().as_string::<i32>().clone();
        (0..batch.num_rows()).map(|row| (numbers.value(row), labels.value(row).to_owned())).collect::<Vec<_>>()
    });
    rows.collect()
}

/// A window's marker names its files, and stands while other windows are loaded again: none of their files is cut for that.
#[tokio::test]
async fn windows_with_markers_share_no_file() {
    let place = Place::new();
    let sink = FilesSink::new(place.storage.clone(), Settings { apart: true, ..settings() });
    let mut tasks = Vec::new();
    for id in 1..=3_u8 {
        let window = hours(i64::from(id) * 10, i64::from(id) * 10 + 10);
        tasks.push(sealed(&sink, id, WriteMode::ReplaceWindow, window, rows_of(window, "x")).await);
    }
    let (body, digest) = intent(&sink, 1, None, tasks).await;
    assert_eq!(body.add.len(), 3);
    sink.commit(&body, &digest).await.unwrap();
    assert!(groups(&sink, Packing { windows_are_replaced: false, ..RULE }).await.is_empty());
    let first = visible_files(&place);
    load(&sink, 2, Some(digest), 9, WriteMode::ReplaceWindow, hours(20, 30)).await;
    let still: Vec<String> = visible_files(&place).into_iter().filter(|path| first.contains(path)).collect();
    assert_eq!(still.len(), 2);
}

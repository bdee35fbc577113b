//! Small files that become few: what readers by the list find, and what those find who know of none.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::Value;
use windrow_common::{error, quantity::ByteSize};

use super::*;
use crate::{
    sink::{
        Refusal,
        cleaning::Extent,
        regroup::{Group, Packing, Rewrites, Room, Working},
    },
    sweep::{self, LiveSet},
};

const RULE: Packing = Packing {
    target: 1 << 20,
    small_below: 1 << 19,
    min_files: 2,
    stale_before: 0,
    windows_are_replaced: true,
    busy: BTreeSet::new(),
    major: None,
};
const DAY: i64 = 86_400_000;

/// A folder that others fill.
fn others(place: &Place, format: FileFormat) -> FilesSink {
    let settings =
        Settings { format, cursor: None, others: Some(folder::Others { quiet: Duration::ZERO }), ..settings() };
    FilesSink { later: 1_000, ..FilesSink::new(place.storage.clone(), settings) }
}

async fn groups(sink: &FilesSink, rule: Packing) -> Vec<Group> {
    sink.small_files(&rule).await.unwrap().groups
}

/// As much as a small worker has.
fn room() -> Room {
    Room { memory: ByteSize(8 << 20), spill: None }
}

/// A group rewritten as a worker would, in the name of a task of that number.
async fn rewritten(sink: &FilesSink, group: &Group, number: u8) -> Result<(IntentTask, Manifest)> {
    let (task, token) = (TaskId::from_bytes([number; 16]), Token { epoch: 1, revision: 900 + i64::from(number) });
    let attempt = Attempt { task, token, window: Window::version(0) };
    let done = sink.rewrite(group, Working { attempt: &attempt, read: &|_| {}, room: &room() }).await?;
    let manifest = Manifest {
        task,
        token,
        attempt: 1,
        pipeline: "flights".parse().unwrap(),
        sink: "lake".parse().unwrap(),
        window: attempt.window,
        write: WriteMode::Append,
        schema: done.schema,
        files: done.files,
        dead_letters: Vec::new(),
        inputs: group.inputs(),
        counts: Counts::default(),
    };
    let reference = manifest::put_manifest(sink.storage(), &manifest).await.unwrap();
    let (pipeline, window) = (manifest.pipeline.clone(), attempt.window);
    Ok((IntentTask { task, pipeline, window, revision: 0, token, manifest: reference, declared: None }, manifest))
}

async fn replacing(
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
async fn compact(sink: &FilesSink, seq: u64, previous: Option<Digest>, rule: Packing) -> Digest {
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
fn list(place: &Place) -> Value {
    let newest = place.all_files().into_iter().filter(|path| path.contains("/_windrow/files/")).max().unwrap();
    serde_json::from_slice(&fs::read(newest).unwrap()).unwrap()
}

fn paths(list: &Value, key: &str) -> BTreeSet<String> {
    let path = |one: &Value| one.as_str().or(one["path"].as_str()).unwrap().to_owned();
    list[key].as_array().unwrap().iter().map(path).collect()
}

/// Rows by the list, as (n, label), sorted.
fn listed(place: &Place) -> Vec<(i64, String)> {
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

async fn write(place: &Place, path: &str, text: &str) {
    place.storage.put(path, text.to_owned().into()).await.unwrap();
}

/// Data files that are neither hidden nor in the list's `instead_of`, and those it lists: what a reader has to read.
fn to_read(place: &Place) -> Vec<String> {
    let list = list(place);
    let instead = paths(&list, "instead_of");
    let visible = visible_files(place).into_iter().filter(|path| !instead.contains(path));
    paths(&list, "files").into_iter().chain(visible).collect()
}

fn lines_of(place: &Place, paths: &[String]) -> Vec<String> {
    let lines = paths.iter().flat_map(|path| {
        let text = fs::read_to_string(place.folder.path().join(path)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

/// Proves CO8, CO14. A folder of JSON lines that windrow never wrote: files that come later are found, and become part of what was
/// rewritten before.
#[tokio::test]
async fn a_folder_of_others_is_rewritten_beside_itself() {
    let place = Place::new();
    let sink = others(&place, FileFormat::JsonLines);
    for file in 0..6 {
        let day = file % 2;
        // The last line of a file has no line end, and blank lines are no rows.
        write(&place, &format!("day={day}/f{file}.json"), &format!("{{\"id\":1{file}1}}\n\n{{\"id\":1{file}2}}")).await;
    }
    write(&place, "day=0/_hidden/f.json", "nothing").await;
    write(&place, "day=0/.f.json", "nothing").await;
    write(&place, "readme.md", "nothing").await;
    let expected = |files: i32| {
        let mut all: Vec<String> =
            (0..files).flat_map(|f| [format!("{{\"id\":1{f}1}}"), format!("{{\"id\":1{f}2}}")]).collect();
        all.sort_unstable();
        all
    };
    let rows = |place: &Place| {
        let data = |path: &String| path.contains(".json") && !path.contains("/.") && !path.contains("hidden");
        let read: Vec<String> = to_read(place).into_iter().filter(data).collect();
        lines_of(place, &read).into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let before = visible_files(&place);
    let first = compact(&sink, 1, None, RULE).await;
    assert_eq!(visible_files(&place), before, "nothing of others was touched");
    assert_eq!(rows(&place), expected(6));
    let files = paths(&list(&place), "files");
    assert_eq!(files.len(), 2);
    assert!(
        files.iter().all(|path| path.starts_with("_windrow/aside/day=") && path.ends_with(".jsonl.aside")),
        "{files:?}"
    );
    write(&place, "day=1/late.json", "{\"id\":161}\n{\"id\":162}\n").await;
    assert_eq!(rows(&place), expected(7), "a file nobody has looked at yet is not missed");
    let late = Packing { stale_before: i64::MAX, ..RULE };
    compact(&sink, 2, Some(first), late).await;
    assert_eq!(rows(&place), expected(7));
    assert_eq!(paths(&list(&place), "files").len(), 2);
    assert_eq!(paths(&list(&place), "instead_of").len(), 8, "seven of others, and one that was rewritten twice");
}

/// The names of columns stand once in what is written, quoted line ends stay, and what is no CSV is told.
#[tokio::test]
async fn csv_keeps_its_header_and_its_quotes() {
    let place = Place::new();
    let sink = others(&place, FileFormat::Csv { delimiter: b',', header: true });
    write(&place, "a.csv", "id,text\n1,\"two\nlines\"\n").await;
    write(&place, "b.csv", "\u{feff}id,text\r\n2,x\r\n").await;
    write(&place, "c.csv", "id,text\n").await;
    compact(&sink, 1, None, RULE).await;
    let files: Vec<String> = paths(&list(&place), "files").into_iter().collect();
    let text = fs::read_to_string(place.folder.path().join(&files[0])).unwrap();
    assert_eq!(text, "id,text\n1,\"two\nlines\"\n2,x\n");

    for (name, text, code) in [
        ("other.csv", "id,other\n3,y\n", error::COMPACTION_UNSUPPORTED),
        ("wide.csv", "id,text\n3,y,z\n", error::ROW_MALFORMED),
        ("open.csv", "id,text\n3,\"y\n", error::ROW_MALFORMED),
    ] {
        let place = Place::new();
        let sink = others(&place, FileFormat::Csv { delimiter: b',', header: true });
        write(&place, "a.csv", "id,text\n1,x\n").await;
        write(&place, name, text).await;
        let cause = rewritten(&sink, &groups(&sink, RULE).await[0], 1).await.unwrap_err();
        assert_eq!(cause.code(), code);
        assert!(cause.to_string().contains(name), "{cause}");
        assert!(sink.probe().await.unwrap().is_none());
    }
}

/// Files of Parquet whose columns differ become one that has all of them; a table with a log of its own is refused.
#[tokio::test]
async fn parquet_of_others_keeps_all_its_columns() {
    let place = Place::new();
    let sink = others(&place, FileFormat::Parquet { metadata: BTreeMap::new() });
    let put = |path: &'static str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        let storage = place.storage.clone();
        async move { storage.put(path, bytes.into()).await.unwrap() }
    };
    let numbers = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let texts = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    put("a.parquet", vec![("n", numbers(1)), ("label", texts("one"))]).await;
    put("b.parquet", vec![("n", numbers(2)), ("label", texts("two")), ("more", numbers(7))]).await;
    compact(&sink, 1, None, RULE).await;
    assert_eq!(listed(&place), [(1, "one".to_owned()), (2, "two".to_owned())]);

    write(&place, "_delta_log/00000000000000000000.json", "{}").await;
    let refused = sink.small_files(&RULE).await.unwrap_err();
    assert_eq!(refused.code(), error::COMPACTION_UNSUPPORTED);
}

/// What somebody may still be writing is left alone, and what changes between reading and the commit ends its group. After the
/// commit it is told: nobody could say which of its rows are counted.
#[tokio::test]
async fn files_that_change_are_not_counted_in_silence() {
    let place = Place::new();
    let sink = others(&place, FileFormat::JsonLines);
    write(&place, "a.json", "{\"id\":1}\n").await;
    write(&place, "b.json", "{\"id\":2}\n").await;
    let quiet = Some(folder::Others { quiet: Duration::from_secs(600) });
    let young = FilesSink::new(place.storage.clone(), Settings { others: quiet, ..sink.settings.clone() });
    assert!(groups(&young, RULE).await.is_empty());
    let task = rewritten(&sink, &groups(&sink, RULE).await[0], 1).await.unwrap();
    write(&place, "b.json", "{\"id\":2}\n{\"id\":3}\n").await;
    let changed = replacing(&sink, 1, None, vec![task]).await.unwrap_err();
    assert_eq!(changed.code(), error::GROUP_GONE);
    compact(&sink, 1, None, RULE).await;
    write(&place, "a.json", "{\"id\":1}\n{\"id\":4}\n").await;
    let told = sink.small_files(&RULE).await.unwrap_err();
    assert_eq!(told.code(), error::SINK_CONFLICT);
    assert!(told.to_string().contains("a.json"), "{told}");
}

/// Proves CO9. Files of others go only if the pipeline says so, after their time, and not when somebody wrote them again; windrow's
/// own go when somebody asks.
#[tokio::test]
async fn files_go_when_somebody_said_so_and_their_time_is_over() {
    let place = Place::new();
    let keep = Cleaning::default();
    let sink = others(&place, FileFormat::JsonLines);
    for file in ["a", "b", "c"] {
        write(&place, &format!("{file}.json"), "{\"id\":1}\n").await;
    }
    let first = compact(&sink, 1, None, RULE).await;
    let at = |sink: &FilesSink, days: i64, cleaning| {
        let settings = Settings { cleaning, ..sink.settings.clone() };
        FilesSink { later: days * DAY, ..FilesSink::new(place.storage.clone(), settings) }
    };
    let names = |stale: crate::sink::cleaning::Stale| stale.files.into_keys().collect::<Vec<_>>();
    let all = ["a.json", "b.json", "c.json"].map(str::to_owned).to_vec();
    for (days, cleaning, extent, expected) in [
        (8, None, Extent::Asked, Vec::new()),
        (6, Some(keep), Extent::Declared, Vec::new()),
        (8, Some(keep), Extent::Declared, all.clone()),
    ] {
        let stale = at(&sink, days, cleaning).stale(extent).await.unwrap();
        assert_eq!(names(stale), expected, "{days} days");
    }
    // By the clock of the committer that retired them their time is over, by the store's it is not.
    backdate(&place, 9);
    assert!(names(at(&sink, 0, Some(keep)).stale(Extent::Declared).await.unwrap()).is_empty());
    age(&place, 9);
    let later = at(&sink, 0, Some(keep));
    assert_eq!(names(later.stale(Extent::Declared).await.unwrap()), all);
    write(&place, "b.json", "{\"id\":1}\n{\"id\":5}\n").await;
    assert_eq!(names(later.stale(Extent::Declared).await.unwrap()), ["a.json", "c.json"]);
    for gone in ["a.json", "b.json"] {
        place.storage.delete(gone).await.unwrap();
    }
    // What is gone is forgotten by the next commit, so that a new file of its name is a new file.
    write(&place, "d.json", "{\"id\":6}\n").await;
    compact(&later, 2, Some(first), Packing { stale_before: i64::MAX, ..RULE }).await;
    let instead = paths(&list(&place), "instead_of");
    assert!(instead.contains("c.json") && instead.contains("d.json") && !instead.contains("a.json"), "{instead:?}");
}

fn entries(place: &Place) -> Vec<String> {
    place.all_files().into_iter().filter(|path| path.contains("/_windrow/log/")).collect()
}

/// Has the log's commits say that they were made days ago.
fn backdate(place: &Place, days: i64) {
    for path in entries(place) {
        let text = fs::read_to_string(&path).unwrap();
        let mut entry: Value = serde_json::from_str(&text).unwrap();
        entry["at"] = (entry["at"].as_i64().unwrap() - days * DAY).into();
        fs::write(&path, entry.to_string()).unwrap();
    }
}

/// Has them be as old.
fn age(place: &Place, days: i64) {
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

//! Folders that others fill, rewritten beside themselves.

use std::{fs, time::Duration};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use windrow_common::error;

use super::{
    compacting::{DAY, age, backdate, compact, list, listed, paths, replacing, rewritten},
    *,
};
use crate::sink::{
    cleaning::Extent,
    regroup::{
        Packing,
        tests::{RULE, groups},
    },
};

/// A folder that others fill.
fn others(place: &Place, format: FileFormat) -> FilesSink {
    let settings =
        Settings { format, cursor: None, others: Some(folder::Others { quiet: Duration::ZERO }), ..settings() };
    FilesSink { later: 1_000, ..FilesSink::new(place.storage.clone(), settings) }
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

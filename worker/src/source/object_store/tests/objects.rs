//! Which objects are read, that they stay what they were, and what becomes of damaged ones.

use windrow_common::task::Retry;

use super::*;
use crate::error::Outcome;

const NEVER: Outcome = Outcome::Failed(Retry::Never);
const LATER: Outcome = Outcome::Failed(Retry::Later);

async fn fails(source: &Arc<dyn Source>) -> (&'static str, Outcome) {
    let error = take_all(source).await.unwrap_err();
    (error.code().code, error.outcome())
}

/// Proves IL1.
#[tokio::test]
async fn a_template_reads_the_partition_of_its_window_and_waits_for_it() {
    let folder = Folder::with("landing/dt=2024-01-01/1.csv", "a\n1\n");
    folder.put("landing/dt=2024-01-01/2.csv", "a\n2\n");
    folder.put("landing/dt=2024-01-02/1.csv", "a\n3\n");
    let path = "landing/dt={window.start:%Y-%m-%d}/*.csv";
    let source = folder.source(json!({ "path": path }));
    assert!(source.by_window() && names_window(path));
    let day = |day: u8| window(&format!("2024-01-0{day}T00:00:00Z"), &format!("2024-01-0{}T00:00:00Z", day + 1));
    assert_eq!(take(&source, &day(1)).await.unwrap().text(), "1\n2\n");
    assert_eq!(take(&source, &day(2)).await.unwrap().text(), "3\n");
    let error = source.resolve(&day(3)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (error::SOURCE_MISSING, Outcome::NotReady));
    assert!(error.to_string().contains("2024-01-03T00:00:00Z"), "{error}");
}

#[tokio::test]
async fn what_is_named_outright_has_to_be_there() {
    let folder = Folder::with("other.csv", "a\n1\n");
    for (path, outcome) in [("in.csv", NEVER), ("in/*.csv", LATER), ("in-*.csv", LATER)] {
        let source = folder.source(json!({ "path": path, "schema": [{ "a": "int" }] }));
        let error = source.resolve(&Window::version(1)).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (error::SOURCE_MISSING, outcome), "{path}");
        assert!(error.to_string().contains(path) && error.fix_text().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_missing_root_is_told_when_it_is_needed() {
    let folder = Folder::new();
    let source = source(&folder.path().join("gone"), json!({ "path": "in.csv" }));
    let error = source.schema().await.unwrap_err();
    assert_eq!(error.code(), error::SOURCE_MISSING);
    assert!(error.to_string().contains("gone"), "{error}");
}

#[tokio::test]
async fn a_glob_is_one_slice_per_object_in_the_order_of_names() {
    let folder = Folder::new();
    for name in ["in/b.csv", "in/a.csv", "in/deep/c.csv", "in/_SUCCESS", "a.csv"] {
        folder.put(name, "a\n1\n");
    }
    let names = async |path: &str| {
        let slices =
            folder.source(json!({ "path": path, "format": "csv" })).resolve(&Window::version(1)).await.unwrap();
        slices.into_iter().map(|slice| slice.input.name).collect::<Vec<_>>()
    };
    assert_eq!(names("in/*.csv").await, ["in/a.csv", "in/b.csv"]);
    assert_eq!(names("in/**/*.csv").await, ["in/a.csv", "in/b.csv", "in/deep/c.csv"]);
    assert_eq!(names("{in/b,in/deep/c}.csv").await, ["in/b.csv", "in/deep/c.csv"]);
}

#[tokio::test]
async fn an_object_that_changes_after_it_was_pinned_fails_the_attempt() {
    let content = "a\n1\n".repeat(10);
    let folder = Folder::with("in.csv", &content);
    let source = folder.source(json!({ "path": "in.csv" }));
    let slices = source.resolve(&Window::version(1)).await.unwrap();
    assert_eq!(slices[0].input.bytes, content.len() as u64);
    take_slices(&source, &slices, &Window::version(1)).await.unwrap();
    // Of the same length, so that only its version tells.
    let other = folder.path().join("other");
    fs::write(&other, content.replace('1', "2")).unwrap();
    fs::rename(&other, folder.path().join("in.csv")).unwrap();
    let error = take_slices(&source, &slices, &Window::version(1)).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (error::SOURCE_CHANGED, LATER));
    fs::remove_file(folder.path().join("in.csv")).unwrap();
    let error = take_slices(&source, &slices, &Window::version(1)).await.unwrap_err();
    assert_eq!(error.code(), error::SOURCE_CHANGED);
}

#[tokio::test]
async fn an_object_that_changes_while_it_is_read_does_not_end_well() {
    let folder = Folder::with("in.csv", format!("a\n{}", "1\n".repeat(200_000)));
    let source = folder.source(json!({ "path": "in.csv", "schema": [{ "a": "int" }] }));
    let full = Window::version(1);
    let slices = source.resolve(&full).await.unwrap();
    let mut stream = source.read(&slices[0], &full).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    folder.put("in.csv", "a\n1\n");
    let rest: Result<Vec<_>> = stream.try_collect().await;
    assert_eq!(rest.unwrap_err().code(), error::SOURCE_CHANGED);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_never_a_shorter_one() {
    let content: String = (0..50_000).map(|i| format!("{i},{}\n", i * 7919 % 1000)).collect();
    let content = format!("a,b\n{content}");
    let (packed, frames) = (gzip(&content), zstd(&content));
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut trailing = packed.clone();
    trailing.extend_from_slice(b"garbage");
    let cases = [
        ("a gzip file cut short", "in.csv.gz", packed[..packed.len() - 100].to_vec()),
        ("a gzip file without its checksum", "in.csv.gz", packed[..packed.len() - 8].to_vec()),
        ("a gzip file with a flipped bit", "in.csv.gz", flipped),
        ("garbage behind a gzip file", "in.csv.gz", trailing),
        ("plain text called gzip", "in.csv.gz", content.clone().into_bytes()),
        ("nothing called gzip", "in.csv.gz", Vec::new()),
        ("a zstd file cut short", "in.csv.zst", frames[..frames.len() - 100].to_vec()),
        ("plain text called zstd", "in.csv.zst", content.clone().into_bytes()),
    ];
    for (what, name, bytes) in cases {
        let folder = Folder::with(name, bytes);
        let source = folder.source(json!({ "path": name, "schema": [{ "a": "int" }, { "b": "int" }] }));
        assert_eq!(fails(&source).await, (error::SOURCE_CORRUPT.code, NEVER), "{what}");
    }
}

#[tokio::test]
async fn an_empty_file_is_no_delivery() {
    let folder = Folder::with("in.csv", "");
    let source = folder.source(json!({ "path": "in.csv", "schema": [{ "a": "int" }] }));
    assert_eq!(fails(&source).await, (error::SCHEMA_MISMATCH.code, NEVER));
    assert_eq!(fails(&folder.source(json!({ "path": "in.csv" }))).await, (error::SCHEMA_MISMATCH.code, NEVER));
}

#[tokio::test]
async fn a_file_that_blows_up_is_refused() {
    let bomb = format!("a\n{}", "0\n".repeat(12 << 20));
    let folder = Folder::with("ratio.csv.zst", zstd(&bomb));
    folder.put("size.csv.gz", gzip(&bomb[..1 << 20]));
    let source = folder.source(json!({ "path": "ratio.csv.zst", "schema": [{ "a": "int" }] }));
    assert_eq!(fails(&source).await, (error::INPUT_TOO_LARGE.code, NEVER));
    let limits = json!({ "decompressed": "512KiB" });
    let source = folder.source(json!({ "path": "size.csv.gz", "schema": [{ "a": "int" }], "limits": limits }));
    assert_eq!(fails(&source).await, (error::INPUT_TOO_LARGE.code, NEVER));
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_the_thread() {
    let folder = Folder::with("in.csv", format!("a\n{}", "1\n".repeat(500_000)));
    let source = folder.source(json!({ "path": "in.csv", "schema": [{ "a": "int" }] }));
    let full = Window::version(1);
    let slices = source.resolve(&full).await.unwrap();
    let mut stream = source.read(&slices[0], &full).await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    // The runtime of this test waits for its blocking threads, so the test ends only if the thread does.
    drop(stream);
}

#[tokio::test]
async fn a_file_that_is_just_being_replaced_is_waited_for() {
    let folder = Folder::new();
    let source = folder.source(json!({ "path": "in.csv", "schema": [{ "a": "int" }] }));
    let replaced = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        folder.put("in.csv", "a\n1\n");
    };
    let version = Window::version(1);
    let (found, ()) = tokio::join!(source.resolve(&version), replaced);
    assert_eq!(found.unwrap().len(), 1);
}

#[test]
fn whether_windows_are_read_one_by_one_can_be_told_without_opening_the_source() {
    for (path, expected) in
        [("in.csv", false), ("*.csv", false), ("dt={window.start:%F}/*", true), ("{a,b}.csv", false)]
    {
        let params = json!({ "path": path });
        let from = json!({ "name": "in", "type": "s3", "root": "s3://nowhere", "secret_key": "${env:UNSET}" });
        let spec = json!({ "from": from, "path": params["path"] });
        assert_eq!((KIND.by_window)(&serde_json::from_value(spec).unwrap()), expected, "{path}");
    }
}

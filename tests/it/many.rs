//! Several pipelines in one run.

use std::fs;

use windrow_tests::process::{ran, run, run_json};

const PIPELINES: &str = "version: 1
connections:
  here: { type: local, root: . }
defaults:
  retries: { attempts: 2, backoff: 10ms }
pipelines:
  first:
    pattern: full
    source: { from: here, path: first.csv, schema: { id: int } }
    sink: { to: here, format: delta, path: tables/first }
  second:
    pattern: full
    source: { from: here, path: second.csv, schema: { id: int } }
    sink: { to: here, format: delta, path: tables/second }
  third:
    pattern: incremental
    source: { from: here, path: third.csv, cursor: at, schema: { at: timestamp } }
    window: { every: 1d, start: 2024-01-01, end: 2024-01-03 }
    sink: { to: here, format: parquet, path: tables/third }
";

/// Proves FL13. The second of three cannot be read; the others are published, and it is reported with its reason. When it is
/// mended, it alone is loaded.
#[test]
fn one_pipeline_that_fails_keeps_no_other_from_being_published() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("pipelines.yaml", PIPELINES);
    write("first.csv", "id\n1\n2\n");
    write("second.csv", "id\n1\nmany\n");
    write("third.csv", "at\n2024-01-01T01:00:00Z\n2024-01-02T01:00:00Z\n");
    let path = folder.path().to_str().unwrap();
    let (code, said) = ran(&["run", path]).unwrap();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("second: 1 window failed") && said.contains("[WR-S"), "{said}");
    assert!(!said.contains("first: ") || !said.contains("first: 1 window failed"), "{said}");
    let counts = || {
        let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", path]).unwrap();
        let count = |one: &serde_json::Value, state: &str| one["windows"][state].as_u64().unwrap();
        let pipelines = pipelines.as_array().unwrap().iter();
        pipelines.map(|one| (count(one, "published"), count(one, "quarantined"))).collect::<Vec<_>>()
    };
    assert_eq!(counts(), [(1, 0), (0, 1), (2, 0)]);

    write("second.csv", "id\n1\n2\n");
    let mended = run(&["backfill", "create", "second", "--reprocess", "missing+failed", "--local", path]).unwrap();
    assert!(mended.status.success(), "{}", String::from_utf8_lossy(&mended.stderr));
    assert_eq!(counts(), [(1, 0), (1, 0), (2, 0)]);
    assert_eq!(crate::demo::rows_by_log(&folder.path().join("tables/second")), Some(2));
}

/// Proves FL10. The version before the newest is there as it was, in the log and in its files.
#[test]
fn a_json_dataset_becomes_a_new_version_and_the_old_one_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let deliver = |rows: u64| {
        let row = |id: u64| format!("{{\"id\": {id}, \"name\": \"n{id}\"}}\n");
        fs::write(folder.path().join("users.json"), (0..rows).map(row).collect::<String>()).unwrap();
    };
    fs::write(
        folder.path().join("pipelines.yaml"),
        "version: 1
connections:
  here: { type: local, root: . }
pipelines:
  users:
    pattern: full
    source: { from: here, path: users.json, schema: { id: int, name: string } }
    sink: { to: here, format: delta, path: users }
",
    )
    .unwrap();
    let (path, table) = (folder.path().to_str().unwrap(), folder.path().join("users"));
    deliver(100);
    assert!(run(&["run", path]).unwrap().status.success());
    let newest = newest_version(&table);
    deliver(70);
    let again = run(&["backfill", "create", "users", "--reprocess", "all", "--local", path]).unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(newest_version(&table) > newest);
    assert_eq!(crate::demo::rows_by_log(&table), Some(70));
    assert_eq!(crate::demo::rows_at_version(&table, newest), Some(100));
}

fn newest_version(table: &std::path::Path) -> u64 {
    let entries = fs::read_dir(table.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path());
    let commits = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    commits.filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).max().unwrap()
}

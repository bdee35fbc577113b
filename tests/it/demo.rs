//! The demo as a newcomer runs it: the year of flights on one machine, read back by somebody else's reader.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use windrow_tests::{
    example::Example,
    process::{run, run_json, text},
    reader,
    skip::skip,
};

/// Rows in a Delta table by its log alone; `None` while the log cannot be read as a whole.
pub(crate) fn rows_by_log(table: &Path) -> Option<u64> {
    Some(files_at(table, u64::MAX)?.values().sum())
}

/// Rows in a version of a Delta table whose files are all there.
pub(crate) fn rows_at_version(table: &Path, version: u64) -> Option<u64> {
    let files = files_at(table, version)?;
    files.keys().all(|path| table.join(path).is_file()).then(|| files.values().sum())
}

/// The files of a version and their rows.
fn files_at(table: &Path, version: u64) -> Option<std::collections::BTreeMap<String, u64>> {
    let mut files = std::collections::BTreeMap::new();
    let mut entries: Vec<_> =
        fs::read_dir(table.join("_delta_log")).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let number = |path: &std::path::PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    entries.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    entries.retain(|path| number(path).is_some_and(|number| number <= version));
    entries.sort();
    for entry in entries {
        for line in fs::read_to_string(entry).ok()?.lines() {
            let action: serde_json::Value = serde_json::from_str(line).ok()?;
            if let Some(path) = action["remove"]["path"].as_str() {
                files.remove(path);
            }
            if let Some(path) = action["add"]["path"].as_str() {
                let stats: serde_json::Value = serde_json::from_str(action["add"]["stats"].as_str()?).ok()?;
                files.insert(path.to_owned(), stats["numRecords"].as_u64()?);
            }
        }
    }
    Some(files)
}

/// Proves IL1, IL2, IL3, IL4, IL9, IL15, CL10. A year in hourly windows, every row on a window's edge; then nothing to do;
/// then February again, while the table never shows fewer or more rows.
#[test]
fn a_year_of_flights_arrives_once_and_a_backfill_changes_nothing() {
    let example = Example::new().unwrap();
    let first = run(&["run", example.arg()]).unwrap();
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(text(&first.stdout).contains("336,776"), "{}", text(&first.stdout));
    let python = reader::python();
    let before = python.as_ref().ok().map(|python| reader::flights(python, &example.table()).unwrap());
    if let Some(before) = &before {
        before.check_year().unwrap();
        assert_eq!(before.protocol, (1, 2));
        assert!(before.files <= 24, "{} files", before.files);
    }

    let second = run(&["run", example.arg()]).unwrap();
    assert!(text(&second.stdout).contains("nothing to do"), "{}", text(&second.stdout));

    let preview =
        ["backfill", "preview", "flights", "--from", "2013-02-01", "--to", "2013-03-01", "--reprocess", "all"];
    let preview = run_json(&[preview.as_slice(), &["-o", "json", "--local", example.arg()]].concat()).unwrap();
    let windows = preview["windows"].as_array().unwrap();
    assert_eq!(windows.iter().filter(|window| window["will_run"] == true).count(), 28 * 24);
    assert!(windows.iter().all(|window| window["why"].as_str().unwrap().contains("replaced")));

    let done = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (table, done) = (example.table(), Arc::clone(&done));
        move || {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(rows_by_log(&table).unwrap_or(336_776), 336_776);
                looks += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            looks
        }
    });
    let create = ["backfill", "create", "flights", "--from", "2013-02-01", "--to", "2013-03-01", "--reprocess", "all"];
    let backfill = run(&[create.as_slice(), &["--local", example.arg()]].concat()).unwrap();
    done.store(true, Ordering::Relaxed);
    assert!(backfill.status.success(), "{}", text(&backfill.stderr));
    assert!(text(&backfill.stderr).contains("672/672 windows, succeeded"), "{}", text(&backfill.stderr));
    assert!(watcher.join().unwrap() > 100);

    match (python, before) {
        (Ok(python), Some(before)) => {
            let after = reader::flights(&python, &example.table()).unwrap();
            after.check_year().unwrap();
            assert_eq!(after.digest, before.digest);
        }
        (python, _) => skip("reading the demo's table", &python.err().unwrap_or_default()),
    }
}

/// The verbs that look at things say what there is.
#[test]
fn what_was_done_can_be_looked_at() {
    let example = Example::new().unwrap();
    assert!(run(&["run", example.arg()]).unwrap().status.success());
    let local = ["--local", example.arg()];
    let ask = |args: &[&str]| run_json(&[args, &["-o", "json"], &local].concat()).unwrap();
    let pipelines = ask(&["get", "pipelines"]);
    assert_eq!(pipelines[0]["windows"]["published"], 8_755);
    assert_eq!(pipelines[1]["windows"]["published"], 1);
    let windows = ask(&["get", "windows", "flights", "--from", "2013-07-01", "--to", "2013-07-02"]);
    assert_eq!(windows.as_array().unwrap().len(), 24);
    assert!(windows.as_array().unwrap().iter().all(|window| window["state"] == "published"));
    let explained = run(&[&["explain", "window", "flights", "2013-02-01T10:00"], local.as_slice()].concat()).unwrap();
    assert!(text(&explained.stdout).contains("published"), "{}", text(&explained.stdout));
    let described = run(&[&["describe", "flights"], local.as_slice()].concat()).unwrap();
    assert!(text(&described.stdout).contains("8,755 published"), "{}", text(&described.stdout));
}

/// What would be done is told without doing it, and exit codes tell how it went.
#[test]
fn plan_and_validate_change_nothing_and_exit_as_promised() {
    let example = Example::new().unwrap();
    let plan = run_json(&["plan", example.arg(), "-o", "json"]).unwrap();
    assert_eq!(plan[0]["windows_due"], 8_755);
    assert_eq!(plan[0]["tasks"], 2);
    let columns = plan[0]["columns"].as_array().unwrap();
    assert_eq!(columns.len(), 19, "{plan}");
    assert_eq!(run(&["plan", example.arg(), "--detailed-exitcode"]).unwrap().status.code(), Some(3));
    assert_eq!(run(&["validate", example.arg()]).unwrap().status.code(), Some(0));
    example.edit("pattern: full", "patern: full").unwrap();
    let invalid = run(&["validate", example.arg()]).unwrap();
    assert_eq!(invalid.status.code(), Some(2));
    let shown = text(&invalid.stdout) + &text(&invalid.stderr);
    assert!(shown.contains("WR-P003") && shown.contains("pipelines.yaml:"), "{shown}");
    assert!(!example.table().join("_delta_log").exists());
}

//! Guards: an empty or shrunken source does not become the truth by itself.

use std::{collections::BTreeMap, fs, path::Path};

use windrow_tests::process::{ran, run, run_json};

use crate::demo::rows_by_log;

/// A full load of the same file into a Delta table and into a folder of Parquet files.
struct Loads {
    folder: tempfile::TempDir,
}

const TARGETS: [&str; 2] = ["delta", "parquet"];

impl Loads {
    fn new(guard: &str) -> Self {
        let loads = Self { folder: tempfile::tempdir().unwrap() };
        let pipeline = |format: &str| {
            format!(
                "  {format}:
    pattern: full
    source: {{ from: here, path: planes.csv, schema: {{ id: int, name: string }} }}
    sink: {{ to: here, format: {format}, path: lake/{format} }}
{guard}"
            )
        };
        let pipelines: String = TARGETS.iter().map(|format| pipeline(format)).collect();
        let text = format!("version: 1\nconnections:\n  here: {{ type: local, root: . }}\npipelines:\n{pipelines}");
        fs::write(loads.folder.path().join("pipelines.yaml"), text).unwrap();
        loads
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// The source has so many rows from now on.
    fn deliver(&self, rows: usize) {
        let lines: String = (0..rows).map(|id| format!("{id},plane {id}\n")).collect();
        fs::write(self.folder.path().join("planes.csv"), format!("id,name\n{lines}")).unwrap();
    }

    /// Loads a target again; the exit code and all that was said.
    fn load(&self, target: &str, flags: &[&str]) -> (Option<i32>, String) {
        let create = ["backfill", "create", target, "--local", self.arg()];
        ran(&[create.as_slice(), flags].concat()).unwrap()
    }

    /// What readers of a target's own log see.
    fn rows(&self, target: &str) -> u64 {
        let folder = self.folder.path().join("lake").join(target);
        match target {
            "delta" => rows_by_log(&folder).unwrap(),
            _ => rows_of_files(&folder),
        }
    }
}

/// Rows of a folder of files by its log of commits.
fn rows_of_files(folder: &Path) -> u64 {
    let mut entries: Vec<_> =
        fs::read_dir(folder.join("_windrow/log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let mut files = BTreeMap::new();
    for entry in entries {
        let Ok(entry) = serde_json::from_slice::<serde_json::Value>(&fs::read(entry).unwrap()) else { continue };
        for path in entry["remove"].as_array().into_iter().flatten() {
            files.remove(path.as_str().unwrap());
        }
        for file in entry["add"].as_array().into_iter().flatten() {
            files.insert(file["path"].as_str().unwrap().to_owned(), file["rows"].as_u64().unwrap());
        }
    }
    files.values().sum()
}

/// Proves FL9. Refused, the old rows stay and the window says why; mended or accepted, the load goes through, and the
/// next is held against it.
#[test]
fn a_suspicious_load_keeps_the_old_rows_until_it_is_mended_or_accepted() {
    let loads = Loads::new("    guard: { min_rows: 10, max_row_change: 30% }\n");
    loads.deliver(100);
    assert!(run(&["run", loads.arg()]).unwrap().status.success());
    for target in TARGETS {
        assert_eq!(loads.rows(target), 100, "{target}");
    }

    loads.deliver(0);
    for target in TARGETS {
        let (code, said) = loads.load(target, &["--reprocess", "all"]);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains("WR-K020") && said.contains("it has 0 rows, and `min_rows` is 10"), "{said}");
        assert_eq!(loads.rows(target), 100, "{target}");
    }
    loads.deliver(69);
    for target in TARGETS {
        let (code, said) = loads.load(target, &["--reprocess", "missing+failed"]);
        assert_eq!(code, Some(4), "{said}");
        let counts = "it has 69 rows where 100 are published, a change of more than 30%";
        assert!(said.contains("WR-K020") && said.contains(counts), "{said}");
        assert_eq!(loads.rows(target), 100, "{target}");
        let described = run(&["describe", target, "--local", loads.arg()]).unwrap();
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        let fix = format!("windrow backfill create {target} --reprocess missing+failed --accept");
        assert!(described.contains(counts) && described.contains(&fix), "{described}");
        let tasks = run_json(&["get", "tasks", target, "-o", "json", "--local", loads.arg()]).unwrap();
        assert_eq!(tasks[0]["state"], "quarantined", "{tasks}");
    }

    for (target, rows, flags) in [("delta", 69, &["--accept"][..]), ("parquet", 72, &[])] {
        loads.deliver(rows);
        let (code, said) = loads.load(target, &[&["--reprocess", "missing+failed"], flags].concat());
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(loads.rows(target), rows as u64, "{target}");
    }
    loads.deliver(85);
    for target in TARGETS {
        let (code, said) = loads.load(target, &["--reprocess", "all"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(loads.rows(target), 85, "{target}");
    }
    loads.deliver(200);
    for target in TARGETS {
        let (code, said) = loads.load(target, &["--reprocess", "all"]);
        assert_eq!((code, loads.rows(target)), (Some(4), 85), "more is a change, too: {said}");
    }
}

/// Without a word a target is never emptied; that it may be is said in the file.
#[test]
fn a_target_is_emptied_only_where_the_pipeline_allows_it() {
    for (guard, rows) in [("", 5), ("    guard: { min_rows: 0 }\n", 0)] {
        let loads = Loads::new(guard);
        loads.deliver(5);
        assert!(run(&["run", loads.arg()]).unwrap().status.success());
        loads.deliver(0);
        for target in TARGETS {
            let (code, said) = loads.load(target, &["--reprocess", "all"]);
            assert_eq!(code, Some(if rows == 0 { 0 } else { 4 }), "{said}");
            assert_eq!(said.contains("it has no rows where 5 are published"), rows > 0, "{said}");
            assert_eq!(loads.rows(target), rows, "{target}");
        }
    }
}

/// A load that never was is held against `min_rows`, too.
#[test]
fn the_first_load_has_to_have_its_rows() {
    let loads = Loads::new("    guard: { min_rows: 10 }\n");
    loads.deliver(9);
    let (code, said) = ran(&["run", loads.arg()]).unwrap();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("WR-K020"), "{said}");
}

#[test]
fn a_guard_that_could_watch_nothing_is_refused() {
    let loads = Loads::new("    guard: { max_row_change: some }\n");
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let output = run(&["validate", loads.arg()]).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = said(output);
    assert!(text.contains("WR-P006") && text.contains("write 30%"), "{text}");
    let file = loads.folder.path().join("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("some", "30%").replace("format: delta,", "format: delta, write: append,")).unwrap();
    let output = run(&["validate", loads.arg()]).unwrap();
    let text = said(output);
    assert!(text.contains("WR-P009") && text.contains("guard"), "{text}");
}

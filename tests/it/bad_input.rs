//! Bad input: each kind gives a clear error, and nothing is lost.

use std::{fs, io::Write, path::Path};

use windrow_tests::process::{ran, run, run_json};

/// A pipeline of three daily windows over a CSV file, with `limits` added.
fn pipelines(folder: &Path, file: &str, limits: &str) -> String {
    let text = format!(
        "version: 1
connections:
  here: {{ type: local, root: . }}
pipelines:
  sales:
    pattern: incremental
    source:
      from: here
      path: {file}
      format: csv
      cursor: at
      schema: {{ id: int, at: timestamp, amount: float }}
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-04, per_task: 3 }}
    sink: {{ to: here, format: delta, path: table }}
    retries: {{ attempts: 2, backoff: 10ms }}
{limits}"
    );
    fs::write(folder.join("pipelines.yaml"), text).unwrap();
    folder.to_str().unwrap().to_owned()
}

const GOOD: &str = "id,at,amount
1,2024-01-01T08:00:00Z,1.5
2,2024-01-02T00:00:00Z,2.5
3,2024-01-03T23:59:59Z,3.5
";

/// Runs and returns exit code and everything that was said.
fn outcome(folder: &str) -> (Option<i32>, String) {
    ran(&["run", folder]).unwrap()
}

/// How many windows are published, and how many failed.
fn windows(folder: &str) -> (u64, u64) {
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", folder]).unwrap();
    let count = |state: &str| pipelines[0]["windows"][state].as_u64().unwrap();
    (count("published"), count("quarantined"))
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipelines(folder.path(), "nowhere.csv", "");
    let (code, said) = outcome(&path);
    assert_ne!(code, Some(0));
    assert!(said.contains("nowhere.csv") && said.contains("WR-S001"), "{said}");
    assert!(said.contains("--reprocess missing+failed --local"), "what to do when it is there: {said}");
    let tasks = run_json(&["get", "tasks", "-o", "json", "--local", &path]).unwrap();
    assert_eq!((tasks[0]["state"].as_str(), tasks[0]["attempts"].as_u64()), (Some("quarantined"), Some(1)));
}

#[test]
fn a_truncated_gzip_publishes_nothing_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let whole = include_bytes!("../../examples/flights/data/flights.csv.gz");
    fs::write(folder.path().join("sales.csv.gz"), &whole[..100_000]).unwrap();
    let path = pipelines(folder.path(), "sales.csv.gz", "");
    let text = fs::read_to_string(folder.path().join("pipelines.yaml")).unwrap();
    let schema = "schema: { id: int, at: timestamp, amount: float }";
    fs::write(
        folder.path().join("pipelines.yaml"),
        text.replace(schema, "as_text: true").replace("cursor: at", "cursor: time_hour"),
    )
    .unwrap();
    let (code, said) = outcome(&path);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("WR-S003") || said.contains("WR-S007"), "{said}");
}

/// A row with too few columns is rejected with its line, up to the declared share; past it the window is quarantined and
/// the others go on.
#[test]
fn a_malformed_row_goes_to_the_dead_letters_or_stops_its_window_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sales.csv"), format!("{GOOD}4,2024-01-02T05:00:00Z\n")).unwrap();
    let path = pipelines(folder.path(), "sales.csv", "    limits: { max_rejected: 0.5 }\n");
    let (code, said) = outcome(&path);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 row was rejected"), "{said}");
    let letters = folder.path().join("table/_windrow/dead_letters");
    let found = walk(&letters);
    assert!(found.contains("WR-S004") && found.contains("4,2024-01-02T05:00:00Z"), "{found}");
    assert!(found.contains("\"position\":5"), "{found}");
    assert_eq!(windows(&path), (3, 0));
}

/// A value that does not fit its type is no null.
#[test]
fn a_value_that_does_not_fit_its_type_quarantines_its_window_by_default() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sales.csv"), format!("{GOOD}4,2024-01-02T05:00:00Z,much\n")).unwrap();
    let path = pipelines(folder.path(), "sales.csv", "");
    let (code, said) = outcome(&path);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("WR-S008") || said.contains("WR-S005"), "{said}");
    assert_eq!(windows(&path).0 + windows(&path).1, 3, "{said}");
    assert!(windows(&path).1 >= 1);
}

/// What failed can be mended and loaded, without touching the rest.
#[test]
fn a_mended_window_is_loaded_by_a_backfill_of_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sales.csv"), format!("{GOOD}4,2024-01-02T05:00:00Z,much\n")).unwrap();
    let path = pipelines(folder.path(), "sales.csv", "");
    outcome(&path);
    let mut file = fs::File::create(folder.path().join("sales.csv")).unwrap();
    writeln!(file, "{GOOD}4,2024-01-02T05:00:00Z,4.5").unwrap();
    let mended = run(&["backfill", "create", "sales", "--reprocess", "missing+failed", "--local", &path]).unwrap();
    assert!(mended.status.success(), "{}", String::from_utf8_lossy(&mended.stderr));
    assert_eq!(windows(&path), (3, 0));
}

#[test]
fn an_unknown_key_is_shown_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipelines(folder.path(), "sales.csv", "    limts: { concurrency: 2 }\n");
    let (code, said) = outcome(&path);
    assert_eq!(code, Some(2));
    assert!(said.contains("WR-P003") && said.contains("pipelines.yaml:16:5") && said.contains("limits"), "{said}");
}

#[test]
fn a_sink_that_is_no_folder_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sales.csv"), GOOD).unwrap();
    fs::write(folder.path().join("table"), "a file stands where the table should be").unwrap();
    let path = pipelines(folder.path(), "sales.csv", "");
    let (code, said) = outcome(&path);
    assert_ne!(code, Some(0));
    assert!(said.contains("table"), "{said}");
}

/// A path of its own for each window, beside a cursor: no window may read another's objects, or leave its own out.
#[test]
fn windows_with_objects_of_their_own_are_read_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = pipelines(folder.path(), "\"day={window.start:%Y-%m-%d}.csv\"", "");
    let file = folder.path().join("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let (code, said) = outcome(&path);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("WR-P009") && said.contains("per_task"), "{said}");
    fs::write(&file, text.replace(", per_task: 3", "")).unwrap();
    for (day, row) in GOOD.lines().skip(1).enumerate() {
        fs::write(folder.path().join(format!("day=2024-01-0{}.csv", day + 1)), format!("id,at,amount\n{row}\n"))
            .unwrap();
    }
    let (code, said) = outcome(&path);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("3 rows in 3 windows"), "{said}");
    assert!(!said.contains("WR-T002"), "none was refused and halved: {said}");
}

fn walk(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => text += &walk(&entry.path()),
            false => text += &fs::read_to_string(entry.path()).unwrap_or_default(),
        }
    }
    text
}

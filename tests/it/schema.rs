//! `windrow schema` against `windrow validate`: what the one calls right the other does.

use std::{fs, path::Path};

use serde_json::Value;
use windrow_tests::{
    process::{run, run_json},
    schema::{is_draft_07, mistakes},
};

/// A sound file; the cases change it.
const SOUND: &str = "\
version: 1
connections:
  here: { type: local, root: . }
  lake: { type: local, root: ./lake }
pipelines:
  visits:
    pattern: incremental
    source: { from: here, path: visits.csv, format: { type: csv }, cursor: at }
    window: { every: 1h, start: 2024-01-01, lag: 5m }
    sink: { to: lake, format: delta, path: visits }
  devices:
    pattern: full
    source: { from: here, path: devices.csv }
    sink: { to: lake, format: delta, path: devices }
";

fn schema() -> Value {
    run_json(&["schema"]).unwrap()
}

/// How `windrow validate` ends on the text.
fn validated(text: &str) -> Option<i32> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    fs::write(&file, text).unwrap();
    run(&["validate", file.to_str().unwrap()]).unwrap().status.code()
}

#[test]
fn the_schema_is_a_draft_07_one() {
    let schema = schema();
    assert!(is_draft_07(&schema));
    assert!(!schema.to_string().contains("$defs"));
}

#[test]
fn the_examples_fit_the_schema() {
    let (schema, mut found) = (schema(), 0);
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                assert_eq!(mistakes(&schema, &text).unwrap(), Vec::<String>::new(), "{}", path.display());
                found += 1;
            }
        }
    }
    assert!(found > 0, "there are no examples");
}

#[test]
fn the_schema_and_the_reader_agree_on_sound_and_on_wrong_files() {
    let schema = schema();
    assert_eq!(mistakes(&schema, SOUND).unwrap(), Vec::<String>::new());
    assert_eq!(validated(SOUND), Some(0));
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("pattern: full", "pattern: sideways"),
        ("    pattern: full\n", ""),
        ("from: here", "form: here"),
        ("lag: 5m", "lagg: 5m"),
        ("lag: 5m", "lookback: -1"),
        ("type: local", "type: ftp"),
        ("root: ./lake", "rot: ./lake"),
        ("format: delta", "format: xlsx"),
        ("type: csv", "typ: csv"),
        ("cursor: at", "sheet: 5"),
        ("path: visits }", "path: visits, partition_by: day }"),
        ("path: visits }", "path: visits, write: sometimes }"),
        ("path: visits }", "path: visits }\n    limits: { concurrency: many }"),
        ("path: visits }", "path: visits }\n    transform: [{ drop: x }]"),
    ] {
        assert!(SOUND.contains(from), "the sound file has no {from:?}");
        let text = SOUND.replacen(from, to, 1);
        assert!(!mistakes(&schema, &text).unwrap().is_empty(), "the schema accepts {to:?}");
        assert_eq!(validated(&text), Some(2), "the reader accepts {to:?}");
    }
}

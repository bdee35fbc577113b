//! What is said of wrong files, exactly: severity, code, line and column of everything found.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::{Loaded, Options, SourceFile, parse};
use crate::show::{Style, diagnostics};

mod blocks;
mod compaction;
mod connectors;
mod corpus;
mod example;
mod fakes;
mod files;
mod gather;
mod many;
mod render;
mod windows;

/// A sound file the cases change.
const SOUND: &str = "\
version: 1
connections:
  here: { type: local, root: /data }
  lake: { type: local, root: /lake }
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

fn options() -> Options {
    Options {
        now: "2024-06-01T00:00:00Z".parse().unwrap(),
        runs_here: true,
        connectors: fakes::connectors(),
        list: None,
    }
}

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), folder: PathBuf::from("/etl"), text: text.to_owned() }
}

fn load(text: &str) -> Loaded {
    parse(vec![file("p.yaml", text)], &options())
}

/// `error WR-P003 8:14`, one for each finding.
fn found(loaded: &Loaded) -> Vec<String> {
    let line = |found: &super::Diagnostic| {
        format!("{} {} {}:{}", found.severity.word(), found.code, found.span.line, found.span.column)
    };
    loaded.diagnostics.iter().map(line).collect()
}

/// Checks what is found when `from` in the sound file is `to`.
fn check(cases: &[(&str, &str, &[&str])]) {
    let mut wrong = String::new();
    for (from, to, expected) in cases {
        assert!(SOUND.contains(from), "the sound file has no {from:?}");
        let loaded = load(&SOUND.replacen(from, to, 1));
        if &found(&loaded) != expected {
            let shown = diagnostics::render(&loaded, Style::plain());
            wrong += &format!("{from:?} -> {to:?}: expected {expected:?}, found\n{shown}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_sound_file_is_sound() {
    let loaded = load(SOUND);
    assert_eq!(found(&loaded), Vec::<String>::new());
    assert_eq!(loaded.pipelines.len(), 2);
}

//! Pipeline files. Whatever a file holds, it is read to the end and everything said of it has a place in it and shows no
//! secret; and a pipeline that loads survives being sent, is taken in by a coordinator, and plans its windows.

use std::path::PathBuf;

use jiff::Timestamp;
use windrow_cli::{
    file::{Connectors, Loaded, Options, SourceFile, parse},
    show::{Style, diagnostics},
};
use windrow_common::{pipeline::Pipeline, task::Task};
use windrow_coordinator::core::{
    apply::{Applied, apply},
    lifecycle::Now,
    plan::plan,
    table::{Record, Table},
};

/// Shorter texts stand in messages anyway.
const TELLING: usize = 8;

/// The input as a pipeline file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let now: Timestamp = "2024-06-01T00:00:00Z".parse().expect("an instant");
    let options = Options { now, runs_here: true, connectors: Connectors::unopened(), list: None };
    let file = SourceFile { name: "p.yaml".to_owned(), folder: PathBuf::from("/etl"), text: text.to_owned() };
    let loaded = parse(vec![file], &options);
    check_said(&loaded, text);
    if !loaded.failed() {
        loaded.pipelines.iter().for_each(|pipeline| check_runs(pipeline, now));
    }
}

fn check_said(loaded: &Loaded, text: &str) {
    let lines = text.split(['\n', '\r']).count() as u32;
    for found in &loaded.diagnostics {
        let span = found.span;
        assert!(span.file == 0 && span.line <= lines + 1, "{found:?} stands behind line {lines}");
        assert!(!found.message.is_empty(), "{found:?} says nothing");
    }
    let shown = diagnostics::render(loaded, Style::plain());
    for span in &loaded.hidden {
        let line = text.split('\n').nth(span.line.saturating_sub(1) as usize).unwrap_or_default();
        let secret: String =
            line.chars().skip(span.column.saturating_sub(1) as usize).take(span.length as usize).collect();
        let secret = secret.trim_matches(['"', '\'', ' ', '\r']);
        if secret.chars().count() >= TELLING && text.matches(secret).count() == 1 {
            assert!(!shown.contains(secret), "{secret:?} is shown in\n{shown}");
        }
    }
}

fn check_runs(pipeline: &Pipeline, now: Timestamp) {
    let sent = serde_json::to_vec(pipeline).expect("it is JSON");
    let arrived: Pipeline = serde_json::from_slice(&sent).expect("what was sent arrives");
    assert_eq!(arrived, *pipeline);

    let mut table = Table::default();
    let (change, applied) = apply(&table, std::slice::from_ref(pipeline)).expect("what loads is taken in");
    assert_eq!(applied, [Applied::Created]);
    table.apply(&change, 1);
    let (_, again) = apply(&table, std::slice::from_ref(&arrived)).expect("what was taken in is taken in");
    assert_eq!(again, [Applied::Unchanged]);
    for change in plan(&table, Now::at(now, 0.5)) {
        let tasks: Vec<&Task> = change
            .put
            .iter()
            .filter_map(|record| match record {
                Record::Task(task) => Some(task),
                _ => None,
            })
            .collect();
        assert!(tasks.windows(2).all(|pair| pair[0].window.end() <= pair[1].window.start()), "tasks overlap");
        for task in tasks {
            let windows = task.each_window();
            assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].start()), "{task:?}");
            assert!(task.window.instants().is_none_or(|(_, end)| end <= now), "{task:?} lies in the future");
        }
        table.apply(&change, 2);
    }
}

//! How diagnostics look.

use super::{SOUND, file, load, options};
use crate::{
    file::parse,
    show::{Output, Style, diagnostics, encoded},
};

#[test]
fn a_diagnostic_shows_the_line_underlines_the_spot_and_names_the_fix() {
    let text = SOUND
        .replace("every: 1h", "every: 6h")
        .replace("path: visits }", "path: 'visits/hour={window.start:%H}', comprss: true }")
        .replace("start: 2024-01-01, lag: 5m", "start: 2024-01-01")
        .replace("  devices:\n    pattern: full\n", "  devices:\n");
    let files = vec![file("etl/visits.yaml", &text), file("etl/more.yaml", "version: 1\n")];
    let expected = "\
warning[WR-W005]: rows that come after their window was read are never loaded
  etl/visits.yaml:8:76
    8 |     source: { from: here, path: visits.csv, format: { type: csv }, cursor: at }
      |                                                                            ^^
  fix: say how late they may come: `lag: 5m` waits for them, `lookback: 2` loads the last windows again     \
more: windrow explain WR-W005
error[WR-W002]: 6h is wider than a part of sink.path, which splits by hour
  etl/visits.yaml:9:22
    9 |     window: { every: 6h, start: 2024-01-01 }
      |                      ^^
  fix: every: 1h, or drop {window.start:%H} from sink.path     more: windrow explain WR-W002
error[WR-P003]: \"comprss\" is no key of `sink`
  etl/visits.yaml:10:77
   10 |     sink: { to: lake, format: delta, path: 'visits/hour={window.start:%H}', comprss: true }
      |                                                                             ^^^^^^^
  fix: known here: to, format, write, gather, key, order, deleted, partition_by, path     more: windrow explain WR-P003
error[WR-P005]: pipeline `devices` has no `pattern`
  etl/visits.yaml:11:3
   11 |   devices:
      |   ^^^^^^^
  fix: add `pattern: ...`     more: windrow explain WR-P005
3 errors, 1 warning in 2 files
";
    let shown = diagnostics::render(&parse(files, &options()), Style::plain());
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn a_sound_file_is_answered_with_the_summary_alone() {
    assert_eq!(diagnostics::render(&load(SOUND), Style::plain()), "0 errors, 0 warnings in 1 file\n");
}

#[test]
fn colours_change_nothing_but_colours() {
    let loaded = load(&SOUND.replace("every: 1h", "every: soon"));
    let coloured = diagnostics::render(&loaded, Style::coloured());
    assert!(coloured.contains("\x1b[1;31merror[WR-P006]\x1b[0m"));
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare.push_str(rest);
    assert_eq!(bare, diagnostics::render(&loaded, Style::plain()));
}

#[test]
fn of_a_very_long_line_the_stretch_around_the_spot_is_shown() {
    let steps = format!("transform: [{{ sql: \"SELECT '{}'\" }}, {{ sqll: x }}]", "x".repeat(1_000));
    let loaded = load(&SOUND.replace("    pattern: full", &format!("    pattern: full\n    {steps}")));
    let shown = diagnostics::render(&loaded, Style::plain());
    assert!(shown.contains("sqll: x") && shown.lines().all(|line| line.chars().count() < 140), "{shown}");
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[2].find("sqll"), lines[3].find('^'), "{shown}");
}

#[test]
fn what_would_steer_a_terminal_is_not_passed_on() {
    let loaded = load(&SOUND.replace("every: 1h", "every: \"\\e[31m\", # \u{1b}[31m\n     "));
    let shown = diagnostics::render(&loaded, Style::plain());
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn programs_get_the_same_as_json() {
    let loaded = load(&SOUND.replace("every: 1h", "every: soon"));
    let json = encoded(&diagnostics::report(&loaded), Output::Json).unwrap().unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["errors"], 1);
    let item = &report["diagnostics"][0];
    let place = serde_json::json!([item["file"], item["line"], item["column"], item["length"], item["code"]]);
    assert_eq!(place, serde_json::json!(["p.yaml", 9, 22, 4, "WR-P006"]));
    let yaml = encoded(&diagnostics::report(&loaded), Output::Yaml).unwrap().unwrap();
    assert!(yaml.contains("code: WR-P006"), "{yaml}");
}

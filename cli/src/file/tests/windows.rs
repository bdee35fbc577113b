//! Windows, cursors and patterns against each other.

use super::{SOUND, check, found, load};

const WINDOW: &str = "{ every: 1h, start: 2024-01-01, lag: 5m }";

#[test]
fn settings_that_contradict_the_pattern_are_refused() {
    check(&[
        ("path: devices.csv", "path: devices.csv, cursor: at", &["error WR-P009 13:54"]),
        ("pattern: full", "pattern: full\n    window: { every: 1h, start: 2024-01-01 }", &["error WR-P009 13:5"]),
        ("path: devices }", "path: devices, write: replace_window }", &["error WR-P009 14:60"]),
        ("path: devices.csv", "path: 'd/{window.start:%F}.csv'", &["error WR-P009 13:33"]),
        ("path: visits }", "path: visits, write: replace_all }", &["error WR-P009 10:59"]),
        ("    window: { every: 1h, start: 2024-01-01, lag: 5m }\n", "", &["error WR-P005 6:3"]),
        (", cursor: at", "", &["error WR-P009 8:33"]),
        ("path: devices }", "path: devices, write: append }", &[]),
    ]);
}

#[test]
fn rows_that_go_by_keys_need_keys_and_an_order() {
    check(&[
        ("path: visits }", "path: visits, write: upsert, key: [id] }", &[]),
        ("path: devices }", "path: devices, write: upsert, key: [id], order: [at], deleted: gone }", &[]),
        ("path: visits }", "path: visits, write: upsert }", &["error WR-P005 10:59"]),
        ("path: devices }", "path: devices, write: upsert, key: [id] }", &["error WR-P005 14:60"]),
        ("path: visits }", "path: visits, write: upsert, key: [id, id] }", &["error WR-P006 10:72"]),
        ("path: visits }", "path: visits, write: upsert, key: [id], deleted: ' ' }", &["error WR-P006 10:87"]),
        ("path: visits }", "path: visits, key: [id], deleted: gone }", &["error WR-P009 10:57", "error WR-P009 10:72"]),
        (
            "format: delta, path: visits",
            "format: csv, path: visits, write: upsert, key: [id]",
            &["error WR-K006 10:57"],
        ),
        (
            "path: devices }",
            "path: devices, write: upsert, key: [id], order: [at] }\n    guard: { min_rows: 1 }",
            &["error WR-P009 15:5"],
        ),
    ]);
    let shared = |keys: &str| {
        let text = SOUND.replace("path: visits }", "path: one, write: upsert, key: [id] }");
        found(&load(&text.replace("path: devices }", &format!("path: one, {keys} }}"))))
    };
    assert!(shared("write: upsert, key: [id], order: [at]").is_empty());
    for other in ["write: upsert, key: [id], order: [changed]", "write: append"] {
        assert_eq!(shared(other), ["error WR-P009 14:5"], "{other}");
    }
}

#[test]
fn a_lookback_that_would_double_rows_is_refused() {
    let text = SOUND.replace("lag: 5m", "lookback: 2").replace("path: visits }", "path: visits, write: append }");
    assert_eq!(found(&load(&text)), ["error WR-P009 9:55"]);
}

#[test]
fn what_rests_on_proofs_of_the_source_has_to_make_sense() {
    check(&[
        ("pattern: full", "pattern: full\n    unchanged: skip", &[]),
        ("pattern: full", "pattern: full\n    unchanged: never", &["error WR-P006 13:16"]),
        ("pattern: incremental", "pattern: incremental\n    unchanged: skip", &["error WR-P009 8:16"]),
        ("path: devices }", "path: devices, write: append }\n    unchanged: skip", &["error WR-P009 15:16"]),
        ("lag: 5m", "lag: 5m, audit_after: 6h", &[]),
        ("lag: 5m", "audit_after: 6h", &[]),
        ("lag: 5m", "lag: 5m, audit_after: 5m", &["error WR-P009 9:67"]),
        ("lag: 5m", "lag: 5m, audit_after: 6h, lookback: 1", &["error WR-P009 9:67"]),
    ]);
    let text =
        SOUND.replace("lag: 5m", "lag: 5m, audit_after: 6h").replace("path: visits }", "path: visits, write: append }");
    assert_eq!(found(&load(&text)), ["error WR-P009 9:67"]);
    let pipelines = load(&SOUND.replace("lag: 5m", "lag: 5m, audit_after: 6h")).pipelines;
    let after = pipelines.iter().find_map(|pipeline| pipeline.window.as_ref()).unwrap().audit_after.unwrap();
    assert_eq!(after.0.as_secs(), 6 * 3_600);
}

#[test]
fn windows_that_cannot_be_planned_are_refused() {
    for (window, expected) in [
        ("{ every: 1h, start: 2024-01-02, end: 2024-01-01 }", "error WR-W001 9:50"),
        ("{ every: 1h, start: 2024-01-02, end: 2024-01-02 }", "error WR-W001 9:50"),
        ("{ every: 1h, start: 2024-01-01, lag: 1m, timezone: Mars/Olympus }", "error WR-W001 9:64"),
        // An hour that the clocks skip has no length.
        (
            "{ every: 1h, start: '2024-03-31T02:10', end: '2024-03-31T03:10', timezone: Europe/Paris }",
            "error WR-W001 9:58",
        ),
        ("{ every: 4294967295h, start: 2024-01-01, lag: 5m }", "error WR-W001 9:22"),
        ("{ every: 4294967295d, start: 2024-01-01, lag: 5m }", "error WR-W001 9:22"),
        ("{ every: 1h, start: -009999-01-01, lag: 5m, timezone: Europe/Paris }", "error WR-W001 9:33"),
        ("{ every: 1s, start: 2024-01-01, lag: 5m, per_task: 4294967295 }", "error WR-P006 9:64"),
        ("{ every: 1s, start: 2024-01-01, lag: 5m, lookback: 10001 }", "error WR-P006 9:64"),
    ] {
        assert_eq!(found(&load(&SOUND.replace(WINDOW, window))), [expected], "{window}");
    }
}

#[test]
fn a_window_wider_than_the_part_of_a_path_it_fills_is_refused() {
    for (every, path, expected) in [
        ("6h", "visits/{window.start:%F}/{window.start:%H}", vec!["error WR-W002 9:22"]),
        ("1h", "visits/{window.start:%F}/{window.start:%H}", vec![]),
        ("2d", "visits/{window.start:%F}", vec!["error WR-W002 9:22"]),
        ("24h", "visits/{window.start:%F}", vec![]),
        ("1mo", "visits/{window.start:%Y-%m}", vec![]),
    ] {
        let text = SOUND.replace("every: 1h", &format!("every: {every}"));
        let sink = text.replace("path: visits }", &format!("path: '{path}' }}"));
        assert_eq!(found(&load(&sink)), expected, "{every} into {path}");
        let source = text.replace("path: visits.csv", &format!("path: '{path}'"));
        assert_eq!(found(&load(&source)), expected, "{every} from {path}");
    }
}

/// Proves IL6.
#[test]
fn a_cursor_without_a_word_on_late_rows_is_warned_of() {
    for (window, expected) in [
        ("{ every: 1h, start: 2024-01-01 }", vec!["warning WR-W005 8:76"]),
        ("{ every: 1h, start: 2024-01-01, lag: 5m }", vec![]),
        ("{ every: 1h, start: 2024-01-01, lookback: 1 }", vec![]),
        // Nothing comes late to windows that ended before now, 2024-06-01.
        ("{ every: 1h, start: 2024-01-01, end: 2024-02-01 }", vec![]),
        ("{ every: 1h, start: 2024-01-01, end: 2024-07-01 }", vec!["warning WR-W005 8:76"]),
        ("{ every: 1h, start: 2024-01-01, end: 2024-06-01T01:00, timezone: Europe/Paris }", vec![]),
        ("{ every: 1h, start: 2024-01-01, end: 2024-06-01T01:00 }", vec!["warning WR-W005 8:76"]),
    ] {
        let loaded = load(&SOUND.replace(WINDOW, window));
        assert_eq!(found(&loaded), expected, "{window}");
        assert!(!loaded.failed());
    }
}

#[test]
fn windows_with_objects_of_their_own_are_planned_one_by_one() {
    let templated = SOUND.replace("path: visits.csv", "path: 'v/{window.start:%F}/{window.start:%H}.csv'");
    let per_task = |text: &str| load(text).pipelines[0].window.as_ref().unwrap().per_task;
    assert_eq!((per_task(SOUND), per_task(&templated)), (1_000, 1));
    let with = |text: &str, count: &str| text.replace("lag: 5m }", &format!("lag: 5m, per_task: {count} }}"));
    assert_eq!(found(&load(&with(&templated, "1"))), Vec::<String>::new());
    assert_eq!(found(&load(&with(&templated, "2"))), ["error WR-P009 9:64"]);
    assert_eq!(per_task(&with(SOUND, "2")), 2);
}

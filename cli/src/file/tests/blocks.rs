//! Keys and values of the file's own blocks.

use windrow_common::{
    manifest::WriteMode,
    pipeline::{Every, Pattern, TransformStep},
    readiness::Condition,
};

use super::{SOUND, check, found, load};

#[test]
fn keys_that_are_unknown_missing_or_given_twice_are_found_where_they_stand() {
    check(&[
        ("version: 1\n", "", &["error WR-P005 1:1"]),
        ("version: 1", "version: 2", &["error WR-P006 1:10"]),
        ("version: 1", "version: 1\nconections: {}", &["error WR-P003 2:1"]),
        ("pattern: incremental", "patern: incremental", &["error WR-P005 6:3", "error WR-P003 7:5"]),
        ("    pattern: full\n", "", &["error WR-P005 11:3"]),
        ("from: here, ", "", &["error WR-P005 8:5"]),
        ("to: lake, format: delta, ", "", &["error WR-P005 10:5", "error WR-P005 10:5"]),
        ("every: 1h, ", "", &["error WR-P005 9:5"]),
        ("lag: 5m", "lag: 5m, lagg: 6m", &["error WR-P003 9:54"]),
        ("lag: 5m", "lag: 5m, lag: 6m", &["error WR-P004 9:54"]),
        ("  devices:\n", "  visits:\n", &["error WR-P004 11:3"]),
        ("root: /data }", "root: /data, root: /other }", &["error WR-P004 3:37"]),
        ("cursor: at }", "cursor: at, sheet: 2 }", &["error WR-P003 8:80"]),
        ("path: visits }", "path: visits, partition: [a] }", &["error WR-P003 10:52"]),
        ("root: /lake", "rot: /lake", &["error WR-P003 4:24"]),
    ]);
}

#[test]
fn values_of_the_wrong_type_or_form_are_found_where_they_stand() {
    check(&[
        ("pattern: incremental", "pattern: sideways", &["error WR-P006 7:14"]),
        ("every: 1h", "every: 1 hour", &["error WR-P006 9:22"]),
        ("every: 1h", "every: 5", &["error WR-P006 9:22"]),
        ("start: 2024-01-01", "start: 2024-13-01", &["error WR-P006 9:33"]),
        ("lag: 5m", "lag: 5", &["error WR-P006 9:50"]),
        ("lag: 5m", "lag: 5m, lookback: -1", &["error WR-P006 9:64"]),
        ("lag: 5m", "lag: 5m, per_task: 0", &["error WR-P006 9:64"]),
        ("from: here", "from: [here]", &["error WR-P006 8:21"]),
        ("type: csv }", "type: csv, nulls: NA }", &["error WR-P006 8:73"]),
        ("type: csv }", "type: csv, nulls: [NA, 5] }", &["error WR-P006 8:78"]),
    ]);
}

#[test]
fn all_mistakes_of_a_file_are_found_in_one_run() {
    let text = SOUND
        .replace("every: 1h", "every: soon")
        .replace("lag: 5m", "lag: long, lookback: some, latency: 1s")
        .replace("format: delta, path: devices", "format: dleta, path: devices")
        .replace("path: devices.csv", "path: devices.csv, cursor: at");
    let expected = [
        "error WR-P006 9:22",
        "error WR-P006 9:52",
        "error WR-P006 9:68",
        "error WR-P003 9:74",
        "error WR-P009 13:54",
        "error WR-P008 14:31",
    ];
    assert_eq!(found(&load(&text)), expected);
}

#[test]
fn blocks_that_are_no_blocks_are_found() {
    for (text, expected) in [
        ("", vec!["error WR-P006 1:1"]),
        ("- a\n- b\n", vec!["error WR-P006 1:1"]),
        ("version: 1\nconnections: [a]\n", vec!["error WR-P006 2:1"]),
        ("version: 1\npipelines: { a: 5 }\n", vec!["error WR-P006 2:14"]),
        ("version: 1\ndefaults: x\n", vec!["error WR-P006 2:1"]),
        ("version: 1\nconnections:\npipelines:\n", vec![]),
        ("version: 1\nconnections: { a: { type: local }\n", vec!["error WR-P002 2:14"]),
    ] {
        assert_eq!(found(&load(text)), expected, "{text:?}");
    }
}

#[test]
fn names_that_no_key_or_metric_could_carry_are_refused() {
    check(&[("  visits:\n", "  my visits:\n", &["error WR-P006 6:3"])]);
}

#[test]
fn a_mistyped_key_or_name_is_answered_with_the_one_that_was_meant() {
    for (from, to, fix) in [
        ("pattern: full", "patern: full", "write `pattern`"),
        ("from: here", "from: heer", "write `here`"),
        ("format: delta", "format: detla", "write `delta`"),
        ("type: local", "type: locla", "write `local`"),
        ("lag: 5m", "lookbak: 2", "write `lookback`"),
        ("cursor: at", "curser: at", "write `cursor`"),
    ] {
        let loaded = load(&SOUND.replacen(from, to, 1));
        let fixes: Vec<_> = loaded.diagnostics.iter().filter_map(|found| found.fix.as_deref()).collect();
        assert!(fixes.contains(&fix), "{to}: {fixes:?}");
    }
}

#[test]
fn a_pipeline_gets_its_defaults_and_keeps_its_own() {
    let defaults = "defaults:\n  timezone: Europe/Paris\n  retries: { attempts: 9, backoff: 3s }\n";
    let text = SOUND.replace("pipelines:", &format!("{defaults}pipelines:")).replace(
        "    sink: { to: lake, format: delta, path: visits }",
        "    sink: { to: lake, format: delta, path: visits }\n    retries: { backoff: 7s }\n    limits: { concurrency: 2 }",
    );
    let loaded = load(&text);
    assert_eq!(found(&loaded), Vec::<String>::new());
    let [visits, devices] = &loaded.pipelines[..] else { unreachable!() };
    assert_eq!((visits.pattern, devices.pattern), (Pattern::Incremental, Pattern::Full));
    assert_eq!((visits.sink.write, devices.sink.write), (WriteMode::ReplaceWindow, WriteMode::ReplaceAll));
    assert_eq!((visits.retries.attempts, devices.retries.attempts), (9, 9));
    assert_eq!((visits.retries.backoff.to_string(), devices.retries.backoff.to_string()), ("7s".into(), "3s".into()));
    assert_eq!((visits.limits.concurrency, devices.limits.concurrency), (2, 8));
    let window = visits.window.as_ref().unwrap();
    assert_eq!(
        (window.every, window.timezone.as_str()),
        (Every::Elapsed(std::time::Duration::from_secs(3600)), "Europe/Paris")
    );
    assert_eq!(visits.source.params["format"], serde_json::json!({ "type": "csv" }));
}

#[test]
fn a_mistake_in_the_defaults_is_reported_once() {
    let defaults = "defaults:\n  timezone: Europe/Paros\n  retries: { attempts: many }\npipelines:";
    let loaded = load(&SOUND.replace("pipelines:", defaults));
    assert_eq!(found(&loaded), ["error WR-W001 6:13", "error WR-P006 7:24"]);
}

#[test]
fn transform_is_a_list_of_known_steps() {
    let transform =
        |steps: &str| SOUND.replace("    pattern: full", &format!("    pattern: full\n    transform: {steps}"));
    let loaded = load(&transform("[{ sql: SELECT 1 }, { sql: SELECT 2 }]"));
    let steps = [TransformStep::Sql("SELECT 1".to_owned()), TransformStep::Sql("SELECT 2".to_owned())];
    assert_eq!(loaded.pipelines[1].transform, steps);
    for (steps, expected) in [
        ("SELECT 1", "error WR-P006 13:5"),
        ("[SELECT 1]", "error WR-P006 13:17"),
        ("[{ drop: [a] }]", "error WR-P003 13:19"),
        ("[{ sql: 5 }]", "error WR-P006 13:24"),
        ("[{ sql: a, also: b }]", "error WR-P006 13:17"),
    ] {
        assert_eq!(found(&load(&transform(steps))), [expected], "{steps}");
    }
}

#[test]
fn bounds_that_allow_nothing_are_refused() {
    for (line, expected) in [
        ("retries: { attempts: 0 }", "error WR-P006 8:26"),
        ("retries: { backoff: 10m, max_backoff: 1m }", "error WR-P009 8:43"),
        ("limits: { concurrency: 0 }", "error WR-P006 8:28"),
        ("limits: { max_rejected: 5 }", "error WR-P006 8:29"),
        ("limits: { memory: lots }", "error WR-P006 8:23"),
        ("limits: { deadline: 1 day }", "error WR-P006 8:25"),
    ] {
        let text = SOUND.replace("    pattern: incremental\n", &format!("    pattern: incremental\n    {line}\n"));
        assert_eq!(found(&load(&text)), [expected], "{line}");
    }
}

#[test]
fn a_policy_on_columns_is_one_the_sink_can_follow() {
    let with =
        |line: &str| SOUND.replace("    pattern: incremental\n", &format!("    pattern: incremental\n    {line}\n"));
    for (line, expected) in [
        ("schema: { new_column: evolve, type_change: discard_value }", None),
        ("schema: { new_column: evolf }", Some("error WR-P006 8:27")),
        ("schema: { new_columns: evolve }", Some("error WR-P003 8:15")),
        ("schema: { type_change: evolve }", Some("error WR-K006 8:28")),
        ("schema: { new_column: discard_row }", Some("error WR-P009 8:27")),
        ("schema: { new_column: discard_row }\n    limits: { max_rejected: 0.1 }", None),
    ] {
        assert_eq!(found(&load(&with(line))), expected.into_iter().collect::<Vec<_>>(), "{line}");
    }
    let loaded = load(&with("schema: { type_change: evolve }"));
    assert_eq!(loaded.diagnostics[0].fix.as_deref(), Some("it can freeze, discard_row, discard_value"));
}

#[test]
fn a_policy_of_the_defaults_is_held_against_every_sink() {
    let loaded = load(&SOUND.replace("pipelines:", "defaults:\n  schema: { type_change: evolve }\npipelines:"));
    assert_eq!(found(&loaded), ["error WR-K006 8:3"]);
    let own = "    pattern: incremental\n    schema: { type_change: freeze }\n";
    let text = SOUND
        .replace("pipelines:", "defaults:\n  schema: { type_change: evolve }\npipelines:")
        .replace("    pattern: incremental\n", own);
    assert_eq!(found(&load(&text)), Vec::<String>::new());
}

#[test]
fn what_a_window_waits_for_is_something_its_source_can_tell() {
    let by_path =
        SOUND.replace("path: visits.csv, format: { type: csv }, cursor: at", "path: \"{window.start:%H}/a.csv\"");
    let with = |text: &str, line: &str| {
        found(&load(&text.replace("    pattern: incremental\n", &format!("    pattern: incremental\n    {line}\n"))))
    };
    for (line, expected) in [
        ("readiness: { require: { all: [{ marker: _SUCCESS }] } }", vec![]),
        ("readiness: { require: { any: [{ marker: a }, { next_partition: true }] } }", vec!["error WR-P009 8:50"]),
        ("readiness: { require: { any: [{ next_partition: false }] } }", vec!["error WR-P006 8:53"]),
        ("readiness: { require: { marker: a } }", vec!["error WR-P006 8:37"]),
    ] {
        assert_eq!(with(&by_path, line), expected, "{line}");
    }
    let cursor = with(SOUND, "readiness: { require: { all: [{ marker: _SUCCESS }] } }");
    assert_eq!(cursor, ["error WR-P009 8:18"]);
}

#[test]
fn what_a_window_waits_for_of_other_pipelines_no_source_has_to_tell() {
    let with = |line: &str| {
        found(&load(&SOUND.replace("    pattern: incremental\n", &format!("    pattern: incremental\n    {line}\n"))))
    };
    for (line, expected) in [
        ("readiness: { require: { all: [{ pipeline: shop }], timeout: 6h, then: fail } }", vec![]),
        ("readiness: { require: { any: [{ pipeline: shop }, { pipeline: other }] } }", vec![]),
        ("readiness: { require: { any: [{ pipeline: shop }, { marker: a }] } }", vec!["error WR-P009 8:18"]),
        ("readiness: { require: { all: [{ pipeline: visits }] } }", vec!["error WR-P009 8:35"]),
        ("readiness: { require: { then: go } }", vec!["error WR-P009 8:35"]),
        ("readiness: { require: { all: [{ pipeline: \"no name\" }] } }", vec!["error WR-P006 8:47"]),
        ("readiness: { late: refuse }", vec![]),
    ] {
        assert_eq!(with(line), expected, "{line}");
    }
}

/// Proves RM9. What a source cannot tell is not promised.
#[test]
fn what_becomes_of_late_rows_is_refused_where_it_cannot_be_had() {
    let by_path = SOUND
        .replace("path: visits.csv", "path: \"{window.start:%FT%H}/visits.csv\"")
        .replace(", cursor: at", "")
        .replace("lag: 5m", "audit_after: 6h");
    let with = |text: &str, late: &str| {
        let line = format!("    pattern: incremental\n    readiness: {{ late: {late} }}\n");
        load(&text.replace("    pattern: incremental\n", &line))
    };
    let aside = "{ aside: { path: visits_late } }";
    for late in ["reopen", "quarantine", aside] {
        assert_eq!(found(&with(&by_path, late)), Vec::<String>::new(), "{late}");
    }
    let loaded = with(&by_path, aside);
    let names: Vec<&str> = loaded.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(names, ["visits", "visits.late", "devices"]);
    let (own, late) = (&loaded.pipelines[0], &loaded.pipelines[1]);
    assert_eq!((late.sink.params["path"].as_str(), &late.source), (Some("visits_late"), &own.source));
    assert_eq!(late.beside.as_ref().map(|beside| (&beside.of, &beside.sink)), Some((&own.name, &own.sink)));
    assert_eq!(late.window.as_ref().unwrap().audit_after, None);
    for (late, expected) in [
        ("refuse", "error WR-P009 10:58"),
        ("aside", "error WR-P006 8:24"),
        ("{ aside: { path: visits } }", "error WR-P009 8:18"),
        ("{ aside: { path: visits/late } }", "error WR-P009 8:18"),
        ("{ aside: { table: visits_late } }", "error WR-P009 8:18"),
        ("{ aside: {} }", "error WR-P009 8:18"),
    ] {
        assert_eq!(found(&with(&by_path, late)), [expected], "{late}");
    }
    let unseen = by_path.replace(", audit_after: 6h", "");
    for (late, expected) in [("quarantine", "error WR-P005 8:24"), (aside, "error WR-P005 8:18")] {
        assert_eq!(found(&with(&unseen, late)), [expected], "{late}");
    }
}

#[test]
fn what_is_looked_at_is_behind_a_connection_that_can_be_looked_at() {
    let with = |conditions: &str| {
        let line = format!("    pattern: incremental\n    readiness: {{ require: {{ all: [{conditions}] }} }}\n");
        load(&SOUND.replace("    pattern: incremental\n", &line))
    };
    let sound = with("{ delta: { from: lake, path: orders, after_end: true } }");
    assert_eq!(found(&sound), Vec::<String>::new());
    let Some(Condition::Delta(wanted)) = sound.pipelines[0].readiness.require.all.first() else { panic!() };
    assert_eq!(wanted.from.connection().map(|connection| connection.kind.as_str()), Some("local"));
    for (condition, expected) in [
        ("{ delta: { from: lake, path: orders } }", "error WR-P009 8:37"),
        ("{ delta: { from: lake, path: orders, version: 1, after_end: true } }", "error WR-P009 8:37"),
        ("{ delta: { from: lakes, path: orders, version: 1 } }", "error WR-P007 8:37"),
        ("{ sql: { from: lake, query: SELECT true } }", "error WR-P009 8:37"),
    ] {
        assert_eq!(found(&with(condition)), [expected], "{condition}");
    }
}

#[test]
fn markers_are_refused_where_they_stand() {
    let with = |line: &str, window: &str| {
        let text = SOUND.replace("    pattern: incremental\n", &format!("    pattern: incremental\n    {line}\n"));
        load(&text.replace("lag: 5m", window))
    };
    let by_hour = "readiness: { publish: { marker: \"{window.start:%FT%H}\", folder: told } }";
    let loaded = with(by_hour, "lag: 5m");
    assert_eq!(found(&loaded), Vec::<String>::new());
    assert_eq!(loaded.pipelines[0].window.as_ref().unwrap().per_task, 1, "each has a marker of its own");
    assert_eq!(found(&with(by_hour, "lag: 5m, per_task: 10")), ["error WR-P009 10:64"]);
    for (line, expected) in [
        ("readiness: { publish: { marker: \"{window.start:%FT%H}\" } }", "error WR-P005 8:18"),
        ("readiness: { publish: { marker: _SUCCESS, folder: told } }", "error WR-P009 8:37"),
        ("readiness: { publish: { marker: \"{window.start}\", folder: told } }", "error WR-K060 8:37"),
        ("readiness: { publish: { folder: told } }", "error WR-P006 8:18"),
        ("readiness: { publish: { marker: \"{window.start:%FT%H}\", file: told } }", "error WR-P006 8:67"),
    ] {
        assert_eq!(found(&with(line, "lag: 5m")), [expected], "{line}");
    }
}

//! Connections, secrets, and what connectors say of their parameters.

use super::{SOUND, check, file, found, load, options};
use crate::file::{Connectors, Options, parse};

#[test]
fn connections_and_connectors_that_do_not_exist_are_found() {
    check(&[
        ("from: here", "from: nowhere", &["error WR-P007 8:21"]),
        ("to: lake", "to: pond", &["error WR-P007 10:17"]),
        ("type: local", "type: ftp", &["error WR-P008 3:17"]),
        ("format: delta, path: visits", "format: xlsx, path: visits", &["error WR-P008 10:31"]),
        ("lake: { type: local, root: /lake }", "lake: { type: s3, root: s3://lake }\n  x: { type: synthetic }", &[]),
    ]);
    let text = SOUND.replace("{ type: local, root: /data }", "{ type: synthetic }");
    assert_eq!(found(&load(&text)), ["error WR-P008 8:21", "error WR-P008 13:21"]);
    let text = SOUND
        .replace("{ type: local, root: /lake }", "{ type: s3, root: s3://lake }")
        .replace("format: delta, path: visits", "format: parquet, path: visits");
    assert_eq!(found(&load(&text)), ["error WR-P008 10:17"]);
}

#[test]
fn an_error_in_a_connection_is_reported_once_however_many_use_it() {
    check(&[("root: /data", "root: 5", &["error WR-P006 3:30"])]);
}

#[test]
fn what_a_connector_says_is_shown_where_the_parameter_stands() {
    check(&[
        ("path: visits.csv", "path: gone", &["error WR-S001 8:33"]),
        ("path: visits.csv, format: { type: csv }", "path: visits.csv, format: { type: 5 }", &["error WR-P006 8:61"]),
        ("path: visits }", "path: visits, partition_by: day }", &["error WR-P006 10:66"]),
    ]);
    // Both pipelines read from it: one place, one report.
    check(&[("root: /data", "root: /gone", &["error WR-S001 3:30"])]);
}

#[test]
fn a_missing_source_is_only_a_warning_where_the_pipeline_does_not_run() {
    let mut elsewhere = options();
    elsewhere.runs_here = false;
    let loaded = parse(vec![file("p.yaml", &SOUND.replace("path: visits.csv", "path: gone"))], &elsewhere);
    assert_eq!(found(&loaded), ["warning WR-S001 8:33"]);
    assert!(!loaded.failed());
    assert_eq!(loaded.pipelines.len(), 2);
}

#[test]
fn what_a_sink_cannot_do_is_refused() {
    check(&[
        ("format: delta, path: visits", "format: csv, path: visits, write: append", &["error WR-K006 10:57"]),
        ("format: delta, path: visits", "format: csv, path: visits, partition_by: [a]", &["error WR-K006 10:64"]),
        ("format: delta, path: visits", "format: delta, path: visits, partition_by: [a]", &[]),
        ("format: delta, path: visits", "format: delta, path: visits, write: append", &[]),
    ]);
}

#[test]
fn looking_at_a_pipeline_leaves_no_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("lake");
    let text = SOUND.replace("/lake", root.to_str().unwrap()).replace("path: visits }", "path: made/on/opening }");
    assert_eq!(found(&load(&text)), Vec::<String>::new());
    assert!(!root.exists());
    std::fs::create_dir_all(root.join("made")).unwrap();
    load(&text);
    assert!(root.join("made").exists() && !root.join("made/on").exists());
}

#[test]
fn a_secret_in_the_file_is_refused_and_never_shown() {
    for (connection, expected) in [
        ("{ type: s3, root: s3://lake, secret_access_key: hunter2 }", "error WR-P011 4:57"),
        ("{ type: s3, root: s3://lake, session_token: hunter2 }", "error WR-P011 4:53"),
        ("{ type: s3, root: 's3://me:hunter2@lake' }", "error WR-P011 4:27"),
    ] {
        let loaded = load(&SOUND.replace("{ type: local, root: /lake }", connection));
        assert_eq!(found(&loaded), [expected], "{connection}");
        let shown = crate::show::diagnostics::render(&loaded, crate::show::Style::plain());
        assert!(shown.contains("*****") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn secrets_by_reference_stay_references() {
    let connection = "{ type: s3, root: s3://lake, access_key_id: AKIA, secret_access_key: '${env:PATH}' }";
    let loaded = load(&SOUND.replace("{ type: local, root: /lake }", connection));
    assert_eq!(found(&loaded), Vec::<String>::new());
    assert_eq!(loaded.pipelines[0].sink.to.params["secret_access_key"], "${env:PATH}");
}

#[test]
fn references_that_lead_nowhere_are_warned_of_and_malformed_ones_refused() {
    for (value, expected) in [
        ("${env:WINDROW_NO_SUCH_VARIABLE}", "warning WR-P010 4:57"),
        ("${file:/no/such/file}", "warning WR-P010 4:57"),
        ("${vault:lake/key}", "error WR-P010 4:57"),
        ("${env:}", "error WR-P010 4:57"),
        ("prefix-${env:PATH}", "error WR-P010 4:57"),
    ] {
        let connection = format!("{{ type: s3, root: s3://lake, secret_access_key: '{value}' }}");
        let loaded = load(&SOUND.replace("{ type: local, root: /lake }", &connection));
        assert_eq!(found(&loaded), [expected], "{value}");
    }
}

#[test]
fn a_header_may_say_more_than_its_secret_and_never_the_secret_itself() {
    for (headers, expected) in [
        ("authorization: 'Bearer ${env:PATH}', x-shop: eu", None),
        ("authorization: 'Bearer abc'", Some("error WR-P011 4:63")),
        ("x-api-key: abc", Some("error WR-P011 4:59")),
        ("x-shop: 'a ${env:PATH} b ${file:/no/such/file}'", Some("warning WR-P010 4:56")),
        ("x-shop: 'a ${env:PATH'", Some("error WR-P010 4:56")),
    ] {
        let connection = format!("{{ type: local, root: /lake, headers: {{ {headers} }} }}");
        let found = found(&load(&SOUND.replace("{ type: local, root: /lake }", &connection)));
        let about_secrets: Vec<_> = found.iter().filter(|line| line.contains("WR-P01")).map(String::as_str).collect();
        assert_eq!(about_secrets, expected.into_iter().collect::<Vec<_>>(), "{headers}: {found:?}");
    }
}

#[test]
fn a_column_may_be_called_like_a_secret() {
    check(&[("path: visits.csv,", "path: visits.csv, schema: { token: string, password: string },", &[])]);
}

#[test]
fn a_relative_root_starts_at_the_file() {
    for (root, expected) in [("root: lake", "/etl/lake"), ("root: ../lake", "/lake"), ("root: ./a/./b", "/etl/a/b")] {
        let loaded = load(&SOUND.replace("root: /lake", root));
        assert_eq!(loaded.pipelines[0].sink.to.params["root"], expected);
    }
    let loaded = load(&SOUND.replace(", root: /lake", ""));
    assert_eq!(loaded.pipelines[0].sink.to.params["root"], "/etl");
    let loaded = load(&SOUND.replace("{ type: local, root: /lake }", "{ type: s3, root: s3://lake }"));
    assert_eq!(loaded.pipelines[0].sink.to.params["root"], "s3://lake");
}

#[test]
fn two_that_write_one_place_must_not_replace_each_other() {
    check(&[("path: devices }", "path: visits }", &["error WR-P009 14:44"])]);
}

#[test]
fn a_single_value_where_a_list_is_due_is_answered_with_a_list() {
    let loaded = load(&SOUND.replace("type: csv }", "type: csv, nulls: NA }"));
    let found = &loaded.diagnostics[0];
    assert_eq!(found.message, "`format.nulls`: invalid type: string \"NA\", expected a list");
    assert_eq!(found.fix.as_deref(), Some("write a list: [..]"));
}

#[test]
fn a_sink_that_keeps_no_files_says_where_its_rows_wait() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("staging");
    let said = |sink: &str| {
        let text = format!(
            "version: 1
connections:
  made: {{ type: synthetic }}
  lake: {{ type: local, root: {} }}
  shop: {{ type: postgres, url: postgres://loader@127.0.0.1/shop }}
pipelines:
  rows:
    pattern: incremental
    source: {{ from: made, rows_per_second: 1, cursor: ts }}
    window: {{ every: 1h, start: 2024-01-01, lag: 5m }}
    sink: {{ {sink} }}
",
            root.display()
        );
        found(&parse(vec![file("p.yaml", &text)], &Options { connectors: Connectors::all(), ..options() }))
    };
    let table = "to: shop, format: postgres, table: rows";
    assert_eq!(said(&format!("{table}, staging: lake")), Vec::<String>::new());
    assert!(!root.exists());
    assert_eq!(said(table), ["error WR-P005 11:5"]);
    assert_eq!(said(&format!("{table}, staging: shop")), ["error WR-P008 11:63"]);
    assert_eq!(said(&format!("{table}, staging: pond")), ["error WR-P007 11:63"]);
    assert_eq!(said("to: lake, format: delta, path: rows, staging: lake"), ["error WR-P003 11:50"]);
    assert_eq!(said(&format!("{table}, path: x, staging: lake")), ["error WR-P003 11:54"]);
}

#[test]
fn what_may_be_asked_of_a_place_is_read_and_nothing_like_it() {
    let with = |limits: &str| {
        load(
            &SOUND
                .replace("{ type: local, root: /data }", &format!("{{ type: local, root: /data, limits: {limits} }}")),
        )
    };
    for wrong in ["{ connections: 0 }", "{ rows_per_s: -1 }", "{ connection: 4 }", "4"] {
        let found = found(&with(wrong));
        assert!(found.len() == 1 && found[0].starts_with("error WR-P0"), "{wrong}: {found:?}");
    }
    let loaded = with("{ connections: 4, rows_per_s: 50000 }");
    assert_eq!(found(&loaded), Vec::<String>::new());
    let limits = loaded.pipelines[0].source.from.limits;
    assert_eq!(
        (limits.connections.map(Into::into), limits.rows_per_s.map(Into::into)),
        (Some(4_u32), Some(50_000_u32))
    );
}

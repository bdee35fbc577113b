//! The policies at sinks of files: Delta tables and folders of Parquet, JSON and CSV, read by readers that are not ours.

use std::path::PathBuf;

use windrow_tests::{
    process::{ran, run_json},
    reader,
    skip::skip,
};

use super::{Days, FIRST, FIRST_ROWS, SECOND, SECOND_ROWS, Said, dead_letters};

const FORMATS: [&str; 4] = ["delta", "parquet", "json", "csv"];
const LIMITS: &str = "    limits: { max_rejected: 0.9 }\n";
const FREE: &str = "    limits: { max_rejected: 0 }\n";

fn python(test: &str) -> Option<PathBuf> {
    reader::python().map_err(|reason| skip(test, &reason)).ok()
}

fn ask(days: &Days, python: &std::path::Path, format: &str, query: &str) -> String {
    reader::ask(python, (format, &days.path().join("lake")), query, None).unwrap()
}

fn totals(days: &Days) -> (u64, u64) {
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", days.arg()]).unwrap();
    let count = |key: &str| pipelines[0][key].as_u64().unwrap();
    (count("rows_rejected"), count("values_discarded"))
}

#[test]
fn without_a_policy_a_new_column_stops_the_run_and_is_named() {
    let Some(python) = python("without_a_policy_a_new_column_stops_the_run_and_is_named") else { return };
    for format in FORMATS {
        for policy in ["", "    schema: { new_column: freeze, type_change: freeze }\n"] {
            let days = Days::of(format);
            let (code, text) = days.second_day(policy);
            assert_eq!(code, Some(4), "{format}: {text}");
            assert!(text.contains("WR-K004") && (text.contains("\"extra\"") || text.contains("\"id\"")), "{text}");
            assert_eq!(ask(&days, &python, format, "SELECT id FROM t"), "1", "{format}");
        }
    }
}

#[test]
fn a_table_gets_a_new_column_and_old_rows_have_null_in_it() {
    let Some(python) = python("a_table_gets_a_new_column_and_old_rows_have_null_in_it") else { return };
    for format in ["delta", "parquet", "json"] {
        let days = Days::of(format);
        let policy = format!("    schema: {{ new_column: evolve, type_change: discard_value }}\n{FREE}");
        let (code, text) = days.second_day(&policy);
        assert_eq!(code, Some(0), "{format}: {text}");
        assert!(text.contains("1 value did not fit the table"), "{format}: {text}");
        let found = ask(&days, &python, format, "SELECT id, extra FROM t ORDER BY id NULLS LAST, extra");
        assert_eq!(found, "1|\n2|\n4|x\n|", "{format}");
        assert_eq!(totals(&days), (0, 1), "{format}");

        // The column is there now: rows without it have null, and a window loaded again replaces the old rows.
        days.declare(
            Said { columns: "id: int32, at: timestamp", days: 3, policy: &policy },
            &format!("{FIRST_ROWS}5,2024-01-03T08:00:00Z\n"),
        );
        let (code, text) = days.run();
        assert_eq!(code, Some(0), "{format}: {text}");
        let found = ask(&days, &python, format, "SELECT id, extra FROM t ORDER BY id NULLS LAST, extra");
        assert_eq!(found, "1|\n2|\n4|x\n5|\n|", "{format}");
    }
}

#[test]
fn rows_that_do_not_fit_go_to_the_dead_letters_with_their_reason() {
    let Some(python) = python("rows_that_do_not_fit_go_to_the_dead_letters_with_their_reason") else { return };
    for format in FORMATS {
        let days = Days::of(format);
        let policy = format!("    schema: {{ new_column: discard_row, type_change: discard_row }}\n{LIMITS}");
        let (code, text) = days.second_day(&policy);
        assert_eq!(code, Some(0), "{format}: {text}");
        assert!(text.contains("2 rows were rejected"), "{format}: {text}");
        assert_eq!(ask(&days, &python, format, "SELECT * EXCLUDE (\"at\") FROM t ORDER BY id"), "1\n2", "{format}");
        assert_eq!(totals(&days), (2, 0), "{format}");
        let letters = dead_letters(days.path());
        let reasons: Vec<_> = letters.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(
            reasons,
            ["column \"extra\": the table has no such column", "column \"id\": \"3000000000\" does not fit Int32",],
            "{format}"
        );
        assert!(letters[0].1.contains("\"extra\":\"x\"") && letters[1].1.contains("3000000000"), "{letters:?}");
    }
}

#[test]
fn more_rows_than_the_limit_allows_are_not_discarded() {
    let days = Days::of("delta");
    let policy =
        "    schema: { new_column: discard_row, type_change: discard_row }\n    limits: { max_rejected: 0.5 }\n";
    let (code, text) = days.second_day(policy);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("WR-S008") && text.contains("2 of 3 rows"), "{text}");
}

#[test]
fn values_that_do_not_fit_are_left_out_and_counted() {
    let Some(python) = python("values_that_do_not_fit_are_left_out_and_counted") else { return };
    for format in FORMATS {
        let days = Days::of(format);
        let policy = format!("    schema: {{ new_column: discard_value, type_change: discard_value }}\n{FREE}");
        let (code, text) = days.second_day(&policy);
        assert_eq!(code, Some(0), "{format}: {text}");
        assert!(text.contains("2 values did not fit the table"), "{format}: {text}");
        let found = ask(&days, &python, format, "SELECT * EXCLUDE (\"at\") FROM t ORDER BY id NULLS LAST");
        assert_eq!(found, "1\n2\n4", "{format}: {found}");
        assert_eq!(ask(&days, &python, format, "SELECT count(*), count(id) FROM t"), "4|3", "{format}");
        assert_eq!(totals(&days), (0, 2), "{format}");
        assert!(dead_letters(days.path()).is_empty());
    }
}

/// Rows of a narrower type fit a table of the wider one without any policy.
#[test]
fn a_narrower_type_fits_a_wider_column() {
    let Some(python) = python("a_narrower_type_fits_a_wider_column") else { return };
    for format in ["delta", "parquet"] {
        let days = Days::of(format);
        days.declare(Said { columns: "id: int, at: timestamp", ..FIRST }, FIRST_ROWS);
        assert_eq!(days.run().0, Some(0));
        days.declare(
            Said { columns: "id: int32, at: timestamp", days: 2, policy: "" },
            &format!("{FIRST_ROWS}2,2024-01-02T08:00:00Z\n"),
        );
        let (code, text) = days.run();
        assert_eq!(code, Some(0), "{format}: {text}");
        assert_eq!(ask(&days, &python, format, "SELECT id FROM t ORDER BY id"), "1\n2", "{format}");
    }
}

/// A full load under `evolve` brings its columns with it, in one version; the version before keeps its own.
#[test]
fn a_full_load_may_bring_other_columns_and_types() {
    let Some(python) = python("a_full_load_may_bring_other_columns_and_types") else { return };
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (path, arg) = (folder.path(), folder.path().to_str().unwrap());
        let declare = |columns: &str, rows: &str, policy: &str| {
            std::fs::write(path.join("rows.csv"), rows).unwrap();
            let text = format!(
                "version: 1\nconnections:\n  here: {{ type: local, root: . }}\npipelines:\n  all:\n    pattern: full\n    \
                 source: {{ from: here, path: rows.csv, format: csv, schema: {{ {columns} }} }}\n    \
                 sink: {{ to: here, format: {format}, path: lake }}\n{policy}"
            );
            std::fs::write(path.join("pipelines.yaml"), text).unwrap();
        };
        let again = |request: &str| {
            ran(&["backfill", "create", "all", "--reprocess", "all", "--request-id", request, "--local", arg]).unwrap()
        };
        let ask = |query: &str, version| reader::ask(&python, (format, &path.join("lake")), query, version).unwrap();
        declare("id: int, gone: int", "id,gone\n1,9\n", "");
        assert_eq!(ran(&["run", arg]).unwrap().0, Some(0));

        declare("id: string, new: float", "id,new\none,1.5\n", "");
        let _ = ran(&["run", arg]).unwrap();
        let (code, text) = again("frozen");
        assert_eq!(code, Some(4), "{format}: {text}");
        assert!(text.contains("WR-K004"), "{format}: {text}");
        assert_eq!(ask("SELECT id, gone FROM t", None), "1|9", "{format}");

        declare(
            "id: string, new: float",
            "id,new\none,1.5\n",
            "    schema: { new_column: evolve, type_change: evolve }\n",
        );
        let _ = ran(&["run", arg]).unwrap();
        let (code, text) = again("evolving");
        assert_eq!(code, Some(0), "{format}: {text}");
        assert_eq!(ask("SELECT id, gone, new FROM t", None), "one||1.5", "{format}");
        if format == "delta" {
            assert_eq!(ask("SELECT id, gone FROM t", Some(1)), "1|9", "the version before is as it was");
        }
    }
}

#[test]
fn a_policy_the_sink_cannot_follow_is_refused_before_anything_runs() {
    let validated = |days: &Days, policy: &str| {
        days.declare(Said { columns: SECOND, days: 1, policy }, SECOND_ROWS);
        ran(&["validate", days.arg()]).unwrap()
    };
    for (format, key, word) in
        [("delta", "type_change", "evolve"), ("parquet", "type_change", "evolve"), ("csv", "new_column", "evolve")]
    {
        let (code, text) = validated(&Days::of(format), &format!("    schema: {{ {key}: {word} }}\n"));
        assert_eq!(code, Some(2), "{format}: {text}");
        assert!(text.contains("WR-K006") && text.contains(&format!("cannot `{key}: {word}`")), "{format}: {text}");
    }
    let (code, text) = validated(&Days::of("json"), "    schema: { new_column: discard_row }\n");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("WR-P009") && text.contains("max_rejected"), "{text}");
}

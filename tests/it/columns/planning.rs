//! What `windrow plan` says of types, held against a database and against what a run makes of them.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;
use windrow_tests::{
    postgres::Postgres,
    process::{ran, run, run_json},
    reader,
    skip::skip,
};

const TABLE: &str = "
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE odd (
    id bigint PRIMARY KEY, name varchar(20), price numeric(12,2), amount numeric, doc jsonb, plain json, mood mood,
    mail email, span interval, during int4range, address inet, key uuid, tags text[], at timestamptz, seen timestamp, opens time
);
INSERT INTO odd VALUES (1, 'a', 1.50, 12345678901234567890.123, '{\"b\": 1, \"a\": 2}', '{}', 'happy', 'x@y', '1 day', '[1,5)',
    '10.0.0.1', '6b51c6e2-3f1a-4f0e-8a63-0a5a3f2f1c11', '{a,b}', '2024-01-01T00:00:00Z', '2024-01-01 10:00', '10:00');
";

/// A pipeline that loads the table into a Delta table; the database's address is in a file.
fn declare(folder: &Path, postgres: &Postgres, more: &str) {
    let url = folder.join("url");
    fs::write(&url, postgres.url()).unwrap();
    let text = format!(
        "version: 1
connections:
  here: {{ type: local, root: . }}
  shop: {{ type: postgres, url: \"${{file:{url}}}\" }}
pipelines:
  odd:
    pattern: full
    source: {{ from: shop, table: odd }}
    sink: {{ to: here, format: delta, path: lake }}
{more}",
        url = url.display()
    );
    fs::write(folder.join("pipelines.yaml"), text).unwrap();
}

fn column<'a>(plan: &'a Value, name: &str) -> &'a Value {
    plan[0]["columns"].as_array().unwrap().iter().find(|column| column["name"] == name).unwrap()
}

fn losses(plan: &Value, name: &str) -> Vec<String> {
    let losses = column(plan, name)["losses"].as_array().unwrap().iter();
    losses.map(|loss| loss["loss"].as_str().unwrap().to_owned()).collect()
}

fn planned(folder: &TempDir) -> (Option<i32>, Value) {
    let output = run(&["plan", folder.path().to_str().unwrap(), "-o", "json"]).unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Proves FL2. Every mapping that loses something is listed before anything runs, and those that cannot be at all are errors
/// with a way out; what is planned is what a run makes.
#[test]
fn a_plan_lists_every_lossy_mapping_before_the_run() {
    let test = "a_plan_lists_every_lossy_mapping_before_the_run";
    let Some(postgres) = Postgres::start().unwrap() else { return skip(test, "there is no PostgreSQL server") };
    postgres.psql(TABLE).unwrap();
    let folder = tempfile::tempdir().unwrap();
    declare(folder.path(), &postgres, "");

    let (code, plan) = planned(&folder);
    assert_eq!(code, Some(2), "{plan}");
    for (name, source, sink, expected) in [
        ("id", "bigint", "long", vec![]),
        ("name", "character varying(20)", "string", vec![]),
        ("price", "numeric(12,2)", "decimal(12,2)", vec![]),
        ("amount", "numeric", "string", vec!["number_as_text"]),
        ("doc", "jsonb", "string", vec!["document_as_text"]),
        ("plain", "json", "string", vec!["document_as_text"]),
        ("mood", "mood", "string", vec!["labels_as_text"]),
        ("mail", "email", "string", vec!["domain_rules"]),
        ("span", "interval", "string", vec!["interval_as_text"]),
        ("during", "int4range", "string", vec!["range_as_text"]),
        ("address", "inet", "string", vec!["type_as_text"]),
        ("key", "uuid", "string", vec!["type_as_text"]),
        ("tags", "text[]", "array<string>", vec!["subscripts"]),
        ("at", "timestamp with time zone", "timestamp", vec![]),
        ("seen", "timestamp without time zone", "timestamp_ntz", vec![]),
    ] {
        let found = column(&plan, name);
        assert_eq!((found["source"].as_str(), found["sink"].as_str()), (Some(source), Some(sink)), "{found}");
        assert_eq!(losses(&plan, name), expected, "{found}");
        assert!(found["error"].is_null());
    }
    let error = &column(&plan, "opens")["error"];
    assert_eq!(error["code"], "WR-K005", "{error}");
    assert!(error["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{error}");
    assert!(!folder.path().join("lake/_delta_log").exists(), "a plan writes nothing");
    let (_, text) = ran(&["plan", folder.path().to_str().unwrap()]).unwrap();
    assert!(text.contains("lost on the way:") && text.contains("a number of any size becomes text"), "{text}");
    assert!(text.contains("error[WR-K005]"), "{text}");

    // As the plan said: with that out of the way it runs, and the table has the types that were planned.
    declare(folder.path(), &postgres, "    transform: [{ sql: \"SELECT * EXCEPT (opens) FROM input\" }]\n");
    let (code, plan) = planned(&folder);
    assert_eq!(code, Some(0), "{plan}");
    let (code, text) = ran(&["run", folder.path().to_str().unwrap()]).unwrap();
    assert_eq!(code, Some(0), "{text}");
    let planned: Vec<(String, String)> = plan[0]["columns"].as_array().unwrap().iter().map(type_of).collect();
    assert_eq!(planned, made(&folder.path().join("lake")));
    let Ok(python) = reader::python() else { return skip(test, "there is no reader") };
    let found = reader::ask(&python, ("delta", &folder.path().join("lake")), "SELECT amount, mood, span FROM t", None);
    assert_eq!(found.unwrap(), "12345678901234567890.123|happy|P1D");
}

fn type_of(column: &Value) -> (String, String) {
    let text = |key: &str| column[key].as_str().unwrap().to_owned();
    (text("name"), text("sink"))
}

/// Names and types of a Delta table's columns, as its log has them.
fn made(table: &Path) -> Vec<(String, String)> {
    let log = fs::read_to_string(table.join("_delta_log/00000000000000000000.json")).unwrap();
    let metadata = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let metadata = metadata.filter_map(|mut line| line.get_mut("metaData").map(Value::take)).next().unwrap();
    let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let name = |kind: &Value| match kind["elementType"].as_str() {
        Some(element) => format!("array<{element}>"),
        None => kind.as_str().unwrap().to_owned(),
    };
    schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["name"].as_str().unwrap().to_owned(), name(&field["type"])))
        .collect()
}

/// What becomes of a table that is there is part of the plan.
#[test]
fn a_plan_says_what_the_table_becomes() {
    let days = super::Days::of("delta");
    days.declare(super::FIRST, super::FIRST_ROWS);
    assert_eq!(days.run().0, Some(0));
    for (policy, extra, id) in [
        ("    schema: { new_column: evolve, type_change: discard_value }\n", "added", "kept"),
        ("    schema: { new_column: discard_value, type_change: discard_value }\n", "left_out", "kept"),
    ] {
        days.declare(super::Said { columns: super::SECOND, days: 2, policy }, super::SECOND_ROWS);
        let plan = run_json(&["plan", days.arg(), "-o", "json"]).unwrap();
        assert_eq!(column(&plan, "extra")["change"], extra, "{plan}");
        assert_eq!(
            (&column(&plan, "id")["change"], &column(&plan, "id")["sink"]),
            (&id.into(), &"integer".into()),
            "{plan}"
        );
    }
    days.declare(super::Said { columns: super::SECOND, days: 2, policy: "" }, super::SECOND_ROWS);
    let (code, text) = ran(&["plan", days.arg()]).unwrap();
    assert_eq!(code, Some(2), "{text}");
    for column in ["\"extra\"", "\"id\""] {
        assert!(text.contains(column), "each column is named: {text}");
    }
}

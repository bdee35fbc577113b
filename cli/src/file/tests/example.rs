//! The files of `examples/` and the JSON Schema: what the one calls right the other does.

use std::{fs, path::Path};

use serde_json::Value;
use windrow_worker::{sink::SINKS, source::SOURCES};

use super::{SOUND, file, found, options};
use crate::file::{Connectors, Loaded, parse, schema, tree};

fn json(text: &str) -> Value {
    tree::parse(0, text).unwrap().json()
}

fn mistakes(schema: &Value, text: &str) -> Vec<String> {
    let validator = jsonschema::draft7::new(schema).unwrap();
    validator.iter_errors(&json(text)).map(|error| format!("{} {error}", error.instance_path())).collect()
}

/// All files under `examples/`.
fn examples() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "there are no examples");
    found
}

#[test]
fn the_examples_fit_the_schema() {
    let schema = schema::json_schema();
    for (name, text) in examples() {
        assert_eq!(mistakes(&schema, &text), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn the_schema_is_a_draft_07_one() {
    let schema = schema::json_schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    assert!(!schema.to_string().contains("$defs"));
}

#[test]
fn the_schema_and_the_reader_agree_on_sound_and_on_wrong_files() {
    let schema = schema::build(&options().connectors);
    assert_eq!(mistakes(&schema, SOUND), Vec::<String>::new());
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("pattern: full", "pattern: sideways"),
        ("    pattern: full\n", ""),
        ("from: here", "form: here"),
        ("lag: 5m", "lagg: 5m"),
        ("lag: 5m", "lookback: -1"),
        ("type: local", "type: ftp"),
        ("root: /lake", "rot: /lake"),
        ("format: delta", "format: xlsx"),
        ("type: csv", "typ: csv"),
        ("cursor: at", "sheet: 5"),
        ("path: visits }", "path: visits, partition_by: day }"),
        ("path: visits }", "path: visits, write: sometimes }"),
        ("path: visits }", "path: visits }\n    limits: { concurrency: many }"),
        ("path: visits }", "path: visits }\n    transform: [{ drop: x }]"),
    ] {
        let text = SOUND.replacen(from, to, 1);
        assert!(!mistakes(&schema, &text).is_empty(), "the schema accepts {to:?}");
        let loaded = parse(vec![file("p.yaml", &text)], &options());
        assert!(loaded.failed(), "the reader accepts {to:?}");
    }
}

/// Every connector of this windrow says what its parameters are, in words an editor understands.
#[test]
fn the_connectors_schemas_list_their_keys() {
    let sources = SOURCES.iter().map(|kind| (kind.kind, (kind.schema)()));
    let sinks = SINKS.iter().map(|kind| (kind.kind, (kind.schema)()));
    for (kind, schema) in sources.chain(sinks) {
        assert!(schema.get("properties").is_some_and(Value::is_object), "{kind}: {schema:?}");
    }
}

#[test]
fn the_flights_example_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/flights");
    let mut real = options();
    real.connectors = Connectors::all();
    let loaded: Loaded = super::super::load(&[folder.join("pipelines.yaml")], &real);
    assert_eq!(found(&loaded), Vec::<String>::new(), "{:#?}", loaded.diagnostics);
    let names: Vec<_> = loaded.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(names, ["flights", "planes"]);
    assert!(!folder.join("lake/flights").exists() || folder.join("lake/flights/_delta_log").exists());
}

/// With `WINDROW_UPDATE=1` the file is written instead.
#[test]
fn the_schema_in_docs_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/windrow.schema.json");
    let fresh = format!("{}\n", serde_json::to_string_pretty(&schema::json_schema()).unwrap());
    if std::env::var_os("WINDROW_UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &fresh).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == fresh, "`make docs` writes docs/windrow.schema.json anew");
}

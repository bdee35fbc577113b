//! The example, and the JSON Schema as it lies in docs/.

use std::{fs, path::Path};

use serde_json::Value;
use windrow_worker::{sink::SINKS, source::SOURCES};

use super::{found, options};
use crate::file::{Connectors, Loaded, schema};

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

//! Connectors that decode their parameters as real ones do, and touch nothing.

use std::{fs, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use windrow_common::{
    error,
    manifest::WriteMode,
    pipeline::{Pipeline, SourceSpec},
    readiness::Condition,
    schema::OnChange,
};
use windrow_worker::{
    sink::{Capabilities, SchemaChanges},
    source::ParamError,
};

use crate::file::connector::{Connectors, SinkConnector, SourceConnector};

pub(super) fn connectors() -> Connectors {
    let source = SourceConnector {
        kind: "object_store",
        connections: &["local", "s3"],
        formats: &[],
        schema: schema::<SourceParams>,
        open: Box::new(open_source),
        tells: |_, condition| match condition {
            Condition::Marker(_) => Ok(()),
            Condition::NextPartition(_)
            | Condition::Pipeline(_)
            | Condition::Delta(_)
            | Condition::Sql(_)
            | Condition::Count(_) => Err("there is none".to_owned()),
        },
        by_window: |spec| spec.params.get("path").is_some_and(|path| path.to_string().contains("{window.")),
        proves: |_, _| true,
        keys: true,
    };
    let delta = SinkConnector {
        kind: "delta",
        formats: &["delta", "json"],
        connections: &["local", "s3"],
        staging: &[],
        capabilities: Capabilities {
            writes: &[WriteMode::Append, WriteMode::ReplaceWindow, WriteMode::ReplaceAll, WriteMode::Upsert],
            partitions: true,
            compaction: true,
            clustering: true,
            compares: true,
            delivery: "atomic",
        },
        schema_changes: |spec| SchemaChanges {
            new_column: &OnChange::ALL,
            type_change: match spec.write {
                WriteMode::ReplaceAll => &OnChange::ALL,
                _ => &[OnChange::Freeze, OnChange::DiscardRow, OnChange::DiscardValue],
            },
            usual: OnChange::Freeze,
            why: "types of old rows stay",
        },
        schema: schema::<SinkParams>,
        open: Box::new(open_sink),
    };
    let files = SinkConnector {
        kind: "files",
        formats: &["parquet", "csv", "postgres"],
        connections: &["local"],
        staging: &[],
        capabilities: Capabilities {
            writes: &[WriteMode::ReplaceWindow, WriteMode::ReplaceAll],
            partitions: false,
            compaction: false,
            clustering: false,
            compares: false,
            delivery: "idempotent",
        },
        schema_changes: |_| SchemaChanges {
            new_column: &[OnChange::Freeze],
            type_change: &[OnChange::Freeze],
            usual: OnChange::Freeze,
            why: "files stay as they are",
        },
        schema: schema::<SinkParams>,
        open: Box::new(open_sink),
    };
    Connectors { sources: vec![source], sinks: vec![delta, files] }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "decoded to be checked")]
struct SourceParams {
    path: String,
    #[serde(default)]
    format: Option<Format>,
    #[serde(default)]
    schema: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "decoded to be checked")]
struct Format {
    r#type: String,
    #[serde(default)]
    nulls: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "decoded to be checked")]
struct SinkParams {
    path: String,
    #[serde(default)]
    partition_by: Vec<String>,
}

/// A path named `gone` is one that does not exist.
fn open_source(spec: &SourceSpec) -> Result<(), Vec<ParamError>> {
    let mut errors = decode::<SourceParams>(&spec.params);
    if spec.params.get("path").is_some_and(|path| path == "gone") {
        errors.push(param_error("path", error::SOURCE_MISSING, "no object matches".to_owned()));
    }
    if spec.from.params.get("root").is_some_and(|root| root == "/gone") {
        errors.push(param_error("connection.root", error::SOURCE_MISSING, "no folder /gone".to_owned()));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Makes the target's folder, as real sinks do.
fn open_sink(pipeline: &Pipeline) -> Result<(), Vec<ParamError>> {
    let sink = &pipeline.sink;
    if sink.params.get("path").is_some_and(|path| path == "made/on/opening") {
        let root = sink.to.params["root"].as_str().unwrap();
        fs::create_dir_all(Path::new(root).join("made/on/opening")).unwrap();
    }
    let errors = decode::<SinkParams>(&pipeline.sink.params);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn schema<T: JsonSchema>() -> schemars::Schema {
    schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<T>()
}

fn decode<T: DeserializeOwned>(params: &Map<String, Value>) -> Vec<ParamError> {
    match serde_path_to_error::deserialize::<_, T>(Value::Object(params.clone())) {
        Ok(_) => Vec::new(),
        Err(cause) => vec![param_error(&cause.path().to_string(), error::BAD_VALUE, cause.inner().to_string())],
    }
}

fn param_error(path: &str, code: error::ErrorCode, message: String) -> ParamError {
    ParamError { path: path.to_owned(), code, message, fix: None }
}

//! The parameters of the sink `files`, as they stand beside `to`, `format` and `write`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use windrow_common::{
    error::{self, ErrorCode},
    manifest::WriteMode,
    pipeline::Pipeline,
    quantity::ByteSize,
};

use super::Settings;
use crate::{
    sink::{expose::Expose, policy::Policy, undecoded},
    source::ParamError,
    stage::FileFormat,
};

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The folder under the connection's root.
    path: String,
    /// Columns whose values become folders.
    #[serde(default)]
    partition_by: Vec<String>,
    /// The size a file is ended at.
    #[serde(default = "default_target")]
    #[schemars(with = "String")]
    target_file_size: ByteSize,
    /// How full loads are shown.
    #[serde(default)]
    expose: Expose,
    /// CSV only: the character between columns; a comma without it.
    #[serde(default)]
    delimiter: Option<char>,
    /// CSV only: whether files begin with the columns' names; they do without it.
    #[serde(default)]
    header: Option<bool>,
}

fn default_target() -> ByteSize {
    ByteSize(128 << 20)
}

/// The settings and the folder under the connection's root.
pub(super) fn settings(pipeline: &Pipeline) -> Result<(Settings, String), Vec<ParamError>> {
    let value = Value::Object(pipeline.sink.params.clone());
    let params: Params = serde_path_to_error::deserialize(value).map_err(|cause| vec![undecoded(cause)])?;
    let problems = problems(&params, &pipeline.sink.format);
    if !problems.is_empty() {
        return Err(problems);
    }
    let format = match pipeline.sink.format.as_str() {
        "csv" => FileFormat::Csv {
            delimiter: params.delimiter.and_then(|c| u8::try_from(c).ok()).unwrap_or(b','),
            header: params.header.unwrap_or(true),
        },
        "json" => FileFormat::JsonLines,
        "text" => FileFormat::Lines,
        _ => FileFormat::Parquet { metadata: BTreeMap::new() },
    };
    let keep_versions = params.expose.keep().map_err(|bad| vec![bad])?;
    let settings = Settings {
        // Only what replaces everything is a version.
        keep_versions: if pipeline.sink.write == WriteMode::ReplaceAll { keep_versions } else { 1 },
        format,
        partition_by: params.partition_by,
        target_bytes: params.target_file_size.0,
        cursor: pipeline.source.cursor.clone(),
        policy: Policy::of(pipeline, super::schema_changes),
    };
    Ok((settings, params.path))
}

fn problems(params: &Params, format: &str) -> Vec<ParamError> {
    let mut found = Vec::new();
    let mut refuse = |path: &str, code: ErrorCode, message: &str, fix: &str| {
        found.push(ParamError { path: path.to_owned(), code, message: message.to_owned(), fix: Some(fix.to_owned()) });
    };
    if params.path.contains(['{', '}']) {
        refuse(
            "path",
            error::CONTRADICTION,
            "a folder by window is not possible: one table has one folder",
            "name a fixed folder and use `partition_by` with a column derived from the cursor",
        );
    }
    let parts = || params.path.split('/').filter(|part| !part.is_empty());
    if parts().any(|part| matches!(part, "." | "..") || part.starts_with("_windrow") || part == "_delta_log") {
        refuse("path", error::BAD_VALUE, "the path leaves its root or is reserved", "name a plain folder");
    }
    let mut seen = BTreeSet::new();
    if params.partition_by.iter().any(|column| !seen.insert(column)) {
        refuse("partition_by", error::BAD_VALUE, "a column is named twice", "name each column once");
    }
    if params.target_file_size.0 == 0 {
        refuse("target_file_size", error::BAD_VALUE, "a file needs a size above zero", "leave it out: 128MiB");
    }
    if format != "csv" {
        for (name, given) in [("delimiter", params.delimiter.is_some()), ("header", params.header.is_some())] {
            if given {
                refuse(name, error::CONTRADICTION, "only `format: csv` has this", "leave it out");
            }
        }
    }
    if params.delimiter.is_some_and(|c| !c.is_ascii() || matches!(c, '"' | '\n' | '\r' | '\0')) {
        refuse(
            "delimiter",
            error::BAD_VALUE,
            "a delimiter is one ASCII character other than a quote or a line end",
            "use \",\", \";\", \"|\" or a tab",
        );
    }
    found
}

//! The parameters of the sink `files`, as they stand beside `to`, `format` and `write`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use windrow_common::{
    error::{self, ErrorCode},
    manifest::WriteMode,
    pipeline::{Pattern, Pipeline},
    quantity::{ByteSize, Pause},
};

use super::{Settings, folder::Others};
use crate::{
    sink::{TARGET_FILE_SIZE, cleaning::Cleaning, expose::Expose, policy::Policy, undecoded},
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
    /// `pattern: compact` only: files that were changed less long ago are left alone, for somebody may still be writing them.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    quiet: Option<Pause>,
    /// When files go that were rewritten as others. Without it they stay; with it the folder has to be read by its list of files.
    #[serde(default)]
    cleaning: Option<Retention>,
}

/// How long files stay that were rewritten as others.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retention {
    /// For those who read an older list of files.
    #[serde(default = "usual_keep")]
    #[schemars(with = "String")]
    keep: Pause,
    /// Accepts a `keep` below 7 days: whoever reads an older list for longer fails in the middle.
    #[serde(default)]
    accept_short: bool,
}

/// Files of others are not touched sooner, unless the pipeline says otherwise.
const QUIET: Pause = Pause(Duration::from_secs(600));

fn usual_keep() -> Pause {
    Cleaning::default().keep
}

impl From<Retention> for Cleaning {
    /// The log of a folder stays.
    fn from(told: Retention) -> Self {
        Self { keep: told.keep, log: told.keep, accept_short: told.accept_short }
    }
}

fn default_target() -> ByteSize {
    TARGET_FILE_SIZE
}

/// The settings and the folder under the connection's root.
pub(super) fn settings(pipeline: &Pipeline) -> Result<(Settings, String), Vec<ParamError>> {
    let value = Value::Object(pipeline.sink.params.clone());
    let params: Params = serde_path_to_error::deserialize(value).map_err(|cause| vec![undecoded(cause)])?;
    let compacts = pipeline.pattern == Pattern::Compact;
    let mut problems = problems(&params, &pipeline.sink.format);
    if params.quiet.is_some() && !compacts {
        problems.push(ParamError {
            path: "quiet".to_owned(),
            code: error::CONTRADICTION,
            message: "only `pattern: compact` waits for files of others".to_owned(),
            fix: Some("leave it out".to_owned()),
        });
    }
    let cleaning = params.cleaning.map(Cleaning::from);
    problems.extend(cleaning.and_then(|cleaning| cleaning.check(pipeline.limits.deadline.0).err()));
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
        id: pipeline.sink.id(),
        others: compacts.then(|| Others { quiet: params.quiet.unwrap_or(QUIET).0 }),
        cleaning,
        // Only what replaces everything is a version.
        keep_versions: if pipeline.sink.write == WriteMode::ReplaceAll { keep_versions } else { 1 },
        format,
        partition_by: params.partition_by,
        target_bytes: params.target_file_size.0,
        cursor: pipeline.source.cursor.clone(),
        apart: pipeline.window.is_some() && pipeline.readiness.publish.is_some(),
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

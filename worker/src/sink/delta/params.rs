//! The parameters of the sink `delta`, as they stand beside `to`, `format` and `write`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use windrow_common::{error, manifest::WriteMode, pipeline::Pipeline, quantity::ByteSize};

use crate::{
    sink::{TARGET_FILE_SIZE, cleaning::Cleaning, expose::Expose, undecoded},
    source::ParamError,
};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The table's folder under the connection's root.
    pub(super) path: String,
    /// Columns whose values become folders; fixed when the table is created.
    #[serde(default)]
    pub(super) partition_by: Vec<String>,
    /// The size a data file is to reach; smaller files of one commit are merged up to it.
    #[serde(default = "default_target")]
    #[schemars(with = "String")]
    pub(super) target_file_size: ByteSize,
    /// How full loads are shown.
    #[serde(default)]
    pub(super) expose: Expose,
    /// What is cleaned away of files the table has given up. Without it only those that windrow itself wrote are, a week later.
    #[serde(default)]
    pub(super) cleaning: Option<Cleaning>,
}

fn default_target() -> ByteSize {
    TARGET_FILE_SIZE
}

impl Params {
    /// Those of a pipeline, which must fit each other.
    pub(super) fn of(pipeline: &Pipeline) -> Result<Self, ParamError> {
        let params = Self::decode(&pipeline.sink.params)?;
        match &params.cleaning {
            Some(cleaning) => cleaning.check(pipeline.limits.deadline.0).map(|()| params),
            None => Ok(params),
        }
    }

    /// What becomes of older versions, in words.
    pub(super) fn lifecycle(&self, pipeline: &Pipeline) -> Vec<String> {
        let kept = (pipeline.sink.write == WriteMode::ReplaceAll).then(|| self.expose.in_words());
        let own = match &self.cleaning {
            Some(Cleaning { keep, log, .. }) => vec![
                format!("removed files stay {keep}, longer if the table's properties or a pin say so"),
                format!("the log stays {log}, longer if the table's properties or a pin say so"),
            ],
            None => vec![
                "removed files that windrow wrote stay as long as the table's properties say, 7d unless they do; others stay"
                    .to_owned(),
            ],
        };
        kept.into_iter().chain(own).collect()
    }

    pub(super) fn decode(params: &Map<String, Value>) -> Result<Self, ParamError> {
        let params: Self = serde_path_to_error::deserialize(Value::Object(params.clone())).map_err(undecoded)?;
        let mut seen = BTreeSet::new();
        let bad = |path: &str, message: String, fix: &str| ParamError {
            path: path.to_owned(),
            code: error::BAD_VALUE,
            message,
            fix: Some(fix.to_owned()),
        };
        if let Some(twice) = params.partition_by.iter().find(|column| !seen.insert(column.as_str())) {
            return Err(bad("partition_by", format!("column {twice:?} is named twice"), "name each column once"));
        }
        if params.target_file_size.0 == 0 {
            return Err(bad("target_file_size", "a file needs a size above zero".to_owned(), "leave it out: 128MiB"));
        }
        params.expose.keep()?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn decode(value: Value) -> Result<Params, ParamError> {
        Params::decode(value.as_object().unwrap())
    }

    #[test]
    fn parameters_decode_with_their_defaults() {
        let params = decode(json!({ "path": "flights", "partition_by": ["day"] })).unwrap();
        assert_eq!(params.target_file_size, ByteSize(128 << 20));
        assert_eq!(params.partition_by, ["day"]);
    }

    #[test]
    fn a_wrong_parameter_is_refused_with_its_place() {
        let cases = [
            (json!({}), "", error::MISSING_KEY),
            (json!({ "path": "x", "partitions": [] }), "partitions", error::UNKNOWN_KEY),
            (json!({ "path": "x", "partition_by": ["a", 1] }), "partition_by[1]", error::BAD_VALUE),
            (json!({ "path": "x", "partition_by": ["a", "a"] }), "partition_by", error::BAD_VALUE),
            (json!({ "path": "x", "target_file_size": "big" }), "target_file_size", error::BAD_VALUE),
        ];
        for (value, path, code) in cases {
            let found = decode(value.clone()).unwrap_err();
            assert_eq!((found.path.as_str(), found.code), (path, code), "{value}");
        }
    }
}

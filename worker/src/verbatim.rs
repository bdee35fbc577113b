//! Rows that travel as their source wrote them: no value is decoded on the way to a sink that takes the same form. Both sides
//! are asked first, each on the worker that may reach it, and what the rows are is told beside them: in the schema of their
//! batches, in manifests and in intents. Pure.

use std::{collections::HashMap, sync::Arc};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windrow_common::{error, pipeline::Pipeline};

use crate::error::{Result, WorkerError};

/// What such rows are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verbatim {
    /// How they are written, in a word that source and sink have in common.
    pub form: String,
    /// The version of the server that wrote them, in its own way to count.
    pub server: i32,
    /// In the order in which a row has their values.
    pub columns: Vec<VerbatimColumn>,
}

/// A column of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbatimColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ExactType,
}

/// A type, so exactly that it can be told whether a value's bytes mean the same elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactType {
    /// In full, without length and precision.
    pub name: String,
    /// As it stands in a statement, with length and precision.
    pub sql: String,
    /// Length, precision and the like, or -1.
    pub modifier: i32,
    /// What its values are made of.
    pub definition: String,
}

/// In a schema's metadata: what the rows are, as JSON.
const MARK: &str = "windrow:verbatim";
/// The one column of their batches: a row's bytes.
const COLUMN: &str = "row";

impl Verbatim {
    /// The schema of their batches, each row one value: so they are counted, cut and sent as any others are.
    pub fn schema(&self) -> SchemaRef {
        let text = serde_json::to_string(self).unwrap_or_default();
        let row = Field::new(COLUMN, DataType::Binary, false);
        Arc::new(Schema::new_with_metadata(vec![row], HashMap::from([(MARK.to_owned(), text)])))
    }

    /// What rows of this schema are; `None` if they are values.
    pub fn of_schema(schema: &Schema) -> Result<Option<Self>> {
        let Some(text) = schema.metadata().get(MARK) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|cause| unreadable().because(cause))
    }

    /// As a manifest tells it. Versions that know of values alone do not take it for a schema.
    pub fn told(&self) -> Value {
        json!({ "verbatim": self })
    }

    /// What a manifest's rows are; `None` if they are values.
    pub fn of_told(schema: &Value) -> Result<Option<Self>> {
        let Some(told) = schema.get("verbatim") else { return Ok(None) };
        serde_json::from_value(told.clone()).map(Some).map_err(|cause| unreadable().because(cause))
    }
}

/// Whether rows of two schemas are the same as far as this is what they are.
pub fn is_same(one: &Schema, other: &Schema) -> bool {
    one.metadata().get(MARK) == other.metadata().get(MARK)
}

fn unreadable() -> WorkerError {
    WorkerError::later(error::VERSION_SKEW, "rows came as they are in a form this version of windrow does not know")
        .fix("upgrade workers to versions next to each other")
}

/// Why a pipeline's rows have to be decoded whatever source and sink can do; `None` if they need not be.
pub fn values_needed(pipeline: &Pipeline) -> Option<&'static str> {
    if !pipeline.transform.is_empty() {
        return Some("the transform looks at values");
    }
    pipeline.sink.upsert.is_some().then_some("rows take each other's places by the values of their keys")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rows() -> Verbatim {
        let kind = ExactType {
            name: "numeric".to_owned(),
            sql: "numeric(12,2)".to_owned(),
            modifier: 786_438,
            definition: "built in".to_owned(),
        };
        let columns = vec![VerbatimColumn { name: "the \"price\"".to_owned(), kind }];
        Verbatim { form: "x".to_owned(), server: 160_004, columns }
    }

    #[test]
    fn what_rows_are_travels_with_them() {
        assert_eq!(Verbatim::of_schema(&rows().schema()).unwrap(), Some(rows()));
        assert_eq!(Verbatim::of_told(&rows().told()).unwrap(), Some(rows()));
        let plain = Schema::new(vec![Field::new("row", DataType::Binary, false)]);
        assert_eq!(Verbatim::of_schema(&plain).unwrap(), None);
        assert_eq!(Verbatim::of_told(&serde_json::to_value(plain).unwrap()).unwrap(), None);
    }

    /// An older committer must stop at such a manifest, and a newer form must stop this one.
    #[test]
    fn what_is_told_in_another_form_is_never_taken_for_values() {
        assert!(serde_json::from_value::<Schema>(rows().told()).is_err());
        let newer = json!({ "verbatim": { "shape": 2 } });
        assert_eq!(Verbatim::of_told(&newer).unwrap_err().code(), error::VERSION_SKEW);
        let metadata = HashMap::from([(MARK.to_owned(), "{}".to_owned())]);
        let newer = Schema::empty().with_metadata(metadata);
        assert_eq!(Verbatim::of_schema(&newer).unwrap_err().code(), error::VERSION_SKEW);
    }
}

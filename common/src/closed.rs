//! Closed windows: what becomes of rows that come late to them, and windows that somebody has declared complete.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{id::PipelineName, pipeline::SinkSpec};

/// What becomes of a published window that rows came late to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Late {
    /// It may be loaded again: under a higher revision, marked anew, and receivers are told.
    #[default]
    Reopen,
    /// It stays as it is, and nobody can ask for it again.
    Refuse,
    /// It stays as it is. That its source has changed is held with the reason until somebody releases or drops it.
    Quarantine,
    /// It stays as it is. The files that came late are loaded to a place of their own.
    Aside(Place),
}

/// Where rows go that came late: what the sink has in place of its own `path` or `table`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Place {
    /// For sinks with a `path`: a folder or a Delta table beside the sink's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For sinks with a `table`: a table of the same database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// Says of a pipeline that it loads what came late to the windows of another one. Nothing of it is planned by time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// The pipeline whose windows are closed.
    pub of: PipelineName,
    /// Where that one writes: the manifests there say what its windows were loaded from.
    pub sink: SinkSpec,
}

/// Somebody has declared a window complete: it is published without rows of this load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Who, as they say of themselves.
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

impl Late {
    pub(crate) fn is_reopen(&self) -> bool {
        *self == Self::Reopen
    }

    /// Whether published windows are loaded again by nobody, unless an operator releases what is held.
    pub fn closes(&self) -> bool {
        !self.is_reopen()
    }

    /// Whether it has to be known what a window was loaded from, to tell that from what came late.
    pub fn compares(&self) -> bool {
        matches!(self, Self::Quarantine | Self::Aside(_))
    }
}

impl Declared {
    /// Most bytes of a name.
    pub const MOST_BY: usize = 100;
    /// Most bytes of a reason.
    pub const MOST_REASON: usize = 500;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_are_read_as_they_stand_in_a_file() {
        let place = Place { path: Some("visits_late".to_owned()), table: None };
        for (text, expected) in [
            (json!("reopen"), Late::Reopen),
            (json!("refuse"), Late::Refuse),
            (json!("quarantine"), Late::Quarantine),
            (json!({ "aside": { "path": "visits_late" } }), Late::Aside(place)),
        ] {
            let read: Late = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(read, expected);
            assert_eq!(serde_json::to_value(&read).unwrap(), text);
            assert_eq!(read.closes(), text != json!("reopen"), "{text}");
        }
        for wrong in [json!("aside"), json!({ "aside": { "folder": "x" } }), json!("later")] {
            assert!(serde_json::from_value::<Late>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

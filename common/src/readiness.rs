//! When the input of a window is complete, for sources that cannot tell by themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a pipeline waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Readiness {
    /// What has to be so before a window is read. Until then it waits, and holds no slot.
    pub require: Require,
}

/// Conditions on a window's input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// Every one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Condition>,
    /// One of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Condition>,
}

/// A condition on a window's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// A file is there: `_SUCCESS` in the folder of the window's objects, or a path with placeholders as in `source.path`.
    Marker(String),
    /// The next window has objects: whoever writes it is done with this one.
    NextPartition(NextPartition),
}

/// The only thing to say of the next partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "bool", into = "bool")]
#[schemars(with = "bool")]
pub struct NextPartition;

impl Readiness {
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Require {
    /// All conditions there are.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.all.iter().chain(&self.any)
    }
}

impl TryFrom<bool> for NextPartition {
    type Error = &'static str;

    fn try_from(required: bool) -> Result<Self, &'static str> {
        match required {
            true => Ok(Self),
            false => Err("a condition is there or it is not: write true, or remove it"),
        }
    }
}

impl From<NextPartition> for bool {
    fn from(NextPartition: NextPartition) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_read_as_they_stand_in_a_file() {
        let text = json!({ "require": { "any": [{ "marker": "_SUCCESS" }, { "next_partition": true }] } });
        let read: Readiness = serde_json::from_value(text.clone()).unwrap();
        let expected = [Condition::Marker("_SUCCESS".to_owned()), Condition::NextPartition(NextPartition)];
        assert_eq!(read.require.any, expected);
        assert_eq!(serde_json::to_value(&read).unwrap(), text);
        assert_eq!(read.require.conditions().count(), 2);
        for wrong in
            [json!({ "require": { "any": [{ "next_partition": false }] } }), json!({ "require": { "marker": "x" } })]
        {
            assert!(serde_json::from_value::<Readiness>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

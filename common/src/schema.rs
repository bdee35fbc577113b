//! What becomes of rows whose columns are not those of the table they go into.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a pipeline answers to columns that change. What is not said is left to the sink: a sink that makes its table anew
/// with every load takes the columns as they come, all others stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaPolicy {
    /// The rows have a column that the table has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_column: Option<OnChange>,
    /// A column's type has values for which the table's has no equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_change: Option<OnChange>,
}

/// An answer to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// The table follows: the column is added, or its type made wider.
    Evolve,
    /// Nothing is written, and the error says what changed.
    Freeze,
    /// Rows with a value that does not fit go to the dead letters.
    DiscardRow,
    /// The value is left out and counted; where the table has the column, it is null.
    DiscardValue,
}

impl SchemaPolicy {
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl OnChange {
    pub const ALL: [Self; 4] = [Self::Evolve, Self::Freeze, Self::DiscardRow, Self::DiscardValue];

    /// As it stands in a pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Evolve => "evolve",
            Self::Freeze => "freeze",
            Self::DiscardRow => "discard_row",
            Self::DiscardValue => "discard_value",
        }
    }

    /// Whether values that do not fit are taken out of the rows, one by one.
    pub fn discards(self) -> bool {
        matches!(self, Self::DiscardRow | Self::DiscardValue)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_written_by_its_word() {
        for answer in OnChange::ALL {
            assert_eq!(serde_json::to_value(answer).unwrap(), answer.word());
        }
        assert_eq!(serde_json::to_string(&SchemaPolicy::default()).unwrap(), "{}");
    }
}

//! Rows with a key: of all rows that were ever read for a key the newest is what readers see, or that there is none.

use serde::{Deserialize, Serialize};

/// A column of ours that says of a staged row that it deletes its key. It goes into no table.
pub const DELETED_COLUMN: &str = "_windrow_deleted";

/// What tells rows of one key from those of another, and the newest of them from the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upsert {
    /// Columns that are the same in all rows of a key. At least one.
    pub key: Vec<String>,
    /// Columns by which a row is newer, compared one after the other; of equals the one that was read later is. At least one.
    pub order: Vec<String>,
    /// A condition in SQL on the rows as the transform leaves them: those it holds for delete their key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

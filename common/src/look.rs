//! What lies outside of a pipeline's source and has to be looked at before its windows are read: tables that others write, and what a
//! database says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::Connection;

/// A Delta table, and what of its log is waited for: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableVersion {
    /// The connection the table is behind: a folder or a bucket.
    #[schemars(with = "String")]
    pub from: At,
    /// The table's folder, relative to the connection's root.
    pub path: String,
    /// It has this version, or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// It has a version that was committed at the window's end or later, by the store's own time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_end: bool,
}

/// A question to a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The connection to a PostgreSQL database.
    #[schemars(with = "String")]
    pub from: At,
    /// One statement that only reads, with one row of one column: true or false, or the time (`timestamptz`) up to which windows are
    /// complete.
    pub query: String,
}

/// A connection: by its name in a pipeline file, whole once that is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum At {
    Name(String),
    Whole(Box<Connection>),
}

impl At {
    /// The connection, once it is known.
    pub fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Name(_) => None,
            Self::Whole(connection) => Some(connection),
        }
    }

    /// The name it has in the file.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Whole(connection) => &connection.name,
        }
    }
}

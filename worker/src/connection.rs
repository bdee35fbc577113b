//! Connection types: what a connection of a pipeline file may say about the place it names. Those that several
//! connectors serve are in [`SHARED`]; one that a single source serves comes with it ([`crate::source::SourceKind`]).

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{postgres, source::SOURCES};

/// A connection type.
pub struct ConnectionKind {
    /// The value of `type`.
    pub kind: &'static str,
    /// JSON Schema (draft-07) of its parameters beside `type`.
    pub schema: fn() -> Schema,
    /// Whether parameters are of the types they must be; the error tells the path.
    pub check: fn(Value) -> Result<(), serde_path_to_error::Error<serde_json::Error>>,
}

/// The connection types that belong to no single connector.
const SHARED: &[ConnectionKind] =
    &[kind::<Local>("local"), kind::<postgres::Params>(postgres::CONNECTION), kind::<S3>("s3")];

/// Every connection type there is.
pub fn all() -> impl Iterator<Item = &'static ConnectionKind> {
    SHARED.iter().chain(SOURCES.iter().flat_map(|source| source.brings))
}

/// The connection type of that name.
pub fn find(kind: &str) -> Option<&'static ConnectionKind> {
    all().find(|known| known.kind == kind)
}

/// A folder of this machine, or one that all workers have mounted.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape; the parameters travel as JSON")]
struct Local {
    /// The folder; relative to the pipeline file. Default: the file's own folder.
    #[serde(default)]
    root: Option<String>,
}

/// A bucket of S3 or of a store that speaks its protocol.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape; the parameters travel as JSON")]
struct S3 {
    /// `s3://bucket` or `s3://bucket/folder`.
    root: String,
    #[serde(default)]
    region: Option<String>,
    /// Address of the store, for stores that are not AWS.
    #[serde(default)]
    endpoint: Option<String>,
    /// Without keys the worker's own identity is used.
    #[serde(default)]
    access_key_id: Option<String>,
    /// A reference: `${env:NAME}` or `${file:/path}`.
    #[serde(default)]
    secret_access_key: Option<String>,
    /// A reference: `${env:NAME}` or `${file:/path}`.
    #[serde(default)]
    session_token: Option<String>,
}

/// The connection type `name` with the parameters of `T`.
pub(crate) const fn kind<T: DeserializeOwned + JsonSchema>(name: &'static str) -> ConnectionKind {
    ConnectionKind { kind: name, schema: schema::<T>, check: check::<T> }
}

fn schema<T: JsonSchema>() -> Schema {
    schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<T>()
}

fn check<T: DeserializeOwned>(params: Value) -> Result<(), serde_path_to_error::Error<serde_json::Error>> {
    let params = if params.is_null() { Value::Object(Map::new()) } else { params };
    serde_path_to_error::deserialize::<_, T>(params).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sink::SINKS;

    #[test]
    fn every_type_a_connector_serves_is_a_known_one_and_the_other_way_round() {
        let known: BTreeSet<_> = all().map(|kind| kind.kind).collect();
        let read = SOURCES.iter().flat_map(|kind| kind.connections);
        let written = SINKS.iter().flat_map(|kind| kind.connections);
        let served: BTreeSet<_> = read.chain(written).copied().collect();
        assert_eq!(known, served);
    }
}

//! Which tables windrow may write. A table is refused when it asks its writers for something windrow does not do, or
//! when it forgets what exactly-once rests on. Pure: it looks at the JSON of protocol and metadata.

use std::collections::BTreeMap;

use arrow_schema::Schema;
use serde_json::Value;
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Writer features that ask nothing of a writer like this one, or nothing while the property or column that uses them
/// is absent, which is looked at separately.
const HARMLESS: [&str; 12] = [
    "appendOnly",
    "invariants",
    "checkConstraints",
    "changeDataFeed",
    "generatedColumns",
    "identityColumns",
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "domainMetadata",
    "vacuumProtocolCheck",
];

/// Column metadata that makes a value depend on a computation.
const COMPUTED: [&str; 4] =
    ["delta.invariants", "delta.generationExpression", "delta.identity.start", "delta.identity.step"];

/// What of a table's protocol and metadata matters here.
pub(super) struct Facts<'a> {
    pub(super) protocol: &'a Value,
    pub(super) configuration: &'a BTreeMap<String, String>,
    pub(super) schema: &'a Schema,
}

/// Whether windrow may write the table; the error says what stands against it.
pub(super) fn check(facts: &Facts<'_>) -> Result<()> {
    check_features(facts.protocol)?;
    check_properties(facts.configuration)?;
    check_columns(facts.schema)
}

fn check_features(protocol: &Value) -> Result<()> {
    let number = |key: &str| protocol.get(key).and_then(Value::as_i64).unwrap_or(0);
    if number("minReaderVersion") > 3 || number("minWriterVersion") > 7 {
        return Err(refusal("the table's protocol is newer than windrow knows".to_owned())
            .fix("write another table, or update windrow"));
    }
    let features = ["readerFeatures", "writerFeatures"].into_iter().filter_map(|key| protocol.get(key)?.as_array());
    match features.flatten().filter_map(Value::as_str).find(|name| !HARMLESS.contains(name)) {
        None => Ok(()),
        Some(name) => Err(refusal(format!("the table uses the feature {name}, which windrow cannot write"))
            .fix("drop the feature from the table, or write another table")),
    }
}

fn check_properties(configuration: &BTreeMap<String, String>) -> Result<()> {
    let value = |key: &str| configuration.get(key).map(String::as_str);
    if value("delta.setTransactionRetentionDuration").is_some() {
        return Err(refusal("the table forgets which commits were made".to_owned())
            .fix("unset delta.setTransactionRetentionDuration: exactly-once rests on the table's `txn` records"));
    }
    if value("delta.columnMapping.mode").is_some_and(|mode| !mode.eq_ignore_ascii_case("none")) {
        return Err(refusal("the table maps its column names".to_owned())
            .fix("write a table without delta.columnMapping.mode; rename columns in the transform"));
    }
    if value("delta.enableInCommitTimestamps").is_some_and(is_true) {
        return Err(refusal("the table wants commit times inside its commits".to_owned())
            .fix("unset delta.enableInCommitTimestamps"));
    }
    match configuration.keys().find(|key| key.starts_with("delta.constraints.")) {
        None => Ok(()),
        Some(key) => Err(refusal(format!("the table checks its rows with {key}, which windrow cannot do"))
            .fix("drop the constraint and check the rows in the transform")),
    }
}

fn check_columns(schema: &Schema) -> Result<()> {
    let computed = schema.fields().iter().find(|field| COMPUTED.iter().any(|key| field.metadata().contains_key(*key)));
    match computed {
        None => Ok(()),
        Some(field) => Err(refusal("the table computes or checks a column by an expression".to_owned())
            .at(format!("column {:?}", field.name()))
            .fix("write a table whose columns are plain")),
    }
}

/// Whether rows may only be added.
pub(super) fn is_append_only(configuration: &BTreeMap<String, String>) -> bool {
    configuration.get("delta.appendOnly").is_some_and(|value| is_true(value))
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

fn refusal(message: String) -> WorkerError {
    WorkerError::never(error::SINK_UNSUPPORTED, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_schema::{DataType, Field};
    use serde_json::json;

    use super::*;

    fn checked(protocol: Value, properties: &[(&str, &str)]) -> Result<()> {
        let configuration = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        check(&Facts { protocol: &protocol, configuration: &configuration, schema: &schema })
    }

    #[test]
    fn plain_tables_are_welcome_and_demanding_ones_are_not() {
        let plain = || json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        assert!(checked(plain(), &[("delta.appendOnly", "true")]).is_ok());
        assert!(checked(plain(), &[("delta.columnMapping.mode", "none")]).is_ok());
        let modern = |feature: &str| json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [], "writerFeatures": [feature] });
        assert!(checked(modern("deletionVectors"), &[]).is_ok());

        assert!(checked(modern("rowTracking"), &[]).is_err());
        assert!(checked(modern("clustering"), &[]).is_err());
        assert!(checked(json!({ "minReaderVersion": 1, "minWriterVersion": 8 }), &[]).is_err());
        for property in [
            ("delta.setTransactionRetentionDuration", "interval 1 day"),
            ("delta.columnMapping.mode", "name"),
            ("delta.enableInCommitTimestamps", "true"),
            ("delta.constraints.positive", "id > 0"),
        ] {
            let refused = checked(plain(), &[property]).unwrap_err();
            assert_eq!(refused.code(), error::SINK_UNSUPPORTED, "{property:?}");
            assert!(refused.fix_text().is_some());
        }
    }

    #[test]
    fn a_generated_column_is_refused() {
        let field = Field::new("day", DataType::Date32, true)
            .with_metadata([("delta.generationExpression".to_owned(), "CAST(at AS DATE)".to_owned())].into());
        let protocol = json!({ "minReaderVersion": 1, "minWriterVersion": 4 });
        let schema = Schema::new(vec![field]);
        let facts = Facts { protocol: &protocol, configuration: &BTreeMap::new(), schema: &schema };
        assert!(check(&facts).is_err());
    }
}

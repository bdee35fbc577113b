//! Which Delta tables windrow can read: those whose rows are exactly what stands in their Parquet files. Pure.

use serde_json::Value;
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Reader features that change nothing for a reader like this one, or nothing while no file or property uses them, which
/// is looked at separately.
const HARMLESS: [&str; 5] = ["columnMapping", "deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"];

/// Whether the rows can be read; the error says what stands against it.
///
/// # Errors
/// `SOURCE_REFUSED`, with the way out.
pub(super) fn check(protocol: &Value, column_mapping: Option<&str>, deletion_vector: Option<&str>) -> Result<()> {
    if protocol.get("minReaderVersion").and_then(Value::as_i64).is_some_and(|version| version > 3) {
        return Err(refusal("the table's protocol is newer than windrow knows").fix("update windrow"));
    }
    let features = protocol.get("readerFeatures").and_then(Value::as_array).into_iter().flatten();
    if let Some(name) = features.filter_map(Value::as_str).find(|name| !HARMLESS.contains(name)) {
        return Err(refusal(&format!("the table uses the feature {name}, which windrow cannot read"))
            .fix("drop the feature from the table, or have another engine export the rows"));
    }
    if column_mapping.is_some_and(|mode| !mode.eq_ignore_ascii_case("none")) {
        return Err(refusal("the table maps its column names (delta.columnMapping.mode)")
            .fix("have another engine write the rows to a table without column mapping"));
    }
    match deletion_vector {
        None => Ok(()),
        Some(path) => Err(refusal("rows of the table are deleted by deletion vectors, which windrow cannot apply yet")
            .at(path)
            .fix("purge them: REORG TABLE .. APPLY (PURGE), or an OPTIMIZE that rewrites the file")),
    }
}

fn refusal(message: &str) -> WorkerError {
    WorkerError::never(error::SOURCE_REFUSED, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_that_are_more_than_their_files_are_refused_with_a_way_out() {
        let plain = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        let modern =
            |feature: &str| json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [feature] });
        for (protocol, mapping) in [(&plain, None), (&plain, Some("none")), (&modern("deletionVectors"), None)] {
            assert!(check(protocol, mapping, None).is_ok(), "{protocol} {mapping:?}");
        }
        let newest = json!({ "minReaderVersion": 4 });
        let refused = [
            (&newest, None, None),
            (&modern("variantType"), None, None),
            (&plain, Some("name"), None),
            (&modern("deletionVectors"), None, Some("part-0.parquet")),
        ];
        for (protocol, mapping, vector) in refused {
            let error = check(protocol, mapping, vector).unwrap_err();
            assert_eq!(error.code(), error::SOURCE_REFUSED, "{protocol} {mapping:?} {vector:?}");
            assert!(error.fix_text().is_some());
        }
    }
}

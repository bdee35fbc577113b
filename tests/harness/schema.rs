//! JSON Schema as an editor's validator reads it, which is not ours.

use anyhow::{Result, anyhow};
use serde_json::Value;

/// What a draft-07 validator finds wrong in a YAML text.
pub fn mistakes(schema: &Value, yaml: &str) -> Result<Vec<String>> {
    let document: Value = serde_saphyr::from_str(yaml)?;
    let validator = jsonschema::draft7::new(schema).map_err(|error| anyhow!("no schema: {error}"))?;
    Ok(validator.iter_errors(&document).map(|error| format!("{} {error}", error.instance_path())).collect())
}

/// Whether the schema itself is one of draft-07.
pub fn is_draft_07(schema: &Value) -> bool {
    schema["$schema"] == "http://json-schema.org/draft-07/schema#" && jsonschema::draft7::meta::is_valid(schema)
}

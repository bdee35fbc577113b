//! Wrong parameters are told with their path before anything is opened.

use super::*;

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let cases = [
        (json!({}), "", error::MISSING_KEY),
        (json!({ "path": "a.csv", "delimeter": ";" }), "delimeter", error::UNKNOWN_KEY),
        (json!({ "path": "a.csv", "format": { "type": "csv", "sep": ";" } }), "format.sep", error::UNKNOWN_KEY),
        (json!({ "path": "a.csv", "format": "xml" }), "format.type", error::BAD_VALUE),
        (
            json!({ "path": "a.csv", "format": { "type": "csv", "delimiter": "||" } }),
            "format.delimiter",
            error::BAD_VALUE,
        ),
        (
            json!({ "path": "a.csv", "format": { "type": "csv", "quote": "," } }),
            "format.delimiter",
            error::CONTRADICTION,
        ),
        (json!({ "path": "a.json", "format": { "type": "json", "header": true } }), "format", error::CONTRADICTION),
        (
            json!({ "path": "a.parquet", "format": { "type": "parquet", "nulls": [] } }),
            "format.nulls",
            error::CONTRADICTION,
        ),
        (json!({ "path": "data/*" }), "format", error::MISSING_KEY),
        (json!({ "path": "../a.csv" }), "path", error::BAD_VALUE),
        (json!({ "path": "{today}/a.csv" }), "path", error::BAD_VALUE),
        (json!({ "path": "a.csv", "schema": { "a": "varchar" } }), "schema.a", error::BAD_VALUE),
        (json!({ "path": "a.csv", "schema": { "a": "decimal(39,2)" } }), "schema.a", error::BAD_VALUE),
        (
            json!({ "path": "a.csv", "schema": { "a": { "type": "int", "timezone": "UTC" } } }),
            "schema.a",
            error::BAD_VALUE,
        ),
        (json!({ "path": "a.csv", "schema": [{ "a": "int" }, { "a": "int" }] }), "schema.a", error::DUPLICATE_KEY),
        (json!({ "path": "a.csv", "schema": {} }), "schema", error::BAD_VALUE),
        (json!({ "path": "a.csv", "schema": { "a": "int" }, "cursor": "at" }), "schema", error::CURSOR_MISSING),
        (json!({ "path": "a.csv", "schema": { "a": "int" }, "as_text": true }), "as_text", error::CONTRADICTION),
        (
            json!({ "path": "a.csv", "format": { "type": "csv", "header": false }, "schema": { "a": "int" } }),
            "schema",
            error::CONTRADICTION,
        ),
        (json!({ "path": "a.parquet", "as_text": true }), "as_text", error::CONTRADICTION),
        (json!({ "path": "a.txt", "schema": { "a": "int" } }), "schema", error::CONTRADICTION),
        (json!({ "path": "a.csv", "timezone": "Europe/Atlantis" }), "timezone", error::BAD_VALUE),
        (json!({ "path": "a.csv", "ambiguous": "sometimes" }), "ambiguous", error::BAD_VALUE),
        (json!({ "path": "a.csv", "limits": { "line": "long" } }), "limits.line", error::BAD_VALUE),
    ];
    for (params, path, code) in cases {
        let faults = (KIND.build)(&spec(Path::new("/nowhere"), params.clone())).err().unwrap_or_default();
        let told: Vec<_> = faults.iter().map(|fault| (fault.path.as_str(), fault.code)).collect();
        assert_eq!(told.first(), Some(&(path, code)), "{params}: {faults:?}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let params = json!({ "path": "/a.csv", "timezone": "Nowhere", "schema": { "a": "x", "b": "y" } });
    let faults = (KIND.build)(&spec(Path::new("/nowhere"), params)).err().unwrap();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["timezone", "path", "schema.a", "schema.b"]);
}

#[test]
fn the_json_schema_takes_the_short_and_the_long_form() {
    let schema = serde_json::to_value((KIND.schema)()).unwrap();
    assert!(schema["properties"]["format"]["anyOf"].is_array(), "{schema}");
    assert_eq!(schema["additionalProperties"], json!(false));
}

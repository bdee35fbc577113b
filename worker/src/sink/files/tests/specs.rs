//! What a pipeline file may say about files.

use serde_json::Value;
use windrow_common::error;

use super::*;

fn pipeline(format: &str, params: Value, root: &std::path::Path) -> Pipeline {
    let mut sink =
        json!({ "to": { "name": "lake", "type": "local", "root": root }, "format": format, "write": "append" });
    sink.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "name": "flights",
        "pattern": "incremental",
        "source": { "from": { "name": "in", "type": "synthetic" }, "cursor": "at" },
        "sink": sink,
    }))
    .unwrap()
}

#[test]
fn a_sink_is_built_from_what_the_pipeline_says() {
    let folder = tempfile::tempdir().unwrap();
    let given = pipeline("csv", json!({ "path": "a/b", "delimiter": ";", "header": false }), folder.path());
    let (settings, path) = params::settings(&given).unwrap();
    assert_eq!((settings.format, path.as_str()), (FileFormat::Csv { delimiter: b';', header: false }, "a/b"));
    assert_eq!(settings.cursor.as_deref(), Some("at"));
    let sink = (KIND.build)(&given).unwrap();
    assert!(sink.storage().url().path().ends_with("/a/b/"));
}

#[test]
fn what_contradicts_itself_is_refused_with_its_place_and_a_fix() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("parquet", json!({}), "", error::MISSING_KEY),
        ("parquet", json!({ "path": "x/day={window.start:%Y-%m-%d}" }), "path", error::CONTRADICTION),
        ("parquet", json!({ "path": "../x" }), "path", error::BAD_VALUE),
        ("parquet", json!({ "path": "_windrow/x" }), "path", error::BAD_VALUE),
        ("parquet", json!({ "path": "x", "partition_by": ["a", "a"] }), "partition_by", error::BAD_VALUE),
        ("parquet", json!({ "path": "x", "target_file_size": "huge" }), "target_file_size", error::BAD_VALUE),
        ("parquet", json!({ "path": "x", "target_size": "1MiB" }), "target_size", error::UNKNOWN_KEY),
        ("json", json!({ "path": "x", "header": true }), "header", error::CONTRADICTION),
        ("csv", json!({ "path": "x", "delimiter": "ä" }), "delimiter", error::BAD_VALUE),
    ];
    for (format, params, path, code) in cases {
        let errors = params::settings(&pipeline(format, params.clone(), folder.path())).unwrap_err();
        assert_eq!((errors[0].path.as_str(), errors[0].code), (path, code), "{params}");
        assert!(errors[0].fix.is_some());
    }
}

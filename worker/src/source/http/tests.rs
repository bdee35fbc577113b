//! Wrong parameters are told with their path before anything is asked for.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use windrow_common::error;

use super::*;

fn faults(connection: Value, params: Value) -> Vec<ParamError> {
    let mut spec = json!({ "from": { "name": "api", "type": "http", "url": "https://api.example.com" } });
    spec["from"].as_object_mut().unwrap().extend(connection.as_object().unwrap().clone());
    let base = json!({ "path": "/v1/orders", "schema": { "id": "int", "at": "timestamp" } });
    spec.as_object_mut().unwrap().extend(base.as_object().unwrap().clone());
    spec.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    (KIND.build)(&serde_json::from_value(spec).unwrap()).err().unwrap_or_default()
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let cases = [
        (json!({}), json!({ "path": "v1/orders" }), "path", error::BAD_VALUE),
        (json!({}), json!({ "path": "//elsewhere.example/v1" }), "path", error::BAD_VALUE),
        (json!({}), json!({ "path": "/v1/{today}" }), "path", error::BAD_VALUE),
        (json!({}), json!({ "query": { "since": "{window.start}" } }), "query.since", error::BAD_VALUE),
        (json!({}), json!({ "records": "data" }), "records", error::BAD_VALUE),
        (json!({}), json!({ "pages": { "by": "cursor" } }), "pages.at", error::MISSING_KEY),
        (json!({}), json!({ "pages": { "by": "page", "at": "/x" } }), "pages.at", error::CONTRADICTION),
        (json!({}), json!({ "pages": { "by": "link", "param": "p" } }), "pages.param", error::CONTRADICTION),
        (json!({}), json!({ "pages": { "by": "offset", "start": 1 } }), "pages.start", error::CONTRADICTION),
        (json!({}), json!({ "pages": { "by": "page", "size_param": "n" } }), "pages.size_param", error::CONTRADICTION),
        (json!({}), json!({ "pages": { "by": "page", "more": "more" } }), "pages.more", error::BAD_VALUE),
        (json!({}), json!({ "pages": { "by": "book" } }), "pages.by", error::BAD_VALUE),
        (json!({}), json!({ "page": {} }), "page", error::UNKNOWN_KEY),
        (json!({}), json!({ "schema": { "id": "uuid" } }), "schema.id", error::BAD_VALUE),
        (json!({}), json!({ "cursor": "time" }), "schema", error::CURSOR_MISSING),
        (json!({}), json!({ "limits": { "page": "big" } }), "limits.page", error::BAD_VALUE),
        (json!({ "url": "ftp://x" }), json!({}), "connection.url", error::BAD_VALUE),
        (json!({ "url": "https://x/?a=1" }), json!({}), "connection.url", error::BAD_VALUE),
        (json!({ "url": "https://u:p@x" }), json!({}), "connection.url", error::BAD_VALUE),
        (json!({ "headers": { "x y": "1" } }), json!({}), "connection.headers.x y", error::BAD_VALUE),
        (json!({ "requests_per_s": 0 }), json!({}), "connection.requests_per_s", error::BAD_VALUE),
        (json!({ "timeout": "0s" }), json!({}), "connection.timeout", error::BAD_VALUE),
        (json!({ "retries": 1 }), json!({}), "connection.retries", error::UNKNOWN_KEY),
    ];
    for (connection, params, path, code) in cases {
        let faults = faults(connection.clone(), params.clone());
        let told: Vec<_> = faults.iter().map(|fault| (fault.path.as_str(), fault.code)).collect();
        assert_eq!(told, [(path, code)], "{connection} {params}: {faults:?}");
    }
}

/// The columns of an API are declared: what one window happens to bring is no contract.
#[test]
fn columns_have_to_be_declared() {
    let spec = json!({ "from": { "name": "api", "type": "http", "url": "https://x" }, "path": "/" });
    let faults = (KIND.build)(&serde_json::from_value(spec).unwrap()).err().unwrap();
    assert_eq!((faults.len(), faults[0].code), (1, error::MISSING_KEY));
    assert!(faults[0].fix.as_ref().unwrap().contains("schema:"), "{faults:?}");
}

#[test]
fn secrets_are_not_resolved_where_a_file_is_checked() {
    let connection = json!({ "url": "${env:WINDROW_NO_SUCH}", "headers": { "x": "a ${env:WINDROW_NO_SUCH}" } });
    assert_eq!(faults(connection, json!({})), []);
}

#[test]
fn the_window_decides_what_is_read_where_a_placeholder_stands() {
    for (params, expected) in [
        (json!({ "path": "/v1" }), false),
        (json!({ "path": "/v1?a={window.start:%Y}" }), true),
        (json!({ "path": "/v1", "query": { "b": "x", "a": "{window.end:%Y}" } }), true),
    ] {
        let mut spec =
            json!({ "from": { "name": "api", "type": "http", "url": "https://x" }, "schema": { "id": "int" } });
        spec.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let spec = serde_json::from_value(spec).unwrap();
        assert_eq!((KIND.by_window)(&spec), expected);
        assert_eq!((KIND.build)(&spec).ok().unwrap().by_window(), expected);
    }
}

//! Who is sent credentials, and where they never show.

use serde_json::json;
use windrow_common::{error, task::Retry};
use windrow_tests::api::{Api, Asked, Reply};
use windrow_worker::error::Outcome;

use super::reading::{all, counted, source};

const TOKEN: &str = "tok-5ec7e7-9f3b";

/// A connection with the token in a header and in the query; it stands in a file.
fn connection(api: &Api, folder: &tempfile::TempDir) -> serde_json::Value {
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let reference = format!("${{file:{}}}", file.display());
    json!({
        "url": api.url(),
        "headers": { "x-api-key": reference, "authorization": format!("Bearer {reference}") },
        "query": { "key": reference },
    })
}

fn has_token(asked: &Asked) -> bool {
    asked.headers.values().chain(asked.query.values()).any(|value| value.contains(TOKEN))
}

#[tokio::test]
async fn a_redirect_within_the_host_keeps_the_credentials_and_one_elsewhere_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let other = Api::serve(|_| Reply::json("[{\"seats\": 5}]")).unwrap();
    let elsewhere = format!("http://localhost:{}/taken", other.port());
    let api = Api::serve(move |asked| match asked.path.as_str() {
        "/moved" => Reply::status(307, "").with("Location", "/here"),
        "/here" => Reply::json("[{\"seats\": 4}]"),
        "/elsewhere" => Reply::status(302, "").with("Location", elsewhere.clone()),
        "/linked" => Reply::json("[{\"seats\": 1}]").with("Link", format!("<{elsewhere}>; rel=next")),
        "/round" => Reply::status(302, "").with("Location", "/round"),
        other => Reply::status(404, other),
    })
    .unwrap();
    let mut from = connection(&api, &folder);
    let (rows, _) = all(&source(from.clone(), json!({ "path": "/moved" }))).await.unwrap();
    assert_eq!(counted(&rows).2, 4);
    assert!(api.asked().iter().all(|asked| {
        asked.headers["x-api-key"] == TOKEN
            && asked.headers["authorization"] == format!("Bearer {TOKEN}")
            && asked.query["key"] == TOKEN
    }));
    for params in [json!({ "path": "/elsewhere" }), json!({ "path": "/linked", "pages": { "by": "link" } })] {
        let error = all(&source(from.clone(), params)).await.map(drop).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (error::SOURCE_UNREADABLE, Outcome::Failed(Retry::Never)));
        assert!(error.to_string().contains("localhost"), "{error}");
        assert!(error.fix_text().unwrap().contains("other_hosts"));
    }
    assert_eq!(other.asked().len(), 0, "nothing was sent there");
    from["other_hosts"] = json!(["localhost"]);
    let (rows, _) = all(&source(from.clone(), json!({ "path": "/elsewhere" }))).await.unwrap();
    assert_eq!(counted(&rows).2, 5);
    assert!(!other.asked().is_empty() && !other.asked().iter().any(has_token), "{:?}", other.asked());
    let error = all(&source(from, json!({ "path": "/round" }))).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
}

/// An API may repeat what it was sent; an error does not.
#[tokio::test]
async fn no_error_shows_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::serve(|asked| {
        let echo = format!("{:?}", asked.headers);
        match asked.path.as_str() {
            "/refused" => Reply::status(401, &echo),
            "/broken" => Reply::json(&echo),
            "/pages" => Reply::json("{\"data\": []}"),
            _ => Reply::status(302, "").with("Location", format!("http://{TOKEN}.example/")),
        }
    })
    .unwrap();
    for path in ["/refused", "/broken", "/pages", "/moved"] {
        let error = all(&source(connection(&api, &folder), json!({ "path": path }))).await.map(drop).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains(path) && !said.contains(TOKEN), "{said}");
    }
    assert!(api.asked().iter().all(has_token));
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_may_be_mended() {
    let from = json!({ "url": "http://127.0.0.1:1", "headers": { "authorization": "Bearer ${env:WINDROW_NO_SUCH}" } });
    let error = all(&source(from, json!({ "path": "/" }))).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (error::SECRET_UNRESOLVED, Outcome::Failed(Retry::Later)));
    assert!(error.to_string().contains("authorization") && error.to_string().contains("WINDROW_NO_SUCH"), "{error}");
}

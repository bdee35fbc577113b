//! What goes wrong with APIs, and what follows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use windrow_common::{error, task::Retry};
use windrow_tests::api::{Api, Asked, Reply};
use windrow_worker::error::{Outcome, WorkerError};

use super::reading::{all, counted, part, planes, source};

/// An API of pages by number whose n-th answer, from 0, is `spoil`ed.
fn spoiled(spoil: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static) -> Api {
    let (planes, count) = (planes(), AtomicUsize::new(0));
    Api::serve(move |asked: &Asked| {
        let page = asked.number("page").unwrap_or(1);
        let reply = Reply::json(json!({ "data": part(&planes, (page - 1) * 1_000, 1_000) }));
        spoil(count.fetch_add(1, Ordering::SeqCst), reply)
    })
    .unwrap()
}

fn by_page() -> Value {
    json!({ "path": "/planes", "records": "/data", "pages": { "by": "page" }, "pin": "none" })
}

/// What reading everything fails with.
async fn failure(api: &Api, connection: Value, params: Value) -> WorkerError {
    let mut connection = connection;
    connection["url"] = json!(api.url());
    all(&source(connection, params)).await.map(|(rows, _)| counted(&rows)).unwrap_err()
}

fn later(error: &WorkerError) -> bool {
    error.outcome() == Outcome::Failed(Retry::Later)
}

/// Whatever breaks on the way, a page is read whole or again, and no record twice.
#[tokio::test]
async fn broken_answers_are_asked_for_again_and_nothing_is_read_twice() {
    let api = spoiled(|n, reply| match n {
        0 => Reply::status(503, "busy"),
        1 => Reply::status(429, "slower").with("Retry-After", "1"),
        3 => Reply { cut: Some(10_000), ..reply },
        4 => Reply { cut: Some(0), ..reply },
        // Without a length to tell, an answer that ends early is one that is no whole JSON.
        6 => Reply::json(&reply.body[..5_000]),
        8 => Reply::status(502, "<html>"),
        _ => reply,
    });
    let start = Instant::now();
    let (rows, rejects) = all(&source(json!({ "url": api.url() }), by_page())).await.unwrap();
    assert_eq!((counted(&rows), rejects.len()), ((3_322, 3_322, 512_639), 0));
    let pages: Vec<_> = api.asked().iter().map(|asked| asked.number("page").unwrap()).collect();
    assert_eq!(pages, [1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5]);
    assert!(start.elapsed() > Duration::from_secs(1), "the second try came too soon");
}

/// An API that is out is the place's failure, which costs the window no attempt (ADR 8), after a bounded time.
#[tokio::test]
async fn an_api_that_is_out_is_an_outage_after_some_tries() {
    let api = spoiled(|_, _| Reply::status(500, "out of order"));
    let error = failure(&api, json!({}), by_page()).await;
    assert_eq!((error.code(), later(&error), api.asked().len()), (error::SOURCE_UNREADABLE, true, 6));
    assert!(error.to_string().contains("500") && error.to_string().contains("out of order"), "{error}");
    let gone = Api::serve(|_| Reply::json("[]")).unwrap();
    let url = gone.url();
    drop(gone);
    let error = all(&source(json!({ "url": url }), json!({ "path": "/", "pin": "none" }))).await.map(drop).unwrap_err();
    assert_eq!((error.code(), later(&error)), (error::SOURCE_UNREADABLE, true));
}

/// A service that wants a long pause gets it: the task gives way, and nobody asks meanwhile.
#[tokio::test]
async fn a_long_pause_is_no_reason_to_sit_and_wait() {
    let api = spoiled(|_, _| Reply::status(429, "").with("Retry-After", "3600"));
    let source = source(json!({ "url": api.url() }), by_page());
    let start = Instant::now();
    for _ in 0..3 {
        let error = all(&source).await.map(drop).unwrap_err();
        assert_eq!((error.code(), later(&error)), (error::SOURCE_UNREADABLE, true));
    }
    assert_eq!(api.asked().len(), 1);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_asking_again_cannot_mend_is_told_at_once_with_what_the_api_said() {
    for (status, code) in [
        (400, error::SOURCE_UNREADABLE),
        (401, error::SOURCE_UNREADABLE),
        (403, error::SOURCE_UNREADABLE),
        (404, error::SOURCE_MISSING),
    ] {
        let api = spoiled(move |_, _| Reply::status(status, "{\n  \"error\": \"not for you\"\n}"));
        let error = failure(&api, json!({}), by_page()).await;
        assert_eq!((error.code(), later(&error), api.asked().len()), (code, false, 1), "{status}");
        let said = error.to_string();
        assert!(said.contains(&format!("{status} ")) && said.contains("{ \"error\": \"not for you\" }"), "{said}");
        assert!(said.contains(&format!("({}/planes)", api.url())), "{said}");
        assert!(error.fix_text().is_some_and(|fix| fix.len() > 20));
    }
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_that_shows_it() {
    let cases = [
        ("<html><title>Sign in</title></html>", "/data", error::SOURCE_CORRUPT, "Sign in"),
        ("{\"items\": []}", "/data", error::SCHEMA_MISMATCH, "/data"),
        ("{\"data\": {\"id\": 1}}", "/data", error::SCHEMA_MISMATCH, "no list"),
        ("", "/data", error::SOURCE_CORRUPT, "no JSON"),
    ];
    for (body, records, code, said) in cases {
        let api = Api::serve(move |_| Reply::json(body)).unwrap();
        let error = failure(&api, json!({}), json!({ "path": "/", "records": records })).await;
        assert_eq!((error.code(), later(&error)), (code, false), "{body}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// A client that trusts tokens for ever would read for ever.
#[tokio::test]
async fn pages_that_lead_in_a_circle_are_an_error() {
    let planes = planes();
    let api = Api::serve(move |asked| {
        let at = asked.query.get("cursor").map_or(0, |token| token.parse::<usize>().unwrap());
        let data = part(&planes, at * 10, 10);
        match asked.path.as_str() {
            "/circle" => Reply::json(json!({ "data": data, "next": (at + 1) % 3 })),
            "/deaf" => Reply::json(json!({ "data": part(&planes, 0, 10) })),
            _ => Reply::json(json!({ "data": data, "next": at + 1 })),
        }
    })
    .unwrap();
    let by_cursor = json!({ "by": "cursor", "at": "/next" });
    let params = json!({ "path": "/circle", "records": "/data", "pages": by_cursor });
    let error = failure(&api, json!({}), params).await;
    assert_eq!((error.code(), later(&error)), (error::PAGES_LOOP, false));
    let params = json!({ "path": "/deaf", "records": "/data", "pages": { "by": "page", "param": "p" } });
    let error = failure(&api, json!({}), params).await;
    assert_eq!((error.code(), later(&error)), (error::PAGES_LOOP, false));
    let params = json!({ "path": "/endless", "records": "/data", "pages": by_cursor, "limits": { "pages": 20 } });
    let error = failure(&api, json!({}), params).await;
    assert_eq!((error.code(), later(&error)), (error::INPUT_TOO_LARGE, false));
}

#[tokio::test]
async fn a_page_past_its_limit_is_refused_however_it_comes() {
    let api = spoiled(|_, reply| reply);
    let mut params = by_page();
    params["limits"] = json!({ "page": "64KiB" });
    let error = failure(&api, json!({}), params).await;
    assert_eq!((error.code(), later(&error)), (error::INPUT_TOO_LARGE, false));
    assert!(error.fix_text().unwrap().contains("limits.page"));
}

#[tokio::test]
async fn an_answer_that_trickles_is_not_waited_for_for_ever() {
    let api = spoiled(|_, reply| Reply { slow: Duration::from_millis(200), ..reply });
    let start = Instant::now();
    let error = failure(&api, json!({ "timeout": "300ms" }), by_page()).await;
    assert_eq!((error.code(), later(&error)), (error::SOURCE_UNREADABLE, true));
    assert!(error.to_string().contains("0.3 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// Pages shift under who reads them when a record comes or goes. The version of the first page tells, and so does a
/// count of all records.
#[tokio::test]
async fn pages_that_shift_meanwhile_are_not_taken_for_the_whole() {
    let (planes, count) = (planes(), Arc::new(AtomicUsize::new(0)));
    let api = Api::serve(move |asked| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        // A record at the front goes after the second page.
        let now = if n < 3 { &planes[..] } else { &planes[1..] };
        let page = asked.number("page").unwrap();
        let tag = format!("\"{}\"", now.len());
        if asked.headers.get("if-none-match") == Some(&tag) {
            return Reply::status(304, "");
        }
        Reply::json(json!({ "data": part(now, (page - 1) * 1_000, 1_000), "count": now.len() })).with("ETag", tag)
    })
    .unwrap();
    let source = source(
        json!({ "url": api.url() }),
        json!({ "path": "/planes", "records": "/data", "pages": { "by": "page", "total": "/count" } }),
    );
    let error = all(&source).await.map(drop).unwrap_err();
    assert_eq!((error.code(), later(&error)), (error::SOURCE_CHANGED, true));
    let (rows, _) = all(&source).await.unwrap();
    assert_eq!(counted(&rows).0, 3_321, "the next attempt reads the new whole");
    let asked = api.asked();
    assert!(asked.last().unwrap().headers.contains_key("if-none-match"), "the version is asked for at the end");
}

/// The same told by the version alone.
#[tokio::test]
async fn a_first_page_of_another_version_is_a_change() {
    let count = AtomicUsize::new(0);
    let api = Api::serve(move |asked| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        let page = asked.number("page").unwrap();
        let body = if page < 3 { format!("[{{\"seats\": {page}}}]") } else { "[]".to_owned() };
        Reply::json(body).with("Last-Modified", format!("Wed, 21 Oct 2015 07:00:0{} GMT", n / 4))
    })
    .unwrap();
    let source = source(json!({ "url": api.url() }), json!({ "path": "/", "pages": { "by": "page" } }));
    let error = all(&source).await.map(drop).unwrap_err();
    assert_eq!((error.code(), later(&error)), (error::SOURCE_CHANGED, true));
    assert!(error.fix_text().unwrap().contains("pin: none"));
}

#[tokio::test]
async fn requests_keep_to_the_rate() {
    let api = spoiled(|_, reply| reply);
    let start = Instant::now();
    all(&source(json!({ "url": api.url(), "requests_per_s": 4 }), by_page())).await.unwrap();
    let (asked, passed) = (api.asked().len(), start.elapsed());
    assert_eq!(asked, 5);
    assert!(passed >= Duration::from_secs(1), "{asked} requests in {passed:?}");
}

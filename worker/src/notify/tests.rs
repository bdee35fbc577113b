//! Events as a receiver gets them.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use windrow_common::{
    claim::Token,
    closed::Declared,
    id::TaskId,
    intent::{IntentBody, IntentTask},
    manifest::{Counts, Digest, ManifestRef},
    marker::Markers,
    window::{Axis, Window},
};

use super::*;

const KEY: &[u8] = b"a key of a good many bytes";

fn task(number: u8, pipeline: &str, hour: i64, revision: u32) -> IntentTask {
    let hours = |hour: i64| hour * 3_600_000_000;
    IntentTask {
        task: TaskId::from_bytes([number; 16]),
        pipeline: pipeline.parse().unwrap(),
        window: Window::new(Axis::Time, hours(hour), hours(hour + 1)).unwrap(),
        revision,
        token: Token { epoch: 1, revision: 7 },
        manifest: ManifestRef {
            path: "m".to_owned(),
            sha256: Digest([0; 32]),
            counts: Counts { rows_read: 5, rows_written: 4, rows_rejected: 1, ..Counts::default() },
            proof: None,
        },
        declared: None,
    }
}

fn commit(tasks: Vec<IntentTask>) -> IntentBody {
    IntentBody {
        sink: "lake".parse().unwrap(),
        seq: 9,
        previous: None,
        previous_aborted: false,
        tasks,
        schema: Value::Null,
        add: Vec::new(),
        remove: Vec::new(),
        dead_letters: Vec::new(),
        change: None,
        shows: None,
        markers: Markers::default(),
    }
}

fn read(event: &Event) -> Value {
    serde_json::from_slice(&event.body(Timestamp::UNIX_EPOCH).unwrap()).unwrap()
}

#[test]
fn a_commit_is_an_event_for_each_window_of_the_pipeline() {
    let tasks = vec![
        task(1, "flights", 0, 0),
        task(2, "flights", 1, 3),
        task(3, "planes", 1, 0),
        // A shard of the first window.
        task(4, "flights", 0, 0),
    ];
    let told = events(&commit(tasks.clone()), &"flights".parse().unwrap(), None);
    let bodies: Vec<Value> = told.iter().map(read).collect();
    assert_eq!(
        bodies[0],
        json!({
            "specversion": "1.0", "id": "01010101010101010101010101010101", "type": "windrow.window.published",
            "source": "/windrow/pipelines/flights", "subject": "1970-01-01T00:00:00Z..1970-01-01T01:00:00Z",
            "time": "1970-01-01T00:00:00Z", "datacontenttype": "application/json",
            "data": {
                "pipeline": "flights", "start": "1970-01-01T00:00:00Z", "end": "1970-01-01T01:00:00Z",
                "revision": 0, "seq": 9, "rows_read": 10, "rows_written": 8, "rows_rejected": 2,
            },
        })
    );
    assert_eq!((&bodies[1]["type"], &bodies[1]["data"]["revision"]), (&json!("windrow.window.revised"), &json!(3)));
    assert_eq!(bodies.len(), 2);
    assert_eq!(told, events(&commit(tasks), &"flights".parse().unwrap(), None), "told again it is the same");
}

#[test]
fn what_came_late_and_what_was_declared_are_told_as_such() {
    let declared = Declared { by: "ann".to_owned(), reason: "no visits".to_owned(), at: Timestamp::UNIX_EPOCH };
    let body = commit(vec![IntentTask { declared: Some(Box::new(declared)), ..task(1, "flights", 0, 0) }]);
    let (own, other) = ("flights".parse().unwrap(), "planes".parse().unwrap());
    let event = read(&events(&body, &own, None)[0]);
    assert_eq!((&event["type"], &event["data"]["declared"]["by"]), (&json!("windrow.window.published"), &json!("ann")));
    let event = read(&events(&body, &own, Some(&other))[0]);
    assert_eq!((&event["type"], &event["data"]["late_of"]), (&json!("windrow.window.late"), &json!("planes")));
}

/// Answers one request after the other with these statuses and keeps what it was sent.
struct Receiver {
    address: String,
    got: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                // What is sent ends with the end of a JSON object.
                while !bytes.ends_with(b"}") {
                    let mut piece = [0; 4096];
                    let read = stream.read(&mut piece).await.unwrap();
                    bytes.extend_from_slice(&piece[..read]);
                }
                kept.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                let location = "location: http://127.0.0.1:1/elsewhere\r\n";
                let answer = format!("HTTP/1.1 {status} X\r\n{location}content-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, got }
    }

    fn notify(&self, private: &[&str]) -> Notify {
        Notify {
            url: self.address.clone(),
            secret: format!("whsec_{}", STANDARD.encode(KEY)),
            private: private.iter().map(|host| (*host).to_owned()).collect(),
        }
    }
}

fn one() -> Event {
    events(&commit(vec![task(1, "flights", 0, 0)]), &"flights".parse().unwrap(), None).remove(0)
}

#[tokio::test]
async fn an_event_is_signed_so_that_its_receiver_can_tell_who_sent_it() {
    let receiver = Receiver::start(&[204]).await;
    let hook = Webhook::open(&"flights".parse().unwrap(), &receiver.notify(&["127.0.0.1"])).unwrap();
    let now: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    hook.send(&one(), now).await.unwrap();
    let request = receiver.got.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let start = format!("{name}: ");
        head.lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap_or_else(|| panic!("no {name}: {head}"))
            .to_owned()
    };
    assert!(head.starts_with("POST /hook?key=1 "), "{head}");
    assert_eq!(header("content-type"), "application/cloudevents+json");
    assert_eq!(header("webhook-timestamp"), now.as_second().to_string());
    // As a receiver verifies it.
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), expected);
    let event: Value = serde_json::from_str(body).unwrap();
    assert_eq!(event["id"], header("webhook-id"));
}

#[tokio::test]
async fn what_is_not_taken_is_an_error_that_time_may_mend_and_no_redirect_is_followed() {
    let receiver = Receiver::start(&[500, 307, 410, 200]).await;
    let hook = Webhook::open(&"flights".parse().unwrap(), &receiver.notify(&["127.0.0.1"])).unwrap();
    for status in ["500", "307", "410"] {
        let error = hook.send(&one(), Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert_eq!(error.code(), error::EVENT_UNDELIVERED);
        assert!(error.to_string().contains(status) && !error.to_string().contains("key=1"), "{error}");
    }
    hook.send(&one(), Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(receiver.got.lock().unwrap().len(), 4);
    let gone = hook.send(&one(), Timestamp::UNIX_EPOCH).await.unwrap_err();
    assert!(!gone.to_string().contains("key=1"), "{gone}");
}

#[tokio::test]
async fn a_receiver_that_is_not_listed_gets_nothing() {
    let receiver = Receiver::start(&[200]).await;
    let refused = Webhook::open(&"flights".parse().unwrap(), &receiver.notify(&[])).err().unwrap();
    assert_eq!(refused.code(), error::EVENT_FORBIDDEN);
    let no_key = Notify { secret: "whsec_eA==".to_owned(), ..receiver.notify(&["127.0.0.1"]) };
    let refused = Webhook::open(&"flights".parse().unwrap(), &no_key).err().unwrap();
    assert_eq!(refused.code(), error::EVENT_FORBIDDEN);
    assert!(receiver.got.lock().unwrap().is_empty());
}

//! What a leader asks of workers when windows wait for files.

use windrow_common::pipeline::Pipeline;

use super::*;

const WINDOWS: usize = 500;

/// Hours that each wait for a marker.
fn waiting() -> Pipeline {
    let end = 24 * 3_600 + WINDOWS as i64 * 3_600;
    let end = Timestamp::from_second(end).unwrap().strftime("%FT%H:%M").to_string();
    serde_json::from_value(serde_json::json!({
        "name": "flights", "pattern": "incremental",
        "source": {
            "from": { "name": "in", "type": "local", "root": "/in" }, "path": "{window.start:%FT%H}/*.csv",
        },
        "window": { "every": "1h", "start": "1970-01-02T00:00", "end": end, "per_task": 1 },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "delta", "write": "replace_window", "path": "flights",
        },
        "readiness": { "require": { "all": [{ "marker": "_SUCCESS" }] } },
    }))
    .unwrap()
}

impl Led {
    async fn next_look(&mut self) -> v1::Look {
        loop {
            match self.hear().await {
                Out::Look(look) => return look,
                Out::Assign(assign) => panic!("{:?} is given out", assign.window),
                _ => {}
            }
        }
    }

    async fn looked(&self, request: u64, windows: Vec<u32>) {
        let seen = vec![v1::Seen { to_us: i64::MIN, words: "no marker".to_owned(), windows }];
        self.handle.session(worker(), 1, SessionEvent::Looked { request, seen }).await.unwrap();
    }
}

/// Proves RM7. Five hundred windows wait: one question, no claim; the answer lets those go that it names, and nobody else.
#[tokio::test]
async fn one_question_is_for_all_windows_that_wait() {
    let mut led = Led::lead(waiting(), Timing::default(), windrow_proto::version::NEWEST).await;
    let mut look = led.next_look().await;
    // The first question may come before all windows are planned.
    let mut windows = look.windows.len();
    while windows < WINDOWS {
        led.looked(look.request, Vec::new()).await;
        look = led.next_look().await;
        windows += look.windows.len();
    }
    assert_eq!(windows, WINDOWS);
    let (third, last) = (look.windows[2], look.windows[look.windows.len() - 1]);
    // Of a question that was not asked there is no answer.
    led.looked(look.request + 1, vec![0, 1]).await;
    led.looked(look.request, vec![2, u32::try_from(look.windows.len() - 1).unwrap(), 10_000]).await;
    let mut given = Vec::new();
    while given.len() < 2 {
        if let Out::Assign(assign) = led.hear().await {
            given.push(assign.window.unwrap());
        }
    }
    assert_eq!(given, [third, last]);
    let quiet = tokio::time::timeout(Duration::from_secs(3), led.next_look()).await;
    assert!(quiet.is_err(), "those that were seen to wait are not asked about again so soon: {quiet:?}");
}

/// Workers of before ask by themselves when they are given a window.
#[tokio::test]
async fn workers_of_before_are_given_windows_to_ask_for_themselves() {
    let mut led = Led::lead(waiting(), Timing::default(), 3).await;
    let mut given = 0;
    while given < SLOTS {
        match led.hear().await {
            Out::Assign(_) => given += 1,
            Out::Look(look) => panic!("{look:?}"),
            _ => {}
        }
    }
}

//! Receivers of events: each window once or again under one id, in order, whatever is away or dies.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use windrow_tests::process::{Process, run};

use crate::visits::{Visits, WINDOWS};

/// A webhook that answers what it is told to answer, when it is told to.
pub(crate) struct Receiver {
    port: u16,
    answer: Arc<AtomicU16>,
    pause_ms: Arc<AtomicU64>,
    taken: Arc<Mutex<Vec<Value>>>,
    over: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            answer: Arc::new(AtomicU16::new(200)),
            pause_ms: Arc::default(),
            taken: Arc::default(),
            over: Arc::default(),
        };
        let (answer, pause, taken, over) = (
            Arc::clone(&receiver.answer),
            Arc::clone(&receiver.pause_ms),
            Arc::clone(&receiver.taken),
            Arc::clone(&receiver.over),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // One at a time: they come in order.
                let _ = serve(stream, &answer, &pause, &taken);
            }
        });
        receiver
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn answers(&self, status: u16) {
        self.answer.store(status, Ordering::Relaxed);
    }

    fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }

    /// The starts of the windows that were told of, each once. They were first told of in the order of their commits.
    pub(crate) fn starts(&self, kind: &str) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let taken = self.taken();
        let of_kind = taken.iter().filter(|event| event["type"] == kind);
        let first: Vec<&Value> =
            of_kind.filter(|event| seen.insert(event["id"].as_str().unwrap().to_owned())).collect();
        let seqs: Vec<u64> = first.iter().map(|event| event["data"]["seq"].as_u64().unwrap()).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
        let mut starts: Vec<String> =
            first.iter().map(|event| event["data"]["start"].as_str().unwrap().to_owned()).collect();
        starts.sort();
        starts
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Takes the requests of a connection until it ends.
fn serve(
    mut stream: TcpStream,
    answer: &AtomicU16,
    pause: &AtomicU64,
    taken: &Mutex<Vec<Value>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(event) = serde_json::from_str::<Value>(body) else { continue };
        assert!(head.contains("webhook-signature: v1,"), "{head}");
        assert!(head.contains(&format!("webhook-id: {}", event["id"].as_str().unwrap_or_default())), "{head}");
        std::thread::sleep(Duration::from_millis(pause.load(Ordering::Relaxed)));
        let status = answer.load(Ordering::Relaxed);
        if status == 200 {
            taken.lock().unwrap().push(event);
        }
        stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
        bytes.clear();
    }
}

/// Has the pipeline of visits tell the receiver.
fn telling(visits: &Visits, receiver: &Receiver) {
    fs::write(visits.path().join("key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let key = visits.path().join("key");
    let path = visits.path().join("pipelines.yaml");
    let notify = format!(
        "    readiness: {{ notify: {{ url: \"http://127.0.0.1:{}/hook\", secret: \"${{file:{}}}\", private: [127.0.0.1] }} }}\n",
        receiver.port,
        key.display()
    );
    fs::write(&path, fs::read_to_string(&path).unwrap() + &notify).unwrap();
}

fn runs(arg: &str, patience: &str) -> Option<i32> {
    let output = run(&["run", arg, "--patience", patience]).unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

fn hours() -> Vec<String> {
    (0..WINDOWS).map(|hour| format!("2024-01-01T{hour:02}:00:00Z")).collect()
}

fn wait_until(what: impl Fn() -> bool) -> bool {
    (0..3_000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        what()
    })
}

#[test]
fn receivers_hear_of_every_window_in_order_and_of_those_that_change() {
    let (visits, receiver) = (Visits::new(), Receiver::start());
    telling(&visits, &receiver);
    assert_eq!(runs(visits.arg(), "10m"), Some(0));
    assert_eq!(receiver.starts("windrow.window.published"), hours());
    assert_eq!(receiver.taken().len() as u64, WINDOWS, "nothing died, so nothing is told twice");
    assert_eq!(runs(visits.arg(), "10m"), Some(0));
    assert_eq!(receiver.taken().len() as u64, WINDOWS);

    let again = ["backfill", "create", "visits", "--from", "2024-01-01T03:00", "--to", "2024-01-01T05:00"];
    let output = run(&[&again[..], &["--reprocess", "all", "--local", visits.arg()]].concat()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(runs(visits.arg(), "10m"), Some(0));
    assert_eq!(receiver.starts("windrow.window.revised"), hours()[3..5]);
    assert!(receiver.taken().iter().rev().take(2).all(|event| event["data"]["revision"] == 1));
    assert_eq!(receiver.starts("windrow.window.published"), hours());
}

#[test]
fn what_a_receiver_does_not_take_is_kept_for_it() {
    let (visits, receiver) = (Visits::new(), Receiver::start());
    telling(&visits, &receiver);
    receiver.answers(503);
    assert_eq!(runs(visits.arg(), "2s"), Some(75), "the windows are published, and nobody knows");
    assert_eq!(crate::visits::rows_of(&visits.table()), crate::visits::ROWS);
    assert!(receiver.taken().is_empty());
    receiver.answers(200);
    assert_eq!(runs(visits.arg(), "10m"), Some(0));
    assert_eq!(receiver.starts("windrow.window.published"), hours());
}

/// What was told and not noted is told again, and it can be told that it was.
#[test]
fn a_process_that_is_killed_while_it_tells_leaves_nothing_out() {
    let (visits, receiver) = (Visits::new(), Receiver::start());
    telling(&visits, &receiver);
    receiver.pause_ms.store(100, Ordering::Relaxed);
    for round in 1..=3 {
        let mut process = Process::start(&["run", visits.arg()], &log(visits.path(), round)).unwrap();
        let before = receiver.taken().len();
        assert!(wait_until(|| receiver.taken().len() >= before + 3), "{}", process.log());
        process.kill().unwrap();
    }
    receiver.pause_ms.store(0, Ordering::Relaxed);
    assert_eq!(runs(visits.arg(), "10m"), Some(0));
    assert_eq!(receiver.starts("windrow.window.published"), hours());
}

fn log(folder: &Path, round: u32) -> std::path::PathBuf {
    folder.join(format!("run-{round}.log"))
}

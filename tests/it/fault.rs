//! The fault proxy itself: each fault does what its name says, to the client and to the upstream.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use windrow_tests::fault::{Fault, FaultProxy, Rule, Speaks};

const PATIENCE: Duration = Duration::from_secs(10);

/// A server that answers each request line by line: it notes what it got whole and says `200` with ten bytes.
struct Upstream {
    address: String,
    got: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let got = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    let text = read_request(&mut stream).await?;
                    noted.lock().unwrap().push(text);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await.ok()
                });
            }
        });
        Self { address, got }
    }

    fn got(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

/// A request with a body of four bytes; `None` when it ends before.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() == 4) {
            return Some(text);
        }
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
}

async fn ask(proxy: &FaultProxy, path: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    asked_on(&mut stream, path).await
}

/// What comes back until the connection ends or the reply is whole.
async fn asked_on(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("PUT {path} HTTP/1.1\r\nhost: x\r\nif-none-match: *\r\ncontent-length: 4\r\n\r\nbody");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    while !bytes.ends_with(b"0123456789") && !bytes.ends_with(b"content-length: 0\r\n\r\n") {
        match timeout(PATIENCE, stream.read(&mut piece)).await.unwrap() {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => break,
        }
        bytes = String::from_utf8_lossy(&bytes).replace("Content-Length", "content-length").into_bytes();
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn requests_meet_the_faults_of_their_rules_and_no_others() {
    let upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.address, Speaks::Http1, 1).await.unwrap();
    // fault, whether the upstream got the whole, what the client sees
    let cases: [(Fault, bool, &str); 7] = [
        (Fault::Cut, false, ""),
        (Fault::CutRequest, false, ""),
        (Fault::LoseReply, true, ""),
        (Fault::CutReply, true, "01234"),
        (Fault::HalfClose, true, ""),
        (Fault::Refuse(503), false, "HTTP/1.1 503"),
        (Fault::FailReply(500), true, "HTTP/1.1 500"),
    ];
    for (fault, whole, sees) in cases {
        let before = upstream.got();
        let met = proxy.meet(Rule::on("PUT", "log/").having("If-None-Match").times(1).with(fault.clone())).unwrap();
        assert!(ask(&proxy, "/data/1").await.contains("200 OK"), "{fault:?}");
        let seen = ask(&proxy, "/log/1").await;
        let end = if sees.starts_with("HTTP") { seen.starts_with(sees) } else { seen.ends_with(sees) };
        assert!(end && (sees.is_empty() == seen.is_empty()), "{fault:?}: {seen:?}");
        assert!(ask(&proxy, "/log/2").await.contains("200 OK"), "{fault:?} once only");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!((upstream.got() - before, met.times()), (2 + usize::from(whole), 1), "{fault:?}");
        proxy.heal();
    }
    let log = proxy.seen();
    assert_eq!(log.len(), 21);
    assert_eq!((log[1].path.as_str(), log[1].answer, log[1].fault.as_deref()), ("/log/1", None, Some("Cut")));
    assert_eq!((log[19].answer, log[19].fault.as_deref()), (Some(200), Some("FailReply(500)")));
}

#[tokio::test]
async fn requests_are_delayed_slowed_silenced_and_rewritten() {
    let upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.address, Speaks::Http1, 1).await.unwrap();
    let least = Duration::from_millis(150);
    let timed = |path: &'static str| {
        let proxy = &proxy;
        async move {
            let begun = Instant::now();
            let seen = ask(proxy, path).await;
            (begun.elapsed(), seen)
        }
    };
    proxy.meet(Rule::on("*", "late").with(Fault::Delay(least, least))).unwrap();
    proxy.meet(Rule::on("*", "slow").with(Fault::Slow(200))).unwrap();
    proxy
        .meet(Rule::on("*", "else").with(Fault::Rewrite(Arc::new(|request| request.remove_header("If-None-Match")))))
        .unwrap();
    for path in ["/late", "/slow"] {
        let (took, seen) = timed(path).await;
        assert!(took >= least && seen.ends_with("0123456789"), "{path}: {took:?} {seen:?}");
    }
    ask(&proxy, "/else").await;
    let with_condition = |text: &String| text.contains("if-none-match");
    assert_eq!(upstream.got.lock().unwrap().iter().map(with_condition).collect::<Vec<_>>(), [true, true, false]);

    proxy.meet(Rule::on("*", "hush").with(Fault::Silence)).unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"PUT /hush HTTP/1.1\r\ncontent-length: 4\r\n\r\nbody").await.unwrap();
    let mut piece = [0; 8];
    assert!(timeout(Duration::from_millis(200), stream.read(&mut piece)).await.is_err(), "silence, not an end");
    assert_eq!(upstream.got(), 4);
}

#[tokio::test]
async fn chance_is_the_seeds_and_repeats() {
    let upstream = Upstream::start().await;
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let proxy = FaultProxy::start(&upstream.address, Speaks::Http1, seed).await.unwrap();
        let met = proxy.meet(Rule::always().chance(0.5).with(Fault::Refuse(500))).unwrap();
        for _ in 0..40 {
            ask(&proxy, "/").await;
        }
        assert!((5..35).contains(&met.times()));
        runs.push(proxy.seen().iter().map(|seen| seen.answer.is_some()).collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn it_goes_down_comes_up_and_freezes() {
    let upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.address, Speaks::Http1, 1).await.unwrap();
    let mut open = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(asked_on(&mut open, "/").await.contains("200"));
    proxy.down().await;
    let mut piece = [0; 8];
    assert_eq!(timeout(PATIENCE, open.read(&mut piece)).await.unwrap().unwrap_or(0), 0, "severed");
    assert!(TcpStream::connect(proxy.address()).await.is_err());
    proxy.up().await.unwrap();
    assert!(ask(&proxy, "/").await.contains("200"));

    proxy.freeze();
    let waiting = ask(&proxy, "/");
    let mut waiting = std::pin::pin!(waiting);
    assert!(timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    proxy.thaw();
    assert!(waiting.await.contains("200"));
}

#[tokio::test]
async fn plain_bytes_are_passed_on_both_ways_and_meet_faults_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    let proxy = FaultProxy::start(&address, Speaks::Bytes, 1).await.unwrap();
    assert!(proxy.meet(Rule::on("PUT", "x").with(Fault::Cut)).is_err(), "it sees no requests");
    let echoed = |proxy: &FaultProxy| {
        let address = proxy.address();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut piece = [0; 8];
            let read = timeout(Duration::from_millis(300), stream.read(&mut piece)).await;
            read.map(|read| read.unwrap_or(0))
        }
    };
    assert_eq!(echoed(&proxy).await, Ok(5));
    for (fault, sees) in
        [(Fault::Cut, Some(0)), (Fault::LoseReply, Some(0)), (Fault::HalfClose, Some(0)), (Fault::Silence, None)]
    {
        proxy.meet(Rule::always().times(1).with(fault.clone())).unwrap();
        assert_eq!(echoed(&proxy).await.ok(), sees, "{fault:?}");
    }
    assert_eq!(echoed(&proxy).await, Ok(5));
}

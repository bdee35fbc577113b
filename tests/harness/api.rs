//! An API of JSON over HTTP, as strangers have them: what it answers, and how badly, is up to the test.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
}

impl Asked {
    /// A parameter as a number.
    pub fn number(&self, param: &str) -> Option<usize> {
        self.query.get(param)?.parse().ok()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// How long each tenth of the body takes.
    pub slow: Duration,
}

impl Reply {
    pub fn json(body: impl ToString) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.to_string(), cut: None, slow: Duration::ZERO }
    }

    pub fn status(status: u16, body: &str) -> Self {
        Self { status, ..Self::json(body) }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server; gone when dropped.
pub struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Box<Answer>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

impl Api {
    pub fn serve(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { answer: Box::new(answer), asked: Mutex::default(), over: AtomicBool::new(false) });
        thread::spawn({
            let shared = shared.clone();
            move || {
                for stream in listener.incoming().flatten() {
                    if shared.over.load(Ordering::Relaxed) {
                        return;
                    }
                    let shared = shared.clone();
                    // A client that goes away in the middle is no news.
                    thread::spawn(move || shared.answer(&stream).ok());
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// One request per connection.
    fn answer(&self, stream: &TcpStream) -> Result<()> {
        let asked = read(stream)?;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        write(stream, &(self.answer)(&asked))
    }
}

fn read(stream: &TcpStream) -> Result<Asked> {
    // No test sends a head of more.
    let mut lines = BufReader::new(stream.take(64 << 10)).lines();
    let first = lines.next().context("a request has a line")??;
    let target = first.split(' ').nth(1).context("a request has a target")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked { path: path.to_owned(), ..Asked::default() };
    asked.query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        asked.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(asked)
}

fn write(mut stream: &TcpStream, reply: &Reply) -> Result<()> {
    let length = reply.body.len();
    let mut head =
        format!("HTTP/1.1 {} As-The-Test-Says\r\ncontent-length: {length}\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let body = &reply.body.as_bytes()[..reply.cut.unwrap_or(length).min(length)];
    for piece in body.chunks((length / 10).max(1)) {
        if !reply.slow.is_zero() {
            thread::sleep(reply.slow);
        }
        stream.write_all(piece)?;
        stream.flush()?;
    }
    Ok(())
}

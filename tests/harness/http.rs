//! The least of HTTP that tests need: a page of a server on this machine.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server answered.
pub struct Page {
    pub content_type: String,
    pub body: String,
}

/// Gets a page; anything but a success is an error.
pub fn get(address: &str, path: &str) -> Result<Page> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // With 1.0 the body ends where the connection does.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{path} is answered with {}", head.lines().next().unwrap_or_default());
    let content_type = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    });
    Ok(Page { content_type: content_type.unwrap_or_default(), body: body.to_owned() })
}

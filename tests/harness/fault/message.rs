//! Messages of HTTP/1.1 as they stand on the wire, read whole. Bodies are bytes; chunked ones stay chunked.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

/// Longest head of a message.
const MAX_HEAD: usize = 64 << 10;
/// Longest body of a message.
const MAX_BODY: u64 = 256 << 20;

/// A request, which a rule may change.
#[derive(Clone, Debug)]
pub struct Request {
    head: Head,
    body: Vec<u8>,
}

/// A reply.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    head: Head,
    body: Vec<u8>,
}

/// First line and headers, names as they were written.
#[derive(Clone, Debug)]
struct Head {
    line: String,
    headers: Vec<(String, String)>,
}

/// How long a body is.
enum Length {
    Known(u64),
    Chunked,
    ToTheEnd,
}

impl Request {
    /// The next request of a connection; `None` when there comes none. Who waits for leave to send a body gets it.
    pub(super) async fn read<S>(stream: &mut S) -> io::Result<Option<Self>>
    where
        S: AsyncBufRead + AsyncWriteExt + Unpin,
    {
        let Some(head) = Head::read(stream).await? else { return Ok(None) };
        if head.get("expect").is_some_and(|what| what.eq_ignore_ascii_case("100-continue")) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = read_body(stream, head.length()?.unwrap_or(Length::Known(0))).await?;
        Ok(Some(Self { head, body }))
    }

    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// With the query.
    pub fn path(&self) -> &str {
        self.head.word(1)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn remove_header(&mut self, name: &str) {
        self.head.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Sets a header, in the place of those of that name.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.remove_header(name);
        self.head.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The bytes of the whole, or with half of its body only.
    pub(super) fn bytes(&self, half: bool) -> Vec<u8> {
        let end = if half { self.body.len() / 2 } else { self.body.len() };
        let mut bytes = self.head.bytes();
        bytes.extend_from_slice(&self.body[..end]);
        bytes
    }
}

impl Reply {
    /// The reply to a request of that method.
    pub(super) async fn read<S: AsyncBufRead + Unpin>(stream: &mut S, method: &str) -> io::Result<Self> {
        loop {
            let head = Head::read(stream).await?.ok_or(ErrorKind::UnexpectedEof)?;
            let status = head.word(1).parse::<u16>().map_err(|_| ErrorKind::InvalidData)?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let empty = method == "HEAD" || status == 204 || status == 304;
            let length = if empty { Length::Known(0) } else { head.length()?.unwrap_or(Length::ToTheEnd) };
            let body = read_body(stream, length).await?;
            return Ok(Self { head, body });
        }
    }

    /// A reply without a body.
    pub(super) fn of(status: u16) -> Self {
        let headers = vec![("Content-Length".to_owned(), "0".to_owned())];
        Self { head: Head { line: format!("HTTP/1.1 {status} Fault"), headers }, body: Vec::new() }
    }

    pub(super) fn status(&self) -> u16 {
        self.head.word(1).parse().unwrap_or(0)
    }

    /// Whether the connection can be used again after it.
    pub(super) fn keeps_connection(&self) -> bool {
        let closes = self.head.get("connection").is_some_and(|what| what.eq_ignore_ascii_case("close"));
        let framed = self.head.get("content-length").is_some() || self.head.get("transfer-encoding").is_some();
        !closes && (framed || self.body.is_empty())
    }

    pub(super) fn bytes(&self, half: bool) -> Vec<u8> {
        let end = if half { self.body.len() / 2 } else { self.body.len() };
        let mut bytes = self.head.bytes();
        bytes.extend_from_slice(&self.body[..end]);
        bytes
    }
}

impl Head {
    async fn read<S: AsyncBufRead + Unpin>(stream: &mut S) -> io::Result<Option<Self>> {
        let mut left = MAX_HEAD;
        let Some(line) = read_line(stream, &mut left).await? else { return Ok(None) };
        let mut headers = Vec::new();
        loop {
            let text = read_line(stream, &mut left).await?.ok_or(ErrorKind::UnexpectedEof)?;
            if text.is_empty() {
                return Ok(Some(Self { line, headers }));
            }
            let (name, value) = text.split_once(':').ok_or(ErrorKind::InvalidData)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn word(&self, number: usize) -> &str {
        self.line.split(' ').nth(number).unwrap_or_default()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> io::Result<Option<Length>> {
        if self.get("transfer-encoding").is_some_and(|coding| coding.to_lowercase().contains("chunked")) {
            return Ok(Some(Length::Chunked));
        }
        let Some(length) = self.get("content-length") else { return Ok(None) };
        length.parse().map(|length| Some(Length::Known(length))).map_err(|_| ErrorKind::InvalidData.into())
    }

    fn bytes(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{}\r\n{headers}\r\n", self.line).into_bytes()
    }
}

async fn read_line<S: AsyncBufRead + Unpin>(stream: &mut S, left: &mut usize) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = (&mut *stream).take(*left as u64).read_until(b'\n', &mut line).await?;
    *left -= read;
    if read == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).ok_or(ErrorKind::InvalidData)?;
    String::from_utf8(text.to_vec()).map(Some).map_err(|_| ErrorKind::InvalidData.into())
}

async fn read_body<S: AsyncBufRead + Unpin>(stream: &mut S, length: Length) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match length {
        Length::Known(length) if length > MAX_BODY => return Err(ErrorKind::FileTooLarge.into()),
        Length::Known(length) => {
            (&mut *stream).take(length).read_to_end(&mut body).await?;
            if body.len() as u64 != length {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Length::ToTheEnd => {
            (&mut *stream).take(MAX_BODY).read_to_end(&mut body).await?;
        }
        Length::Chunked => read_chunks(stream, &mut body).await?,
    }
    Ok(body)
}

/// The chunks as they stand, up to the last and the trailers after it.
async fn read_chunks<S: AsyncBufRead + Unpin>(stream: &mut S, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut left = MAX_HEAD;
        let line = read_line(stream, &mut left).await?.ok_or(ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
        body.extend_from_slice(format!("{line}\r\n").as_bytes());
        if size == 0 {
            return read_trailers(stream, body).await;
        }
        if body.len() as u64 + size > MAX_BODY {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let before = body.len() as u64;
        (&mut *stream).take(size + 2).read_to_end(body).await?;
        if body.len() as u64 != before + size + 2 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn read_trailers<S: AsyncBufRead + Unpin>(stream: &mut S, body: &mut Vec<u8>) -> io::Result<()> {
    let mut left = MAX_HEAD;
    loop {
        let line = read_line(stream, &mut left).await?.ok_or(ErrorKind::UnexpectedEof)?;
        body.extend_from_slice(format!("{line}\r\n").as_bytes());
        if line.is_empty() {
            return Ok(());
        }
    }
}

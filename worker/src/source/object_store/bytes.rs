//! From a pinned object to its decompressed bytes, for a blocking reader. Limits and damage become errors here; what
//! the bytes mean is not known.

use std::{
    cell::Cell,
    fmt, fs,
    io::{self, BufReader, Read},
    rc::Rc,
};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetOptions, GetResultPayload, ObjectStore};
use tokio::sync::mpsc;
use windrow_common::{
    count::{counted, grouped},
    error,
    manifest::Input,
};

use super::{
    format::Compression,
    params::ReadLimits,
    pin::{self, path_of, verify_meta},
};
use crate::error::{Result, WorkerError};

/// Parts of a download that may wait for the decoder.
const READ_AHEAD: usize = 8;
const BUFFER: usize = 256 * 1024;
/// Output a compressed file may have whatever its ratio.
const FREE_OUTPUT: u64 = 16 << 20;

/// A pinned object whose bytes have begun to flow.
pub(super) struct Opened {
    pin: Input,
    payload: Payload,
}

enum Payload {
    File(fs::File),
    Parts(mpsc::Receiver<io::Result<Bytes>>),
}

/// Begins to read an object, if it still is what was pinned.
pub(super) async fn open(store: &dyn ObjectStore, pin: &Input) -> Result<Opened> {
    let result = store.get_opts(&path_of(pin)?, GetOptions::default()).await.map_err(|cause| match cause {
        object_store::Error::NotFound { .. } => pin::changed(pin, "it is gone"),
        cause => pin::unreadable(&pin.name, cause),
    })?;
    verify_meta(&result.meta, pin)?;
    let payload = match result.payload {
        GetResultPayload::File(file, _) => Payload::File(file),
        GetResultPayload::Stream(parts) => Payload::Parts(download(parts)),
    };
    Ok(Opened { pin: pin.clone(), payload })
}

/// Downloads ahead of the reader, by a bounded number of parts; ends when the reader is dropped.
fn download(mut parts: BoxStream<'static, object_store::Result<Bytes>>) -> mpsc::Receiver<io::Result<Bytes>> {
    let (send, receive) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        while let Some(part) = parts.next().await {
            let failed = part.is_err();
            if send.send(part.map_err(io::Error::other)).await.is_err() || failed {
                return;
            }
        }
    });
    receive
}

/// The decompressed bytes of an object.
pub(super) struct Content {
    pin: Input,
    reader: Box<dyn Read>,
    taken: Rc<Cell<u64>>,
    given: u64,
    compression: Compression,
    limits: ReadLimits,
}

impl Opened {
    pub(super) fn name(&self) -> &str {
        &self.pin.name
    }

    /// The decompressed bytes. To be called on the thread that reads them.
    pub(super) fn decompress(self, compression: Compression, limits: ReadLimits) -> Result<Content> {
        let taken = Rc::new(Cell::new(0));
        let raw: Box<dyn Read> = match self.payload {
            Payload::File(file) => Box::new(file),
            Payload::Parts(parts) => Box::new(PartReader { parts, current: Bytes::new() }),
        };
        let raw = Counted { inner: raw, taken: taken.clone() };
        let reader: Box<dyn Read> = match compression {
            Compression::None => Box::new(raw),
            Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, raw))),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, raw));
                Box::new(decoder.map_err(|cause| {
                    WorkerError::later(error::SOURCE_UNREADABLE, "no zstd decoder can be made").because(cause)
                })?)
            }
        };
        Ok(Content { pin: self.pin, reader, taken, given: 0, compression, limits })
    }
}

impl Content {
    /// Fills a part of `buffer`; 0 at the end, which is reached only if the object was read to its last byte.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = loop {
            match self.reader.read(buffer) {
                Ok(count) => break count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.fault(cause)),
            }
        };
        if count == 0 && !buffer.is_empty() {
            return self.check_complete().map(|()| 0);
        }
        self.given += count as u64;
        self.check_limits().map(|()| count)
    }

    pub(super) fn name(&self) -> &str {
        &self.pin.name
    }

    fn check_complete(&self) -> Result<()> {
        if self.is_whole() { Ok(()) } else { Err(self.cut_short()) }
    }

    /// Whether all bytes of the object have arrived.
    fn is_whole(&self) -> bool {
        self.taken.get() == self.pin.bytes
    }

    fn cut_short(&self) -> WorkerError {
        let message = format!("{} of {} arrived", grouped(self.taken.get()), counted(self.pin.bytes, "byte"));
        WorkerError::later(error::SOURCE_UNREADABLE, message).at(&self.pin.name)
    }

    fn check_limits(&self) -> Result<()> {
        let past =
            |what: String, fix: &str| Err(WorkerError::never(error::INPUT_TOO_LARGE, what).at(&self.pin.name).fix(fix));
        if self.given > self.limits.decompressed {
            let what = format!("the object decompresses to more than {}", counted(self.limits.decompressed, "byte"));
            return past(what, "raise `limits.decompressed` if the file is to be trusted");
        }
        let packed = self.compression != Compression::None;
        if packed && self.given > FREE_OUTPUT && self.given / self.limits.ratio > self.taken.get() {
            let what = format!("the object decompresses to more than {} times its size", self.limits.ratio);
            return past(what, "raise `limits.ratio` if the file is to be trusted");
        }
        Ok(())
    }

    /// What an error while reading means: the transport's may pass, the decoder's stays.
    fn fault(&self, cause: io::Error) -> WorkerError {
        let of_transport = cause.get_ref().is_some_and(|inner| inner.is::<Transport>());
        let early = cause.kind() == io::ErrorKind::UnexpectedEof;
        if early && !of_transport && !self.is_whole() {
            return self.cut_short().because(cause);
        }
        let packed = self.compression.as_str();
        let error = match (of_transport, early) {
            (true, _) => WorkerError::later(error::SOURCE_UNREADABLE, "the source cannot be read"),
            (false, true) => WorkerError::never(error::SOURCE_CORRUPT, format!("the {packed} data ends too early"))
                .fix("deliver the file again, completely"),
            (false, false) => WorkerError::never(error::SOURCE_CORRUPT, format!("the {packed} data is damaged"))
                .fix("deliver the file again, or correct `compression`"),
        };
        error.at(&self.pin.name).because(cause)
    }
}

/// Marks an error as the transport's, to tell it from a decoder's.
#[derive(Debug)]
struct Transport(io::Error);

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Transport {}

/// Counts the object's own bytes and marks its errors.
struct Counted {
    inner: Box<dyn Read>,
    taken: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.taken.set(self.taken.get() + count as u64);
                Ok(count)
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Err(cause),
            Err(cause) => Err(io::Error::other(Transport(cause))),
        }
    }
}

/// The parts of a download as one run of bytes.
struct PartReader {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.current = part?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::{ObjectStoreExt, PutPayload, memory::InMemory};
    use tokio::task::spawn_blocking;
    use windrow_common::{error::ErrorCode, task::Retry};

    use super::*;
    use crate::error::Outcome;

    const LIMITS: ReadLimits = ReadLimits { line: 1 << 20, decompressed: 1 << 30, ratio: 200 };

    /// The content of a download that arrives in these parts, of an object of `bytes` bytes.
    async fn arriving(parts: Vec<io::Result<Bytes>>, bytes: usize, compression: Compression) -> Result<Vec<u8>> {
        let (send, receive) = mpsc::channel(parts.len().max(1));
        for part in parts {
            send.try_send(part).unwrap();
        }
        drop(send);
        let pin = Input { name: "in".to_owned(), bytes: bytes as u64, version: None, into: None };
        content(Opened { pin, payload: Payload::Parts(receive) }, compression).await
    }

    async fn content(opened: Opened, compression: Compression) -> Result<Vec<u8>> {
        let read = move || {
            let mut content = opened.decompress(compression, LIMITS)?;
            let mut all = Vec::new();
            let mut buffer = [0; 7];
            loop {
                match content.read(&mut buffer)? {
                    0 => return Ok(all),
                    count => all.extend_from_slice(&buffer[..count]),
                }
            }
        };
        spawn_blocking(read).await.unwrap()
    }

    fn packed(compression: Compression, text: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => text.to_vec(),
            Compression::Zstd => zstd::encode_all(text, 1).unwrap(),
            Compression::Gzip => {
                let mut encoder = flate2::read::GzEncoder::new(text, flate2::Compression::fast());
                let mut bytes = Vec::new();
                encoder.read_to_end(&mut bytes).unwrap();
                bytes
            }
        }
    }

    fn parts(bytes: &[u8]) -> Vec<io::Result<Bytes>> {
        bytes.chunks(10).map(|part| Ok(Bytes::copy_from_slice(part))).collect()
    }

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    #[tokio::test]
    async fn a_download_in_parts_is_one_run_of_bytes() {
        let text = b"many rows of one file, ".repeat(50);
        for compression in ALL {
            let bytes = packed(compression, &text);
            let read = arriving(parts(&bytes), bytes.len(), compression).await.unwrap();
            assert_eq!(read, text, "{compression:?}");
        }
    }

    #[tokio::test]
    async fn what_the_network_does_may_pass_and_is_no_damage() {
        let text = b"many rows of one file, ".repeat(50);
        let later = |error: WorkerError| -> (ErrorCode, bool) {
            (error.code(), error.outcome() == Outcome::Failed(Retry::Later))
        };
        for compression in ALL {
            let bytes = packed(compression, &text);
            let cut = parts(&bytes[..bytes.len() - 15]);
            let error = arriving(cut, bytes.len(), compression).await.unwrap_err();
            assert_eq!(later(error), (error::SOURCE_UNREADABLE, true), "{compression:?} cut short");
            let mut broken = parts(&bytes[..20]);
            broken.push(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
            let error = arriving(broken, bytes.len(), compression).await.unwrap_err();
            assert_eq!(later(error), (error::SOURCE_UNREADABLE, true), "{compression:?} broken");
        }
    }

    #[tokio::test]
    async fn a_store_that_streams_is_read_and_pinned_like_a_folder() {
        let store = InMemory::new();
        let path = object_store::path::Path::from("in.csv.gz");
        let put = async |text: &[u8]| {
            store.put(&path, PutPayload::from(packed(Compression::Gzip, text))).await.unwrap();
            pin::pinned(&path, &store.head(&path).await.unwrap())
        };
        let pin = put(b"a\n1\n").await;
        let opened = open(&store, &pin).await.unwrap();
        assert_eq!(content(opened, Compression::Gzip).await.unwrap(), b"a\n1\n");
        put(b"a\n2\n").await;
        let error = open(&store, &pin).await.err().unwrap();
        assert_eq!(error.code(), error::SOURCE_CHANGED);
    }
}

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
use windrow_common::{error, manifest::Input};

use super::{
    find::{self, path_of, verify_meta},
    format::Compression,
    params::ReadLimits,
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
        object_store::Error::NotFound { .. } => find::changed(pin, "it is gone"),
        cause => find::unreadable(&pin.name, cause),
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
        if self.taken.get() == self.pin.bytes {
            return Ok(());
        }
        let how = format!("{} bytes of {} could be read", self.taken.get(), self.pin.bytes);
        Err(find::changed(&self.pin, &how))
    }

    fn check_limits(&self) -> Result<()> {
        let past =
            |what: String, fix: &str| Err(WorkerError::never(error::INPUT_TOO_LARGE, what).at(&self.pin.name).fix(fix));
        if self.given > self.limits.decompressed {
            let what = format!("the object decompresses to more than {} bytes", self.limits.decompressed);
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
        let error = match cause.get_ref().is_some_and(|inner| inner.is::<Transport>()) {
            true => WorkerError::later(error::SOURCE_UNREADABLE, "the source cannot be read"),
            false if cause.kind() == io::ErrorKind::UnexpectedEof => WorkerError::never(
                error::SOURCE_CORRUPT,
                format!("the {} data ends too early", self.compression.as_str()),
            )
            .fix("deliver the file again, completely"),
            false => {
                WorkerError::never(error::SOURCE_CORRUPT, format!("the {} data is damaged", self.compression.as_str()))
                    .fix("deliver the file again, or correct `compression`")
            }
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

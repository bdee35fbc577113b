//! One object on its way up: bytes are hashed and counted as they pass, and at most a few parts of them are in memory.
//! Knows nothing of formats.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{ObjectStore, buffered::BufWriter, path::Path};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt, runtime::Handle};
use windrow_common::manifest::Digest;

use crate::{error::Result, storage::sink_error};

/// Bytes of one part of a multipart upload; the smallest S3 takes. Smaller objects go up in one piece.
pub(super) const PART_BYTES: usize = 5 << 20;
/// Parts of one object on their way at a time.
const PARTS_IN_FLIGHT: usize = 2;
/// Bytes handed over at a time, so that the bound on parts holds within one large write too.
const STRIDE: usize = 1 << 20;

/// An object that becomes visible as a whole when it is finished, or never.
pub(crate) struct Upload {
    path: String,
    hash: Sha256,
    bytes: u64,
    /// `None` once finished or aborted.
    writer: Option<BufWriter>,
}

/// What was uploaded.
pub(crate) struct Uploaded {
    pub(crate) bytes: u64,
    pub(crate) sha256: Digest,
}

impl Upload {
    pub(crate) fn new(objects: &Arc<dyn ObjectStore>, path: String, location: Path) -> Self {
        let writer =
            BufWriter::with_capacity(Arc::clone(objects), location, PART_BYTES).with_max_concurrency(PARTS_IN_FLIGHT);
        Self { path, hash: Sha256::new(), bytes: 0, writer: Some(writer) }
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes it may hold in memory now, about.
    pub(super) fn memory(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX).min(PART_BYTES * (PARTS_IN_FLIGHT + 1))
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while let Some(writer) = self.writer.as_mut().filter(|_| !bytes.is_empty()) {
            let next = bytes.split_to(bytes.len().min(STRIDE));
            self.hash.update(&next);
            self.bytes += next.len() as u64;
            writer.put(next).await.map_err(|cause| sink_error(cause, &self.path))?;
        }
        Ok(())
    }

    pub(super) async fn write_all(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        for piece in pieces {
            self.write(piece).await?;
        }
        Ok(())
    }

    /// Makes the object visible.
    pub(crate) async fn finish(mut self) -> Result<Uploaded> {
        // A writer that was told to shut down must not be aborted after; it aborts by itself when completing fails.
        if let Some(mut writer) = self.writer.take() {
            writer.shutdown().await.map_err(|cause| sink_error(into_object_store(cause), &self.path))?;
        }
        Ok(Uploaded { bytes: self.bytes, sha256: Digest(std::mem::take(&mut self.hash).finalize().into()) })
    }

    /// Leaves nothing behind, as far as the store can be reached.
    pub(super) async fn abort(mut self) {
        if let Some(mut writer) = self.writer.take() {
            abort(&mut writer, &self.path).await;
        }
    }
}

async fn abort(writer: &mut BufWriter, path: &str) {
    if let Err(error) = writer.abort().await {
        tracing::warn!(path, error = %error, "an unfinished upload was left for the sweep");
    }
}

/// An attempt that is cancelled drops its uploads; their parts would stay in the bucket and be paid for.
impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let path = std::mem::take(&mut self.path);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { abort(&mut writer, &path).await });
        }
    }
}

/// `AsyncWrite` hides the store's error in an I/O error.
fn into_object_store(error: std::io::Error) -> object_store::Error {
    match error.downcast::<object_store::Error>() {
        Ok(error) => error,
        Err(other) => object_store::Error::Generic { store: "upload", source: Box::new(other) },
    }
}

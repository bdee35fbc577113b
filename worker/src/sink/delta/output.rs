//! One Parquet file being written: its bytes are hashed on the way, its statistics come from its footer. It knows
//! nothing of windows.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{buffered::BufWriter, path::Path};
use parquet::{
    arrow::{AsyncArrowWriter, async_writer::AsyncFileWriter},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use windrow_common::{error, manifest::Digest};

use super::stats;
use crate::{
    error::{Result, WorkerError},
    storage::{Storage, sink_error},
};

/// See the module.
pub(super) struct Output {
    writer: AsyncArrowWriter<Hashing>,
    path: String,
    schema: SchemaRef,
    /// Encoded bytes after which a row group is written out.
    buffer: usize,
    rows: u64,
}

/// A file that is complete and in the storage.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) sha256: Digest,
    pub(super) stats: Value,
}

/// Passes bytes on and hashes them.
struct Hashing {
    object: BufWriter,
    hash: Sha256,
    bytes: u64,
}

impl Output {
    /// Opens the file; nothing is visible under its name before [`Self::finish`]. `buffer` bounds the memory it takes.
    pub(super) fn create(storage: &Storage, path: String, schema: SchemaRef, buffer: usize) -> Result<Self> {
        let location = Path::parse(&path).map_err(|cause| {
            WorkerError::never(error::BAD_VALUE, "this is no path of a file").at(&path).because(cause)
        })?;
        let object = BufWriter::new(storage.objects().clone(), location);
        let level = ZstdLevel::try_new(1).map_err(|cause| failure(cause, &path))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(concat!("windrow ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let hashing = Hashing { object, hash: Sha256::new(), bytes: 0 };
        let writer = AsyncArrowWriter::try_new(hashing, schema.clone(), Some(properties))
            .map_err(|cause| failure(cause, &path))?;
        Ok(Self { writer, path, schema, buffer, rows: 0 })
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).await.map_err(|cause| failure(cause, &self.path))?;
        self.rows += batch.num_rows() as u64;
        if self.writer.in_progress_size() > self.buffer {
            self.writer.flush().await.map_err(|cause| failure(cause, &self.path))?;
        }
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) async fn finish(mut self) -> Result<Finished> {
        let metadata = self.writer.finish().await.map_err(|cause| failure(cause, &self.path))?;
        let stats = stats::of_file(&metadata, &self.schema).map_err(|cause| failure(cause, &self.path))?;
        let hashing = self.writer.into_inner();
        Ok(Finished {
            path: self.path,
            bytes: hashing.bytes,
            rows: self.rows,
            sha256: Digest(hashing.hash.finalize().into()),
            stats,
        })
    }
}

impl AsyncFileWriter for Hashing {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        async move {
            self.hash.update(&bytes);
            self.bytes += bytes.len() as u64;
            self.object.put(bytes).await.map_err(|cause| ParquetError::External(Box::new(cause)))
        }
        .boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        async move { Ok(self.object.shutdown().await?) }.boxed()
    }
}

/// What Parquet says about a data file: the storage's trouble, or the file's own.
pub(super) fn failure(cause: ParquetError, path: &str) -> WorkerError {
    match cause {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(cause) => sink_error(*cause, path),
            Err(cause) => sink_error(object_store::Error::Generic { store: "parquet", source: cause }, path),
        },
        cause => WorkerError::later(error::SINK_BROKEN, "a data file cannot be read or written")
            .at(path.to_owned())
            .fix("check the file with a Parquet reader; restore it, or remove it from the table")
            .because(cause),
    }
}

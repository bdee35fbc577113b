//! A Parquet file of a sink, read by ranges. It knows nothing of tables.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::ArrowReaderOptions,
        async_reader::{AsyncFileReader, ParquetRecordBatchStream},
    },
    errors::{ParquetError, Result as ParquetResult},
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};
use windrow_common::error;

use crate::{
    error::{Result, WorkerError},
    storage::{Storage, sink_error},
};

/// Rows read at a time.
const BATCH_ROWS: usize = 8_192;

/// One file.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Input {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

/// The rows of a file.
pub(in crate::sink) type FileRows = ParquetRecordBatchStream<Input>;

/// A file of so many bytes, of which the end alone is read.
pub(in crate::sink) async fn open(
    storage: &Storage,
    path: &str,
    bytes: u64,
) -> Result<ParquetRecordBatchStreamBuilder<Input>> {
    let location = Path::parse(path).map_err(|cause| elsewhere(path).because(cause))?;
    let input = Input { objects: Arc::clone(storage.objects()), path: location, bytes };
    let file = ParquetRecordBatchStreamBuilder::new(input).await.map_err(|cause| failure(cause, path))?;
    Ok(file.with_batch_size(BATCH_ROWS))
}

/// The rows of a file of so many bytes.
pub(in crate::sink) async fn read(storage: &Storage, path: &str, bytes: u64) -> Result<FileRows> {
    open(storage, path, bytes).await?.build().map_err(|cause| failure(cause, path))
}

/// Those of its columns that are named; a file may lack some.
pub(in crate::sink) async fn columns(
    storage: &Storage,
    (path, bytes): (&str, u64),
    names: &[String],
) -> Result<FileRows> {
    let file = open(storage, path, bytes).await?;
    let mask = ProjectionMask::columns(file.parquet_schema(), names.iter().map(String::as_str));
    file.with_projection(mask).build().map_err(|cause| failure(cause, path))
}

/// What Parquet says about a data file: the storage's trouble, or the file's own.
pub(in crate::sink) fn failure(cause: ParquetError, path: &str) -> WorkerError {
    match cause {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(cause) => sink_error(*cause, path),
            Err(cause) => sink_error(object_store::Error::Generic { store: "parquet", source: cause }, path),
        },
        cause => WorkerError::later(error::SINK_BROKEN, "a data file cannot be read")
            .at(path.to_owned())
            .fix("check the file with a Parquet reader; restore it, or remove it from the table")
            .because(cause),
    }
}

fn elsewhere(path: &str) -> WorkerError {
    WorkerError::never(error::SINK_UNSUPPORTED, "a data file lies outside the table's folder")
        .at(path.to_owned())
        .fix("replace windows only in tables that hold their own files: no shallow clones")
}

impl AsyncFileReader for Input {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.objects.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.objects.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            reader.load_and_finish(self, bytes).await.map(Arc::new)
        }
        .boxed()
    }
}

fn external(cause: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(cause))
}

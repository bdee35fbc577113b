//! A Parquet file of a sink, read by ranges. It knows nothing of tables.

use std::{ops::Range, sync::Arc};

use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{
        ParquetRecordBatchStreamBuilder, ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        async_reader::{AsyncFileReader, ParquetRecordBatchStream},
    },
    errors::{ParquetError, Result as ParquetResult},
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};
use windrow_common::error;

use super::views::view;
use crate::{
    error::{Result, WorkerError},
    storage::{Storage, sink_error},
};

/// Rows read at a time.
const BATCH_ROWS: usize = 8_192;
/// Most bytes of a file that is read by one request, as a whole.
const WHOLE: u64 = 2 << 20;
/// Bytes at the end of a larger one, in which what it says of itself is found as a rule.
const END: usize = 64 << 10;

/// One file.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Input {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
    /// All of it, of a small one.
    whole: Option<Bytes>,
}

/// The rows of a file.
pub(in crate::sink) type FileRows = ParquetRecordBatchStream<Input>;

/// A file of so many bytes, of which the end alone is read.
pub(in crate::sink) async fn open(
    storage: &Storage,
    path: &str,
    bytes: u64,
) -> Result<ParquetRecordBatchStreamBuilder<Input>> {
    let input = input(storage, path, bytes)?;
    let file = ParquetRecordBatchStreamBuilder::new(input).await.map_err(|cause| failure(cause, path))?;
    Ok(file.with_batch_size(BATCH_ROWS))
}

fn input(storage: &Storage, path: &str, bytes: u64) -> Result<Input> {
    let location = Path::parse(path).map_err(|cause| elsewhere(path).because(cause))?;
    Ok(Input { objects: Arc::clone(storage.objects()), path: location, bytes, whole: None })
}

/// The rows of a file of so many bytes.
pub(in crate::sink) async fn read(storage: &Storage, path: &str, bytes: u64) -> Result<FileRows> {
    open(storage, path, bytes).await?.build().map_err(|cause| failure(cause, path))
}

/// All of them, texts and bytes as views where `wanted` has such. A small file takes one request.
pub(in crate::sink) async fn read_as(
    storage: &Storage,
    (path, bytes): (&str, u64),
    wanted: &Schema,
) -> Result<FileRows> {
    let failed = |cause| failure(cause, path);
    let mut input = input(storage, path, bytes)?;
    if (1..=WHOLE).contains(&bytes) {
        input.whole = Some(input.get_bytes(0..bytes).await.map_err(failed)?);
    }
    let found = ArrowReaderMetadata::load_async(&mut input, ArrowReaderOptions::new()).await.map_err(failed)?;
    let options = ArrowReaderOptions::new().with_schema(as_wanted(found.schema(), wanted));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options).map_err(failed)?;
    let file = ParquetRecordBatchStreamBuilder::new_with_metadata(input, metadata);
    file.with_batch_size(BATCH_ROWS).build().map_err(failed)
}

/// The file's columns, as views where that is wanted and all that is different.
fn as_wanted(file: &Schema, wanted: &Schema) -> SchemaRef {
    let column = |field: &FieldRef| {
        let wanted = wanted.field_with_name(field.name()).map(Field::data_type);
        match view(field.data_type()) {
            Some(view) if wanted.is_ok_and(|wanted| *wanted == view) => {
                Arc::new(field.as_ref().clone().with_data_type(view))
            }
            _ => Arc::clone(field),
        }
    };
    Arc::new(Schema::new_with_metadata(file.fields().iter().map(column).collect::<Vec<_>>(), file.metadata().clone()))
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
        async move {
            match &self.whole {
                Some(whole) => slice(whole, &range),
                None => self.objects.get_range(&self.path, range).await.map_err(external),
            }
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            match &self.whole {
                Some(whole) => ranges.iter().map(|range| slice(whole, range)).collect(),
                None => self.objects.get_ranges(&self.path, &ranges).await.map_err(external),
            }
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            let reader = reader.with_prefetch_hint(self.whole.is_none().then_some(END));
            reader.load_and_finish(self, bytes).await.map(Arc::new)
        }
        .boxed()
    }
}

fn slice(whole: &Bytes, range: &Range<u64>) -> ParquetResult<Bytes> {
    let of = |at: u64| usize::try_from(at).ok().filter(|at| *at <= whole.len());
    match (of(range.start), of(range.end)) {
        (Some(start), Some(end)) if start <= end => Ok(whole.slice(start..end)),
        _ => Err(ParquetError::EOF(format!("bytes {range:?} of {}", whole.len()))),
    }
}

fn external(cause: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(cause))
}

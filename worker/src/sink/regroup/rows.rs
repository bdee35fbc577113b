//! The rows of a bin's files of Parquet, one file after the other, in the columns they are written in; and what was seen of them.

use arrow_array::{RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, SchemaRef};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tracing::Span;
use windrow_common::error;

use super::{
    digest::{RowDigest, Seen},
    group::{Bin, Member},
    write::{Regrouper, check_told},
};
use crate::{
    ahead::ahead,
    error::{Result, WorkerError},
    sink::change::{FileRows, open_file, read_failure, read_file_as},
    storage::Storage,
};

/// Files that are opened at a time: the next one while one is read.
const AHEAD: usize = 2;

/// Takes them as they are decoded, which happens on a task of its own.
pub(super) struct Rows<'a> {
    regrouper: &'a Regrouper<'a>,
    digest: RowDigest,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(regrouper: &'a Regrouper<'a>, bin: &Bin, schema: &SchemaRef) -> Self {
        let batches = batches(regrouper.storage.clone(), bin.files.clone(), schema.clone());
        Self { regrouper, digest: RowDigest::default(), batches: ahead(batches, Span::current()) }
    }

    /// The next of them. Fails with `GROUP_DIFFERS` where a file holds more or fewer than the table says.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let next = self.batches.try_next().await?;
        if let Some(batch) = &next {
            self.digest.add(batch)?;
            (self.regrouper.read)(batch.num_rows() as u64);
        }
        Ok(next)
    }

    pub(super) fn seen(&self) -> Seen {
        self.digest.seen()
    }
}

/// The rows of files one after the other. Fails with `GROUP_DIFFERS` where one holds more or fewer than the table says.
pub(super) fn batches(
    storage: Storage,
    files: Vec<Member>,
    schema: SchemaRef,
) -> BoxStream<'static, Result<RecordBatch>> {
    let open = move |member| Open::new(storage.clone(), member, schema.clone());
    let files = stream::iter(files).map(open).buffered(AHEAD);
    files.map_ok(|file| stream::try_unfold(file, Open::next)).try_flatten().boxed()
}

/// A file that is being read.
struct Open {
    member: Member,
    rows: FileRows,
    schema: SchemaRef,
    count: u64,
}

impl Open {
    async fn new(storage: Storage, member: Member, schema: SchemaRef) -> Result<Self> {
        let rows = read_file_as(&storage, (&member.path, member.bytes), &schema).await?;
        Ok(Self { member, rows, schema, count: 0 })
    }

    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        let next = self.rows.try_next().await.map_err(|cause| read_failure(cause, &self.member.path))?;
        let Some(batch) = next else { return check_told(self.count, &self.member).map(|()| None) };
        let batch = shape(&batch, &self.schema, &self.member.path)?;
        self.count += batch.num_rows() as u64;
        Ok(Some((batch, self)))
    }
}

/// How many there are, by the table or, where it does not say, by the files themselves.
pub(super) async fn count(regrouper: &Regrouper<'_>, bin: &Bin) -> Result<u64> {
    let mut count = 0;
    for member in &bin.files {
        count += match member.rows {
            Some(rows) => rows,
            None => {
                let file = open_file(regrouper.storage, &member.path, member.bytes).await?;
                u64::try_from(file.metadata().file_metadata().num_rows()).unwrap_or(0)
            }
        };
    }
    Ok(count)
}

/// The rows in the table's types and order; columns the file lacks are null. A value that has no place in its column's type
/// is an error and never a null.
pub(super) fn shape(batch: &RecordBatch, schema: &SchemaRef, path: &str) -> Result<RecordBatch> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast_with_options(column, field.data_type(), &strict),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    columns
        .collect::<Result<Vec<_>, ArrowError>>()
        .and_then(|columns| RecordBatch::try_new(schema.clone(), columns))
        .map_err(|cause| {
            WorkerError::never(error::COMPACTION_UNSUPPORTED, "a data file does not have the table's columns")
                .at(path.to_owned())
                .fix("rewrite that file by the engine that wrote it, or leave its partition alone")
                .because(cause)
        })
}

//! The rows of a bin's files of Parquet, one file after the other, in the columns they are written in; and what was seen of them.

use arrow_array::{RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, SchemaRef};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use windrow_common::error;

use super::{
    digest::{RowDigest, Seen},
    group::{Bin, Member},
    write::{Regrouper, differs},
};
use crate::{
    error::{Result, WorkerError},
    sink::change::{FileRows, open_file, read_failure, read_file_as},
};

/// Files that are opened at a time: the next one while one is read.
const AHEAD: usize = 2;

/// Reads them.
pub(super) struct Rows<'a> {
    regrouper: &'a Regrouper<'a>,
    schema: &'a SchemaRef,
    digest: RowDigest,
    files: BoxStream<'a, Result<(&'a Member, FileRows)>>,
    open: Option<(&'a Member, FileRows)>,
    /// Rows of the files before the open one.
    before: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(regrouper: &'a Regrouper<'a>, bin: &'a Bin, schema: &'a SchemaRef) -> Self {
        let open = move |member: &'a Member| async move {
            Ok((member, read_file_as(regrouper.storage, (&member.path, member.bytes), schema).await?))
        };
        let files = stream::iter(&bin.files).map(open).buffered(AHEAD).boxed();
        Self { regrouper, schema, digest: RowDigest::default(), files, open: None, before: 0 }
    }

    /// The next of them. Fails with `GROUP_DIFFERS` where a file holds more or fewer than the table says.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let (member, batches) = match &mut self.open {
                Some(open) => open,
                none => match self.files.try_next().await? {
                    Some(next) => none.insert(next),
                    None => return Ok(None),
                },
            };
            if let Some(batch) = batches.try_next().await.map_err(|cause| read_failure(cause, &member.path))? {
                let batch = shape(&batch, self.schema, &member.path)?;
                self.digest.add(&batch)?;
                (self.regrouper.read)(batch.num_rows() as u64);
                return Ok(Some(batch));
            }
            let found = self.digest.seen().rows - self.before;
            if let Some(rows) = member.rows.filter(|rows| *rows != found) {
                let message = format!("a file holds {found} rows, and the table says {rows}");
                return Err(differs(message, &member.path));
            }
            (self.open, self.before) = (None, self.seen().rows);
        }
    }

    pub(super) fn seen(&self) -> Seen {
        self.digest.seen()
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

//! The rows of a group's files into fewer files. Batches stream through, so memory is bounded whatever the files' sizes; what
//! was written is read again, as readers will, and held against what was read.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use arrow_array::{RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, SchemaRef};
use futures::TryStreamExt;
use windrow_common::{error, manifest::StagedFile};

use super::{
    columns,
    digest::{RowDigest, Seen},
    group::{Bin, Group},
    text::{self, Text},
};
use crate::{
    error::{Result, WorkerError},
    sink::change::{read_failure, read_file},
    stage::{Attempt, FileFormat, FilePlan, OpenFile, StagedName, joined},
    storage::Storage,
};

const PARQUET: FileFormat = FileFormat::Parquet { metadata: BTreeMap::new() };
/// Encoded bytes a row group may reach, held in memory until it is ended.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Rewrites groups of one table.
pub(in crate::sink) struct Regrouper<'a> {
    pub(in crate::sink) storage: &'a Storage,
    pub(in crate::sink) form: Form,
    /// The folder for the rows of files in that folder.
    pub(in crate::sink) folder: fn(&str) -> String,
    /// What new files' names end in, behind their format's ending.
    pub(in crate::sink) suffix: &'a str,
    /// Whose names the new files carry.
    pub(in crate::sink) attempt: &'a Attempt,
    /// Is told of rows that were read.
    pub(in crate::sink) read: &'a (dyn Fn(u64) + Send + Sync),
    /// Files named so far.
    pub(in crate::sink) count: AtomicU32,
}

/// What the files are.
#[derive(Clone, Debug)]
pub(in crate::sink) enum Form {
    /// Parquet of these columns, partition columns left out: they are not in data files.
    Table(SchemaRef),
    /// Parquet of whatever columns the files have.
    Parquet,
    Text(Text),
}

impl Regrouper<'_> {
    /// Writes a file for each bin. Nobody sees them, and they hold the rows of the group's files, each as often as those do.
    pub(in crate::sink) async fn rewrite(&self, group: &Group) -> Result<Vec<StagedFile>> {
        let mut files = Vec::with_capacity(group.bins.len());
        for bin in &group.bins {
            files.push(self.one(bin).await?);
        }
        Ok(files)
    }

    async fn one(&self, bin: &Bin) -> Result<StagedFile> {
        match &self.form {
            Form::Table(schema) => self.parquet(bin, schema).await,
            Form::Parquet => self.parquet(bin, &self.columns_of(bin).await?).await,
            Form::Text(text) => text::join(self, bin, *text).await,
        }
    }

    /// The columns that files have together.
    async fn columns_of(&self, bin: &Bin) -> Result<SchemaRef> {
        let mut together = columns::Together::default();
        for member in &bin.files {
            let batches = read_file(self.storage, &member.path, member.bytes).await?;
            together.add(batches.schema()).map_err(|cause| cause.at(member.path.clone()))?;
        }
        Ok(together.schema())
    }

    async fn parquet(&self, bin: &Bin, schema: &SchemaRef) -> Result<StagedFile> {
        let mut output = self.create(bin, schema)?;
        let mut digest = RowDigest::default();
        for member in &bin.files {
            let before = digest.seen().rows;
            let mut batches = read_file(self.storage, &member.path, member.bytes).await?;
            while let Some(batch) = batches.try_next().await.map_err(|cause| read_failure(cause, &member.path))? {
                let batch = shape(&batch, schema, &member.path)?;
                digest.add(&batch)?;
                output.write(&batch).await?;
                (self.read)(batch.num_rows() as u64);
            }
            let found = digest.seen().rows - before;
            if member.rows.is_some_and(|rows| rows != found) {
                let message = format!("a file holds {found} rows, and the table says {:?}", member.rows.unwrap_or(0));
                return Err(differs(message, &member.path));
            }
        }
        let staged = output.finish(bin.told_window()).await?;
        let (read, written) = (digest.seen(), self.again(&staged, schema).await?);
        match read == written {
            true => Ok(staged),
            false => {
                Err(differs(format!("{} rows were read, and {} others written", read.rows, written.rows), &staged.path))
            }
        }
    }

    /// What a reader finds in a file.
    async fn again(&self, staged: &StagedFile, schema: &SchemaRef) -> Result<Seen> {
        let mut digest = RowDigest::default();
        let mut batches = read_file(self.storage, &staged.path, staged.bytes).await?;
        while let Some(batch) = batches.try_next().await.map_err(|cause| read_failure(cause, &staged.path))? {
            digest.add(&shape(&batch, schema, &staged.path)?)?;
        }
        Ok(digest.seen())
    }

    fn create(&self, bin: &Bin, schema: &SchemaRef) -> Result<OpenFile> {
        let plan = FilePlan {
            path: self.place(bin, "parquet")?,
            partition: bin.partition.clone(),
            format: &PARQUET,
            schema,
            stats: true,
            row_group_bytes: ROW_GROUP_BYTES,
        };
        OpenFile::new(self.storage, plan)
    }

    /// The path of the file that a bin becomes.
    pub(super) fn place(&self, bin: &Bin, extension: &str) -> Result<String> {
        let Some(first) = bin.files.first() else {
            return Err(WorkerError::never(error::INTERNAL, "a file was to be made of none"));
        };
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let ending = format!("{extension}{}", self.suffix);
        let name = StagedName::new(&self.attempt.task, self.attempt.token, number, &ending);
        let folder = first.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Ok(joined(&[&(self.folder)(folder), &name.to_string()]))
    }
}

/// The rows in the table's types and order; columns the file lacks are null. A value that has no place in its column's type
/// is an error and never a null.
fn shape(batch: &RecordBatch, schema: &SchemaRef, path: &str) -> Result<RecordBatch> {
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

pub(super) fn differs(message: String, path: &str) -> WorkerError {
    WorkerError::never(error::GROUP_DIFFERS, message).at(path.to_owned()).fix(
        "nothing was changed, and the files stay as they are; check the file with a Parquet reader, and report this",
    )
}

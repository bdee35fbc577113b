//! The rows of a group's files into fewer files. Batches stream through, so memory is bounded whatever the files' sizes; what
//! was written is read again, as readers will, and held against what was read.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use arrow_schema::SchemaRef;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use windrow_common::{error, manifest::StagedFile};

use super::{
    clustered::{self, How},
    columns,
    digest::{RowDigest, Seen},
    group::{Bin, Group, Member},
    rows::{Rows, shape},
    sort::Room,
    text::{self, Text},
};
use crate::{
    error::{Result, WorkerError},
    sink::change::{open_file, read_failure, read_file_as, views},
    stage::{Attempt, FileFormat, FilePlan, OpenFile, StagedName, joined},
    storage::Storage,
};

const PARQUET: FileFormat = FileFormat::Parquet { metadata: BTreeMap::new() };
/// Encoded bytes a row group may reach, held in memory until it is ended.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Files whose footers alone are read at a time.
const FOOTERS_AT_A_TIME: usize = 8;

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
    pub(in crate::sink) room: &'a Room,
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
    /// Writes a file for each bin, or several if it is a major rewrite. Nobody sees them, and they hold the rows of the group's files,
    /// each as often as those do.
    pub(in crate::sink) async fn rewrite(&self, group: &Group) -> Result<Vec<StagedFile>> {
        let mut files = Vec::with_capacity(group.bins.len());
        for bin in &group.bins {
            match (&group.major, &self.form) {
                (None, _) => files.push(self.one(bin).await?),
                (Some(major), Form::Table(schema)) => {
                    files.extend(clustered::write(self, bin, How { schema, major, room: self.room }).await?);
                }
                (Some(_), Form::Parquet | Form::Text(_)) => return Err(not_clustered()),
            }
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

    /// The columns that files have together, by their footers.
    async fn columns_of(&self, bin: &Bin) -> Result<SchemaRef> {
        let mut files = self.columns_of_each(&bin.files);
        let mut together = columns::Together::default();
        while let Some((member, columns)) = files.try_next().await? {
            together.add(&columns).map_err(|cause| cause.at(member.path.clone()))?;
        }
        Ok(together.schema())
    }

    fn columns_of_each<'a>(&'a self, files: &'a [Member]) -> BoxStream<'a, Result<(&'a Member, SchemaRef)>> {
        let open = move |member: &'a Member| async move {
            let file = open_file(self.storage, &member.path, member.bytes).await?;
            Ok((member, file.schema().clone()))
        };
        stream::iter(files).map(open).buffered(FOOTERS_AT_A_TIME).boxed()
    }

    async fn parquet(&self, bin: &Bin, schema: &SchemaRef) -> Result<StagedFile> {
        let mut output = self.create(bin, schema)?;
        let held = views(schema);
        let mut rows = Rows::new(self, bin, &held);
        while let Some(batch) = rows.next().await? {
            output.write(&batch).await?;
            tokio::task::yield_now().await;
        }
        let staged = output.finish(bin.told_window()).await?;
        let (read, written) = (rows.seen(), self.again(&staged, &held).await?);
        match read == written {
            true => Ok(staged),
            false => {
                Err(differs(format!("{} rows were read, and {} others written", read.rows, written.rows), &staged.path))
            }
        }
    }

    /// What a reader finds in a file, its columns held as those that were read.
    pub(super) async fn again(&self, staged: &StagedFile, schema: &SchemaRef) -> Result<Seen> {
        let mut digest = RowDigest::default();
        let mut batches = read_file_as(self.storage, (&staged.path, staged.bytes), schema).await?;
        while let Some(batch) = batches.try_next().await.map_err(|cause| read_failure(cause, &staged.path))? {
            digest.add(&shape(&batch, schema, &staged.path)?)?;
            tokio::task::yield_now().await;
        }
        Ok(digest.seen())
    }

    pub(super) fn create(&self, bin: &Bin, schema: &SchemaRef) -> Result<OpenFile> {
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

/// Rows of files that no log tells the order of.
pub(crate) fn not_clustered() -> WorkerError {
    WorkerError::never(error::COMPACTION_UNSUPPORTED, "the files of this sink cannot be clustered")
        .fix("remove `cluster_by`, and leave out `--major`; or write a Delta table")
}

pub(super) fn differs(message: String, path: &str) -> WorkerError {
    WorkerError::never(error::GROUP_DIFFERS, message).at(path.to_owned()).fix(
        "nothing was changed, and the files stay as they are; check the file with a Parquet reader, and report this",
    )
}

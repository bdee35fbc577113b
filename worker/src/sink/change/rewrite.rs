//! Data files made of data files: what is left when windows are cut out, and several small ones in one. Batches stream
//! through; memory is bounded by [`BUFFER`] whatever the files' sizes.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use arrow_array::{
    Array, BooleanArray, RecordBatch, TimestampMicrosecondArray, cast::AsArray, new_null_array,
    types::TimestampMicrosecondType,
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use arrow_select::filter::filter_record_batch;
use futures::TryStreamExt;
use windrow_common::{
    count::{counted, grouped},
    error,
    intent::IntentTask,
    manifest::{Manifest, StagedFile},
    window::{Axis, Window},
};

use super::{
    input::{self, failure},
    plan::{Rewrite, Taken, kept},
};
use crate::{
    error::{Result, WorkerError},
    stage::{FileFormat, FilePlan, OpenFile, StagedName, joined},
    storage::Storage,
};

const PARQUET: FileFormat = FileFormat::Parquet { metadata: BTreeMap::new() };

type Partition = BTreeMap<String, Option<String>>;

/// Encoded bytes held back by all files being written together.
const BUFFER: usize = 64 << 20;
const SMALLEST_BUFFER: usize = 1 << 20;

/// Where the remainder's rows without a cursor are said to lie: outside every window there will ever be.
fn nowhere() -> Option<Window> {
    Window::new(Axis::Time, i64::MIN, i64::MIN + 1).ok()
}

/// What reading and writing needs to know about the table.
pub(in crate::sink) struct Rewriter<'a> {
    pub(in crate::sink) storage: &'a Storage,
    /// Of the data files: partition columns are not in them.
    pub(in crate::sink) schema: SchemaRef,
    pub(in crate::sink) cursor: Option<&'a str>,
    /// Of the intent, in its order: new files carry the name of one of them.
    pub(in crate::sink) tasks: &'a [(IntentTask, Manifest)],
    /// The folder for the rows of a file in that folder.
    pub(in crate::sink) folder: fn(&str) -> String,
    /// Files named so far.
    pub(in crate::sink) count: AtomicU32,
}

/// One of the files a rewritten file falls into.
struct Part {
    /// Half-open; `None` takes the rows without a cursor.
    span: Option<(i64, i64)>,
    /// The stretch it is known to fill; otherwise that of its rows is taken.
    window: Option<Window>,
    output: Option<OpenFile>,
    /// Least and greatest cursor written.
    seen: Option<(i64, i64)>,
}

impl Rewriter<'_> {
    /// Writes what is left of a file: one file for each stretch between the cuts, and one for the rows without a
    /// cursor, as far as there are such rows.
    pub(in crate::sink) async fn cut(&self, rewrite: &Rewrite) -> Result<Vec<StagedFile>> {
        let Some(cursor) = self.cursor else { return Err(no_cursor(rewrite)) };
        let mut parts = parts_of(rewrite);
        let buffer = (BUFFER / parts.len().max(1)).max(SMALLEST_BUFFER);
        let mut batches = input::read(self.storage, &rewrite.path, rewrite.bytes).await?;
        let (mut read, mut dropped) = (0_u64, 0_u64);
        while let Some(batch) = batches.try_next().await.map_err(|cause| failure(cause, &rewrite.path))? {
            let instants = instants(&batch, cursor, &rewrite.path)?;
            let batch = self.shape(&batch, &rewrite.path)?;
            read += batch.num_rows() as u64;
            dropped += matching(&instants, |at| rewrite.cuts.iter().any(|cut| cut.contains(at))).true_count() as u64;
            for part in &mut parts {
                let Some(rows) = part.rows_of(&batch, &instants, &rewrite.path)? else { continue };
                if part.output.is_none() {
                    part.output = Some(self.create(&rewrite.path, rewrite.task, &rewrite.partition, buffer)?);
                }
                if let Some(output) = &mut part.output {
                    output.write(&rows).await?;
                }
            }
        }
        let written: u64 = parts.iter().filter_map(|part| part.output.as_ref()).map(OpenFile::rows).sum();
        if written + dropped != read {
            return Err(outside_its_stretch(rewrite, read - dropped - written));
        }
        let mut files = Vec::with_capacity(parts.len());
        for part in parts {
            files.extend(part.finish(rewrite).await?);
        }
        Ok(files)
    }

    /// Writes several files as one, in their order.
    pub(in crate::sink) async fn join(&self, bin: &[Taken], window: Window) -> Result<StagedFile> {
        let Some(first) = bin.first() else {
            return Err(WorkerError::never(error::INTERNAL, "nothing was to be merged"));
        };
        let mut output = self.create(&first.file.path, first.task, &first.file.partition, BUFFER)?;
        for Taken { file, .. } in bin {
            let mut batches = input::read(self.storage, &file.path, file.bytes).await?;
            while let Some(batch) = batches.try_next().await.map_err(|cause| failure(cause, &file.path))? {
                output.write(&self.shape(&batch, &file.path)?).await?;
            }
        }
        let (found, expected) = (output.rows(), bin.iter().map(|taken| taken.file.rows).sum::<u64>());
        if found != expected {
            let message =
                format!("staged files hold {}, their manifests say {}", counted(found, "row"), grouped(expected));
            return Err(WorkerError::later(error::STAGED_FILE_BAD, message).at(first.file.path.clone()));
        }
        output.finish(window).await
    }

    /// A new file for rows of the one at `path`, in the name of a task.
    fn create(&self, path: &str, task: usize, partition: &Partition, buffer: usize) -> Result<OpenFile> {
        let Some((task, _)) = self.tasks.get(task) else {
            return Err(WorkerError::never(error::INTERNAL, "a file was to be written for no task").at(path));
        };
        let name = StagedName::new(&task.task, task.token, self.count.fetch_add(1, Ordering::Relaxed), "parquet");
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let plan = FilePlan {
            path: joined(&[&(self.folder)(folder), &name.to_string()]),
            partition: partition.clone(),
            format: &PARQUET,
            schema: &self.schema,
            stats: true,
            row_group_bytes: buffer,
        };
        OpenFile::new(self.storage, plan)
    }

    /// The rows in the table's types and order; columns the file lacks are null.
    fn shape(&self, batch: &RecordBatch, path: &str) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        columns
            .collect::<Result<Vec<_>, ArrowError>>()
            .and_then(|columns| RecordBatch::try_new(self.schema.clone(), columns))
            .map_err(|cause| misshapen(path, cause))
    }
}

impl Part {
    /// The part's rows of a batch; `None` when it has none.
    fn rows_of(
        &mut self,
        batch: &RecordBatch,
        instants: &TimestampMicrosecondArray,
        path: &str,
    ) -> Result<Option<RecordBatch>> {
        let mask = match self.span {
            Some((start, end)) => matching(instants, |at| start <= at && at < end),
            None => (0..instants.len()).map(|row| Some(instants.is_null(row))).collect(),
        };
        if mask.true_count() == 0 {
            return Ok(None);
        }
        if self.span.is_some() {
            let mine = (0..mask.len()).filter(|row| mask.value(*row)).map(|row| instants.value(row));
            self.seen = mine.fold(self.seen, |seen, at| match seen {
                None => Some((at, at)),
                Some((least, greatest)) => Some((least.min(at), greatest.max(at))),
            });
        }
        filter_record_batch(batch, &mask).map(Some).map_err(|cause| misshapen(path, cause))
    }

    async fn finish(self, rewrite: &Rewrite) -> Result<Option<StagedFile>> {
        let Some(output) = self.output else { return Ok(None) };
        let hull = || self.seen.and_then(|(least, greatest)| Window::new(Axis::Time, least, greatest + 1).ok());
        let Some(window) = self.window.or_else(hull) else {
            return Err(WorkerError::never(error::SINK_UNSUPPORTED, "a row lies at the very end of time")
                .at(rewrite.path.clone()));
        };
        output.finish(window).await.map(Some)
    }
}

/// A tagged file falls into what its cuts leave of its window, an untagged one into what they leave of all time.
fn parts_of(rewrite: &Rewrite) -> Vec<Part> {
    let part = |span, window| Part { span, window, output: None, seen: None };
    let mut parts: Vec<Part> = match &rewrite.window {
        Some(window) if window.axis() == Axis::Time => {
            kept(window, &rewrite.cuts).into_iter().map(|w| part(Some((w.start(), w.end())), Some(w))).collect()
        }
        _ => {
            let always = Window::new(Axis::Time, i64::MIN, i64::MAX).ok();
            let left = always.map(|always| kept(&always, &rewrite.cuts)).unwrap_or_default();
            left.into_iter().map(|w| part(Some((w.start(), w.end())), None)).collect()
        }
    };
    parts.push(part(None, nowhere()));
    parts
}

fn matching(instants: &TimestampMicrosecondArray, belongs: impl Fn(i64) -> bool) -> BooleanArray {
    instants.iter().map(|at| Some(at.is_some_and(&belongs))).collect()
}

/// The cursor column in microseconds.
fn instants(batch: &RecordBatch, cursor: &str, path: &str) -> Result<TimestampMicrosecondArray> {
    let column = batch.column_by_name(cursor).ok_or_else(|| {
        WorkerError::never(
            error::SINK_UNSUPPORTED,
            "a data file lacks the cursor column, so its windows cannot be told",
        )
        .at(format!("column {cursor:?} of {path}"))
        .fix("do not partition by the cursor column itself, and keep it in the table")
    })?;
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let column = cast(column, &microseconds).map_err(|cause| misshapen(path, cause))?;
    Ok(column.as_primitive::<TimestampMicrosecondType>().clone())
}

fn misshapen(path: &str, cause: ArrowError) -> WorkerError {
    WorkerError::never(error::SINK_SCHEMA, "a data file does not have the table's columns")
        .at(path.to_owned())
        .because(cause)
}

fn outside_its_stretch(rewrite: &Rewrite, rows: u64) -> WorkerError {
    let message = format!("rows lie outside the stretch their file is said to hold: {}", grouped(rows));
    WorkerError::never(error::SINK_BROKEN, message)
        .at(rewrite.path.clone())
        .fix("what is written down about the file is wrong: load its windows again with `write: replace_all`")
}

pub(in crate::sink) fn no_cursor(rewrite: &Rewrite) -> WorkerError {
    let window = rewrite.cuts.first().map(ToString::to_string).unwrap_or_default();
    WorkerError::never(error::SINK_UNSUPPORTED, format!("a file holds rows of {window} and of other windows"))
        .at(rewrite.path.clone())
        .fix("name a timestamp column as source.cursor and keep it in files of Parquet, so that rows can be told apart; or set `window.per_task: 1`, or replace whole stretches as they were loaded")
}

//! Rows into a table by binary COPY: values encoded, or rows that another server wrote passed on as they are.

use std::{pin::Pin, sync::Arc};

use arrow_array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{ObjectStoreExt, path::Path};
use pgpq::ArrowToPostgresBinaryEncoder;
use tokio_postgres::CopyInSink;
use windrow_common::{
    count::{counted, grouped},
    error,
    manifest::StagedFile,
};

use super::{
    change::Deed,
    load::{Load, Stop, TASK_COLUMN, copied_columns, execute, refused, without_numbers},
    session::Open,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{
        copy::{END, PLAIN_HEAD},
        identifier,
    },
    sink::change::read_file,
    stage::BatchStream,
    storage::{Storage, sink_error},
    verbatim::Verbatim,
};

/// Bytes of rows that are encoded, or read, at a time, about.
const PIECE: usize = 4 << 20;

impl Load<'_> {
    /// Values that do not come in their column's own type come as they are first.
    pub(super) async fn copy_and_cast(&self, open: &Open, stage: &str, schema: &Schema) -> Result<u64, Stop> {
        let columns = copied_columns(schema, false)?;
        execute(open, &format!("CREATE TEMPORARY TABLE windrow_raw ({columns}) ON COMMIT DROP")).await?;
        let rows = self.copy(open, "pg_temp.windrow_raw", schema).await?;
        let names: Vec<String> = self.change.columns.iter().map(|column| identifier(&column.name)).collect();
        let values: Vec<String> = self
            .change
            .columns
            .iter()
            .map(|column| {
                let name = identifier(&column.name);
                if column.cast { format!("{name}::{}", without_numbers(&column.sql)) } else { name }
            })
            .collect();
        let (names, values) = (names.join(", "), values.join(", "));
        execute(open, &format!("INSERT INTO {stage} ({names}) SELECT {values} FROM pg_temp.windrow_raw")).await?;
        Ok(rows)
    }

    /// The files of values, encoded. Returns their rows.
    pub(super) async fn copy(&self, open: &Open, table: &str, schema: &Schema) -> Result<u64, Stop> {
        let tasks = matches!(self.change.deed, Deed::Rows { .. });
        let copied = Arc::new(copied_schema(schema, tasks));
        let names: Vec<String> = copied.fields().iter().map(|field| identifier(field.name())).collect();
        let mut sink = Box::pin(copy_in(open, table, &names).await?);
        let mut rows = 0;
        let mut encoder = ArrowToPostgresBinaryEncoder::try_new(&copied).map_err(unencodable)?;
        let mut out = BytesMut::new();
        encoder.write_header(&mut out).map_err(unencodable)?;
        for (file, task) in self.files(0) {
            let mut read = 0_u64;
            let mut batches = read_file(self.storage, &file.path, file.bytes).await?;
            while let Some(batch) = batches.try_next().await.map_err(|cause| unreadable(file).because(cause))? {
                read += batch.num_rows() as u64;
                for piece in pieces(&batch) {
                    let rows = shaped(&piece, schema, tasks.then_some(task), &copied)?;
                    encoder.write_batch(&rows, &mut out).map_err(unencodable)?;
                    sink.send(out.split().freeze()).await.map_err(|cause| refused(cause, open.place()))?;
                }
            }
            if read != file.rows {
                return Err(unreadable(file).into());
            }
            rows += read;
        }
        encoder.write_footer(&mut out).map_err(unencodable)?;
        sink.send(out.split().freeze()).await.map_err(|cause| refused(cause, open.place()))?;
        ended(open, sink, rows).await
    }

    /// The files of rows that are left as they are, to the byte. Returns their rows.
    pub(super) async fn copy_verbatim(
        &self,
        open: &Open,
        table: &str,
        (shape, rows): (usize, &Verbatim),
    ) -> Result<u64, Stop> {
        let tasks = matches!(self.change.deed, Deed::Rows { .. });
        let names: Vec<String> = rows.columns.iter().map(|column| identifier(&column.name)).collect();
        let files: Vec<(&StagedFile, usize)> = self.files(shape).collect();
        let mut copied = 0;
        for group in files.chunk_by(|one, next| !tasks || one.1 == next.1) {
            if let Some((_, task)) = group.first().filter(|_| tasks) {
                // No row says which task it is of, so the column that does is filled by its default.
                let default = format!("ALTER TABLE {table} ALTER COLUMN {TASK_COLUMN} SET DEFAULT {task}");
                execute(open, &default).await?;
            }
            let mut sink = Box::pin(copy_in(open, table, &names).await?);
            let send = |cause| refused(cause, open.place());
            sink.send(Bytes::from_static(&PLAIN_HEAD)).await.map_err(send)?;
            for (file, _) in group {
                let mut pieces = bytes_of(self.storage, file)?;
                while let Some(piece) = pieces.try_next().await? {
                    sink.send(piece).await.map_err(send)?;
                }
            }
            sink.send(Bytes::from_static(&END)).await.map_err(send)?;
            copied += ended(open, sink, group.iter().map(|(file, _)| file.rows).sum()).await?;
        }
        Ok(copied)
    }

    /// The files that hold rows of a shape, each with the place of its task.
    fn files(&self, shape: usize) -> impl Iterator<Item = (&StagedFile, usize)> {
        let files = self.body.add.iter().zip(&self.change.tasks).enumerate();
        files.filter(move |(place, _)| self.change.shape(*place) == shape).map(|(_, (file, task))| (file, *task))
    }
}

/// Rows as they come, in the types of `schema`. Returns how many there were.
pub(super) async fn copy_rows(
    open: &Open,
    table: &str,
    schema: &Arc<Schema>,
    mut rows: BatchStream,
) -> Result<u64, Stop> {
    let names: Vec<String> = schema.fields().iter().map(|field| identifier(field.name())).collect();
    let mut sink = Box::pin(copy_in(open, table, &names).await?);
    let mut encoder = ArrowToPostgresBinaryEncoder::try_new(schema).map_err(unencodable)?;
    let mut out = BytesMut::new();
    encoder.write_header(&mut out).map_err(unencodable)?;
    let mut count = 0;
    while let Some(batch) = rows.try_next().await? {
        count += batch.num_rows() as u64;
        for piece in pieces(&batch) {
            encoder.write_batch(&shaped(&piece, schema, None, schema)?, &mut out).map_err(unencodable)?;
            sink.send(out.split().freeze()).await.map_err(|cause| refused(cause, open.place()))?;
        }
    }
    encoder.write_footer(&mut out).map_err(unencodable)?;
    sink.send(out.split().freeze()).await.map_err(|cause| refused(cause, open.place()))?;
    ended(open, sink, count).await
}

type Copying = Pin<Box<CopyInSink<Bytes>>>;

async fn copy_in(open: &Open, table: &str, names: &[String]) -> Result<CopyInSink<Bytes>, Stop> {
    let statement = format!("COPY {table} ({}) FROM STDIN (FORMAT BINARY)", names.join(", "));
    open.client().copy_in(statement.as_str()).await.map_err(|cause| refused(cause, open.place()))
}

/// Ends a COPY. The database says how many rows it took; they must be as many as were sent.
async fn ended(open: &Open, mut sink: Copying, rows: u64) -> Result<u64, Stop> {
    let taken = sink.as_mut().finish().await.map_err(|cause| refused(cause, open.place()))?;
    match taken == rows {
        true => Ok(rows),
        false => {
            let message = format!("the database took {} of {}", grouped(taken), counted(rows, "row"));
            Err(WorkerError::later(error::SINK_BROKEN, message).at(open.place()).into())
        }
    }
}

/// A file's bytes in pieces, the next one asked for while the last is sent.
fn bytes_of(storage: &Storage, file: &StagedFile) -> Result<BoxStream<'static, Result<Bytes>>> {
    let path = Path::parse(&file.path).map_err(|cause| unreadable(file).because(cause))?;
    let starts = (0..file.bytes).step_by(PIECE);
    let (bytes, objects, name) = (file.bytes, storage.objects().clone(), file.path.clone());
    let pieces = stream::iter(starts).map(move |start| {
        let (path, objects, name) = (path.clone(), objects.clone(), name.clone());
        let end = bytes.min(start + PIECE as u64);
        async move {
            let piece = objects.get_range(&path, start..end).await.map_err(|cause| sink_error(cause, &name))?;
            match piece.len() as u64 == end - start {
                true => Ok(piece),
                false => Err(cut(name)),
            }
        }
    });
    Ok(pieces.buffered(2).boxed())
}

fn copied_schema(schema: &Schema, tasks: bool) -> Schema {
    let task = tasks.then(|| Arc::new(Field::new(TASK_COLUMN, DataType::Int32, false)));
    Schema::new(task.into_iter().chain(schema.fields().iter().cloned()).collect::<Vec<_>>())
}

fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let most = (rows.saturating_mul(PIECE) / batch.get_array_memory_size().max(1)).clamp(1, rows.max(1));
    (0..rows).step_by(most).map(|start| batch.slice(start, most.min(rows - start))).collect()
}

/// The rows in the types they are copied in; columns the file lacks are null.
fn shaped(
    batch: &RecordBatch,
    schema: &Schema,
    task: Option<usize>,
    copied: &Arc<Schema>,
) -> Result<RecordBatch, Stop> {
    let rows = batch.num_rows();
    let task = task.map(|task| {
        let task = i32::try_from(task).unwrap_or(i32::MAX);
        Arc::new(Int32Array::from(vec![task; rows])) as ArrayRef
    });
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), rows)),
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast_with_options(column, field.data_type(), &options),
    });
    let columns = task.map(Ok).into_iter().chain(columns).collect::<Result<Vec<_>, _>>();
    columns
        .and_then(|columns| RecordBatch::try_new(copied.clone(), columns))
        .map_err(|cause| Stop::Unfit(format!("staged rows do not fit the table any more: {cause}")))
}

/// Values that Arrow has and PostgreSQL has not, such as instants of the year 300,000.
fn unencodable(cause: pgpq::error::ErrorKind) -> Stop {
    Stop::Unfit(format!("a value has no form in PostgreSQL: {cause}"))
}

fn unreadable(file: &StagedFile) -> WorkerError {
    cut(file.path.clone())
}

fn cut(path: String) -> WorkerError {
    WorkerError::later(error::STAGED_FILE_BAD, "a staged file cannot be read whole").at(path)
}

//! Staged files into a table of `windrow_stage`, by binary COPY, in a transaction of its own and without any lock of the
//! sink: whoever stands still in the midst of it holds up nobody. Every loader makes a table of its own, so two never wait
//! for each other; its name says which intent it is of, so that a repeat finds what is there.

use std::{pin::pin, sync::Arc};

use arrow_array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use pgpq::ArrowToPostgresBinaryEncoder;
use tokio_postgres::{CopyInSink, Error};
use uuid::Uuid;
use windrow_common::{
    error,
    intent::IntentBody,
    manifest::{Digest, StagedFile},
    upsert::DELETED_COLUMN,
};

use super::{
    change::{Change, Deed, NewColumn},
    failure::{failed, unfit},
    rows::placed,
    session::Open,
    target, types,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{identifier, literal},
    sink::change::read_file,
    storage::Storage,
};

/// Tells the rows of one task from those of another.
pub(super) const TASK_COLUMN: &str = "_windrow_task";
/// The place of a row among those of an intent.
const ROW_COLUMN: &str = "_windrow_row";
/// Bytes of rows that are encoded at a time, about.
const PIECE: usize = 4 << 20;

/// What is to be loaded, from where.
pub(super) struct Load<'a> {
    pub(super) storage: &'a Storage,
    pub(super) body: &'a IntentBody,
    pub(super) digest: &'a Digest,
    pub(super) change: &'a Change,
}

/// A table of `windrow_stage` that holds all rows of an intent.
pub(super) struct Loaded {
    pub(super) table: String,
    pub(super) rows: u64,
    pub(super) schema: Schema,
}

/// How loading ended.
pub(super) enum Loading {
    Done(Loaded),
    /// The database does not take the rows, for this reason.
    Unfit(String),
}

/// What stops the rows on their way.
enum Stop {
    Unfit(String),
    Failed(WorkerError),
}

impl From<WorkerError> for Stop {
    fn from(error: WorkerError) -> Self {
        Self::Failed(error)
    }
}

/// The beginning of the names of a sink's tables.
pub(super) fn family(sink: &windrow_common::id::SinkId) -> String {
    let id = sink.as_str();
    format!("w{}_", &id[id.len().saturating_sub(12)..])
}

impl Load<'_> {
    /// Loads the intent's files, unless they are loaded.
    pub(super) async fn run(&self, open: &mut Open) -> Result<Loading> {
        let schema: Schema = serde_json::from_value(self.body.schema.clone()).map_err(|cause| {
            WorkerError::later(error::STAGED_FILE_BAD, "an intent's schema is not readable").because(cause)
        })?;
        let rows = self.body.add.iter().map(|file| file.rows).sum();
        if let Some((table, rows)) = self.find(open, rows).await? {
            return Ok(Loading::Done(Loaded { table, rows, schema }));
        }
        let table = format!("{}{}", self.prefix(), &Uuid::new_v4().simple().to_string()[..8]);
        open.set_busy(true);
        let loaded = self.load(open, &table, &schema, rows).await;
        open.set_busy(false);
        match loaded {
            Ok(rows) => Ok(Loading::Done(Loaded { table, rows, schema })),
            Err(Stop::Unfit(reason)) => {
                open.run("ROLLBACK").await?;
                Ok(Loading::Unfit(reason))
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn prefix(&self) -> String {
        let digest = self.digest.to_string();
        format!("{}{}_{}_", family(&self.body.sink), self.body.seq, &digest[..16])
    }

    /// A table an earlier try left, and its rows. It is seen only if it was loaded whole; but one that is not logged is empty
    /// after a crash of the server, so its rows are counted.
    async fn find(&self, open: &Open, rows: u64) -> Result<Option<(String, u64)>> {
        // How many keys rows have nobody knows before.
        let fits = |found: u64| match self.change.deed {
            Deed::Upsert { .. } => (found > 0) == (rows > 0),
            Deed::Rows { .. } | Deed::Version { .. } | Deed::Again { .. } => found == rows,
        };
        let query = format!(
            "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace('windrow_stage') \
             AND relkind = 'r' AND starts_with(relname::text, {}) ORDER BY oid",
            literal(&self.prefix())
        );
        let error = |cause| failed(cause, open.place());
        for row in open.client().query(query.as_str(), &[]).await.map_err(error)? {
            let table: String = row.get(0);
            let count = format!("SELECT count(*) FROM windrow_stage.{}", identifier(&table));
            let found = open.client().query_one(count.as_str(), &[]).await;
            let found = found.ok().map(|found| found.get::<_, i64>(0).unsigned_abs());
            if let Some(found) = found.filter(|found| fits(*found)) {
                return Ok(Some((table, found)));
            }
        }
        Ok(None)
    }

    /// Returns how many rows are in the table.
    async fn load(&self, open: &Open, table: &str, schema: &Schema, rows: u64) -> Result<u64, Stop> {
        let stage = format!("windrow_stage.{}", identifier(table));
        let run = |statement: String| async move {
            open.client().batch_execute(&statement).await.map_err(|cause| refused(cause, open.place()))
        };
        run("BEGIN".to_owned()).await?;
        let mut loaded = rows;
        match &self.change.deed {
            Deed::Upsert { key, order, .. } => {
                let columns = copied_columns(schema, false)?;
                // COPY numbers the rows as they come.
                let number = format!("{ROW_COLUMN} bigint GENERATED ALWAYS AS IDENTITY");
                run(format!("CREATE TEMPORARY TABLE windrow_raw ({number}, {columns}) ON COMMIT DROP")).await?;
                self.copy(open, "pg_temp.windrow_raw", schema, rows).await?;
                let fold = self.fold(open, schema, key, order).await?;
                let made = format!("CREATE UNLOGGED TABLE {stage} WITH (autovacuum_enabled = false) AS {fold}");
                let made = open.client().execute(made.as_str(), &[]).await;
                loaded = made.map_err(|cause| refused(cause, open.place()))?;
                run(format!("ANALYZE {stage}")).await?;
            }
            Deed::Rows { .. } => {
                let columns = copied_columns(schema, true)?;
                run(format!("CREATE UNLOGGED TABLE {stage} ({columns}) WITH (autovacuum_enabled = false)")).await?;
                self.copy(open, &stage, schema, rows).await?;
            }
            Deed::Version { .. } => {
                run(format!("CREATE TABLE {stage} ({})", declared_columns(&self.change.columns))).await?;
                match self.change.columns.iter().any(|column| column.cast) {
                    false => self.copy(open, &stage, schema, rows).await?,
                    true => self.copy_and_cast(open, &stage, schema, rows).await?,
                }
                for statement in made_with(self.change, &stage) {
                    run(statement).await?;
                }
                run(format!("ANALYZE {stage}")).await?;
            }
            // Its table was loaded long ago.
            Deed::Again { .. } => {}
        }
        run("COMMIT".to_owned()).await?;
        Ok(loaded)
    }

    /// The newest row of each key, of equals the one that came last. Rows are compared in the types of the table, in which those of
    /// one key are one.
    async fn fold(&self, open: &Open, schema: &Schema, key: &[String], order: &[String]) -> Result<String, Stop> {
        let table = target::read(open.client(), &self.change.name, open.place()).await?;
        let value = |name: &String| {
            let quoted = identifier(name);
            if name == DELETED_COLUMN {
                return Ok(quoted);
            }
            let made = self.change.columns.iter().find(|column| column.name == *name);
            match (table.as_ref().map(|table| table.columns.get(name)), made) {
                (Some(Some(column)), _) if key.contains(name) || order.contains(name) => {
                    Ok(format!("({quoted}::{}){} AS {quoted}", column.cast, column.collate))
                }
                (Some(Some(column)), _) => Ok(format!("{} AS {quoted}", placed(name, column))),
                (None, Some(column)) if column.cast => {
                    Ok(format!("{quoted}::{} AS {quoted}", without_numbers(&column.sql)))
                }
                (None, Some(_)) => Ok(quoted),
                _ => Err(Stop::Unfit(format!("{} has no column {name:?} any more", self.change.name))),
            }
        };
        let values = schema.fields().iter().map(|field| value(field.name())).collect::<Result<Vec<_>, _>>()?;
        let keys = list(key);
        let newest = order.iter().map(|column| format!("{} DESC", identifier(column))).collect::<Vec<_>>().join(", ");
        Ok(format!(
            "SELECT DISTINCT ON ({keys}) * FROM (SELECT {ROW_COLUMN}, {} FROM pg_temp.windrow_raw) raw \
             ORDER BY {keys}, {newest}, {ROW_COLUMN} DESC",
            values.join(", ")
        ))
    }

    /// Values that do not come in their column's own type come as they are first.
    async fn copy_and_cast(&self, open: &Open, stage: &str, schema: &Schema, rows: u64) -> Result<(), Stop> {
        let columns = copied_columns(schema, false)?;
        let run = |statement: String| async move {
            open.client().batch_execute(&statement).await.map_err(|cause| refused(cause, open.place()))
        };
        run(format!("CREATE TEMPORARY TABLE windrow_raw ({columns}) ON COMMIT DROP")).await?;
        self.copy(open, "pg_temp.windrow_raw", schema, rows).await?;
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
        run(format!("INSERT INTO {stage} ({names}) SELECT {values} FROM pg_temp.windrow_raw")).await
    }

    async fn copy(&self, open: &Open, table: &str, schema: &Schema, rows: u64) -> Result<(), Stop> {
        let tasks = matches!(self.change.deed, Deed::Rows { .. });
        let copied = Arc::new(copied_schema(schema, tasks));
        let names: Vec<String> = copied.fields().iter().map(|field| identifier(field.name())).collect();
        let statement = format!("COPY {table} ({}) FROM STDIN (FORMAT BINARY)", names.join(", "));
        let sink: CopyInSink<Bytes> =
            open.client().copy_in(statement.as_str()).await.map_err(|cause| refused(cause, open.place()))?;
        let mut sink = pin!(sink);
        let mut encoder = ArrowToPostgresBinaryEncoder::try_new(&copied).map_err(unencodable)?;
        let mut out = BytesMut::new();
        encoder.write_header(&mut out).map_err(unencodable)?;
        for (file, task) in self.body.add.iter().zip(&self.change.tasks) {
            let mut read = 0_u64;
            let mut batches = read_file(self.storage, &file.path, file.bytes).await?;
            while let Some(batch) = batches.try_next().await.map_err(|cause| unreadable(file).because(cause))? {
                read += batch.num_rows() as u64;
                for piece in pieces(&batch) {
                    let rows = shaped(&piece, schema, tasks.then_some(*task), &copied)?;
                    encoder.write_batch(&rows, &mut out).map_err(unencodable)?;
                    sink.send(out.split().freeze()).await.map_err(|cause| refused(cause, open.place()))?;
                }
            }
            if read != file.rows {
                return Err(unreadable(file).into());
            }
        }
        encoder.write_footer(&mut out).map_err(unencodable)?;
        sink.send(out.split().freeze()).await.map_err(|cause| refused(cause, open.place()))?;
        let taken = sink.as_mut().finish().await.map_err(|cause| refused(cause, open.place()))?;
        match taken == rows {
            true => Ok(()),
            false => {
                let message = format!("the database took {taken} of {rows} rows");
                Err(WorkerError::later(error::SINK_BROKEN, message).at(open.place()).into())
            }
        }
    }
}

/// Columns as they stand in a statement.
pub(super) fn list(columns: &[String]) -> String {
    columns.iter().map(|column| identifier(column)).collect::<Vec<_>>().join(", ")
}

/// Primary key and indexes of a table that is made.
pub(super) fn made_with(change: &Change, table: &str) -> Vec<String> {
    let key = (!change.primary_key.is_empty())
        .then(|| format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", list(&change.primary_key)));
    let indexes = change.indexes.iter().map(|columns| format!("CREATE INDEX ON {table} ({})", list(columns)));
    key.into_iter().chain(indexes).collect()
}

pub(super) fn declared_columns(columns: &[NewColumn]) -> String {
    let columns = columns.iter().map(|column| format!("{} {}", identifier(&column.name), column.sql));
    columns.collect::<Vec<_>>().join(", ")
}

/// A type's name without its numbers: a cast to `varchar(3)` would cut silently, and putting it there refuses.
fn without_numbers(sql: &str) -> String {
    let (name, rest) = match (sql.find('('), sql.find(')')) {
        (Some(start), Some(end)) if start < end => (&sql[..start], &sql[end + 1..]),
        _ => return sql.to_owned(),
    };
    // Without numbers these are one letter and one bit long.
    let name = match name {
        "character" => "bpchar",
        "bit" => "bit varying",
        other => other,
    };
    format!("{name}{rest}")
}

fn copied_columns(schema: &Schema, tasks: bool) -> Result<String> {
    let mut columns: Vec<String> = tasks.then(|| format!("{TASK_COLUMN} integer NOT NULL")).into_iter().collect();
    for field in schema.fields() {
        let sql = types::copied(field.data_type()).ok_or_else(|| {
            WorkerError::never(error::INTERNAL, format!("a column is staged as {}", field.data_type()))
        })?;
        columns.push(format!("{} {sql}", identifier(field.name())));
    }
    Ok(columns.join(", "))
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

fn refused(cause: Error, place: &str) -> Stop {
    match unfit(&cause) {
        Some(reason) => Stop::Unfit(reason),
        None => Stop::Failed(failed(cause, place)),
    }
}

/// Values that Arrow has and PostgreSQL has not, such as instants of the year 300,000.
fn unencodable(cause: pgpq::error::ErrorKind) -> Stop {
    Stop::Unfit(format!("a value has no form in PostgreSQL: {cause}"))
}

fn unreadable(file: &StagedFile) -> WorkerError {
    WorkerError::later(error::STAGED_FILE_BAD, "a staged file cannot be read whole").at(file.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_cuts_nothing() {
        for (sql, cast) in [
            ("character varying(5)", "character varying"),
            ("character(3)", "bpchar"),
            ("uuid", "uuid"),
            ("bit(3)[]", "bit varying[]"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
        ] {
            assert_eq!(without_numbers(sql), cast);
        }
    }
}

//! Keys that are in the table and not at the source, found by the database: it is given the source's, and compares them in the
//! table's types, in which two spellings of one `uuid` are one key. What it has no memory for goes to its disk; the worker holds a
//! batch at a time.
//!
//! A row counts only if it was there when the comparison began, which was before the source was looked at. Of that the number of a
//! transaction is kept: whoever was about to write then has this number or a greater one, and so do the rows it wrote. What is found
//! is staged with each row's own number, by which the commit knows a row again that nobody has touched.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt, future};
use tokio_postgres::{Row, types::ToSql};
use windrow_common::{deletes::Deletes, error};

use super::{
    PostgresSink,
    copy::copy_rows,
    failure::failed,
    layout,
    load::{Stop, copied_columns, execute, list},
    session::{Open, Purpose},
    target::Table,
    types,
};
use crate::{
    error::{Result, WorkerError},
    postgres::identifier,
    sink::{Deletions, Note, Noted},
    stage::{Attempt, BatchStream, Changes, stage},
};

/// The number of the transaction that wrote a row.
pub(super) const XMIN_COLUMN: &str = "_windrow_xmin";
const KEYS: &str = "pg_temp.windrow_keys";
const GONE: &str = "pg_temp.windrow_gone";
/// Keys that are staged at a time. One of an index takes no more than some KiB.
const AT_A_TIME: usize = 4_096;

/// Every row that was written by a transaction before this one was there already.
pub(super) async fn note(sink: &PostgresSink) -> Result<Note> {
    const OLDEST: &str = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    let open = sink.database.open(Purpose::Look).await?;
    let oldest = open.client().query_one(OLDEST, &[]).await.and_then(|row| row.try_get::<_, i64>(0));
    let oldest = oldest.map_err(|cause| failed(cause, open.place()))?;
    Ok(Note { since: oldest.unsigned_abs(), server: server(&open).await? })
}

/// When the server began to run: one that took the place of another may give out the same numbers again.
async fn server(open: &Open) -> Result<i64> {
    const BEGAN: &str = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
    let began = open.client().query_one(BEGAN, &[]).await.and_then(|row| row.try_get(0));
    began.map_err(|cause| failed(cause, open.place()))
}

pub(super) async fn compare(
    sink: &PostgresSink,
    noted: Noted,
    attempt: &Attempt,
    (schema, mut keys): (SchemaRef, BatchStream),
) -> Result<Deletions> {
    let (Some(deletes), Some(upsert)) = (&sink.deletes, &sink.upsert) else { return Err(crate::sink::not_compared()) };
    let staged = Arc::new(staged(&upsert.key));
    let mut open = sink.database.open(Purpose::Look).await?;
    let Some(table) = sink.look(&open, false).await? else {
        while keys.try_next().await?.is_some() {}
        return Ok(Deletions { schema: staged, files: Vec::new() });
    };
    let comparing = Comparing { name: sink.params.name.quoted(), table: &table, key: &upsert.key };
    open.set_busy(true);
    let keys = comparing.load(&open, &schema, keys).await.map_err(|stop| unfit(stop, &open))?;
    if server(&open).await? != noted.note.server {
        let message = "the database's server was started or replaced while keys were read";
        return Err(WorkerError::later(error::SINK_CONFLICT, message).at(open.place().to_owned()));
    }
    let gone = comparing.find(&open, noted.note.since).await?;
    if gone > 0 && !noted.accept {
        comparing.check(&open, deletes, (keys, gone)).await?;
    }
    let layout = layout::layout(staged.clone(), Changes::default());
    let files = stage(&sink.storage, &layout, attempt, comparing.found(&open, staged.clone()).await?).await?;
    open.set_busy(false);
    Ok(Deletions { schema: staged, files })
}

/// Keys as text, which every type has, and the number beside them.
fn staged(key: &[String]) -> Schema {
    let keys = key.iter().map(|column| Field::new(column, DataType::Utf8, false));
    Schema::new(keys.chain([Field::new(XMIN_COLUMN, DataType::Int64, false)]).collect::<Vec<_>>())
}

struct Comparing<'a> {
    name: String,
    table: &'a Table,
    key: &'a [String],
}

impl Comparing<'_> {
    /// The source's keys into a table of the session's own. Returns how many there are.
    async fn load(&self, open: &Open, schema: &Schema, keys: BatchStream) -> Result<u64, Stop> {
        let wire = Arc::new(self.wire(schema)?);
        let columns = copied_columns(&wire, false)?;
        execute(open, &format!("CREATE TEMPORARY TABLE windrow_keys ({columns})")).await?;
        let rows = copy_rows(open, KEYS, &wire, keys).await?;
        execute(open, &format!("ANALYZE {KEYS}")).await?;
        Ok(rows)
    }

    /// Takes up what is in the table, was there when it was noted, and is not among the keys. Returns how much that is.
    ///
    /// Numbers of transactions come round again after 2^32, and that of a row that is old enough may be any: so a row is left alone if
    /// its number is one of those that were given out since.
    async fn find(&self, open: &Open, since: u64) -> Result<u64> {
        let of = |what: fn(&str) -> String| self.key.iter().map(|column| what(&identifier(column))).collect::<Vec<_>>();
        let texts = of(|column| format!("t.{column}::text AS {column}")).join(", ");
        let whole = of(|column| format!("t.{column} IS NOT NULL")).join(" AND ");
        let number = "t.xmin::text::bigint";
        let given_out = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        let statement = format!(
            "CREATE TEMPORARY TABLE windrow_gone AS SELECT {texts}, {number} AS {XMIN_COLUMN} FROM {} t WHERE {whole} \
             AND ({number} - {since} % 4294967296 + 4294967296) % 4294967296 >= {given_out} - {since} \
             AND NOT EXISTS (SELECT FROM {KEYS} k WHERE {})",
            self.name,
            same(self.table, self.key, "k")
        );
        open.client().execute(statement.as_str(), &[]).await.map_err(|cause| failed(cause, open.place()))
    }

    async fn check(&self, open: &Open, deletes: &Deletes, (keys, gone): (u64, u64)) -> Result<()> {
        let count = format!("SELECT count(*) FROM {}", self.name);
        let rows = open.client().query_one(count.as_str(), &[]).await.and_then(|row| row.try_get::<_, i64>(0));
        let rows = rows.map_err(|cause| failed(cause, open.place()))?.unsigned_abs();
        deletes.judge(keys, gone, rows).map_err(|refused| {
            WorkerError::never(error::TOO_MANY_DELETED, format!("no row is deleted: {refused}"))
                .at(format!("{} in {}", self.name.replace('"', ""), open.place()))
                .fix("look at the source; if it is right: windrow compare PIPELINE --accept, or raise `deletes.max_deleted`")
        })
    }

    /// What was taken up, as it is staged.
    async fn found(&self, open: &Open, schema: SchemaRef) -> Result<BatchStream> {
        let place = open.place().to_owned();
        let broken = move |cause| failed(cause, &place);
        let query = format!("SELECT {}, {XMIN_COLUMN} FROM {GONE}", list(self.key));
        let none: [&(dyn ToSql + Sync); 0] = [];
        let rows = open.client().query_raw(query.as_str(), none).await.map_err(&broken)?;
        let batches = rows.map_err(broken).try_chunks(AT_A_TIME).map_err(|cause| cause.1);
        Ok(batches.and_then(move |rows| future::ready(batch(&rows, &schema))).boxed())
    }

    /// The types in which the source's keys come: those of the table's columns, as far as COPY has them.
    fn wire(&self, schema: &Schema) -> Result<Schema> {
        let field = |name: &String| {
            let lacks = |what: &str| {
                WorkerError::never(error::SINK_SCHEMA, format!("{what} no column {name:?} of the key"))
                    .fix("correct `key`, or the table")
            };
            let found = schema.field_with_name(name).map_err(|_| lacks("the source has"))?;
            let column = self.table.columns.get(name).ok_or_else(|| lacks("the table has"))?;
            Ok(Field::new(name, types::wire(found, &column.target)?, true))
        };
        Ok(Schema::new(self.key.iter().map(field).collect::<Result<Vec<_>>>()?))
    }
}

/// That a row of the table has the key of another, whose values come as others than the table's.
pub(super) fn same(table: &Table, key: &[String], other: &str) -> String {
    let is_same = |name: &String| {
        let (column, quoted) = (table.columns.get(name), identifier(name));
        let (cast, collate) = column.map_or(("text", ""), |column| (column.cast.as_str(), column.collate.as_str()));
        format!("t.{quoted} = ({other}.{quoted}::{cast}){collate}")
    };
    key.iter().map(is_same).collect::<Vec<_>>().join(" AND ")
}

fn batch(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch> {
    let damaged = |cause| WorkerError::later(error::SINK_BROKEN, "the database's answer cannot be read").because(cause);
    let last = schema.fields().len() - 1;
    let text = |at: usize| -> Result<ArrayRef, tokio_postgres::Error> {
        let values = rows.iter().map(|row| row.try_get::<_, &str>(at)).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(StringArray::from(values)))
    };
    let mut columns = (0..last).map(text).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
    let numbers = rows.iter().map(|row| row.try_get::<_, i64>(last)).collect::<Result<Vec<_>, _>>().map_err(damaged)?;
    columns.push(Arc::new(Int64Array::from(numbers)));
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "keys cannot be put together").because(cause))
}

fn unfit(stop: Stop, open: &Open) -> WorkerError {
    match stop {
        Stop::Failed(error) => error,
        Stop::Unfit(reason) => {
            WorkerError::never(error::SINK_SCHEMA, format!("keys of the source fit no key of the table: {reason}"))
                .at(open.place().to_owned())
        }
    }
}

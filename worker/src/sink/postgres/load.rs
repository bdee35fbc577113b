//! Staged files into a table of `windrow_stage` (`copy` is how), in a transaction of its own and without any lock of the
//! sink: whoever stands still in the midst of it holds up nobody. Every loader makes a table of its own, so two never wait
//! for each other; its name says which intent it is of, so that a repeat finds what is there.

use arrow_schema::Schema;
use tokio_postgres::Error;
use uuid::Uuid;
use windrow_common::{error, intent::IntentBody, manifest::Digest, upsert::DELETED_COLUMN};

use super::{
    change::{Change, Deed, NewColumn},
    failure::{failed, unfit},
    rows::placed,
    session::Open,
    target, types, verbatim,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{identifier, literal},
    storage::Storage,
    verbatim::Verbatim,
};

/// Tells the rows of one task from those of another.
pub(super) const TASK_COLUMN: &str = "_windrow_task";
/// The place of a row among those of an intent.
const ROW_COLUMN: &str = "_windrow_row";

/// What is to be loaded, from where.
pub(super) struct Load<'a> {
    pub(super) storage: &'a Storage,
    pub(super) body: &'a IntentBody,
    pub(super) digest: &'a Digest,
    pub(super) change: &'a Change,
}

/// Tables of `windrow_stage` that hold all rows of an intent: one for each form that rows came in, which mostly is one.
pub(super) struct Loaded {
    pub(super) first: LoadedTable,
    pub(super) others: Vec<LoadedTable>,
    pub(super) rows: u64,
}

/// One of them.
pub(super) struct LoadedTable {
    pub(super) name: String,
    /// The columns of the rows.
    pub(super) columns: Vec<String>,
}

impl Loaded {
    pub(super) fn tables(&self) -> impl Iterator<Item = &LoadedTable> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// How loading ended.
pub(super) enum Loading {
    Done(Loaded),
    /// The database does not take the rows, for this reason.
    Unfit(String),
}

/// What stops the rows on their way.
pub(super) enum Stop {
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
        let mut shapes = self.change.shapes();
        let first = shapes.remove(0);
        let table = |shape, name| LoadedTable { name, columns: self.columns(shape, &schema) };
        // Of several tables nobody knows which belong together.
        if shapes.is_empty()
            && let Some((name, rows)) = self.find(open, rows).await?
        {
            return Ok(Loading::Done(Loaded { first: table(first, name), others: Vec::new(), rows }));
        }
        let name = || format!("{}{}", self.prefix(), &Uuid::new_v4().simple().to_string()[..8]);
        let first = (first, name());
        let others: Vec<(usize, String)> = shapes.into_iter().map(|shape| (shape, name())).collect();
        open.set_busy(true);
        let loaded = self.load_all(open, std::iter::once(&first).chain(&others), &schema).await;
        open.set_busy(false);
        match loaded {
            Ok(rows) => {
                let others = others.into_iter().map(|(shape, name)| table(shape, name)).collect();
                Ok(Loading::Done(Loaded { first: table(first.0, first.1), others, rows }))
            }
            Err(Stop::Unfit(reason)) => {
                open.run("ROLLBACK").await?;
                Ok(Loading::Unfit(reason))
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn columns(&self, shape: usize, schema: &Schema) -> Vec<String> {
        match self.change.verbatim(shape) {
            Some(rows) => rows.columns.iter().map(|column| column.name.clone()).collect(),
            None => schema.fields().iter().map(|field| field.name().clone()).collect(),
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
            Deed::Rows { .. } | Deed::Version { .. } | Deed::Delete { .. } | Deed::Again { .. } => found == rows,
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

    /// Returns how many rows are in the tables.
    async fn load_all(
        &self,
        open: &Open,
        tables: impl Iterator<Item = &(usize, String)>,
        schema: &Schema,
    ) -> Result<u64, Stop> {
        execute(open, "BEGIN").await?;
        let mut rows = 0;
        for (shape, name) in tables {
            let stage = format!("windrow_stage.{}", identifier(name));
            rows += match self.change.verbatim(*shape) {
                None => self.load_values(open, &stage, schema).await?,
                Some(rows) => self.load_verbatim(open, &stage, (*shape, rows)).await?,
            };
        }
        execute(open, "COMMIT").await?;
        Ok(rows)
    }

    /// Rows of values into a table that is made for them; how many they are then.
    async fn load_values(&self, open: &Open, stage: &str, schema: &Schema) -> Result<u64, Stop> {
        let run = |statement: String| async move { execute(open, &statement).await };
        match &self.change.deed {
            Deed::Upsert { key, order, .. } => {
                let columns = copied_columns(schema, false)?;
                // COPY numbers the rows as they come.
                let number = format!("{ROW_COLUMN} bigint GENERATED ALWAYS AS IDENTITY");
                run(format!("CREATE TEMPORARY TABLE windrow_raw ({number}, {columns}) ON COMMIT DROP")).await?;
                self.copy(open, "pg_temp.windrow_raw", schema).await?;
                let fold = self.fold(open, schema, key, order).await?;
                let made = format!("CREATE UNLOGGED TABLE {stage} WITH (autovacuum_enabled = false) AS {fold}");
                let made = open.client().execute(made.as_str(), &[]).await;
                let folded = made.map_err(|cause| refused(cause, open.place()))?;
                run(format!("ANALYZE {stage}")).await?;
                Ok(folded)
            }
            Deed::Rows { .. } => {
                let columns = copied_columns(schema, true)?;
                run(format!("CREATE UNLOGGED TABLE {stage} ({columns}) WITH (autovacuum_enabled = false)")).await?;
                self.copy(open, stage, schema).await
            }
            Deed::Version { .. } => {
                run(format!("CREATE TABLE {stage} ({})", declared_columns(&self.change.columns))).await?;
                let rows = match self.change.columns.iter().any(|column| column.cast) {
                    false => self.copy(open, stage, schema).await?,
                    true => self.copy_and_cast(open, stage, schema).await?,
                };
                self.finish_version(open, stage).await?;
                Ok(rows)
            }
            Deed::Delete { .. } => self.load_deletions(open, stage, schema).await,
            // Its table was loaded long ago.
            Deed::Again { .. } => Ok(0),
        }
    }

    /// Rows as they are into a table of their very types.
    async fn load_verbatim(&self, open: &Open, stage: &str, rows: (usize, &Verbatim)) -> Result<u64, Stop> {
        let columns = declared_columns(&verbatim::new_columns(rows.1));
        match &self.change.deed {
            Deed::Rows { .. } => {
                let with = "WITH (autovacuum_enabled = false)";
                let made = format!("CREATE UNLOGGED TABLE {stage} ({TASK_COLUMN} integer NOT NULL, {columns}) {with}");
                execute(open, &made).await?;
                self.copy_verbatim(open, stage, rows).await
            }
            Deed::Version { .. } => {
                execute(open, &format!("CREATE TABLE {stage} ({columns})")).await?;
                let copied = self.copy_verbatim(open, stage, rows).await?;
                self.finish_version(open, stage).await?;
                Ok(copied)
            }
            Deed::Upsert { .. } | Deed::Delete { .. } | Deed::Again { .. } => {
                Err(Stop::Unfit("rows that take each other's places by their keys have to be decoded".to_owned()))
            }
        }
    }

    async fn finish_version(&self, open: &Open, stage: &str) -> Result<(), Stop> {
        for statement in made_with(self.change, stage) {
            execute(open, &statement).await?;
        }
        execute(open, &format!("ANALYZE {stage}")).await
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
pub(super) fn without_numbers(sql: &str) -> String {
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

pub(super) fn copied_columns(schema: &Schema, tasks: bool) -> Result<String> {
    let mut columns: Vec<String> = tasks.then(|| format!("{TASK_COLUMN} integer NOT NULL")).into_iter().collect();
    for field in schema.fields() {
        let sql = types::copied(field.data_type()).ok_or_else(|| {
            WorkerError::never(error::INTERNAL, format!("a column is staged as {}", field.data_type()))
        })?;
        columns.push(format!("{} {sql}", identifier(field.name())));
    }
    Ok(columns.join(", "))
}

pub(super) async fn execute(open: &Open, statement: &str) -> Result<(), Stop> {
    open.client().batch_execute(statement).await.map_err(|cause| refused(cause, open.place()))
}

pub(super) fn refused(cause: Error, place: &str) -> Stop {
    match unfit(&cause) {
        Some(reason) => Stop::Unfit(reason),
        None => Stop::Failed(failed(cause, place)),
    }
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

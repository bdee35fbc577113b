//! Rows that go and come in a table, within the commit's transaction.

use jiff::Timestamp;
use tokio_postgres::{Client, Error};
use windrow_common::{
    count::{counted, grouped},
    error,
    intent::IntentBody,
    window::Window,
};

use super::{
    change::{Alter, Change, Step, Tell},
    commit::Trouble,
    failure::in_words,
    load::{Loaded, LoadedTable, TASK_COLUMN, declared_columns, made_with},
    session::Open,
    target::{self, Column, Table, WINDOW_COLUMN},
    types::Base,
};
use crate::{
    error::{Result, WorkerError},
    postgres::{RelationKind, identifier},
};

/// What the steps are carried out on.
pub(super) struct Rows<'a> {
    pub(super) change: &'a Change,
    pub(super) body: &'a IntentBody,
    pub(super) loaded: &'a Loaded,
}

impl Rows<'_> {
    /// Replaces and inserts, step by step. Returns how many rows came.
    pub(super) async fn apply(&self, open: &Open, steps: &[Step], tell: &Tell) -> Result<u64, Trouble> {
        let name = &self.change.name;
        let table = match target::read(open.client(), name, open.place()).await? {
            Some(table) => table,
            None => make(open, self.change, tell).await?,
        };
        let table = self.alter(open, table).await?;
        if !matches!(table.kind, RelationKind::Table | RelationKind::Partitioned) {
            return Err(Trouble::Unfit(format!("{name} is no table, so no rows go into it")));
        }
        let mut rows = 0;
        for step in steps {
            if !step.replace.is_empty() {
                open.client().batch_execute(&self.delete(&table, step, tell)?).await?;
            }
            for loaded in self.loaded.tables() {
                rows += self.insert(open.client(), loaded, &table, (step, tell)).await?;
            }
        }
        match rows == self.loaded.rows {
            true => Ok(rows),
            false => Err(Trouble::Unfit(format!(
                "{name} took {} of {}: a trigger, a rule or a policy of it leaves some out",
                grouped(rows),
                counted(self.loaded.rows, "row")
            ))),
        }
    }

    /// The table gets the columns that the rows bring, as far as it has them not.
    async fn alter(&self, open: &Open, table: Table) -> Result<Table, Trouble> {
        let name = &self.change.name;
        let mut parts = Vec::new();
        for Alter { column, sql, add } in &self.change.alter {
            let quoted = identifier(column);
            match table.columns.get(column) {
                Some(known) if known.is_of(sql) => {}
                None if *add => parts.push(format!("ADD COLUMN {quoted} {sql}")),
                Some(_) if !*add => parts.push(format!("ALTER COLUMN {quoted} TYPE {sql}")),
                _ => {
                    return Err(Trouble::Unfit(format!("somebody else changed the column {column:?} of {name}")));
                }
            }
        }
        if parts.is_empty() {
            return Ok(table);
        }
        // Whoever reads for long delays the change, not other readers.
        let statement = format!("SET LOCAL lock_timeout = 1000; ALTER TABLE {} {}", name.quoted(), parts.join(", "));
        if let Err(cause) = open.client().batch_execute(&statement).await {
            // A view or a rule rests on the column as it is.
            let rests = cause.as_db_error().filter(|found| found.code().code() == "0A000");
            return Err(rests.map(|found| Trouble::Unfit(in_words(found))).unwrap_or(Trouble::Database(cause)));
        }
        let altered = target::read(open.client(), name, open.place()).await?;
        altered.ok_or_else(|| WorkerError::later(error::SINK_CONFLICT, "a table that was changed is not there").into())
    }

    fn delete(&self, table: &Table, step: &Step, tell: &Tell) -> Result<String, Trouble> {
        let from = self.change.name.quoted();
        let ranges: Vec<String> = match tell {
            Tell::Tag => {
                let range = |(start, end): &(i64, i64)| Ok(format!("{WINDOW_COLUMN} <@ {}", range(*start, *end)?));
                step.replace.iter().map(range).collect::<Result<_, Trouble>>()?
            }
            Tell::Cursor(cursor) => {
                let base = table.columns.get(cursor).map(|column| column.target.base);
                let name = identifier(cursor);
                let range = |(start, end): &(i64, i64)| {
                    let (start, end) = (point(*start, base)?, point(*end, base)?);
                    Ok(format!("({name} >= {start} AND {name} < {end})"))
                };
                step.replace.iter().map(range).collect::<Result<_, Trouble>>()?
            }
            Tell::Nothing => return Err(Trouble::Unfit("nothing tells which rows a window has".to_owned())),
        };
        Ok(format!("DELETE FROM {from} WHERE {}", ranges.join(" OR ")))
    }

    async fn insert(
        &self,
        client: &Client,
        loaded: &LoadedTable,
        table: &Table,
        (step, tell): (&Step, &Tell),
    ) -> Result<u64, Trouble> {
        let mut names = Vec::new();
        let mut values = Vec::new();
        for name in &loaded.columns {
            let Some(column) = table.columns.get(name) else {
                return Err(Trouble::Unfit(format!("{} has no column {name:?} any more", self.change.name)));
            };
            names.push(identifier(name));
            values.push(placed(name, column));
        }
        if *tell == Tell::Tag {
            names.push(WINDOW_COLUMN.to_owned());
            values.push(self.tag(step)?);
        }
        let (first, last) = step.tasks;
        let statement = format!(
            "INSERT INTO {} ({}) SELECT {} FROM windrow_stage.{} WHERE {TASK_COLUMN} BETWEEN {first} AND {last}",
            self.change.name.quoted(),
            names.join(", "),
            values.join(", "),
            identifier(&loaded.name),
        );
        Ok(client.execute(statement.as_str(), &[]).await?)
    }

    /// The window of a row's task.
    fn tag(&self, step: &Step) -> Result<String, Trouble> {
        let windows: Vec<(usize, Window)> = (self.body.tasks.iter().map(|task| task.window).enumerate())
            .filter(|(task, _)| (step.tasks.0..=step.tasks.1).contains(task))
            .collect();
        let cases = windows.iter().map(|(task, window)| {
            let range = range(window.start(), window.end())?;
            Ok(format!("WHEN {task} THEN {range}"))
        });
        let cases: Vec<String> = cases.collect::<Result<_, Trouble>>()?;
        Ok(format!("CASE {TASK_COLUMN} {} END", cases.join(" ")))
    }
}

/// The table appears with its first rows.
pub(super) async fn make(open: &Open, change: &Change, tell: &Tell) -> Result<Table, Trouble> {
    let name = &change.name;
    let table = name.quoted();
    let tag = format!(", {WINDOW_COLUMN} tstzrange");
    let tag = if *tell == Tell::Tag { tag.as_str() } else { "" };
    let mut statements = vec![format!("CREATE TABLE {table} ({}{tag})", declared_columns(&change.columns))];
    statements.extend(made_with(change, &table));
    // Windows are found by it when they are replaced.
    match tell {
        Tell::Nothing => {}
        Tell::Cursor(cursor) => statements.push(format!("CREATE INDEX ON {table} ({})", identifier(cursor))),
        Tell::Tag => statements.push(format!("CREATE INDEX ON {table} USING gist ({WINDOW_COLUMN})")),
    }
    open.client().batch_execute(&statements.join("; ")).await?;
    let made = target::read(open.client(), name, open.place()).await?;
    made.ok_or_else(|| WorkerError::later(error::SINK_CONFLICT, "a table that was made is not there").into())
}

/// A staged column's value as the table's column takes it.
pub(super) fn placed(name: &str, column: &Column) -> String {
    let name = identifier(name);
    let zoned = column.target.array && column.target.base == Base::Timestamptz;
    match column.target.base {
        Base::Other => format!("{name}::{}", column.cast),
        _ if zoned => format!("{name}::timestamptz[]"),
        // What is put there is checked against length and precision, where a cast would cut.
        _ => name,
    }
}

/// An instant of the cursor as the table's column has it.
fn point(microseconds: i64, base: Option<Base>) -> Result<String, Trouble> {
    match base {
        Some(Base::Int8) => Ok(microseconds.to_string()),
        Some(Base::Timestamptz) => Ok(format!("'{}'::timestamptz", instant(microseconds)?)),
        Some(Base::Timestamp) => {
            let text = instant(microseconds)?.to_string();
            Ok(format!("'{}'::timestamp", text.trim_end_matches('Z')))
        }
        _ => Err(Trouble::Unfit("the cursor's column of the table holds no instants any more".to_owned())),
    }
}

/// Stretches of time as the tag has them.
pub(super) fn range(start: i64, end: i64) -> Result<String, Trouble> {
    Ok(format!("tstzrange('{}', '{}', '[)')", instant(start)?, instant(end)?))
}

fn instant(microseconds: i64) -> Result<Timestamp, Trouble> {
    Timestamp::from_microsecond(microseconds)
        .map_err(|_| Trouble::Unfit("a window lies outside the years PostgreSQL is told of".to_owned()))
}

impl From<Error> for Trouble {
    fn from(cause: Error) -> Self {
        Self::Database(cause)
    }
}

impl From<WorkerError> for Trouble {
    fn from(error: WorkerError) -> Self {
        Self::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_instant_stands_in_a_statement_to_the_microsecond() {
        let at = 1_357_034_400_000_001;
        let text = |base| point(at, Some(base)).ok().unwrap();
        assert_eq!(text(Base::Timestamptz), "'2013-01-01T10:00:00.000001Z'::timestamptz");
        assert_eq!(text(Base::Timestamp), "'2013-01-01T10:00:00.000001'::timestamp");
        assert_eq!(text(Base::Int8), "1357034400000001");
        assert!(point(at, Some(Base::Text)).is_err());
    }
}

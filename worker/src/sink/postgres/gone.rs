//! Keys that were deleted, in a table of the schema `windrow` beside each table that rows go into by their keys. How new the
//! deletion was stands beside the key, so that an older row that is read later does not bring it back.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::{commit::Trouble, load::list, params::Name, session::Open, target};
use crate::{error::Result, postgres::identifier};

/// When the key was deleted, by the database's clock.
const AT_COLUMN: &str = "_windrow_at";
/// Most keys that are forgotten after one commit.
const MOST_FORGOTTEN: u32 = 100_000;

/// The deleted keys of a table.
pub(super) struct Gone<'a> {
    name: Name,
    key: &'a [String],
    /// The key and what tells how new a row is, each once.
    columns: Vec<String>,
}

impl<'a> Gone<'a> {
    pub(super) fn of(table: &Name, key: &'a [String], order: &[String]) -> Self {
        let hash = blake3::hash(format!("{}\0{}", table.schema, table.table).as_bytes()).to_hex();
        let name = Name { schema: "windrow".to_owned(), table: format!("deleted_{}_{}", table.table, &hash[..8]) };
        let order = order.iter().filter(|column| !key.contains(column));
        Self { name, key, columns: key.iter().chain(order).cloned().collect() }
    }

    pub(super) fn quoted(&self) -> String {
        self.name.quoted()
    }

    /// Whether any were ever deleted.
    pub(super) async fn is_there(&self, open: &Open) -> Result<bool, Trouble> {
        let Some(found) = target::read(open.client(), &self.name, open.place()).await? else { return Ok(false) };
        let found: BTreeSet<&str> = found.columns.keys().map(String::as_str).collect();
        let wanted: BTreeSet<&str> = self.columns.iter().map(String::as_str).chain([AT_COLUMN]).collect();
        match found == wanted {
            true => Ok(true),
            false => Err(Trouble::Unfit(format!(
                "{} remembers deleted keys by other columns than `key` and `order` name; to forget them, drop it",
                self.name
            ))),
        }
    }

    /// Makes it, in the types of the table.
    pub(super) async fn make(&self, client: &Client, table: &str) -> Result<(), Trouble> {
        let (name, key, columns) = (self.quoted(), list(self.key), list(&self.columns));
        let statements = format!(
            "CREATE TABLE {name} AS SELECT {columns}, now() AS {AT_COLUMN} FROM {table} WITH NO DATA; \
             ALTER TABLE {name} ADD PRIMARY KEY ({key}), ALTER {AT_COLUMN} SET NOT NULL; CREATE INDEX ON {name} ({AT_COLUMN})"
        );
        Ok(client.batch_execute(&statements).await?)
    }

    /// Takes up the keys of those rows of `stage` that a condition holds for.
    pub(super) fn adding(&self, stage: &str, condition: &str) -> String {
        let (name, key, columns) = (self.quoted(), list(self.key), list(&self.columns));
        let order = self.columns.iter().filter(|column| !self.key.contains(column));
        let set: Vec<String> = order.map(|column| set(column)).chain([format!("{AT_COLUMN} = now()")]).collect();
        format!(
            "INSERT INTO {name} ({columns}, {AT_COLUMN}) SELECT {columns}, now() FROM {stage} s WHERE {condition} \
             ON CONFLICT ({key}) DO UPDATE SET {}",
            set.join(", ")
        )
    }

    /// Whoever makes the table anew has nothing that was deleted from it.
    pub(super) fn dropping(&self) -> String {
        format!("DROP TABLE IF EXISTS {}", self.quoted())
    }

    /// Forgets keys that were deleted so long ago.
    pub(super) fn forgetting(&self, seconds: u64) -> String {
        let name = self.quoted();
        let old = format!("{AT_COLUMN} < now() - make_interval(secs => {seconds})");
        let some = format!("SELECT ctid FROM {name} WHERE {old} ORDER BY {AT_COLUMN} LIMIT {MOST_FORGOTTEN}");
        format!("DELETE FROM {name} WHERE {old} AND ctid = ANY (ARRAY({some}))")
    }
}

/// A column takes the value of the row that comes.
pub(super) fn set(column: &str) -> String {
    let column = identifier(column);
    format!("{column} = excluded.{column}")
}

//! Rows that take the places of those of their keys, within the commit's transaction. The loaded table holds one row per key,
//! the newest of the intent. It counts only if nothing newer is known of its key: neither a row of the table nor a deletion.
//! So the outcome does not depend on the order in which windows are committed.

use windrow_common::{count::counted, upsert::DELETED_COLUMN};

use super::{
    change::{Change, Tell},
    commit::Trouble,
    gone::{Gone, set},
    load::{Loaded, list},
    rows,
    session::Open,
    target::{self, Table},
};
use crate::{
    error::Result,
    postgres::{RelationKind, identifier},
};

/// What the rows of an intent are put in place with.
pub(super) struct Upserting<'a> {
    pub(super) change: &'a Change,
    pub(super) loaded: &'a Loaded,
    pub(super) key: &'a [String],
    pub(super) order: &'a [String],
    /// Whether a row is touched also where an older one of its key is left out.
    pub(super) touch: bool,
}

impl Upserting<'_> {
    /// Returns how many rows came or went.
    pub(super) async fn apply(&self, open: &Open) -> Result<u64, Trouble> {
        let name = &self.change.name;
        let gone = Gone::of(name, self.key, self.order);
        let table = match target::read(open.client(), name, open.place()).await? {
            Some(table) => table,
            None => {
                open.client().batch_execute(&gone.dropping()).await?;
                rows::make(open, self.change, &Tell::Nothing).await?
            }
        };
        if !matches!(table.kind, RelationKind::Table | RelationKind::Partitioned) {
            return Err(Trouble::Unfit(format!("{name} is no table, so no rows go into it")));
        }
        let run = |statement: String| async move { open.client().execute(statement.as_str(), &[]).await };
        let (stage, into) = (self.stage(), name.quoted());
        let mut remembered = gone.is_there(open).await?;

        if self.touch {
            run(self.touching(&stage, &into)).await?;
        }
        let mut old = run(self.drop_older_than(&stage, &into)).await?;
        if remembered {
            old += run(self.drop_older_than(&stage, &gone.quoted())).await?;
        }
        let marked = match self.marks() {
            false => 0,
            true => self.count_marked(open).await?,
        };
        let mut deleted = 0;
        if marked > 0 {
            if !remembered {
                gone.make(open.client(), &into).await?;
                remembered = true;
            }
            run(gone.adding(&stage, &self.is_marked(true))).await?;
            let newer = self.is_newer("t", "s");
            let (same, marked) = (self.is_same("t"), self.is_marked(true));
            let delete =
                format!("DELETE FROM {into} t USING {stage} s WHERE {same} AND {marked} AND ({newer}) IS NOT TRUE");
            deleted = run(delete).await?;
        }
        if remembered {
            let (back, same, living) = (gone.quoted(), self.is_same("g"), self.is_marked(false));
            run(format!("DELETE FROM {back} g USING {stage} s WHERE {same} AND {living}")).await?;
        }
        let put = run(self.put(&table, &into)?).await?;
        let wanted = self.loaded.rows.saturating_sub(old + marked);
        if put != wanted {
            self.check_put(open, &into).await?;
        }
        Ok(put + deleted)
    }

    fn stage(&self) -> String {
        format!("windrow_stage.{}", identifier(&self.loaded.first.name))
    }

    /// Whether rows may delete.
    fn marks(&self) -> bool {
        self.loaded.first.columns.iter().any(|column| column == DELETED_COLUMN)
    }

    /// That a loaded row deletes its key, or does not.
    fn is_marked(&self, marked: bool) -> String {
        match (self.marks(), marked) {
            (true, true) => format!("s.{DELETED_COLUMN} IS TRUE"),
            (true, false) => format!("s.{DELETED_COLUMN} IS NOT TRUE"),
            (false, marked) => (!marked).to_string(),
        }
    }

    /// That a loaded row has the key of another.
    fn is_same(&self, other: &str) -> String {
        let columns = self.key.iter().map(|column| identifier(column));
        columns.map(|column| format!("{other}.{column} = s.{column}")).collect::<Vec<_>>().join(" AND ")
    }

    /// That the row of the first name is newer than that of the second. Not known where it has no value by which to tell.
    fn is_newer(&self, one: &str, other: &str) -> String {
        let of = |name: &str| {
            let columns = self.order.iter().map(|column| format!("{name}.{}", identifier(column)));
            columns.collect::<Vec<_>>().join(", ")
        };
        format!("({}) > ({})", of(one), of(other))
    }

    /// What is known is newer than what comes.
    fn drop_older_than(&self, stage: &str, known: &str) -> String {
        let (same, newer) = (self.is_same("k"), self.is_newer("k", "s"));
        format!("DELETE FROM {stage} s USING {known} k WHERE {same} AND {newer}")
    }

    /// Writes rows anew as they are, of whose keys an older row is left out: keys may be compared at this very time, and by that row
    /// they are at the source.
    fn touching(&self, stage: &str, into: &str) -> String {
        let same = self.key.iter().map(|column| identifier(column)).map(|column| format!("{column} = k.{column}"));
        let (set, living, newer) =
            (same.collect::<Vec<_>>().join(", "), self.is_marked(false), self.is_newer("k", "s"));
        format!("UPDATE {into} k SET {set} FROM {stage} s WHERE {} AND {newer} AND {living}", self.is_same("k"))
    }

    async fn count_marked(&self, open: &Open) -> Result<u64, Trouble> {
        let count = format!("SELECT count(*) FROM {} s WHERE {}", self.stage(), self.is_marked(true));
        Ok(open.client().query_one(count.as_str(), &[]).await?.get::<_, i64>(0).unsigned_abs())
    }

    /// Puts what lives into the table. Whoever else writes there may have been faster with something newer.
    fn put(&self, table: &Table, into: &str) -> Result<String, Trouble> {
        let columns: Vec<String> = self.change.columns.iter().map(|column| column.name.clone()).collect();
        if let Some(lost) = columns.iter().find(|column| !table.columns.contains_key(*column)) {
            return Err(Trouble::Unfit(format!("{} has no column {lost:?} any more", self.change.name)));
        }
        let rest: Vec<String> =
            columns.iter().filter(|column| !self.key.contains(column)).map(|column| set(column)).collect();
        let (names, key, living) = (list(&columns), list(self.key), self.is_marked(false));
        let then = match rest.is_empty() {
            // The key is all there is, so what is there is what comes; it is touched to be counted.
            true => format!("UPDATE SET {}", self.key.iter().map(|column| set(column)).collect::<Vec<_>>().join(", ")),
            false => format!("UPDATE SET {} WHERE ({}) IS NOT TRUE", rest.join(", "), self.is_newer("t", "excluded")),
        };
        Ok(format!(
            "INSERT INTO {into} AS t ({names}) SELECT {names} FROM {} s WHERE {living} ON CONFLICT ({key}) DO {then}",
            self.stage()
        ))
    }

    /// Fails if the table has not what it was given: a row that is missing, or an older one.
    async fn check_put(&self, open: &Open, into: &str) -> Result<(), Trouble> {
        let (same, older, living) = (self.is_same("t"), self.is_newer("s", "t"), self.is_marked(false));
        let there = format!("SELECT FROM {into} t WHERE {same} AND ({older}) IS NOT TRUE");
        let count = format!("SELECT count(*) FROM {} s WHERE {living} AND NOT EXISTS ({there})", self.stage());
        let missing: i64 = open.client().query_one(count.as_str(), &[]).await?.get(0);
        match missing {
            0 => Ok(()),
            missing => Err(Trouble::Unfit(format!(
                "{} left out {}: a trigger, a rule or a policy of it does",
                self.change.name,
                counted(missing, "row")
            ))),
        }
    }
}

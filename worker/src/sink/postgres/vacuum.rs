//! Dead rows: replaced windows and rows that go by their keys leave them behind. PostgreSQL's own autovacuum takes them away;
//! where it does not keep up, windrow vacuums the tables it writes. It runs in a session of its own beside commits, waits for no
//! lock, and ends after a while: what is left is for the next time.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;
use tokio_postgres::Error;
use windrow_common::{guard::Percent, manifest::WriteMode};

use super::{
    PostgresSink,
    failure::failed,
    gone::Gone,
    session::{Open, Purpose},
};
use crate::{
    error::{Result, in_one_line},
    postgres::literal,
    sink::cleaning::{Extent, Vacuumed},
};

/// How long one table may take.
const MOST_TIME: Duration = Duration::from_secs(60);
/// How long the server's statistics may take to tell of a vacuum, and how often they are looked at.
const STATISTICS: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The parameter `cleaning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cleaning {
    /// When tables are vacuumed and analyzed: `auto` (the default: 20% and 10000 rows are dead), `never`, or
    /// `{ dead_rows: 20%, at_least: 10000 }`.
    pub(super) vacuum: Vacuum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "write `auto`, `never`, or `{ dead_rows: 20%, at_least: 10000 }`")]
pub(super) enum Vacuum {
    Word(Word),
    When(When),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Auto,
    Never,
}

/// How many dead rows are too many: both have to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct When {
    /// As a part of all rows.
    #[schemars(with = "String")]
    dead_rows: Percent,
    /// In number.
    at_least: u64,
}

impl Default for Vacuum {
    fn default() -> Self {
        Self::Word(Word::Auto)
    }
}

impl Default for When {
    fn default() -> Self {
        Self { dead_rows: Percent { hundredths: 2_000 }, at_least: 10_000 }
    }
}

impl Vacuum {
    fn when(self) -> Option<When> {
        match self {
            Self::Word(Word::Never) => None,
            Self::Word(Word::Auto) => Some(When::default()),
            Self::When(when) => Some(when),
        }
    }

    /// For plans.
    pub(super) fn in_words(self) -> String {
        match self.when() {
            None => "windrow does not vacuum the table".to_owned(),
            Some(When { dead_rows, at_least }) => {
                format!("the table is vacuumed when {dead_rows} of its rows and {at_least} are dead")
            }
        }
    }
}

impl When {
    fn is_reached(self, found: &Rows) -> bool {
        let (dead, all) = (u128::from(found.dead), u128::from(found.dead + found.live));
        found.dead >= self.at_least && dead * 10_000 >= all * u128::from(self.dead_rows.hundredths)
    }
}

/// A table's rows as the server's statistics have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    live: u64,
    dead: u64,
    /// By hand, ever.
    vacuums: i64,
    /// Whether somebody vacuums it now.
    running: bool,
    /// Whether this user may.
    allowed: bool,
}

/// Looks at the tables the sink writes, and vacuums those that need it.
pub(super) async fn vacuum(sink: &PostgresSink, extent: Extent) -> Result<Vec<Vacuumed>> {
    let Some(when) = sink.params.vacuum.when().filter(|_| sink.write != WriteMode::ReplaceAll) else {
        return Ok(Vec::new());
    };
    let open = sink.database.open(Purpose::Look).await?;
    let place = open.place().to_owned();
    let mut tables = vec![sink.params.name.quoted()];
    tables.extend(sink.upsert.as_ref().map(|upsert| Gone::of(&sink.params.name, &upsert.key, &upsert.order).quoted()));
    let mut vacuumed = Vec::new();
    for table in tables {
        if let Some(found) = look(&open, &table).await.map_err(|cause| failed(cause, &place))? {
            let reached = when.is_reached(&found) || (extent != Extent::Declared && found.dead > 0);
            let done = one(&open, &table, found, (reached, extent)).await;
            vacuumed.push(done.map_err(|cause| failed(cause, &place))?);
        }
    }
    Ok(vacuumed)
}

async fn one(open: &Open, table: &str, found: Rows, (reached, extent): (bool, Extent)) -> Result<Vacuumed, Error> {
    let untouched = |left: &str| Vacuumed {
        table: table.to_owned(),
        dead_before: found.dead,
        dead_after: found.dead,
        took: Duration::ZERO,
        left: Some(left.to_owned()),
    };
    match () {
        () if !reached => return Ok(untouched("few of its rows are dead")),
        () if found.running => return Ok(untouched("somebody vacuums it now")),
        () if !found.allowed => return Ok(untouched("this user may not: its owner may, or who has MAINTAIN")),
        () if extent == Extent::Looked => return Ok(untouched("would be vacuumed")),
        () => {}
    }
    let began = Instant::now();
    let client = open.client();
    open.session().bound_statements(Some(MOST_TIME)).await?;
    let done = client.batch_execute(&format!("VACUUM (ANALYZE, SKIP_LOCKED) {table}")).await;
    open.session().bound_statements(None).await?;
    if let Err(cause) = done {
        tracing::warn!(table, error = %in_one_line(&cause), "a vacuum ended early; the next one makes up for it");
        return Ok(untouched("it took too long, or failed"));
    }
    let after = told(open, table, found.vacuums).await?;
    Ok(match after {
        None => untouched("somebody holds a lock on it"),
        Some(after) => {
            let took = began.elapsed();
            Vacuumed { dead_after: after.dead, took, left: None, ..untouched("") }
        }
    })
}

/// The rows once the statistics have another vacuum; `None` if there was none: locked tables are passed by.
async fn told(open: &Open, table: &str, before: i64) -> Result<Option<Rows>, Error> {
    for _ in 0..STATISTICS.as_millis() / LOOK_EVERY.as_millis() {
        match look(open, table).await? {
            Some(found) if found.vacuums > before => return Ok(Some(found)),
            None => return Ok(None),
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    Ok(None)
}

/// Of the table and, if it has any, of its partitions; `None` if there is no such table.
async fn look(open: &Open, table: &str) -> Result<Option<Rows>, Error> {
    let statement = format!(
        "SELECT coalesce(sum(s.n_live_tup), 0)::int8, coalesce(sum(s.n_dead_tup), 0)::int8, \
         coalesce(sum(s.vacuum_count), 0)::int8, \
         EXISTS (SELECT FROM pg_stat_progress_vacuum p WHERE p.datname = current_database() AND p.relid = c.oid), \
         pg_has_role(c.relowner, 'USAGE') \
         FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid \
         OR s.relid IN (SELECT relid FROM pg_partition_tree(c.oid)) \
         WHERE c.oid = to_regclass({}) AND c.relkind IN ('r', 'p') GROUP BY c.oid, c.relowner",
        literal(table)
    );
    let found = open.client().query_opt(statement.as_str(), &[]).await?;
    Ok(found.map(|row| Rows {
        live: row.get::<_, i64>(0).unsigned_abs(),
        dead: row.get::<_, i64>(1).unsigned_abs(),
        vacuums: row.get(2),
        running: row.get(3),
        allowed: row.get(4),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn rows(live: u64, dead: u64) -> Rows {
        Rows { live, dead, vacuums: 0, running: false, allowed: true }
    }

    /// Proves CO7.
    #[test]
    fn a_table_is_vacuumed_when_many_of_its_rows_are_dead_and_not_before() {
        let usual = When::default();
        assert!(usual.is_reached(&rows(40_000, 10_000)));
        assert!(!usual.is_reached(&rows(40_001, 10_000)), "not a fifth");
        assert!(!usual.is_reached(&rows(0, 9_999)), "so few are not worth it");
        let of = |value| serde_json::from_value::<Cleaning>(value).map(|cleaning| cleaning.vacuum.when());
        assert_eq!(of(json!({})).unwrap(), Some(usual));
        assert_eq!(of(json!({ "vacuum": "never" })).unwrap(), None);
        let own = of(json!({ "vacuum": { "dead_rows": "1%", "at_least": 5 } })).unwrap().unwrap();
        assert!(own.is_reached(&rows(495, 5)) && !own.is_reached(&rows(496, 5)) && !own.is_reached(&rows(0, 4)));
        for bad in [json!({ "vacuum": "sometimes" }), json!({ "vacuum": { "dead_rows": 20 } }), json!({ "keep": "7d" })]
        {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
    }
}

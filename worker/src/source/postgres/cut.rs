//! Large tables in shards: stretches of a table's blocks, read by whoever comes from one snapshot. In a snapshot each row stands in
//! one block, so the stretches are its rows, each once; and they are of one size, whatever the keys are like.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Error, Row};
use windrow_common::error;

use super::params::{Config, Shards, What};
use crate::{
    error::{Result, WorkerError},
    postgres::{self, Kind, RelationKind, Session, kind_of, literal, source_error},
};

/// Since this version a stretch of blocks is read without looking at the others.
const SINCE: i32 = 140_000;
/// What a block is taken to hold of a table that was never analyzed.
const ROWS_OF_A_BLOCK: u64 = 50;

/// A shard, as one worker tells another of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The digest of the columns it was cut with.
    pub(super) columns: String,
    /// What the server calls the snapshot.
    snapshot: String,
    blocks: Blocks,
}

/// `[from, to)`, in each partition; open at the ends of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
}

impl Part {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let unreadable = || {
            WorkerError::later(error::VERSION_SKEW, "a shard cannot be read by this version of windrow")
                .fix("upgrade workers to versions next to each other")
        };
        let part: Self = serde_json::from_str(text).map_err(|cause| unreadable().because(cause))?;
        // It becomes part of a statement; quoted all the same.
        let sound = !part.snapshot.is_empty() && part.snapshot.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if sound { Ok(part) } else { Err(unreadable()) }
    }

    pub(super) fn text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|cause| WorkerError::never(error::INTERNAL, "a shard cannot be written as JSON").because(cause))
    }

    /// Which rows are its.
    pub(super) fn predicate(&self) -> String {
        let tid = |block: u32| format!("'({block},0)'::pg_catalog.tid");
        match (self.blocks.from, self.blocks.to) {
            (None, None) => "true".to_owned(),
            (Some(from), None) => format!("ctid >= {}", tid(from)),
            (None, Some(to)) => format!("ctid < {}", tid(to)),
            (Some(from), Some(to)) => format!("ctid >= {} AND ctid < {}", tid(from), tid(to)),
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        let bound = |block: Option<u32>| block.map(|block| block.to_string()).unwrap_or_default();
        format!("blocks {}..{} in snapshot {}", bound(self.blocks.from), bound(self.blocks.to), self.snapshot)
    }

    /// Has a transaction that has just begun see what whoever cut saw.
    pub(super) async fn import(&self, session: &Session) -> Result<()> {
        let import = format!("SET TRANSACTION SNAPSHOT {}", literal(&self.snapshot));
        session.client().batch_execute(&import).await.map_err(|cause| {
            let refused = cause.as_db_error().is_some()
                && matches!(kind_of(&cause), Kind::Statement | Kind::Conflict | Kind::Other | Kind::Data);
            match refused {
                true => WorkerError::later(error::SNAPSHOT_LOST, "the snapshot the table was cut in is gone")
                    .at(session.place())
                    .because(cause)
                    .fix("nothing needs to be done: the table is cut again, and read from another one"),
                false => source_error(cause, session.place()),
            }
        })
    }
}

/// Into how many shards the table should be cut; `None` where it is read at once.
pub(super) async fn count(session: &Session, config: &Config) -> Result<Option<Size>> {
    let What::Table { schema, name } = &config.what else { return Ok(None) };
    if config.shards.most < 2 {
        return Ok(None);
    }
    let failed = |cause| source_error(cause, session.place());
    let found = postgres::relation(session.client(), schema, name).await.map_err(failed)?;
    let in_blocks =
        |kind| matches!(kind, RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView);
    let Some(found) = found.filter(|found| in_blocks(found.kind)) else { return Ok(None) };
    let size = session.client().query_one(SIZE, &[&found.oid]).await.map_err(failed)?;
    Size::of(&size, config.shards).map_err(failed)
}

/// Of the relation and all its partitions.
const SIZE: &str = "WITH leaf AS (SELECT $1::pg_catalog.oid AS oid UNION \
        SELECT relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass) WHERE isleaf), \
    sized AS (SELECT pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8 AS blocks, \
        greatest(c.reltuples, 0) AS rows, c.relpages FROM leaf JOIN pg_catalog.pg_class c ON c.oid = leaf.oid) \
    SELECT sum(blocks)::pg_catalog.int8 AS blocks, max(blocks)::pg_catalog.int8 AS longest, sum(rows)::pg_catalog.int8 AS rows, \
        sum(relpages)::pg_catalog.int8 AS pages, pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version \
    FROM sized";

/// How a table is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Blocks of its longest partition.
    blocks: u32,
    shards: u32,
}

impl Size {
    fn of(row: &Row, shards: Shards) -> Result<Option<Self>, Error> {
        let number = |name| row.try_get::<_, Option<i64>>(name).map(|found| found.unwrap_or(0).unsigned_abs());
        let known = (number("rows")?, number("pages")?);
        let version: i32 = row.try_get("version")?;
        let size = Self::estimate((number("blocks")?, number("longest")?), known, shards);
        Ok(size.filter(|_| version >= SINCE))
    }

    /// Rows are counted by ANALYZE now and then, blocks are what they are.
    fn estimate((blocks, longest): (u64, u64), (rows, pages): (u64, u64), shards: Shards) -> Option<Self> {
        let rows = match (rows, pages) {
            (0, _) | (_, 0) => blocks.saturating_mul(ROWS_OF_A_BLOCK),
            _ => u64::try_from(u128::from(blocks) * u128::from(rows) / u128::from(pages)).unwrap_or(u64::MAX),
        };
        let longest = u32::try_from(longest).unwrap_or(u32::MAX);
        let wanted = u32::try_from(rows.div_ceil(shards.rows.get())).unwrap_or(u32::MAX);
        let count = wanted.min(shards.most).min(longest);
        (count > 1).then_some(Self { blocks: longest, shards: count })
    }

    /// The shards, in a transaction that has begun; they can be read as long as it lasts.
    pub(super) async fn cut(self, session: &Session, columns: &str) -> Result<Vec<Part>> {
        let exported = session.client().query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
        let snapshot: String =
            exported.and_then(|row| row.try_get(0)).map_err(|cause| source_error(cause, session.place()))?;
        let part = |blocks| Part { columns: columns.to_owned(), snapshot: snapshot.clone(), blocks };
        Ok(self.stretches().map(part).collect())
    }

    fn stretches(self) -> impl Iterator<Item = Blocks> {
        let bound = move |shard: u32| {
            let block = u64::from(self.blocks) * u64::from(shard) / u64::from(self.shards);
            u32::try_from(block).unwrap_or(u32::MAX)
        };
        (0..self.shards).map(move |shard| Blocks {
            from: (shard > 0).then(|| bound(shard)),
            to: (shard + 1 < self.shards).then(|| bound(shard + 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU64;

    use super::*;

    fn shards(rows: u64, most: u32) -> Shards {
        Shards { rows: NonZeroU64::new(rows).unwrap(), most }
    }

    #[test]
    fn a_table_is_cut_by_its_size_and_within_bounds() {
        let count =
            |blocks: u64, known, shards| Size::estimate((blocks, blocks), known, shards).map(|size| size.shards);
        assert_eq!(count(1_000, (50_000, 1_000), shards(10_000, 16)), Some(5));
        assert_eq!(count(2_000, (50_000, 1_000), shards(10_000, 16)), Some(10), "it doubled since it was analyzed");
        assert_eq!(count(2_000, (0, 0), shards(10_000, 16)), Some(10), "it was never analyzed");
        assert_eq!(count(1_000_000, (50_000_000, 1_000_000), shards(10_000, 16)), Some(16));
        assert_eq!(count(1_000, (10_000, 1_000), shards(10_000, 16)), None, "one is enough");
        assert_eq!(count(1, (50_000, 1), shards(10, 16)), None, "a block is not cut");
    }

    #[test]
    fn stretches_tile_the_blocks_and_are_open_at_both_ends() {
        for (blocks, shards) in [(2, 2), (7, 3), (100, 64), (u32::MAX, 16)] {
            let stretches: Vec<Blocks> = Size { blocks, shards }.stretches().collect();
            assert_eq!(stretches.len(), shards as usize);
            assert!(stretches.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].to.is_some()));
            assert_eq!((stretches[0].from, stretches.last().unwrap().to), (None, None));
            assert!(stretches.windows(2).all(|pair| pair[0].from.unwrap_or(0) < pair[1].from.unwrap()));
        }
    }

    #[test]
    fn a_shard_survives_its_text_and_says_nothing_that_is_no_snapshot() {
        let blocks = Blocks { from: Some(10), to: None };
        let part = Part { columns: "c".to_owned(), snapshot: "00000003-0000001B-1".to_owned(), blocks };
        assert_eq!(Part::parse(&part.text().unwrap()).unwrap(), part);
        assert_eq!(part.predicate(), "ctid >= '(10,0)'::pg_catalog.tid");
        for bad in ["", "1'; DROP TABLE visits; --"] {
            let bad = Part { snapshot: bad.to_owned(), ..part.clone() };
            assert_eq!(Part::parse(&bad.text().unwrap()).unwrap_err().code(), error::VERSION_SKEW);
        }
        assert_eq!(Part::parse("{}").unwrap_err().code(), error::VERSION_SKEW);
    }
}

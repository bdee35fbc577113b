//! What a database has to read: its tables and views, how large they are, and by what they could be read.

use serde::Serialize;
use tokio_postgres::{Client, Error};

/// A table or view of the database. Partitions are part of their table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub schema: String,
    pub name: String,
    /// `table`, `view`, `materialized view`, `foreign table`.
    pub kind: String,
    /// As the planner last estimated it; unknown for views and where nobody has analysed.
    pub rows: Option<u64>,
    /// With indexes; none for views.
    pub bytes: u64,
    /// The primary key's columns in their order.
    pub key: Vec<String>,
    pub columns: Vec<ListedColumn>,
    /// Whether the user may read all of it.
    pub readable: bool,
}

/// A column and its type, domains looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedColumn {
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
}

/// All that is not the server's own, nor windrow's, by schema and name.
pub async fn tables(client: &Client) -> Result<Vec<Listed>, Error> {
    let rows = client.query(TABLES, &[]).await?;
    let listed = rows.iter().map(|row| {
        let names: Vec<String> = row.try_get("columns")?;
        let types: Vec<String> = row.try_get("types")?;
        let columns = names.into_iter().zip(types).map(|(name, data_type)| ListedColumn { name, data_type });
        let count =
            |name: &str| row.try_get::<_, Option<i64>>(name).map(|count| count.and_then(|n| u64::try_from(n).ok()));
        Ok(Listed {
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            kind: row.try_get("kind")?,
            rows: count("rows")?,
            bytes: count("bytes")?.unwrap_or(0),
            key: row.try_get("key")?,
            columns: columns.collect(),
            readable: row.try_get("readable")?,
        })
    });
    listed.collect()
}

/// `reltuples` is -1 where nobody has analysed; those of a partitioned table are its partitions'.
const TABLES: &str = "
SELECT n.nspname::text AS schema, c.relname::text AS name,
  CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
  CASE WHEN c.relkind = 'p' THEN (
      SELECT sum(leaf.reltuples) FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class leaf ON leaf.oid = t.relid
      WHERE t.isleaf AND leaf.reltuples >= 0)
    WHEN c.relkind IN ('r', 'm', 'f') AND c.reltuples >= 0 THEN c.reltuples END::int8 AS rows,
  CASE WHEN c.relkind = 'p' THEN (
      SELECT sum(pg_catalog.pg_total_relation_size(t.relid)) FROM pg_catalog.pg_partition_tree(c.oid) t WHERE t.isleaf)
    WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(c.oid) END::int8 AS bytes,
  ARRAY(
    SELECT a.attname::text FROM pg_catalog.pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, place)
      JOIN pg_catalog.pg_attribute a ON a.attnum = k.attnum
    WHERE i.indrelid = c.oid AND a.attrelid = c.oid AND i.indisprimary ORDER BY k.place) AS key,
  ARRAY(
    SELECT a.attname::text FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
  ARRAY(
    SELECT pg_catalog.format_type(coalesce(nullif(y.typbasetype, 0), y.oid), NULL)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS types,
  pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'windrow', 'windrow_stage')
ORDER BY 1, 2";

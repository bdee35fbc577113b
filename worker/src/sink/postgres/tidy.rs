//! What a commit leaves behind: tables of `windrow_stage` of commits that are over, versions past those that are kept, old
//! lines of the record. Nothing depends on it; what cannot be had now is taken away after a later commit.

use tokio_postgres::Error;
use windrow_common::id::SinkId;

use super::{
    change::{Change, Deed},
    gone::Gone,
    load,
    session::Open,
};
use crate::{
    error::in_one_line,
    postgres::{identifier, literal, qualified},
};

/// Whoever reads what is to go keeps it till later.
const LOCK_TIMEOUT: &str = "SET lock_timeout = 1000";
/// Lines of the record that are kept per sink.
const RECORD: i64 = 10_000;
/// Tables dropped after one commit.
const MOST: usize = 64;

pub(super) async fn tidy(open: &Open, sink: &SinkId, change: Option<&Change>) {
    if let Err(error) = take_away(open, sink, change).await {
        tracing::debug!(%sink, error = %in_one_line(&error), "something is left for a later commit to take away");
    }
}

async fn take_away(open: &Open, sink: &SinkId, change: Option<&Change>) -> Result<(), Error> {
    let client = open.client();
    client.batch_execute(LOCK_TIMEOUT).await?;
    let id = literal(sink.as_str());
    let head: i64 = {
        let query = format!("SELECT seq FROM windrow.head WHERE sink = {id}");
        client.query_one(query.as_str(), &[]).await?.get(0)
    };
    let family = load::family(sink);
    let tables = format!(
        "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace('windrow_stage') AND relkind = 'r' \
         AND starts_with(relname::text, {}) ORDER BY oid",
        literal(&family)
    );
    let tables = client.query(tables.as_str(), &[]).await?;
    let over = tables.iter().map(|row| row.get::<_, String>(0)).filter(|table| is_over(table, &family, head));
    for table in over.take(MOST) {
        drop_table(open, &format!("windrow_stage.{}", identifier(&table)), None).await;
    }
    if let Some(Change { deed: Deed::Version { keep }, .. }) = change {
        let old = format!(
            "SELECT seq, schema_name, table_name FROM windrow.version WHERE sink = {id} ORDER BY seq DESC OFFSET {keep}"
        );
        for row in client.query(old.as_str(), &[]).await?.iter().take(MOST) {
            let (seq, schema, table): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
            let forget = format!("DELETE FROM windrow.version WHERE sink = {id} AND seq = {seq}");
            drop_table(open, &qualified(&schema, &table), Some(forget)).await;
        }
    }
    if let Some(Change { deed: Deed::Upsert { key, order, keep_deleted_seconds: Some(seconds), .. }, name, .. }) =
        change
    {
        let gone = Gone::of(name, key, order);
        if gone.is_there(open).await.is_ok_and(|there| there) {
            client.batch_execute(&gone.forgetting(*seconds)).await?;
        }
    }
    let last = head - RECORD;
    client.batch_execute(&format!("DELETE FROM windrow.commit WHERE sink = {id} AND seq <= {last}")).await
}

/// One message is one transaction.
async fn drop_table(open: &Open, table: &str, and: Option<String>) {
    let statement =
        format!("DROP TABLE IF EXISTS {table}{}{}", if and.is_some() { "; " } else { "" }, and.unwrap_or_default());
    if let Err(error) = open.client().batch_execute(&statement).await {
        tracing::debug!(table, error = %in_one_line(&error), "a table is left for a later commit to drop");
    }
}

/// Whether the table is of a commit that is made: `<family><seq>_<digest>_<unique>`.
fn is_over(table: &str, family: &str, head: i64) -> bool {
    let seq =
        table.strip_prefix(family).and_then(|rest| rest.split('_').next()).and_then(|seq| seq.parse::<i64>().ok());
    seq.is_some_and(|seq| seq <= head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_of_commits_that_are_made_go() {
        let over = |table: &str| is_over(table, "wabc_", 7);
        assert!(over("wabc_7_0123_aa") && over("wabc_1_0123_aa"));
        assert!(!over("wabc_8_0123_aa") && !over("wabd_1_0123_aa") && !over("wabc_x_0123_aa"));
    }
}

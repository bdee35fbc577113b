//! Going back to a version: the view is switched to a table that was kept, in the transaction that moves the sink's row. The
//! table becomes the newest version, so that it outlives the one it replaces.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use windrow_common::{error, intent::IntentBody, marker::Markers};

use super::{
    PostgresSink,
    change::{Change, Deed},
    commit::Trouble,
    failure::failed,
    params::Name,
    session::{Open, Purpose},
    version::{foreign, switch},
};
use crate::{
    error::{Result, WorkerError},
    postgres::{RelationKind, literal, relation},
    sink::{Again, versions::Version},
};

/// Tables that are versions, and the commits that showed them last.
type Tables = BTreeMap<u64, Name>;

pub(super) async fn gone(sink: &PostgresSink, versions: &[Version]) -> Result<Vec<Option<String>>> {
    let open = sink.database.open(Purpose::Look).await?;
    let tables = tables(&open, sink.id.as_str()).await?;
    let mut answers = Vec::with_capacity(versions.len());
    for version in versions {
        let there = match tables.get(&version.seq()) {
            Some(name) => is_table(&open, name).await?,
            None => false,
        };
        answers.push((!there).then(|| "is not kept: its table was dropped".to_owned()));
    }
    Ok(answers)
}

/// The same change as its load's, with the table it made in place of one to be loaded.
pub(super) async fn show(sink: &PostgresSink, version: &Version, again: Again) -> Result<IntentBody> {
    let open = sink.database.open(Purpose::Look).await?;
    let table = tables(&open, sink.id.as_str()).await?.remove(&version.seq());
    let table = table.ok_or_else(|| {
        WorkerError::never(error::VERSION_GONE, format!("the table of v{} was dropped", version.number))
            .at(open.place().to_owned())
    })?;
    let shown = Change::of(&version.newest)?;
    let change = Change {
        // Nothing is loaded, whatever its rows were.
        form: Change::form(&shown.alter, &[]),
        verbatim: Vec::new(),
        shapes: Vec::new(),
        tasks: Vec::new(),
        deed: Deed::Again { table, seq: version.seq() },
        name: sink.params.name.clone(),
        ..shown
    };
    let unwritable = |cause| WorkerError::never(error::INTERNAL, "an intent cannot be written as JSON").because(cause);
    Ok(IntentBody {
        sink: sink.id.clone(),
        seq: again.seq,
        previous: again.previous,
        previous_aborted: again.previous_aborted,
        tasks: Vec::new(),
        schema: version.newest.schema.clone(),
        add: Vec::new(),
        remove: Vec::new(),
        dead_letters: Vec::new(),
        change: Some(serde_json::to_value(change).map_err(unwritable)?),
        shows: Some(version.number),
        markers: Markers::default(),
    })
}

/// Within the commit's transaction. Returns the version's rows.
pub(super) async fn apply(
    open: &Open,
    (change, body): (&Change, &IntentBody),
    (table, seq): (&Name, u64),
) -> Result<u64, Trouble> {
    let client = open.client();
    let sink = body.sink.as_str();
    let gone = || Trouble::Unfit(format!("{table} is not kept any more"));
    // Locked, so that whoever takes old versions away waits, and finds the view resting on it.
    let kept = format!(
        "SELECT rows FROM windrow.version WHERE sink = {} AND seq = {seq} AND schema_name = {} AND table_name = {} FOR UPDATE",
        literal(sink),
        literal(&table.schema),
        literal(&table.table),
    );
    let rows: i64 = client.query_opt(kept.as_str(), &[]).await?.ok_or_else(gone)?.get(0);
    let found = relation(client, &table.schema, &table.table).await?.ok_or_else(gone)?;
    let lacking = change.columns.iter().find(|column| found.columns.iter().all(|known| known.name != column.name));
    if let Some(column) = lacking {
        return Err(Trouble::Unfit(format!("{table} has no column {:?} any more", column.name)));
    }
    if let Some(reason) = foreign(client, &change.name, sink, 0).await? {
        return Err(Trouble::Unfit(reason));
    }
    switch(client, change, table).await?;
    let newest =
        format!("UPDATE windrow.version SET seq = {} WHERE sink = {} AND seq = {seq}", body.seq, literal(sink));
    client.batch_execute(&newest).await?;
    Ok(rows.unsigned_abs())
}

async fn tables(open: &Open, sink: &str) -> Result<Tables> {
    const TABLES: &str = "SELECT seq, schema_name, table_name FROM windrow.version WHERE sink = $1";
    let failed = |cause| failed(cause, open.place());
    let known = open.client().query_one("SELECT to_regclass('windrow.version') IS NOT NULL", &[]).await;
    if !known.and_then(|row| row.try_get(0)).map_err(failed)? {
        return Ok(Tables::new());
    }
    let rows = open.client().query(TABLES, &[&sink]).await.map_err(failed)?;
    let table = |row: &Row| {
        let seq: i64 = row.try_get(0)?;
        Ok((seq.unsigned_abs(), Name { schema: row.try_get(1)?, table: row.try_get(2)? }))
    };
    rows.iter().map(table).collect::<std::result::Result<_, _>>().map_err(failed)
}

async fn is_table(open: &Open, name: &Name) -> Result<bool> {
    let found = relation(open.client(), &name.schema, &name.table).await;
    let found = found.map_err(|cause| failed(cause, open.place()))?;
    Ok(found.is_some_and(|found| found.kind == RelationKind::Table))
}

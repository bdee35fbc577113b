//! The sink's own record of windrow's commits: one row per sink, locked by whoever commits and updated in the same
//! transaction as the data. Beside it what every commit was, for people, and which versions of a table there are.

use tokio_postgres::{Error, Row};
use windrow_common::{
    error,
    id::SinkId,
    intent::{Committed, Effect, Fingerprint, IntentBody, Seq},
    manifest::Digest,
};

use super::{failure::failed, session::Open};
use crate::{
    error::{Result, WorkerError},
    postgres::literal,
};

/// Serves the tables' making alone: one session at a time.
const MAKING: i64 = 0x77_69_6e_64_72_6f_77;

/// The newest commit of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// 0 before the first.
    pub(super) seq: Seq,
    pub(super) digest: Option<Digest>,
    pub(super) aborted: bool,
}

impl Head {
    pub(super) fn committed(&self) -> Option<Committed> {
        let fingerprint = Fingerprint::of(&self.digest?);
        let effect = if self.aborted { Effect::Aborted(fingerprint) } else { Effect::Applied(fingerprint) };
        Some(Committed { seq: self.seq, effect })
    }

    fn read(row: &Row) -> Option<Self> {
        let seq = Seq::try_from(row.try_get::<_, i64>("seq").ok()?).ok()?;
        let digest: Option<String> = row.try_get("digest").ok()?;
        let digest = digest.map(Digest::try_from).transpose().ok()?;
        (digest.is_some() == (seq > 0)).then_some(())?;
        Some(Self { seq, digest, aborted: row.try_get("aborted").ok()? })
    }
}

/// Makes the tables and the sink's row, if they are not there. In one message, so that nobody stops in the midst of it.
pub(super) async fn ensure(open: &Open, sink: &SinkId) -> Result<()> {
    let there = "SELECT to_regnamespace('windrow_stage') IS NOT NULL AND to_regclass('windrow.version') IS NOT NULL";
    let there: bool = one(open, there).await?.get(0);
    let known = match there {
        true => {
            let known = format!("SELECT EXISTS (SELECT FROM windrow.head WHERE sink = {})", literal(sink.as_str()));
            one(open, &known).await?.get(0)
        }
        false => {
            open.run(&making(open).await?).await?;
            false
        }
    };
    if !known {
        let sink = literal(sink.as_str());
        open.run(&format!("INSERT INTO windrow.head (sink) VALUES ({sink}) ON CONFLICT DO NOTHING")).await?;
    }
    Ok(())
}

/// `IF NOT EXISTS` asks for the grant to make a schema even where the schema is there.
async fn making(open: &Open) -> Result<String> {
    let mut statements = vec!["BEGIN".to_owned(), format!("SELECT pg_advisory_xact_lock({MAKING})")];
    for schema in ["windrow", "windrow_stage"] {
        let there: bool = one(open, &format!("SELECT to_regnamespace('{schema}') IS NOT NULL")).await?.get(0);
        if !there {
            statements.push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        }
    }
    statements.push(TABLES.to_owned());
    statements.push("COMMIT".to_owned());
    Ok(statements.join("; "))
}

const TABLES: &str = "CREATE TABLE IF NOT EXISTS windrow.head (\
        sink text PRIMARY KEY, seq bigint NOT NULL DEFAULT 0, digest text, aborted boolean NOT NULL DEFAULT false, \
        at timestamptz NOT NULL DEFAULT now()); \
    CREATE TABLE IF NOT EXISTS windrow.commit (\
        sink text, seq bigint, digest text NOT NULL, previous text, aborted boolean NOT NULL, tasks integer NOT NULL, \
        rows bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (sink, seq)); \
    CREATE TABLE IF NOT EXISTS windrow.version (\
        sink text, seq bigint, schema_name text NOT NULL, table_name text NOT NULL, rows bigint NOT NULL, \
        at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (sink, seq))";

/// Waits for whoever commits, then tells the newest commit. Within a transaction that is to commit, `lock` is `UPDATE`, and
/// the row stays locked.
pub(super) async fn read(open: &Open, sink: &SinkId, lock: &str) -> Result<Result<Head>, Error> {
    let query = format!("SELECT seq, digest, aborted FROM windrow.head WHERE sink = $1 FOR {lock}");
    let row = open.client().query_opt(query.as_str(), &[&sink.as_str()]).await?;
    let broken = || {
        WorkerError::later(error::SINK_BROKEN, "the record of windrow's commits cannot be read")
            .at(format!("windrow.head in {}", open.place()))
            .fix("somebody changed the table; restore it from a backup of the database")
    };
    Ok(match row {
        None => Ok(Head::default()),
        Some(row) => Head::read(&row).ok_or_else(broken),
    })
}

/// The newest commit; `None` where windrow never committed.
pub(super) async fn probe(open: &Open, sink: &SinkId) -> Result<Head> {
    let there: bool = one(open, "SELECT to_regclass('windrow.head') IS NOT NULL").await?.get(0);
    if !there {
        return Ok(Head::default());
    }
    match read(open, sink, "SHARE").await {
        Ok(head) => head,
        Err(cause) => Err(failed(cause, open.place())),
    }
}

/// Moves the row, locked in this transaction, onto the intent.
pub(super) fn advance(body: &IntentBody, digest: &Digest, aborted: bool, rows: u64) -> String {
    let sink = literal(body.sink.as_str());
    let previous = body.previous.map_or("NULL".to_owned(), |previous| literal(&previous.to_string()));
    let (seq, tasks) = (body.seq, body.tasks.len());
    format!(
        "UPDATE windrow.head SET seq = {seq}, digest = '{digest}', aborted = {aborted}, at = now() WHERE sink = {sink}; \
         INSERT INTO windrow.commit (sink, seq, digest, previous, aborted, tasks, rows) \
         VALUES ({sink}, {seq}, '{digest}', {previous}, {aborted}, {tasks}, {rows})"
    )
}

async fn one(open: &Open, query: &str) -> Result<Row> {
    open.client().query_one(query, &[]).await.map_err(|cause| failed(cause, open.place()))
}

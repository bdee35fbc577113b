//! When a window is closed: on the source's own clock, when it is over and no transaction is open that began before its end.
//! Such a one may still commit rows it stamped with a time of the window, and whoever had read the window by then would
//! never see them. Any snapshot taken after the gate has let a window pass, has all of its rows.
//!
//! A transaction that begins later stamps later. That holds for what the database itself stamps (`now()`,
//! `clock_timestamp()`); of times that clients make up nobody can know.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use windrow_common::{error, pipeline::Connection, window::Window};

use super::APPLICATION;
use crate::{
    error::{Result, WorkerError},
    postgres::{Session, Settings, source_error},
};

/// A transaction takes its time a moment before others can see that it runs. No moment of that kind lasts so long.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the gate is watched before the window is given back to wait without a slot: most transactions end soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How windows of one source close.
pub(super) struct Gate<'a> {
    pub(super) connection: &'a Connection,
    /// Closes by time alone, so long after the end.
    pub(super) commit_lag: Option<Duration>,
}

impl Gate<'_> {
    /// Returns when the window is closed; `NotReady` with the reason if it is not soon.
    pub(super) async fn wait(&self, session: &Session, window: &Window) -> Result<()> {
        let given_up = Instant::now() + PATIENCE;
        loop {
            let Some(open) = self.look(session, window).await? else { return Ok(()) };
            if Instant::now() >= given_up {
                return Err(open);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Why the window is not closed, if it is not.
    async fn look(&self, session: &Session, window: &Window) -> Result<Option<WorkerError>> {
        let failed = |cause| source_error(cause, session.place());
        let state = session.client().query_one(STATE, &[]).await.map_err(failed)?;
        let standby: bool = state.try_get("standby").map_err(failed)?;
        if let Some(lag) = self.commit_lag {
            return too_early(&state, window, lag, session).map_err(failed);
        }
        if !standby {
            return closed(session, window, &state).await;
        }
        // What is open only the primary knows; what it had when it was closed, the standby must have replayed.
        let primary = self.primary(session).await?;
        let failed = |cause| source_error(cause, primary.place());
        let state = primary.client().query_one(STATE, &[]).await.map_err(failed)?;
        if let Some(open) = closed(&primary, window, &state).await? {
            return Ok(Some(open));
        }
        let written = primary.client().query_one("SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text", &[]);
        let written: String = written.await.and_then(|row| row.try_get(0)).map_err(failed)?;
        behind(session, &written).await
    }

    async fn primary(&self, standby: &Session) -> Result<Session> {
        let found = primary(self.connection).await?;
        found.ok_or_else(|| {
            WorkerError::never(
                error::SOURCE_FORBIDDEN,
                "a standby does not know which transactions are open on its primary",
            )
            .at(standby.place())
            .fix("name the primary in the connection's `primary`, or state a `commit_lag` that covers replication too")
        })
    }
}

/// A session with the primary behind a standby, where the connection names one.
pub(super) async fn primary(connection: &Connection) -> Result<Option<Session>> {
    let Some(settings) = Settings::of_primary(connection, APPLICATION)? else { return Ok(None) };
    let session = Session::open(&settings).await.map_err(|cause| source_error(cause, settings.place()))?;
    Ok(Some(session))
}

const STATE: &str = "SELECT pg_catalog.pg_is_in_recovery() AS standby, current_user::pg_catalog.text AS user, \
    pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all, \
    (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8 AS now";

/// Whoever holds nothing yet can begin to write at any time, so an open transaction counts whether it wrote or not. Our own
/// readers never write. A session that tells nothing of itself counts as long as it is there.
const OPEN: &str = "SELECT pid, usename::pg_catalog.text AS user, application_name AS application, \
    COALESCE(state, '') AS state, xact_start::pg_catalog.text AS since, \
    EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start)::pg_catalog.int8 AS age \
    FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() \
    AND COALESCE(backend_type, '') NOT IN ('autovacuum worker', 'walsender') \
    AND (application_name IS DISTINCT FROM $2 OR backend_xid IS NOT NULL) \
    AND (xact_start < 'epoch'::pg_catalog.timestamptz + $1::pg_catalog.float8 * INTERVAL '1 microsecond' OR state = 'disabled') \
    ORDER BY xact_start NULLS LAST LIMIT 1";

/// Nobody can tell when what was prepared began.
const PREPARED: &str = "SELECT gid, owner::pg_catalog.text AS user, prepared::pg_catalog.text AS since, \
    EXTRACT(epoch FROM pg_catalog.clock_timestamp() - prepared)::pg_catalog.int8 AS age \
    FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY prepared LIMIT 1";

/// On a server that takes writes: why the window is not closed, if it is not.
async fn closed(session: &Session, window: &Window, state: &Row) -> Result<Option<WorkerError>> {
    let failed = |cause| source_error(cause, session.place());
    let (sees_all, user): (bool, String) =
        (state.try_get("sees_all").map_err(failed)?, state.try_get("user").map_err(failed)?);
    if !sees_all {
        let message = format!(
            "the user {user:?} does not see the transactions of others, so nobody can tell when a window is complete"
        );
        return Err(WorkerError::never(error::SOURCE_FORBIDDEN, message).at(session.place()).fix(format!(
            "GRANT pg_read_all_stats TO {}; or state by `commit_lag` how long a transaction may take",
            crate::postgres::identifier(&user)
        )));
    }
    if let Some(early) = too_early(state, window, SETTLE, session).map_err(failed)? {
        return Ok(Some(early));
    }
    // In this order: a transaction that is prepared in between is seen by the second look, one that commits is visible.
    // Microseconds of our times are whole numbers of this type, too.
    let end = window.end() as f64;
    if let Some(open) = session.client().query_opt(OPEN, &[&end, &APPLICATION]).await.map_err(failed)? {
        return told(&open, window, session).map(Some).map_err(failed);
    }
    let prepared = session.client().query_opt(PREPARED, &[]).await.map_err(failed)?;
    prepared.map(|row| told_prepared(&row, window, session).map_err(failed)).transpose()
}

fn too_early(
    state: &Row,
    window: &Window,
    lag: Duration,
    session: &Session,
) -> Result<Option<WorkerError>, tokio_postgres::Error> {
    let now: i64 = state.try_get("now")?;
    let lag = i64::try_from(lag.as_micros()).unwrap_or(i64::MAX);
    let left = window.end().saturating_add(lag).saturating_sub(now);
    Ok((left > 0).then(|| {
        let seconds = left / 1_000_000 + 1;
        open(format!("by the database's clock {window} closes in {seconds} s"), session)
    }))
}

fn told(row: &Row, window: &Window, session: &Session) -> Result<WorkerError, tokio_postgres::Error> {
    let pid: i32 = row.try_get("pid")?;
    let user: Option<String> = row.try_get("user")?;
    let (user, state): (String, String) = (user.unwrap_or_default(), row.try_get("state")?);
    let application: Option<String> = row.try_get("application")?;
    let by = application.filter(|name| !name.is_empty()).map(|name| format!(" by {name:?}")).unwrap_or_default();
    let end = format!("SELECT pg_terminate_backend({pid})");
    let (since, age): (Option<String>, Option<i64>) = (row.try_get("since")?, row.try_get("age")?);
    let (Some(since), Some(age)) = (since, age) else {
        let message = format!(
            "process {pid} of user {user:?}{by} has track_activities off, so nobody can tell whether it writes into {window}"
        );
        return Ok(open(message, session).fix(format!("switch track_activities on, or end it: {end}")));
    };
    let message = format!(
        "a transaction from before the end of {window} is open: process {pid} of user {user:?}{by}, {state}, since {since}, for {age} s"
    );
    Ok(open(message, session).fix(format!("wait for it, or end it: {end}")))
}

fn told_prepared(row: &Row, window: &Window, session: &Session) -> Result<WorkerError, tokio_postgres::Error> {
    let (gid, user, since): (String, String, String) =
        (row.try_get("gid")?, row.try_get("user")?, row.try_get("since")?);
    let age: i64 = row.try_get("age")?;
    let message = format!(
        "a prepared transaction may be from before the end of {window}: {gid:?} of user {user:?}, prepared {since}, {age} s ago"
    );
    let gid = crate::postgres::literal(&gid);
    Ok(open(message, session).fix(format!("COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}")))
}

/// Whether the standby lacks something that the primary had written up to here.
async fn behind(standby: &Session, written: &str) -> Result<Option<WorkerError>> {
    const REPLAYED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn() >= $1::pg_catalog.text::pg_catalog.pg_lsn AS there, \
        pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text AS replayed";
    let failed = |cause| source_error(cause, standby.place());
    let row = standby.client().query_one(REPLAYED, &[&written]).await.map_err(failed)?;
    if row.try_get("there").map_err(failed)? {
        return Ok(None);
    }
    let replayed: Option<String> = row.try_get("replayed").map_err(failed)?;
    let replayed = replayed.unwrap_or_default();
    Ok(Some(open(format!("the standby has replayed up to {replayed} and needs {written}"), standby)))
}

pub(super) fn open(message: String, session: &Session) -> WorkerError {
    WorkerError::not_ready(error::SOURCE_OPEN, message).at(session.place())
}

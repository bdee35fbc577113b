//! How far what a database's server writes has come, and whether another one is as far. Keys may be read elsewhere than rows, from
//! a standby that follows behind: there a row is missing that was inserted a moment ago, as if it had been deleted. So it is asked
//! of the primary how far it is, and waited until that is there. Positions of two servers are comparable only if the one is a copy
//! of the other, to the byte.

use tokio::time::{Instant, sleep};
use windrow_common::{error, pipeline::Connection};

use super::gate::{LOOK_AGAIN, PATIENCE, open, primary};
use crate::{
    error::{Result, WorkerError},
    postgres::{Session, source_error},
};

const STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery()";
/// What is visible was written before, though perhaps not to the disk.
const WRITTEN: &str = "SELECT pg_catalog.concat_ws(' ', system_identifier, pg_catalog.pg_current_wal_insert_lsn()) \
    FROM pg_catalog.pg_control_system()";
const REACHED: &str = "SELECT system_identifier::pg_catalog.text AS system, at::pg_catalog.text AS at, \
    at >= $1::pg_catalog.text::pg_catalog.pg_lsn AS there FROM pg_catalog.pg_control_system(), \
    LATERAL (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
        ELSE pg_catalog.pg_current_wal_insert_lsn() END AS at) AS here";

/// Of the primary behind a session.
pub(super) async fn written(session: &Session, connection: &Connection) -> Result<String> {
    let failed = |cause| source_error(cause, session.place());
    let standby: bool =
        session.client().query_one(STANDBY, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)?;
    match standby {
        false => ask(session).await,
        true => {
            let primary = primary(connection).await?.ok_or_else(|| {
                WorkerError::never(error::KEYS_UNKNOWN, "a standby does not know how far its primary is")
                    .at(session.place())
                    .fix("name the primary in the connection's `primary`")
            })?;
            ask(&primary).await
        }
    }
}

async fn ask(session: &Session) -> Result<String> {
    let written = session.client().query_one(WRITTEN, &[]).await.and_then(|row| row.try_get(0));
    written.map_err(|cause| source_error(cause, session.place()))
}

/// Returns when the server has what was written; `NotReady` if it has not soon. Fails with `KEYS_UNKNOWN` where it never will.
pub(super) async fn reach(session: &Session, written: &str) -> Result<()> {
    let given_up = Instant::now() + PATIENCE;
    let (system, wanted) = written.split_once(' ').unwrap_or_default();
    loop {
        let failed = |cause| source_error(cause, session.place());
        let row = session.client().query_one(REACHED, &[&wanted]).await.map_err(failed)?;
        let own: String = row.try_get("system").map_err(failed)?;
        if own != system {
            return Err(WorkerError::never(
                error::KEYS_UNKNOWN,
                "keys would be read from another database than rows, or from a copy that is none to the byte",
            )
            .at(session.place())
            .fix("name a physical standby of the source in `deletes.from`, or leave it out"));
        }
        if row.try_get::<_, Option<bool>>("there").map_err(failed)? == Some(true) {
            return Ok(());
        }
        if Instant::now() >= given_up {
            let at: Option<String> = row.try_get("at").map_err(failed)?;
            let at = at.unwrap_or_default();
            return Err(open(format!("the standby has replayed up to {at} and keys need {wanted}"), session));
        }
        sleep(LOOK_AGAIN).await;
    }
}

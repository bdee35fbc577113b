//! Sessions of the sink: what the server's lists call them, and the end of those that were left behind.

use std::time::Duration;

use tokio_postgres::Client;
use uuid::Uuid;
use windrow_common::{id::SinkId, pipeline::Connection};

use super::failure::failed;
use crate::{
    error::Result,
    postgres::{Session, Settings, literal},
};

/// How long a commit waits for another's lock. Whoever holds it longer is stopped, or gone.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// A commit that says nothing within its transaction for so long is ended by the server.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(30);
/// What the network does not acknowledge for so long is given up by the server.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// A name of a session has 63 bytes.
const ID_BYTES: usize = 39;

/// Opens sessions for one sink.
#[derive(Clone)]
pub(super) struct Database {
    connection: Connection,
    sink: SinkId,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Looks only.
    Look,
    /// May hold the sink's head.
    Commit,
}

/// A session and the place it leads to.
pub(super) struct Open {
    session: Session,
    name: String,
    family: String,
}

impl Database {
    pub(super) fn new(connection: Connection, sink: SinkId) -> Self {
        Self { connection, sink }
    }

    pub(super) async fn open(&self, purpose: Purpose) -> Result<Open> {
        let word = match purpose {
            Purpose::Look => "look",
            Purpose::Commit => "commit",
        };
        let id = self.sink.as_str();
        let family = format!("windrow:{}:{word}:", &id[id.len().saturating_sub(ID_BYTES)..]);
        let name = format!("{family}{}", &Uuid::new_v4().simple().to_string()[..8]);
        let settings = Settings::of(&self.connection, &name)?;
        let place = settings.place().to_owned();
        let session = Session::open(&settings).await.map_err(|cause| failed(cause, &place))?;
        let sets = format!(
            "SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET tcp_user_timeout = {}; \
             SET client_min_messages = warning",
            LOCK_TIMEOUT.as_millis(),
            IDLE_IN_TRANSACTION.as_millis(),
            UNACKNOWLEDGED.as_millis(),
        );
        session.client().batch_execute(&sets).await.map_err(|cause| failed(cause, &place))?;
        Ok(Open { session, name, family })
    }
}

impl Open {
    pub(super) fn client(&self) -> &Client {
        self.session.client()
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// `host:port/database`.
    pub(super) fn place(&self) -> &str {
        self.session.place()
    }

    /// Says whether a statement would go on for nobody if the session were dropped now.
    pub(super) fn set_busy(&mut self, busy: bool) {
        self.session.set_busy(busy);
    }

    pub(super) async fn run(&self, statement: &str) -> Result<()> {
        self.client().batch_execute(statement).await.map_err(|cause| failed(cause, self.place()))
    }

    /// Ends the sink's committing sessions that began before this one and sit in a transaction. Theirs is a committer that
    /// stands still or is gone, and what they did not commit nobody sees; a commit on its way either arrived before this or
    /// never will.
    pub(super) async fn end_older(&self) -> Result<u64> {
        // As who logged in: the role that was taken on may have no say over sessions.
        self.run("RESET ROLE").await?;
        let statement = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, {}) \
             AND application_name <> {} AND datname = current_database() AND xact_start IS NOT NULL \
             AND backend_start < (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())",
            literal(&self.family),
            literal(&self.name),
        );
        let ended = self.client().query(statement.as_str(), &[]).await.map_err(|cause| failed(cause, self.place()))?;
        Ok(ended.len() as u64)
    }
}

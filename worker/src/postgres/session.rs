//! One session with a server. When it is dropped the server is told goodbye or, if a statement was under way, to stop it, so that
//! nothing goes on there for nobody.

use std::time::Duration;

use tokio::{runtime::Handle, task::JoinSet, time::timeout};
use tokio_postgres::{Client, Error};

use super::{
    Settings,
    failure::{Kind, kind_of},
    quote,
};

/// How long a server may take until a session is ready.
const LOGIN: Duration = Duration::from_secs(30);
/// A session that does nothing within a transaction is ended by the server after so long: its worker is gone.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(60);
/// How long a statement waits for another's lock before it fails, and is tried again.
const LOCK: Duration = Duration::from_secs(30);
/// How long a server may take to hear that a session ends. One that hears nothing finds a session cut off, and writes that into its log.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long a server may take to hear that a statement is to stop.
const CANCEL: Duration = Duration::from_secs(5);

/// A session.
pub struct Session {
    client: Client,
    settings: Settings,
    /// Whether a statement may be under way that nobody will read to its end.
    busy: bool,
    /// Moves bytes; ends with the session.
    connection: JoinSet<()>,
}

impl Session {
    /// Connects, logs in and sets what every statement of ours relies on.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        // The client's own bound ends when the connection stands, whether or not the server then says a word.
        match timeout(LOGIN, Self::log_in(settings)).await {
            Ok(opened) => opened,
            Err(_) => Err(Error::__private_api_timeout()),
        }
    }

    async fn log_in(settings: &Settings) -> Result<Self, Error> {
        let (client, connection) = settings.config.connect(settings.tls.clone()).await?;
        let place = settings.place.clone();
        let mut moving = JoinSet::new();
        moving.spawn(async move {
            // Whoever waits for an answer gets the error too.
            if let Err(error) = connection.await {
                tracing::debug!(%error, %place, "a session with a database ended");
            }
        });
        client.batch_execute(&preamble(settings)).await?;
        Ok(Self { client, settings: settings.clone(), busy: false, connection: moving })
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// `host:port/database`.
    pub fn place(&self) -> &str {
        &self.settings.place
    }

    /// From here on a statement may take so long, or as long as the connection lets it if that is less; `None`: as long as that again.
    pub async fn bound_statements(&self, most: Option<Duration>) -> Result<(), Error> {
        let own = self.settings.statement_timeout;
        self.client.batch_execute(&statement_timeout(most.into_iter().chain(own).min())).await
    }

    /// Says whether dropping the session would leave a statement running.
    pub fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (false, Ok(runtime)) = (self.client.is_closed(), Handle::try_current()) else { return };
        if !self.busy {
            let mut connection = std::mem::take(&mut self.connection);
            // The client is dropped with the session, which is how the connection hears of it.
            runtime.spawn(async move { timeout(GOODBYE, connection.join_next()).await });
            return;
        }
        let (token, tls) = (self.client.cancel_token(), self.settings.tls.clone());
        runtime.spawn(async move {
            match timeout(CANCEL, token.cancel_query(tls)).await {
                Ok(Err(error)) if kind_of(&error) != Kind::Unreachable => {
                    tracing::debug!(%error, "a statement could not be cancelled");
                }
                // A server that cannot be reached notices at its next write that nobody reads.
                _ => {}
            }
        });
    }
}

/// How values become text must not depend on a server's or a role's settings.
fn preamble(settings: &Settings) -> String {
    let mut sets = vec![
        "SET standard_conforming_strings = on".to_owned(),
        "SET DateStyle = 'ISO, YMD'".to_owned(),
        "SET IntervalStyle = 'iso_8601'".to_owned(),
        "SET TimeZone = 'UTC'".to_owned(),
        "SET bytea_output = 'hex'".to_owned(),
        "SET extra_float_digits = 1".to_owned(),
        "SET xmloption = 'content'".to_owned(),
        format!("SET idle_in_transaction_session_timeout = {}", IDLE_IN_TRANSACTION.as_millis()),
        format!("SET lock_timeout = {}", LOCK.as_millis()),
    ];
    sets.push(statement_timeout(settings.statement_timeout));
    if let Some(role) = &settings.role {
        sets.push(format!("SET ROLE {}", quote::identifier(role)));
    }
    sets.join("; ")
}

/// Without a bound it is said too: a role may have one of its own.
fn statement_timeout(most: Option<Duration>) -> String {
    let millis = most.unwrap_or_default().as_millis().min(i32::MAX as u128);
    format!("SET statement_timeout = {millis}")
}

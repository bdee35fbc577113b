//! Databases: what one answers to a question. In a transaction that only reads, and not for long.

use std::time::{Duration, SystemTime};

use tokio_postgres::{Row, types::Type};
use windrow_common::{count::counted, error, pipeline::Connection};

use super::Seen;
use crate::{
    error::{Result, WorkerError},
    postgres::{Session, Settings, source_error},
};

/// How long the server may think.
const STATEMENT: Duration = Duration::from_secs(15);

pub(super) async fn look(connection: &Connection, query: &str) -> Result<Seen> {
    let settings = Settings::of(connection, "windrow look")?;
    let failed = |cause| source_error(cause, settings.place());
    let mut session = Session::open(&settings).await.map_err(failed)?;
    session.set_busy(true);
    session.bound_statements(Some(STATEMENT)).await.map_err(failed)?;
    let transaction = session.client_mut().build_transaction().read_only(true).start().await.map_err(failed)?;
    // One statement, whatever is written: a prepared one takes no second.
    let rows = transaction.query_opt(query, &[]).await.map_err(failed)?;
    let seen = match rows {
        Some(row) => answer(&row),
        None => Ok(Seen::never("the query it waits for has no row yet".to_owned())),
    };
    transaction.rollback().await.map_err(failed)?;
    session.set_busy(false);
    seen.map_err(|error| error.at(settings.place()))
}

fn answer(row: &Row) -> Result<Seen> {
    let wrong = |what: String| {
        WorkerError::never(error::BAD_VALUE, what)
            .fix("write a query with one column of type boolean or timestamptz, and one row")
    };
    let [column] = row.columns() else {
        return Err(wrong(format!("the query has {}", counted(row.columns().len(), "column"))));
    };
    let unread = |cause: tokio_postgres::Error| wrong("the query's answer cannot be read".to_owned()).because(cause);
    if *column.type_() == Type::BOOL {
        return Ok(match row.try_get::<_, Option<bool>>(0).map_err(unread)? {
            Some(true) => Seen::always(),
            Some(false) => Seen::never("the query it waits for says false".to_owned()),
            None => Seen::never("the query it waits for says null".to_owned()),
        });
    }
    if *column.type_() != Type::TIMESTAMPTZ {
        return Err(wrong(format!("the query's answer is of type {}", column.type_())));
    }
    let Some(at) = row.try_get::<_, Option<SystemTime>>(0).map_err(unread)? else {
        return Ok(Seen::never("the query it waits for says null".to_owned()));
    };
    let at = jiff::Timestamp::try_from(at)
        .map_err(|cause| wrong("the query's time is past all time".to_owned()).because(cause))?;
    Ok(Seen::up_to(at.as_microsecond(), format!("the query it waits for says {at}")))
}

//! What an error of PostgreSQL means for the sink: which code, whether trying again can help, and whether the rows are to
//! blame.

use tokio_postgres::{Error, error::DbError};
use windrow_common::error;

use crate::{
    error::WorkerError,
    postgres::{Kind, kind_of},
};

/// The error of the database at `place`, which holds no secret.
pub(super) fn failed(cause: Error, place: &str) -> WorkerError {
    let error = match kind_of(&cause) {
        Kind::Unreachable => WorkerError::later(error::SINK_UNREACHABLE, "the database does not answer as it should"),
        Kind::Untrusted => WorkerError::never(error::SINK_FORBIDDEN, "the database cannot be trusted as asked")
            .fix("correct the connection's `tls`, or the server's certificate"),
        Kind::Login => WorkerError::never(error::SINK_FORBIDDEN, "the database does not let the user in")
            .fix("check user and password of the connection, and the server's pg_hba.conf"),
        Kind::Forbidden => WorkerError::never(error::SINK_FORBIDDEN, "a grant is missing in the database")
            .fix("grant it to the connection's user, or to its `role`"),
        Kind::ReadOnly => WorkerError::later(error::SINK_FORBIDDEN, "the database takes no writes")
            .fix("write to the primary: a standby and a database in recovery are read only"),
        Kind::NoDatabase => WorkerError::never(error::SINK_FORBIDDEN, "there is no such database")
            .fix("create the database, or correct the connection's address"),
        Kind::NoTable | Kind::NoColumn => {
            WorkerError::later(error::SINK_CONFLICT, "somebody changed the tables meanwhile")
        }
        Kind::Conflict => WorkerError::later(error::SINK_UNREACHABLE, "the database had to give the statement up")
            .fix("the work goes on by itself; if it does not, look in pg_locks who holds the table"),
        Kind::Cancelled => WorkerError::later(error::SINK_UNREACHABLE, "the database ended the statement early")
            .fix("raise the connection's `statement_timeout`"),
        Kind::Full => WorkerError::later(error::SINK_FULL, "the database has no space or memory left")
            .fix("free space; the work goes on by itself"),
        Kind::Constraint | Kind::Data => WorkerError::never(error::SINK_SCHEMA, "the database does not take the rows")
            .fix("correct the rows in a transform, or the table"),
        Kind::Statement => WorkerError::never(error::SINK_UNSUPPORTED, "the database cannot do what is asked of it"),
        Kind::Corrupt => WorkerError::later(error::SINK_BROKEN, "the database is damaged"),
        Kind::Other => WorkerError::later(error::SINK_UNREACHABLE, "the database refuses what it is asked"),
    };
    error.at(place).because(cause)
}

/// Why these very rows are not taken, if it is because of them: they will not be next time either. Values stay out of it.
pub(super) fn unfit(cause: &Error) -> Option<String> {
    let kind = kind_of(cause);
    let found = cause.as_db_error()?;
    matches!(kind, Kind::Constraint | Kind::Data).then(|| in_words(found))
}

/// What the database says, without the detail: that may hold values of rows.
pub(super) fn in_words(found: &DbError) -> String {
    let mut text = found.message().to_owned();
    for (what, name) in [("table", found.table()), ("column", found.column()), ("constraint", found.constraint())] {
        if let Some(name) = name.filter(|name| !text.contains(*name)) {
            text.push_str(&format!("; {what} {name}"));
        }
    }
    format!("{text} [{}]", found.code().code())
}

/// Whether a lock was not to be had in time.
pub(super) fn is_locked(cause: &Error) -> bool {
    cause.code().is_some_and(|code| code.code() == "55P03")
}

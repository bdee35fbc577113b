//! What an error of PostgreSQL means: a neutral kind, and for sources a code with its fix. Sinks map the kinds to theirs.

use std::error::Error as StdError;

use tokio_postgres::{Error, error::SqlState};
use windrow_common::error;

use crate::error::WorkerError;

/// What kind of error it is, whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No server answers, or it is going down, starting, or has no room for one more.
    Unreachable,
    /// The encryption that is asked for is not to be had, or the server's certificate is not trusted.
    Untrusted,
    /// User, password or `pg_hba.conf`.
    Login,
    /// A grant is missing.
    Forbidden,
    /// There is no such database.
    NoDatabase,
    /// There is no such schema or table.
    NoTable,
    /// There is no such column.
    NoColumn,
    /// A lock, a deadlock, a serialization failure, a conflict with recovery: the same may go well next time.
    Conflict,
    /// The statement took longer than it may, or somebody cancelled it.
    Cancelled,
    /// No space or memory is left.
    Full,
    /// The server takes no writes.
    ReadOnly,
    /// A constraint of a table.
    Constraint,
    /// A value makes the statement fail.
    Data,
    /// The statement itself is wrong.
    Statement,
    /// The database is damaged.
    Corrupt,
    /// Anything else.
    Other,
}

/// The kind of an error.
pub fn kind_of(error: &Error) -> Kind {
    match error.code() {
        Some(code) => kind_of_state(code),
        None => kind_of_client(error),
    }
}

/// The error of a source at `place`, which holds no secret.
pub fn source_error(cause: Error, place: impl Into<String>) -> WorkerError {
    let error = match kind_of(&cause) {
        Kind::Unreachable => WorkerError::later(error::SOURCE_UNREADABLE, "the database does not answer as it should"),
        Kind::Untrusted => WorkerError::never(error::SOURCE_FORBIDDEN, "the database cannot be trusted as asked")
            .fix("correct the connection's `tls`, or the server's certificate"),
        Kind::Login => WorkerError::never(error::SOURCE_FORBIDDEN, "the database does not let the user in")
            .fix("check user and password of the connection, and the server's pg_hba.conf"),
        Kind::Forbidden => WorkerError::never(error::SOURCE_FORBIDDEN, "a grant is missing in the database")
            .fix("grant it to the connection's user, or to its `role`"),
        Kind::NoDatabase => WorkerError::never(error::SOURCE_MISSING, "there is no such database")
            .fix("correct the connection's address"),
        Kind::NoTable => WorkerError::never(error::SOURCE_MISSING, "there is no such table").fix(
            "correct `table` or `query`; names are taken as they stand, and found in `public` unless a schema is named",
        ),
        Kind::NoColumn => WorkerError::never(error::SCHEMA_MISMATCH, "there is no such column")
            .fix("correct `columns`, `cursor` or `query`"),
        Kind::Conflict => WorkerError::later(error::SOURCE_UNREADABLE, "the database had to give the statement up"),
        Kind::Cancelled => WorkerError::later(error::DEADLINE, "the database ended the statement early").fix(
            "let a statement read less: smaller windows, or `shards` of a full load; or raise the connection's `statement_timeout`",
        ),
        Kind::Full => WorkerError::later(error::SOURCE_UNREADABLE, "the database has no space or memory left"),
        Kind::Data => WorkerError::never(error::VALUE_MALFORMED, "a value makes the query fail")
            .fix("correct the value, or the expression in `query`"),
        Kind::Statement | Kind::ReadOnly | Kind::Constraint => {
            WorkerError::never(error::SOURCE_REFUSED, "the database does not take the query")
                .fix("correct `query`, or the connection's `role`")
        }
        Kind::Corrupt => WorkerError::never(error::SOURCE_CORRUPT, "the database is damaged"),
        Kind::Other => WorkerError::later(error::SOURCE_REFUSED, "the database refuses what it is asked"),
    };
    error.at(place).because(cause)
}

/// By the classes of PostgreSQL's appendix A.
fn kind_of_state(state: &SqlState) -> Kind {
    let code = state.code();
    match code {
        "3D000" => Kind::NoDatabase,
        "42501" => Kind::Forbidden,
        "42P01" | "3F000" => Kind::NoTable,
        "42703" => Kind::NoColumn,
        // A role or a setting that is not there.
        "22023" | "42704" => Kind::Statement,
        "25006" => Kind::ReadOnly,
        "57014" => Kind::Cancelled,
        "53300" | "53400" => Kind::Unreachable,
        "55006" | "55P03" | "57P05" => Kind::Conflict,
        "XX001" | "XX002" => Kind::Corrupt,
        "25P03" | "25P04" => Kind::Unreachable,
        _ => match &code[..2] {
            "08" | "57" | "58" => Kind::Unreachable,
            "28" => Kind::Login,
            "40" => Kind::Conflict,
            "53" => Kind::Full,
            "23" => Kind::Constraint,
            // With 21 for two rows that are one to an upsert, and 54 for values too large for an index.
            "21" | "22" | "54" => Kind::Data,
            "42" | "0A" | "2F" | "P0" | "38" | "39" => Kind::Statement,
            _ => Kind::Other,
        },
    }
}

/// What the client library says, whose kinds are not public.
fn kind_of_client(error: &Error) -> Kind {
    let text = error.to_string();
    if text.contains("TLS") {
        return match untrusted(error) {
            true => Kind::Untrusted,
            false => Kind::Unreachable,
        };
    }
    if text.contains("authentication") || text.contains("configuration") {
        return Kind::Login;
    }
    match text.contains("serializing") || text.contains("deserializing") || text.contains("converting") {
        true => Kind::Other,
        false => Kind::Unreachable,
    }
}

/// Whether TLS failed over what was asked for rather than over a broken connection.
fn untrusted(error: &Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = next {
        // An I/O error hides what it wraps from `source`.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let rustls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or(cause.downcast_ref());
        if rustls.is_some() || cause.to_string().contains("does not support TLS") {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let of = |code: &str| kind_of_state(&SqlState::from_code(code));
        for (code, kind) in [
            ("28P01", Kind::Login),
            ("28000", Kind::Login),
            ("3D000", Kind::NoDatabase),
            ("42501", Kind::Forbidden),
            ("42P01", Kind::NoTable),
            ("42703", Kind::NoColumn),
            ("57P01", Kind::Unreachable),
            ("57P03", Kind::Unreachable),
            ("53300", Kind::Unreachable),
            ("53100", Kind::Full),
            ("57014", Kind::Cancelled),
            ("40001", Kind::Conflict),
            ("55P03", Kind::Conflict),
            ("42601", Kind::Statement),
            ("22P02", Kind::Data),
            ("23505", Kind::Constraint),
            ("25006", Kind::ReadOnly),
            ("XX001", Kind::Corrupt),
            ("XX000", Kind::Other),
        ] {
            assert_eq!(of(code), kind, "{code}");
        }
    }
}

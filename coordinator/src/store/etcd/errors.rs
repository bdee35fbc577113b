//! What etcd's errors mean. The only place that reads status codes and messages.

use etcd_client::Error;
use tonic::{Code, Status};

use super::super::{LeaseId, StoreError};

const LEASE_NOT_FOUND: &str = "lease not found";

/// A call that did not give its answer. Three reasons need what only the caller knows: what it asked for.
#[derive(Debug)]
pub(super) enum Refusal {
    LeaseNotFound,
    Compacted,
    FutureRevision,
    Other(StoreError),
}

impl Refusal {
    /// For calls to which etcd cannot give the reasons that need an argument.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Other(error) => error,
            refusal => StoreError::Broken(format!("etcd gave an answer that makes no sense here: {refusal:?}")),
        }
    }

    pub(super) fn of_lease(self, lease: LeaseId) -> StoreError {
        match self {
            Self::LeaseNotFound => StoreError::LeaseNotFound(lease),
            refusal => refusal.into_error(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => explain(&status),
            Error::LeaseKeepAliveError(message) if message == LEASE_NOT_FOUND => Self::LeaseNotFound,
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::InvalidMetadataValue(_)
            | Error::Utf8Error(_)
            | Error::EndpointError(_)
            | Error::EndpointsNotManaged => Self::Other(StoreError::Broken(error.to_string())),
            // Everything else happens between here and etcd, so the request may have arrived.
            other => Self::Other(StoreError::Unavailable(other.to_string())),
        }
    }
}

/// The error the client itself uses for a lease that has ended.
pub(super) fn lease_not_found() -> Error {
    Error::LeaseKeepAliveError(LEASE_NOT_FOUND.into())
}

fn explain(status: &Status) -> Refusal {
    let message = status.message();
    let says = |text: &str| message.contains(text);
    match status.code() {
        Code::NotFound if says("requested lease not found") => Refusal::LeaseNotFound,
        Code::OutOfRange if says("revision has been compacted") => Refusal::Compacted,
        Code::OutOfRange if says("future revision") => Refusal::FutureRevision,
        Code::ResourceExhausted if says("database space exceeded") => {
            Refusal::Other(StoreError::NoSpace(message.to_owned()))
        }
        // Overload, and a change of the auth tables under way: both pass.
        Code::ResourceExhausted if says("too many requests") => unavailable(status),
        Code::InvalidArgument if says("auth store is old") => unavailable(status),
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::Aborted => unavailable(status),
        // Refused before it was applied, and it will be refused again: credentials, limits set lower than ours.
        _ => Refusal::Other(StoreError::Broken(format!("etcd refuses: {message} ({:?})", status.code()))),
    }
}

fn unavailable(status: &Status) -> Refusal {
    Refusal::Other(StoreError::Unavailable(format!("{} ({:?})", status.message(), status.code())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn error(code: Code, message: &str) -> StoreError {
        Refusal::from(Error::GRpcStatus(Status::new(code, message))).of_lease(LeaseId(7))
    }

    #[test]
    fn an_unknown_outcome_is_unavailable_whatever_broke() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown, Code::Internal, Code::Cancelled] {
            assert!(matches!(error(code, "etcdserver: request timed out"), StoreError::Unavailable(_)), "{code}");
        }
        let broken = Refusal::from(Error::IoError(std::io::Error::other("reset"))).into_error();
        assert!(matches!(broken, StoreError::Unavailable(_)));
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(matches!(
            error(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            StoreError::NoSpace(_)
        ));
        assert!(matches!(error(Code::ResourceExhausted, "etcdserver: too many requests"), StoreError::Unavailable(_)));
        assert!(matches!(
            error(Code::NotFound, "etcdserver: requested lease not found"),
            StoreError::LeaseNotFound(LeaseId(7))
        ));
        assert!(matches!(error(Code::PermissionDenied, "etcdserver: permission denied"), StoreError::Broken(_)));
        assert!(matches!(error(Code::InvalidArgument, "etcdserver: request is too large"), StoreError::Broken(_)));
    }

    #[test]
    fn revisions_out_of_range_are_told_apart() {
        let explain = |message| Refusal::from(Error::GRpcStatus(Status::new(Code::OutOfRange, message)));
        let compacted = explain("etcdserver: mvcc: required revision has been compacted");
        assert!(matches!(compacted, Refusal::Compacted));
        let future = explain("etcdserver: mvcc: required revision is a future revision");
        assert!(matches!(future, Refusal::FutureRevision));
    }
}

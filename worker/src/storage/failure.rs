//! What an object store's error means for a sink: which code, and whether trying again can help.

use std::{error::Error as StdError, io};

use object_store::Error;
use windrow_common::error;

use super::said::{SAY_WHO, names_no_bucket, names_no_credentials, refuses, said};
use crate::error::WorkerError;

/// The error of a sink at `place` (a path or an address, never with credentials in it).
pub fn sink_error(cause: Error, place: impl Into<String>) -> WorkerError {
    let error = match kind_of(&cause) {
        Kind::Full => WorkerError::later(error::SINK_FULL, "no space is left where the sink writes")
            .fix("free space or raise the quota; the work goes on by itself"),
        Kind::Forbidden => WorkerError::never(error::SINK_FORBIDDEN, "the sink refuses access")
            .fix("check the connection's credentials and their permissions on this place"),
        Kind::NoCredentials => {
            WorkerError::later(error::SINK_FORBIDDEN, "nobody said who writes to the bucket").fix(SAY_WHO)
        }
        Kind::NoBucket => WorkerError::later(error::SINK_UNREACHABLE, "there is no such bucket")
            .fix("create the bucket, or correct the connection's root, region and endpoint"),
        Kind::Missing => WorkerError::later(error::SINK_UNREACHABLE, "nothing is found where the sink should be")
            .fix("check the connection's root, bucket and endpoint"),
        Kind::Unsupported => {
            WorkerError::never(error::SINK_UNSUPPORTED, "the store cannot do what exactly-once needs of it")
                .fix("use a store with conditional writes")
        }
        Kind::Unreachable => {
            WorkerError::later(error::SINK_UNREACHABLE, "the sink's storage does not answer as it should")
        }
    };
    error.at(place).because(said(cause))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Full,
    Forbidden,
    NoCredentials,
    NoBucket,
    Missing,
    Unsupported,
    Unreachable,
}

fn kind_of(cause: &Error) -> Kind {
    match cause {
        cause if names_no_credentials(cause) => Kind::NoCredentials,
        cause if refuses(cause) => Kind::Forbidden,
        cause if names_no_bucket(cause) => Kind::NoBucket,
        Error::NotFound { .. } => Kind::Missing,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Kind::Unsupported,
        other => io_kind(other).map_or(Kind::Unreachable, |kind| match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::Forbidden,
            _ => Kind::Unreachable,
        }),
    }
}

/// The kind of the first I/O error among the causes that says more than "other".
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(at) = next {
        match at.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(kind) if kind != io::ErrorKind::Other => return Some(kind),
            _ => next = at.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use windrow_common::task::Retry;

    use super::*;
    use crate::error::Outcome;

    #[test]
    fn a_full_disk_is_worth_another_try_and_a_forbidden_one_is_not() {
        let of = |kind: io::ErrorKind| {
            sink_error(Error::Generic { store: "test", source: io::Error::from(kind).into() }, "here")
        };
        let full = of(io::ErrorKind::StorageFull);
        assert_eq!((full.code(), full.outcome()), (error::SINK_FULL, Outcome::Failed(Retry::Later)));
        let forbidden = of(io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!((forbidden.code(), forbidden.outcome()), (error::SINK_FORBIDDEN, Outcome::Failed(Retry::Never)));
        let reset = of(io::ErrorKind::ConnectionReset);
        assert_eq!((reset.code(), reset.outcome()), (error::SINK_UNREACHABLE, Outcome::Failed(Retry::Later)));
    }
}

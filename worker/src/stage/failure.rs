//! What an error of the object store means for an attempt. Knows codes and errors, nothing of tables.

use std::{error::Error, io};

use windrow_common::error;

use crate::error::WorkerError;

/// The code and the outlook of an object store's error, met at `place` (a path under the sink's root).
pub fn sink_error(cause: object_store::Error, place: &str) -> WorkerError {
    described(&cause, place).because(cause)
}

fn described(cause: &object_store::Error, place: &str) -> WorkerError {
    use object_store::Error as E;
    let forbidden = || {
        WorkerError::never(error::SINK_FORBIDDEN, "the sink refuses the write")
            .fix("grant the connection's identity read, write and delete on the sink's root")
    };
    let found = match (cause, io_kind(cause)) {
        (E::PermissionDenied { .. } | E::Unauthenticated { .. }, _)
        | (_, Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)) => forbidden(),
        (_, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
            WorkerError::later(error::SINK_FULL, "the sink has no space left").fix("free space or raise the quota")
        }
        _ => WorkerError::later(error::SINK_UNREACHABLE, "the sink does not answer as it should"),
    };
    found.at(place)
}

fn io_kind(cause: &object_store::Error) -> Option<io::ErrorKind> {
    let mut next: Option<&(dyn Error + 'static)> = cause.source();
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

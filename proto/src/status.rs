//! The one place where errors become gRPC statuses and back: a canonical code, one `ErrorInfo` whose reason is the
//! catalogue's code, and a link to the page of that code.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use windrow_common::error::ErrorCode;

const DOMAIN: &str = "windrow";
const PAGES: &str = "https://github.com/windrow/windrow/blob/main/docs/errors/";

/// An error as it crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// A code of the catalogue; `WR-N999` if the peer sent none.
    pub code: String,
    pub grpc: Code,
    pub message: String,
    pub fix: Option<String>,
    /// Where in the request it lies: field paths and what is wrong with them.
    pub violations: Vec<(String, String)>,
}

/// Builds the status of an error.
pub fn status(grpc: Code, code: ErrorCode, message: impl Into<String>) -> Status {
    status_with(grpc, code, message, None, &[])
}

/// Builds the status of an error with its fix and the fields it lies in.
pub fn status_with(
    grpc: Code,
    code: ErrorCode,
    message: impl Into<String>,
    fix: Option<&str>,
    violations: &[(String, String)],
) -> Status {
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    if let Some(fix) = fix {
        metadata.insert("fix".to_owned(), fix.to_owned());
    }
    details.set_error_info(code.code, DOMAIN, metadata);
    for (field, what) in violations {
        details.add_bad_request_violation(field, what);
    }
    details.add_help_link(code.meaning, format!("{PAGES}{}.md", code.code));
    Status::with_error_details(grpc, message, details)
}

/// Reads an error off a status, whoever sent it.
pub fn remote_error(status: &Status) -> RemoteError {
    let details = status.get_error_details();
    let info = details.error_info();
    let violations = details.bad_request().map(|request| request.field_violations.as_slice()).unwrap_or_default();
    RemoteError {
        code: info.map_or_else(|| windrow_common::error::INTERNAL.code.to_owned(), |info| info.reason.clone()),
        grpc: status.code(),
        message: status.message().to_owned(),
        fix: info.and_then(|info| info.metadata.get("fix").cloned()),
        violations: violations.iter().map(|found| (found.field.clone(), found.description.clone())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        let violations = [("spec.range".to_owned(), "is empty".to_owned())];
        let sent = status_with(
            Code::InvalidArgument,
            windrow_common::error::BAD_RANGE,
            "the range is empty",
            Some("give --to a later time"),
            &violations,
        );
        let received = remote_error(&sent);
        assert_eq!(received.code, "WR-W004");
        assert_eq!(received.fix.as_deref(), Some("give --to a later time"));
        assert_eq!(received.violations, violations);
    }
}

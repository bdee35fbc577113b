//! The one place where errors become gRPC statuses and back: a canonical code, one `ErrorInfo` whose reason is the
//! catalogue's code, and a link to the page of that code.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

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
    /// The variables of the message.
    pub facts: BTreeMap<String, String>,
}

/// Builds the status of an error.
pub fn status(grpc: Code, code: ErrorCode, message: impl Into<String>) -> Status {
    status_about(grpc, code, message, About::default())
}

/// What a status says beside its code and its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What the caller can do about it.
    pub fix: Option<&'static str>,
    /// Every variable of the text, by name: a program must not have to take the text to pieces.
    pub facts: Vec<(&'static str, String)>,
    /// The fields of the request it lies in, as paths, and what is wrong with them.
    pub violations: Vec<(String, String)>,
    /// After how long the same request may be answered otherwise.
    pub retry_after: Option<Duration>,
}

/// Builds the status of an error with all that is known about it.
pub fn status_about(grpc: Code, code: ErrorCode, message: impl Into<String>, about: About) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::new();
    let mut metadata: HashMap<String, String> =
        about.facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if let Some(fix) = about.fix {
        metadata.insert("fix".to_owned(), fix.to_owned());
    }
    let subject = metadata.values().min().cloned().unwrap_or_default();
    details.set_error_info(code.code, DOMAIN, metadata);
    for (field, what) in about.violations {
        details.add_bad_request_violation(field, what);
    }
    if grpc == Code::FailedPrecondition {
        details.add_precondition_failure_violation(code.code, subject, message.clone());
    }
    if let Some(after) = about.retry_after {
        details.set_retry_info(Some(after));
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
        facts: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        let violations = vec![("spec.range".to_owned(), "is empty".to_owned())];
        let about = About {
            fix: Some("give --to a later time"),
            facts: vec![("pipeline", "visits".to_owned())],
            violations: violations.clone(),
            retry_after: Some(Duration::from_secs(1)),
        };
        let sent = status_about(Code::InvalidArgument, windrow_common::error::BAD_RANGE, "the range is empty", about);
        let received = remote_error(&sent);
        assert_eq!(received.code, "WR-W004");
        assert_eq!(received.fix.as_deref(), Some("give --to a later time"));
        assert_eq!(received.facts["pipeline"], "visits");
        assert_eq!(received.violations, violations);
        let details = sent.get_error_details();
        assert_eq!(details.error_info().unwrap().domain, "windrow");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
        assert!(details.help().unwrap().links[0].url.ends_with("WR-W004.md"));
    }
}

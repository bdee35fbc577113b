//! What stands on the wire beside Flight's own messages: header names, the end mark of a stream, and errors. Both sides
//! use it, so that an error is the same error wherever it arose.

use std::borrow::Cow;

use arrow_flight::FlightData;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use windrow_common::{
    error,
    intent::Seq,
    manifest::{Digest, Manifest, StagedFile},
    task::Retry,
};

use super::service::{Part, Rest};
use crate::{
    error::{Outcome, Result, WorkerError, in_one_line},
    verbatim::Verbatim,
};

/// Header with the signed ticket.
pub(super) const TICKET: &str = "windrow-ticket-bin";
/// Header that says what the rows are.
pub(super) const PART: &str = "windrow-part";
/// The action that writes a manifest: its body is a [`Finish`], the result the reference, both JSON.
pub(super) const FINISH: &str = "finish";
/// The action that asks whether a sink shows a commit: its body is a [`Shows`], the result `true` or `false`, both JSON.
pub(super) const SHOWS: &str = "shows";
/// The action that asks what a window was loaded from: its body is an [`Inputs`], the result a list of
/// [`Input`](windrow_common::manifest::Input), both JSON.
pub(super) const INPUTS: &str = "inputs";
/// The action that asks whether rows may come as they are: its body is an [`Ask`], the result why not, or null, as JSON. Sink
/// workers of older versions know nothing of it.
pub(super) const VERBATIM: &str = "verbatim";
/// Header of a put of keys: what they go by, a [`Noted`] as JSON.
pub(super) const NOTED: &str = "windrow-noted";
/// The action that notes which rows a sink has: its body is the pipeline's JSON, the result a [`Note`](crate::sink::Note) as JSON. Sink workers of older
/// versions know nothing of it.
pub(super) const NOTE: &str = "note";
/// Header of a client that reads what there is beside files; its value says nothing.
pub(super) const REST: &str = "windrow-rest";
/// Error texts travel in headers, which are small.
const MAX_TEXT_CHARS: usize = 1_000;

impl Part {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::DeadLetters => "dead_letters",
            Self::Keys(_) => "keys",
        }
    }

    /// Says it in a call's headers.
    pub(super) fn write(self, headers: &mut MetadataMap) -> Result<()> {
        headers.insert(PART, MetadataValue::from_static(self.as_str()));
        if let Self::Keys(noted) = self {
            let unwritten = || WorkerError::never(error::INTERNAL, "what keys go by cannot be written");
            let text = serde_json::to_string(&noted).map_err(|cause| unwritten().because(cause))?;
            headers.insert(NOTED, text.parse().map_err(|_| unwritten())?);
        }
        Ok(())
    }

    pub(super) fn read(headers: &MetadataMap) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok();
        match text(PART)? {
            "rows" => Some(Self::Rows),
            "dead_letters" => Some(Self::DeadLetters),
            "keys" => Some(Self::Keys(serde_json::from_str(text(NOTED)?).ok()?)),
            _ => None,
        }
    }
}

/// What is asked with the action [`FINISH`].
#[derive(Serialize, Deserialize)]
pub(super) struct Finish<'a> {
    /// The pipeline's JSON, to the byte as the ticket's digest was taken of it.
    pub(super) pipeline: Cow<'a, str>,
    pub(super) draft: Cow<'a, Manifest>,
}

/// What is asked with the action [`SHOWS`].
#[derive(Serialize, Deserialize)]
pub(super) struct Shows<'a> {
    /// The pipeline's JSON, to the byte as the ticket's digest was taken of it.
    pub(super) pipeline: Cow<'a, str>,
    pub(super) seq: Seq,
    pub(super) rows: u64,
}

/// What is asked with the action [`INPUTS`].
#[derive(Serialize, Deserialize)]
pub(super) struct Inputs<'a> {
    /// As in [`Finish`].
    pub(super) pipeline: Cow<'a, str>,
    /// Of the manifest.
    pub(super) sha256: Digest,
}

/// What is asked with the action [`VERBATIM`].
#[derive(Serialize, Deserialize)]
pub(super) struct Ask<'a> {
    /// As in [`Finish`].
    pub(super) pipeline: Cow<'a, str>,
    pub(super) rows: Cow<'a, Verbatim>,
}

/// The last message of a put. A stream that ends without it was cut off, however orderly it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndMark {
    pub(super) rows: u64,
}

impl EndMark {
    pub(super) fn into_message(self) -> FlightData {
        FlightData { app_metadata: format!("{{\"rows\":{}}}", self.rows).into(), ..FlightData::default() }
    }

    /// `None` for a message that carries data.
    pub(super) fn of(message: &FlightData) -> Option<Result<Self>> {
        if !message.data_header.is_empty() {
            return None;
        }
        let mark = serde_json::from_slice(&message.app_metadata);
        Some(mark.map_err(|cause| broken("a message of a batch stream makes no sense").because(cause)))
    }
}

/// An answer to a put: one for each file, in their order; last, if the client asked by [`REST`], what there is beside them.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Rest { rest: Rest },
    File(StagedFile),
}

#[derive(Serialize, Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
    fix: Option<String>,
    retry: Retry,
}

pub(super) fn to_status(error: &WorkerError) -> Status {
    let retry = match error.outcome() {
        Outcome::Failed(retry) => retry,
        Outcome::NotReady => Retry::Later,
    };
    let message: String = in_one_line(error).chars().take(MAX_TEXT_CHARS).collect();
    let code = match (error.code(), retry) {
        (error::TICKET_REFUSED, _) => Code::PermissionDenied,
        (_, Retry::Never) => Code::FailedPrecondition,
        (_, Retry::Later) => Code::Unavailable,
    };
    let fix = error.fix_text().map(|fix| fix.chars().take(MAX_TEXT_CHARS).collect());
    let body = ErrorBody { code: error.code().code.to_owned(), message: message.clone(), fix, retry };
    let details = serde_json::to_vec(&body).unwrap_or_default();
    Status::with_details(code, message, Bytes::from(details))
}

/// The error the other side sent; anything else means that the stream broke.
pub(super) fn from_status(status: &Status) -> WorkerError {
    let body: Option<ErrorBody> = serde_json::from_slice(status.details()).ok();
    let known = body.as_ref().and_then(|body| error::find(&body.code).copied()).zip(body.as_ref());
    let Some((code, body)) = known else {
        let cause = format!("{:?}: {}", status.code(), status.message());
        return broken("the stream to the sink worker broke").because(cause);
    };
    let error = match body.retry {
        Retry::Later => WorkerError::later(code, body.message.clone()),
        Retry::Never => WorkerError::never(code, body.message.clone()),
    };
    match &body.fix {
        Some(fix) => error.fix(fix.clone()),
        None => error,
    }
}

pub(super) fn broken(message: &str) -> WorkerError {
    WorkerError::later(error::FLIGHT_BROKEN, message)
}

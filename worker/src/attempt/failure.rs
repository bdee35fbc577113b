//! From what went wrong in code to what the ledger records about it.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;
use windrow_common::{
    error,
    id::WorkerId,
    task::{Failure, Retry},
};

use crate::error::{Outcome, WorkerError, in_one_line};

/// Most bytes of a message in the ledger.
const MAX_MESSAGE_BYTES: usize = 2_048;

/// The record of an error, of work nobody measured.
pub(crate) fn failure_of(error: &WorkerError, at: Timestamp, worker: &WorkerId) -> Failure {
    let retry = match error.outcome() {
        Outcome::Failed(retry) => retry,
        Outcome::NotReady => Retry::Later,
    };
    let mut message = in_one_line(error);
    if let Some(fix) = error.fix_text() {
        message = format!("{message}; {fix}");
    }
    let (code, message) = (error.code().code.to_owned(), shortened(message));
    Failure { code, message, retry, at, took: Duration::ZERO, worker: Some(worker.clone()) }
}

/// Runs `work`; a panic in it becomes an error instead of the end of the worker.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, WorkerError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        WorkerError::later(error::INTERNAL, format!("a bug ended the attempt: {}", said(panic.as_ref())))
            .fix("report it with the worker's log")
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        let error = caught(async { assert_eq!(1, 2, "sums are off") }).await.unwrap_err();
        assert_eq!(error.code(), error::INTERNAL);
        assert!(error.to_string().contains("sums are off"), "{error}");
    }

    #[test]
    fn a_failure_tells_message_cause_and_fix_and_keeps_within_bounds() {
        let worker = "w1".parse().unwrap();
        let error = WorkerError::never(error::SOURCE_CORRUPT, "an input is damaged")
            .at("a.csv line 3")
            .because("ü".repeat(5_000))
            .fix("replace the file");
        let failure = failure_of(&error, Timestamp::UNIX_EPOCH, &worker);
        assert_eq!((failure.code.as_str(), failure.retry), ("WR-S003", Retry::Never));
        assert!(failure.message.starts_with("an input is damaged (a.csv line 3): ü"));
        assert!(failure.message.len() <= MAX_MESSAGE_BYTES + 4);
    }
}

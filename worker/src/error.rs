//! What can go wrong in an attempt or a commit, in one type: a code, a place, a cause, a fix, and whether to try again.

use std::{error::Error, fmt};

use windrow_common::{
    error::{self, ErrorCode},
    failpoint::Injected,
    id::TaskId,
    task::Retry,
};

pub type Result<T, E = WorkerError> = std::result::Result<T, E>;

/// An error with everything its reader needs. It is boxed inside, so results stay small.
#[derive(Debug)]
pub struct WorkerError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: ErrorCode,
    message: String,
    place: Option<String>,
    fix: Option<String>,
    outcome: Outcome,
    /// The task whose rows have to be staged again.
    stale: Option<TaskId>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// What the error means for the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The attempt failed.
    Failed(Retry),
    /// The source is not complete yet; asking again later costs nothing.
    NotReady,
}

impl WorkerError {
    /// An error whose cause may pass.
    pub fn later(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code, message.into(), Outcome::Failed(Retry::Later))
    }

    /// An error that the same input will always meet.
    pub fn never(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code, message.into(), Outcome::Failed(Retry::Never))
    }

    /// No error of anybody's: the source is not complete yet.
    pub fn not_ready(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(code, message.into(), Outcome::NotReady)
    }

    fn new(code: ErrorCode, message: String, outcome: Outcome) -> Self {
        Self(Box::new(Parts { code, message, place: None, fix: None, outcome, stale: None, cause: None }))
    }

    /// Where it happened: `flights.csv.gz line 1,204`, a table, an address. Never a secret.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// What the reader can do about it.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Whose rows have to be staged again before a commit can be worked out: they do not fit the table as it is now.
    pub fn staged_again(mut self, task: TaskId) -> Self {
        self.0.stale = Some(task);
        self
    }

    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    pub fn stale(&self) -> Option<TaskId> {
        self.0.stale
    }

    pub fn fix_text(&self) -> Option<&str> {
        self.0.fix.as_deref()
    }
}

impl From<Injected> for WorkerError {
    fn from(cause: Injected) -> Self {
        Self::later(error::INTERNAL, cause.to_string())
    }
}

/// `message (place)`, then the fix; causes follow by [`Error::source`].
impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(place) = &self.0.place {
            write!(f, " ({place})")?;
        }
        Ok(())
    }
}

impl Error for WorkerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// The message with its causes on one line, for records and logs.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

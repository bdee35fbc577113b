//! What exit codes mean, the same for every verb.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// Something went wrong.
    Failed = 1,
    /// The command line or a pipeline file does not make sense.
    Config = 2,
    /// A plan would change something (with `--detailed-exitcode`).
    Changes = 3,
    /// Everything is settled, and some windows failed.
    SomeWindowsFailed = 4,
    /// Nothing is wrong that time would not mend: try again.
    TryAgain = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

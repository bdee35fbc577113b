//! What went wrong with a command: its code, what to do about it, and the exit code it ends with.

use tonic::Code;
use windrow_common::error::{self, ErrorCode};
use windrow_coordinator::store::StoreError;
use windrow_worker::error::{WorkerError, in_one_line};

use super::exit::Exit;
use crate::client::ClientError;

/// A mistake of whoever wrote the command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotFound(String),
}

impl Mistake {
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::Usage(message.into()).into()
    }

    pub fn no_pipeline(name: &str) -> anyhow::Error {
        Self::NotFound(format!("no pipeline is called {name:?}; see: windrow get pipelines")).into()
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Usage(_) => error::USAGE,
            Self::NotFound(_) => error::NOT_FOUND,
        }
    }
}

/// An error as a person gets to see it: with its code, its fix and where to read on.
pub fn explain(error: &anyhow::Error) -> String {
    let Some(known) = known(error) else { return format!("error: {error:#}\n") };
    let Known { code, message, fix, .. } = known;
    let fix = fix.map(|fix| format!("\n  fix: {fix}")).unwrap_or_default();
    format!("error[{code}]: {message}{fix}\n  more: windrow explain {code}\n")
}

/// How a command ends that failed so.
pub fn exit(error: &anyhow::Error) -> Exit {
    known(error).map_or(Exit::Failed, |known| known.exit)
}

/// What is known of an error of ours.
struct Known {
    code: String,
    message: String,
    fix: Option<String>,
    exit: Exit,
}

fn known(error: &anyhow::Error) -> Option<Known> {
    if let Some(client) = error.downcast_ref::<ClientError>() {
        let (code, message) = (client.code().to_owned(), client.to_string());
        return Some(Known { code, message, fix: client.fix().map(str::to_owned), exit: exit_of(client) });
    }
    if let Some(mistake) = error.downcast_ref::<Mistake>() {
        let exit = if matches!(mistake, Mistake::Usage(_)) { Exit::Config } else { Exit::Failed };
        return Some(Known { code: mistake.code().code.to_owned(), message: mistake.to_string(), fix: None, exit });
    }
    if let Some(store) = error.downcast_ref::<StoreError>() {
        let (fix, exit) = match store {
            StoreError::Locked(_) => {
                (Some("stop the other windrow, or give this one its own folder with --state"), Exit::TryAgain)
            }
            StoreError::Unavailable(_) => {
                (Some("see whether the store runs and can be reached from here"), Exit::TryAgain)
            }
            StoreError::NoSpace(_) => (Some("free space; nothing was written"), Exit::Failed),
            _ => (None, Exit::Failed),
        };
        let code = store.code().code.to_owned();
        return Some(Known { code, message: store.to_string(), fix: fix.map(str::to_owned), exit });
    }
    let worker = error.downcast_ref::<WorkerError>()?;
    let exit = if worker.code() == error::USAGE { Exit::Config } else { Exit::Failed };
    let fix = worker.fix_text().map(str::to_owned);
    Some(Known { code: worker.code().code.to_owned(), message: in_one_line(worker), fix, exit })
}

fn exit_of(client: &ClientError) -> Exit {
    match client {
        ClientError::Unreachable { .. } => Exit::TryAgain,
        ClientError::BadAddress { .. } => Exit::Config,
        ClientError::Remote(remote) => match remote.grpc {
            Code::InvalidArgument | Code::OutOfRange => Exit::Config,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::ResourceExhausted => Exit::TryAgain,
            _ => Exit::Failed,
        },
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use windrow_proto::status::{remote_error, status};

    use super::*;

    #[test]
    fn every_error_ends_with_the_code_that_says_what_to_do_about_it() {
        let remote = |grpc, code| ClientError::Remote(Box::new(remote_error(&status(grpc, code, "no"))));
        let unreachable = ClientError::Unreachable { tried: "here".into(), last: String::new() };
        let table: Vec<(anyhow::Error, Exit, &str)> = vec![
            (unreachable.into(), Exit::TryAgain, "WR-C002"),
            (remote(Code::InvalidArgument, error::BAD_RANGE).into(), Exit::Config, "WR-W004"),
            (remote(Code::NotFound, error::NOT_FOUND).into(), Exit::Failed, "WR-C003"),
            (remote(Code::FailedPrecondition, error::CONFLICT).into(), Exit::Failed, "WR-C004"),
            (remote(Code::Unavailable, error::NOT_LEADER).into(), Exit::TryAgain, "WR-L005"),
            (Mistake::usage("say which"), Exit::Config, "WR-C001"),
            (Mistake::no_pipeline("x"), Exit::Failed, "WR-C003"),
            (StoreError::Locked("ledger".into()).into(), Exit::TryAgain, "WR-L004"),
            (StoreError::Unavailable("etcd".into()).into(), Exit::TryAgain, "WR-L001"),
            (StoreError::Broken("ledger".into()).into(), Exit::Failed, "WR-L003"),
            (WorkerError::never(error::USAGE, "no role").into(), Exit::Config, "WR-C001"),
            (WorkerError::never(error::FLIGHT_BROKEN, "no address").into(), Exit::Failed, "WR-N003"),
        ];
        for (error, expected, code) in table {
            assert_eq!(exit(&error), expected, "{error}");
            assert!(explain(&error).starts_with(&format!("error[{code}]: ")), "{}", explain(&error));
        }
        assert_eq!(exit(&anyhow::anyhow!("the disk is on fire")), Exit::Failed);
        let told: anyhow::Result<()> = Err(StoreError::Locked("ledger".into())).context("cannot start");
        assert!(told.is_err_and(|error| exit(&error) == Exit::TryAgain), "also behind what was being done");
    }
}

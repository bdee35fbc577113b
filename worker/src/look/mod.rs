//! Looking at what windows wait for outside of their source: how far each condition holds, for all windows at once. It reads, and
//! changes nothing anywhere.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use windrow_common::{
    error,
    look::At,
    pipeline::Connection,
    readiness::{Condition, Require},
};
use windrow_proto::v1;

use crate::{
    error::{Result, WorkerError, in_one_line},
    open::read_pipeline,
};

mod sql;
mod table;
#[cfg(test)]
mod tests;

/// How long a look at one condition may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// Most characters of what keeps windows.
const MOST_WORDS: usize = 500;

/// How far a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// For windows that end by then, in microseconds since 1970.
    to: i64,
    /// What keeps the others.
    words: String,
}

impl Seen {
    fn always() -> Self {
        Self { to: i64::MAX, words: String::new() }
    }

    fn never(words: String) -> Self {
        Self { to: i64::MIN, words }
    }
}

/// Looks at all conditions of a pipeline that are to be looked at.
pub(crate) async fn look(asked: v1::Look) -> v1::Looked {
    let seen = match read_pipeline(&asked.pipeline) {
        Ok(pipeline) => all(&pipeline.readiness.require).await,
        // The coordinator takes no such answer for one.
        Err(_) => Vec::new(),
    };
    v1::Looked { request: asked.request, seen }
}

async fn all(require: &Require) -> Vec<v1::Seen> {
    join_all(require.conditions().map(|condition| async move {
        let seen = match timeout(PATIENCE, one(condition)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                Seen::never(format!("whether its input is complete cannot be seen: {}", in_one_line(&error)))
            }
            Err(_) => Seen::never(format!("a look at it took longer than {} s", PATIENCE.as_secs())),
        };
        v1::Seen { to_us: seen.to, words: seen.words.chars().take(MOST_WORDS).collect() }
    }))
    .await
}

async fn one(condition: &Condition) -> Result<Seen> {
    match condition {
        Condition::Delta(wanted) => table::look(connection(&wanted.from)?, wanted).await,
        Condition::Sql(question) => sql::look(connection(&question.from)?, &question.query).await,
        Condition::Marker(_) | Condition::NextPartition(_) | Condition::Pipeline(_) | Condition::Count(_) => {
            Ok(Seen::always())
        }
    }
}

fn connection(at: &At) -> Result<&Connection> {
    let unknown =
        || WorkerError::never(error::UNKNOWN_CONNECTION, format!("connection {:?} is not known here", at.name()));
    at.connection().ok_or_else(unknown)
}

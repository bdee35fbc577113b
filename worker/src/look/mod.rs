//! Looking at what windows wait for: how far each condition holds, or for which of them, for all windows at once. It reads, and changes
//! nothing anywhere.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use windrow_common::{
    error,
    look::At,
    pipeline::{Connection, Pipeline},
    readiness::{Condition, Require},
    window::Window,
};
use windrow_proto::v1;

use crate::{
    error::{Result, WorkerError, in_one_line},
    open::{Connectors, read_pipeline},
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
    /// And for those at these places.
    windows: Vec<u32>,
    /// What keeps the others.
    words: String,
}

impl Seen {
    fn always() -> Self {
        Self::up_to(i64::MAX, String::new())
    }

    fn never(words: String) -> Self {
        Self::up_to(i64::MIN, words)
    }

    fn up_to(to: i64, words: String) -> Self {
        Self { to, windows: Vec::new(), words }
    }
}

/// What is to be looked at, and for which windows.
struct Subject<'a> {
    pipeline: &'a Pipeline,
    connectors: &'a Connectors,
    windows: &'a [Window],
}

/// Looks at all conditions of a pipeline that are to be looked at.
pub(crate) async fn look(asked: v1::Look, connectors: &Connectors) -> v1::Looked {
    let windows: Result<Vec<Window>, _> = asked.windows.into_iter().map(Window::try_from).collect();
    let seen = match (read_pipeline(&asked.pipeline), windows) {
        (Ok(pipeline), Ok(windows)) => {
            Subject { pipeline: &pipeline, connectors, windows: &windows }.all(&pipeline.readiness.require).await
        }
        // The coordinator takes no such answer for one.
        _ => Vec::new(),
    };
    v1::Looked { request: asked.request, seen }
}

impl Subject<'_> {
    async fn all(&self, require: &Require) -> Vec<v1::Seen> {
        join_all(require.conditions().map(|condition| async move {
            let seen = match timeout(PATIENCE, self.one(condition)).await {
                Ok(Ok(seen)) => seen,
                Ok(Err(error)) => {
                    Seen::never(format!("whether its input is complete cannot be seen: {}", in_one_line(&error)))
                }
                Err(_) => Seen::never(format!("a look at it took longer than {} s", PATIENCE.as_secs())),
            };
            let words = seen.words.chars().take(MOST_WORDS).collect();
            v1::Seen { to_us: seen.to, words, windows: seen.windows }
        }))
        .await
    }

    async fn one(&self, condition: &Condition) -> Result<Seen> {
        match condition {
            Condition::Delta(wanted) => table::look(connection(&wanted.from)?, wanted).await,
            Condition::Sql(question) => sql::look(connection(&question.from)?, &question.query).await,
            Condition::Marker(_) | Condition::NextPartition(_) => {
                let told = self.connectors.source(self.pipeline)?.told(condition, self.windows).await?;
                let places = (0..).zip(told.holds).filter_map(|(place, holds)| holds.then_some(place));
                Ok(Seen { windows: places.collect(), ..Seen::never(told.missing) })
            }
            Condition::Pipeline(_) | Condition::Count(_) => Ok(Seen::always()),
        }
    }
}

fn connection(at: &At) -> Result<&Connection> {
    let unknown =
        || WorkerError::never(error::UNKNOWN_CONNECTION, format!("connection {:?} is not known here", at.name()));
    at.connection().ok_or_else(unknown)
}

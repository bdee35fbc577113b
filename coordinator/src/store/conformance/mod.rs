//! What every [`MetaStore`] does, as named cases that run against any of them.
//!
//! Each case works under a prefix of its own, so all can share a store; they run one after another, because many
//! compare revisions, which all keys share. Nobody else may write to the store meanwhile. Depends on the contract
//! only, never on an implementation.
#![allow(clippy::unwrap_used, reason = "a test suite, compiled normally because several crates run it")]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use self::space::Space;
use super::MetaStore;

mod compaction;
mod compares;
mod concurrency;
mod leases;
mod limits;
mod ranges;
mod space;
mod watches;
mod writes;

/// Far longer than any case takes; a case that hangs is reported like one that fails.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);

/// One promise of the contract, named by a sentence.
pub struct Case {
    pub name: &'static str,
    body: fn(Space) -> BoxFuture<'static, ()>,
}

/// All cases. Those that compact come last: they take old revisions away from the others.
pub const CASES: &[&[Case]] = &[
    compares::CASES,
    writes::CASES,
    limits::CASES,
    ranges::CASES,
    watches::CASES,
    leases::CASES,
    concurrency::CASES,
    compaction::CASES,
];

/// Runs every case, one after another, and reports each by name.
pub async fn run(store: Arc<dyn MetaStore>) -> Vec<(&'static str, Result<(), String>)> {
    let mut results = Vec::new();
    for case in CASES.iter().copied().flatten() {
        results.push((case.name, case.run(store.clone()).await));
    }
    results
}

impl Case {
    /// Runs the case; an assertion that fails becomes the error.
    pub async fn run(&self, store: Arc<dyn MetaStore>) -> Result<(), String> {
        let body = (self.body)(Space::new(store));
        let mut task = tokio::spawn(body);
        match tokio::time::timeout(CASE_TIMEOUT, &mut task).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failed)) => Err(failed.try_into_panic().map_or_else(|error| error.to_string(), panic_message)),
            Err(_) => {
                task.abort();
                Err(format!("did not end within {CASE_TIMEOUT:?}"))
            }
        }
    }
}

fn panic_message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map_or("panicked", |message| message).to_owned(),
    }
}

/// Makes the table of a module's cases out of their functions.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(super) const CASES: &[super::Case] =
            &[$(super::Case { name: stringify!($name), body: |space| Box::pin($name(space)) }),*];
    };
}
use cases;

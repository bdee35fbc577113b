//! How long a leader bears a store that does not answer, before it gives up leading.

use super::LedgerError;
use crate::store::{Revision, StoreError};

/// How many calls on the way of one write, or of one read, may go unanswered.
const MOST: usize = 3;

/// How many were borne.
#[derive(Default)]
pub(super) struct Patience(usize);

impl Patience {
    /// What the store says; `None` if it does not and is to be asked again.
    pub(super) fn hear<T>(&mut self, answer: Result<T, StoreError>) -> Result<Option<T>, LedgerError> {
        self.0 += usize::from(answer.is_err());
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(StoreError::Unavailable(_)) if self.0 < MOST => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }
}

/// A state from before what is known to be there is no answer.
pub(super) fn not_older(shown: Revision, since: Revision) -> Result<(), StoreError> {
    if shown >= since {
        return Ok(());
    }
    tracing::warn!(revision = %shown, %since, "the store shows an older state than it has");
    Err(StoreError::Unavailable(format!("the store shows revision {shown}, {since} was there")))
}

//! Where the session that resolved a window lies until its rows are read, so that a task needs no second one: what a
//! database is asked for at once is what its connection's limit counts. It ends with the slice it lies with.

use std::sync::{Mutex, PoisonError};

use crate::{postgres::Session, source::Slice};

pub(super) struct Desk(Mutex<Option<Session>>);

impl Desk {
    pub(super) fn new(session: Session) -> Self {
        Self(Mutex::new(Some(session)))
    }

    /// That of a slice.
    pub(super) fn of(slice: &Slice) -> Option<&Self> {
        slice.open.as_deref()?.downcast_ref()
    }

    /// The session, for the first who comes.
    pub(super) fn take(&self) -> Option<Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

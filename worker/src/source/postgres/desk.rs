//! Where the session that resolved a window lies until its rows are read, so that a task needs no second one: what a
//! database is asked for at once is what its connection's limit counts. After the rows of a table that was cut are read it lies
//! there again, its transaction open, for others read from its snapshot. It ends with the slice it lies with.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{postgres::Session, source::Slice};

/// How often a session that waits in a transaction says something: the server ends one that is silent for a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Desk {
    lying: Mutex<Option<Lying>>,
    /// A session that waits for others to have read; ends with the desk.
    waiting: Mutex<JoinSet<()>>,
}

/// A session that may be taken.
pub(super) struct Lying {
    pub(super) session: Session,
    /// Whether its transaction, and with it the moment it sees, has begun.
    pub(super) began: bool,
}

impl Desk {
    /// That of a slice.
    pub(super) fn of(slice: &Slice) -> Option<Arc<Self>> {
        slice.open.clone()?.downcast().ok()
    }

    pub(super) fn with(session: Session) -> Self {
        let desk = Self::default();
        desk.lay(Lying { session, began: false });
        desk
    }

    pub(super) fn lay(&self, lying: Lying) {
        *self.lying.lock().unwrap_or_else(PoisonError::into_inner) = Some(lying);
    }

    /// The session, for the first who comes.
    pub(super) fn take(&self) -> Option<Lying> {
        self.lying.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps a session and its transaction open. When it breaks, those who come to read from its snapshot are told by the server.
    pub(super) fn keep(&self, session: Session) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            loop {
                tokio::time::sleep(SIGN_OF_LIFE).await;
                if let Err(error) = session.client().batch_execute("SELECT 1").await {
                    tracing::debug!(%error, place = session.place(), "a snapshot is lost");
                    return;
                }
            }
        });
    }
}

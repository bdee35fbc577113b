//! What a batch of commands changes on disk: the one thing the state hands to the disk.

use std::sync::Arc;

use super::super::{LeaseId, Revision};
use super::record::Record;

/// Rows to write and to remove, and the counters after it.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) written: Vec<Arc<Record>>,
    pub(super) dropped: Vec<Arc<Record>>,
    /// In the order they happened: a lease may be granted and revoked in one batch.
    pub(super) leases: Vec<LeaseChange>,
    pub(super) compacted: Option<Revision>,
}

#[derive(Debug)]
pub(super) enum LeaseChange {
    Granted { id: LeaseId, ttl_seconds: i64 },
    Ended { id: LeaseId },
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.dropped.is_empty() && self.leases.is_empty() && self.compacted.is_none()
    }
}

//! What a caller may ask the writer to do.

use tokio::time::Instant;

use super::super::{Compare, LeaseId, Op, Revision};

/// One change of the store. Each is applied whole or not at all.
#[derive(Debug)]
pub(super) enum Command {
    /// Has passed [`super::limits::check_txn`].
    Txn {
        compares: Vec<Compare>,
        ops: Vec<Op>,
    },
    /// The caller picks the id and the deadline, so that applying a command needs neither a clock nor chance.
    Grant {
        id: LeaseId,
        ttl_seconds: i64,
        deadline: Instant,
    },
    Revoke {
        id: LeaseId,
    },
    Compact {
        revision: Revision,
    },
}

impl Command {
    /// Roughly what the command carries, to bound a batch.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Txn { compares, ops } => super::limits::txn_bytes(compares, ops),
            Self::Grant { .. } | Self::Revoke { .. } | Self::Compact { .. } => 0,
        }
    }
}

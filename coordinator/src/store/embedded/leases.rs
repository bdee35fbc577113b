//! Leases: who has one, until when, and which keys end with it.
//!
//! Pure bookkeeping; the caller brings the time. It may not depend on the key space.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::LeaseId;

/// All leases that have not ended. A lease past its deadline is dead even while it is still listed: it cannot be kept
/// alive any more, only removed.
#[derive(Debug)]
pub(super) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
    next_id: i64,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
    keys: BTreeSet<Vec<u8>>,
}

impl Leases {
    /// No leases; ids below `next_id` were given out before.
    pub(super) fn starting_at(next_id: i64) -> Self {
        Self { leases: BTreeMap::new(), next_id }
    }

    /// The lowest id never given out.
    pub(super) fn next_id(&self) -> i64 {
        self.next_id
    }

    pub(super) fn insert(&mut self, id: LeaseId, ttl_seconds: i64, deadline: Instant) {
        let ttl = Duration::from_secs(ttl_seconds.unsigned_abs());
        self.leases.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
        self.next_id = self.next_id.max(id.0 + 1);
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Ends a lease and returns its keys, in order.
    pub(super) fn remove(&mut self, id: LeaseId) -> Option<BTreeSet<Vec<u8>>> {
        self.leases.remove(&id).map(|lease| lease.keys)
    }

    /// Re-arms a lease and returns its time to live in seconds, or nothing if it has ended.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|lease| now < lease.deadline)?;
        lease.deadline = deadline(now, lease.ttl);
        i64::try_from(lease.ttl.as_secs()).ok()
    }

    pub(super) fn attach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.insert(key.to_vec());
        }
    }

    pub(super) fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.deadline).min()
    }

    /// The leases past their deadline, longest dead first.
    pub(super) fn expired(&self, now: Instant) -> Vec<LeaseId> {
        let mut expired: Vec<_> =
            self.leases.iter().filter(|(_, lease)| lease.deadline <= now).map(|(id, l)| (l.deadline, *id)).collect();
        expired.sort();
        expired.into_iter().map(|(_, id)| id).collect()
    }
}

/// `now + ttl`. The longest allowed time to live is 285 years; a clock that cannot express that stops earlier.
pub(super) fn deadline(now: Instant, ttl: Duration) -> Instant {
    const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now.checked_add(ttl).unwrap_or_else(|| now + A_YEAR)
}

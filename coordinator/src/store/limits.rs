//! What every store refuses before it does anything, so that both stores refuse the same with the same error.
//!
//! Pure functions over the arguments of a call. They may not depend on a store.

use std::collections::HashSet;

use super::{Compare, LeaseId, MAX_PAGE, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Range, Revision, StoreError};

/// Longest time to live a lease may have (etcd's limit).
pub(super) const MAX_LEASE_TTL_SECONDS: i64 = 9_000_000_000;
/// Counted for every compare and operation, on top of its key and value: never less than what etcd's encoding adds,
/// so that a transaction that passes here is never too large there.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Counted once per transaction, for etcd's envelope around it.
const ENVELOPE_BYTES: usize = 256;

/// Checks a transaction in the order etcd does: counts, empty keys, duplicates, size.
pub(super) fn check_txn(compares: &[Compare], ops: &[Op]) -> Result<(), StoreError> {
    at_most("number of compares", compares.len(), MAX_TXN_OPS)?;
    at_most("number of operations", ops.len(), MAX_TXN_OPS)?;
    let keys = compares.iter().map(compare_key).chain(ops.iter().map(op_key));
    if keys.clone().any(<[u8]>::is_empty) {
        return Err(StoreError::EmptyKey);
    }
    let mut named = HashSet::with_capacity(ops.len());
    for op in ops {
        if !named.insert(op_key(op)) {
            return Err(StoreError::DuplicateKey(op_key(op).escape_ascii().to_string()));
        }
    }
    at_most("size of the transaction", txn_bytes(compares, ops), MAX_TXN_BYTES)?;
    check_named_leases(ops)
}

/// The transaction's size as the limit counts it.
pub(super) fn txn_bytes(compares: &[Compare], ops: &[Op]) -> usize {
    let compared = compares.iter().map(|compare| match compare {
        Compare::CreateRevision { key, .. } | Compare::ModRevision { key, .. } => key.len(),
        Compare::Value { key, equals } => key.len() + equals.len(),
    });
    let written = ops.iter().map(|op| match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    });
    compared.chain(written).map(|bytes| bytes + ENTRY_OVERHEAD_BYTES).sum::<usize>() + ENVELOPE_BYTES
}

/// Most entries the page of `range` may hold.
pub(super) fn page_limit(range: &Range) -> usize {
    if range.limit == 0 { MAX_PAGE } else { range.limit.min(MAX_PAGE) }
}

/// No state has a revision below 1, so it can only be asked for by mistake; etcd would answer with the newest state.
pub(super) fn check_state_revision(revision: Revision) -> Result<(), StoreError> {
    if revision < Revision(1) {
        return Err(StoreError::Compacted { requested: revision, oldest: Revision(1) });
    }
    Ok(())
}

/// Checks a lease's time to live; less than a second counts as one.
pub(super) fn check_ttl(ttl_seconds: i64) -> Result<i64, StoreError> {
    let ttl_seconds = ttl_seconds.max(1);
    if ttl_seconds > MAX_LEASE_TTL_SECONDS {
        return Err(StoreError::TooLarge {
            what: "lease time to live in seconds",
            size: usize::try_from(ttl_seconds).unwrap_or(usize::MAX),
            limit: usize::try_from(MAX_LEASE_TTL_SECONDS).unwrap_or(usize::MAX),
        });
    }
    Ok(ttl_seconds)
}

/// Lease 0 is how the wire says "no lease"; asking for it by name is a mistake.
pub(super) fn check_lease(lease: LeaseId) -> Result<(), StoreError> {
    if lease.0 == 0 { Err(StoreError::LeaseNotFound(lease)) } else { Ok(()) }
}

fn check_named_leases(ops: &[Op]) -> Result<(), StoreError> {
    ops.iter()
        .filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            Op::Delete { .. } => None,
        })
        .try_for_each(check_lease)
}

fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

fn compare_key(compare: &Compare) -> &[u8] {
    match compare {
        Compare::CreateRevision { key, .. } | Compare::ModRevision { key, .. } | Compare::Value { key, .. } => key,
    }
}

fn op_key(op: &Op) -> &[u8] {
    match op {
        Op::Put { key, .. } | Op::Delete { key } => key,
    }
}

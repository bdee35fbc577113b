//! etcd's messages as the store's values, and back.

use etcd_client::proto::{PbCompare, PbKeyValue, PbResponseHeader, PbTargetUnion, PbTxnOpRequest, PbTxnRequestOp};
use windrow_coordinator::store::{Compare, Event, KeyValue, LeaseId, Op, Range, Revision};

pub(crate) fn header(revision: Revision) -> Option<PbResponseHeader> {
    Some(PbResponseHeader { cluster_id: 1, member_id: 1, revision: revision.0, raft_term: 1 })
}

/// The range whose keys lie in `[start, end)`, as the client cuts it.
pub(crate) fn range(start: &[u8], end: &[u8], limit: i64, at: i64) -> Range {
    let prefix = prefix_before(end);
    let behind = start.strip_suffix(&[0]).filter(|after| *after >= prefix.as_slice() && *start != prefix);
    Range {
        after: behind.filter(|after| !after.is_empty()).map(<[u8]>::to_vec),
        prefix,
        at: (at > 0).then_some(Revision(at)),
        limit: usize::try_from(limit).unwrap_or_default(),
    }
}

/// The prefix whose keys end before `end`.
pub(crate) fn prefix_before(end: &[u8]) -> Vec<u8> {
    match end {
        [] | [0] => Vec::new(),
        [start @ .., last] => [start, &[last - 1]].concat(),
    }
}

pub(crate) fn compare(compare: PbCompare) -> Compare {
    let key = compare.key;
    match compare.target_union {
        Some(PbTargetUnion::CreateRevision(revision)) => Compare::CreateRevision { key, equals: Revision(revision) },
        Some(PbTargetUnion::ModRevision(revision)) => Compare::ModRevision { key, equals: Revision(revision) },
        Some(PbTargetUnion::Value(equals)) => Compare::Value { key, equals },
        other => unreachable!("the store compares revisions and values only, not {other:?}"),
    }
}

/// Reads within a transaction change nothing, and nobody looks at what they find.
pub(crate) fn op(request: PbTxnRequestOp) -> Option<Op> {
    match request.request? {
        PbTxnOpRequest::RequestPut(put) => {
            let lease = (put.lease != 0).then_some(LeaseId(put.lease));
            Some(Op::Put { key: put.key, value: put.value, lease })
        }
        PbTxnOpRequest::RequestDeleteRange(delete) => Some(Op::Delete { key: delete.key }),
        PbTxnOpRequest::RequestRange(_) | PbTxnOpRequest::RequestTxn(_) => None,
    }
}

pub(crate) fn entry(entry: KeyValue) -> PbKeyValue {
    PbKeyValue {
        key: entry.key,
        create_revision: entry.create_revision.0,
        mod_revision: entry.mod_revision.0,
        version: entry.version,
        value: entry.value,
        lease: entry.lease.map_or(0, |lease| lease.0),
    }
}

pub(crate) fn event(event: Event) -> etcd_client::proto::PbEvent {
    let (r#type, kv) = match event {
        Event::Put(put) => (0, entry(put)),
        Event::Delete { key, revision } => (1, PbKeyValue { key, mod_revision: revision.0, ..Default::default() }),
    };
    etcd_client::proto::PbEvent { r#type, kv: Some(kv), prev_kv: None }
}

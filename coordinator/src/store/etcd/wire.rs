//! The store's values as etcd's, and back. Pure.

use etcd_client::proto::PbKeyValue;
use etcd_client::{Compare as EtcdCompare, CompareOp, GetOptions, PutOptions, ResponseHeader, Txn, TxnOp};

use super::super::{Compare, KeyValue, LeaseId, Op, Range, Revision, StoreError};

/// The smallest key there is, and how etcd writes "up to the end of all keys".
const ZERO: [u8; 1] = [0];

pub(super) fn txn(compares: Vec<Compare>, ops: Vec<Op>) -> Txn {
    let mut ops: Vec<_> = ops.into_iter().map(op).collect();
    if ops.is_empty() {
        // etcd evaluates a transaction without a linearizable read or a write on whatever a member has, stale or not.
        // The key read is one that may be read anyway, if there is one: access control looks at it too.
        let key = compares.first().map_or(ZERO.to_vec(), key_of);
        ops.push(TxnOp::get(key, Some(GetOptions::new().with_count_only())));
    }
    Txn::new().when(compares.into_iter().map(compare).collect::<Vec<_>>()).and_then(ops)
}

pub(super) fn lease_of(op: &Op) -> Option<LeaseId> {
    match op {
        Op::Put { lease, .. } => *lease,
        Op::Delete { .. } => None,
    }
}

/// The half-open interval of keys `range` asks for.
pub(super) fn interval(range: &Range) -> (Vec<u8>, Vec<u8>) {
    let start = match &range.after {
        // The first key after `after` is `after` with a zero byte.
        Some(after) if *after >= range.prefix => [after.as_slice(), &ZERO].concat(),
        _ if range.prefix.is_empty() => ZERO.to_vec(),
        _ => range.prefix.clone(),
    };
    (start, prefix_end(&range.prefix))
}

pub(super) fn entry(entry: &etcd_client::KeyValue) -> KeyValue {
    KeyValue {
        key: entry.key().to_vec(),
        value: entry.value().to_vec(),
        create_revision: Revision(entry.create_revision()),
        mod_revision: Revision(entry.mod_revision()),
        version: entry.version(),
        lease: lease(entry.lease()),
    }
}

/// The same for an entry that is ours to take apart.
pub(super) fn owned_entry(entry: PbKeyValue) -> KeyValue {
    KeyValue {
        key: entry.key,
        value: entry.value,
        create_revision: Revision(entry.create_revision),
        mod_revision: Revision(entry.mod_revision),
        version: entry.version,
        lease: lease(entry.lease),
    }
}

pub(super) fn revision(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let header = header.ok_or_else(|| StoreError::Broken("etcd answered without a header".into()))?;
    Ok(Revision(header.revision()))
}

fn compare(compare: Compare) -> EtcdCompare {
    match compare {
        Compare::CreateRevision { key, equals } => EtcdCompare::create_revision(key, CompareOp::Equal, equals.0),
        Compare::ModRevision { key, equals } => EtcdCompare::mod_revision(key, CompareOp::Equal, equals.0),
        Compare::Value { key, equals } => EtcdCompare::value(key, CompareOp::Equal, equals),
    }
}

fn key_of(compare: &Compare) -> Vec<u8> {
    match compare {
        Compare::CreateRevision { key, .. } | Compare::ModRevision { key, .. } | Compare::Value { key, .. } => {
            key.clone()
        }
    }
}

fn op(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key, value, options)
        }
        Op::Delete { key } => TxnOp::delete(key, None),
    }
}

fn lease(id: i64) -> Option<LeaseId> {
    (id != 0).then_some(LeaseId(id))
}

/// The first key behind all keys with `prefix`.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else { return ZERO.to_vec() };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(prefix: &[u8], after: Option<&[u8]>) -> (Vec<u8>, Vec<u8>) {
        interval(&Range { prefix: prefix.to_vec(), after: after.map(<[u8]>::to_vec), ..Range::default() })
    }

    #[test]
    fn a_prefix_ends_at_the_next_prefix_of_its_length() {
        assert_eq!(bounds(b"a/", None), (b"a/".to_vec(), b"a0".to_vec()));
        assert_eq!(bounds(b"a\xff\xff", None), (b"a\xff\xff".to_vec(), b"b".to_vec()));
        assert_eq!(bounds(b"\xff", None), (b"\xff".to_vec(), vec![0]));
        assert_eq!(bounds(b"", None), (vec![0], vec![0]));
    }

    #[test]
    fn a_page_starts_right_behind_the_last_key() {
        assert_eq!(bounds(b"a", Some(b"ab")).0, b"ab\0".to_vec());
        assert_eq!(bounds(b"b", Some(b"a")).0, b"b".to_vec());
    }
}

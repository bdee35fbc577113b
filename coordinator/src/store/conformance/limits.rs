//! What is refused before anything happens.

use super::super::{Compare, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Revision, StoreError};
use super::space::{Space, plus};

super::cases![
    as_many_operations_as_allowed_are_one_transaction,
    one_operation_more_is_refused,
    as_many_compares_as_allowed_are_one_transaction,
    one_compare_more_is_refused,
    compares_and_operations_are_counted_apart,
    the_largest_transaction_of_one_put_is_accepted,
    the_largest_transaction_of_many_puts_is_accepted,
    the_largest_transaction_of_compares_and_puts_is_accepted,
    one_byte_more_is_refused,
    an_empty_key_cannot_be_put,
    an_empty_key_cannot_be_deleted,
    an_empty_key_cannot_be_compared,
    a_key_cannot_be_put_twice,
    a_key_cannot_be_put_and_deleted,
    a_key_cannot_be_deleted_and_put,
    a_key_cannot_be_deleted_twice,
    a_duplicate_is_refused_even_when_the_compares_fail,
    a_duplicate_names_the_key,
    a_refused_transaction_does_not_raise_the_revision,
    too_many_operations_are_told_before_duplicates,
];

/// What the contract counts on top of keys and values.
const PER_ENTRY: usize = 32;
const PER_TXN: usize = 256;

async fn as_many_operations_as_allowed_are_one_transaction(s: Space) {
    let revision = s.write(puts(&s, MAX_TXN_OPS)).await;
    let all = s.all().await;
    assert_eq!(all.len(), MAX_TXN_OPS);
    assert!(all.iter().all(|entry| entry.mod_revision == revision));
}

async fn one_operation_more_is_refused(s: Space) {
    let error = s.txn(vec![], puts(&s, MAX_TXN_OPS + 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size: 129, limit: MAX_TXN_OPS, .. }), "{error}");
    assert!(s.names().await.is_empty());
}

async fn as_many_compares_as_allowed_are_one_transaction(s: Space) {
    assert!(s.txn(absents(&s, MAX_TXN_OPS), vec![s.put("a", "1")]).await.unwrap().succeeded);
}

async fn one_compare_more_is_refused(s: Space) {
    let error = s.txn(absents(&s, MAX_TXN_OPS + 1), vec![s.put("a", "1")]).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size: 129, limit: MAX_TXN_OPS, .. }), "{error}");
    assert!(s.names().await.is_empty());
}

async fn compares_and_operations_are_counted_apart(s: Space) {
    let outcome = s.txn(absents(&s, MAX_TXN_OPS), puts(&s, MAX_TXN_OPS)).await.unwrap();
    assert!(outcome.succeeded);
    assert_eq!(s.names().await.len(), MAX_TXN_OPS);
}

async fn the_largest_transaction_of_one_put_is_accepted(s: Space) {
    let value = "x".repeat(room(&s, 1));
    s.write(vec![s.put("k000", &value)]).await;
    assert!(s.get("k000").await.unwrap().value.len() == value.len());
}

async fn the_largest_transaction_of_many_puts_is_accepted(s: Space) {
    let value = "x".repeat(room(&s, MAX_TXN_OPS) / MAX_TXN_OPS);
    let ops = (0..MAX_TXN_OPS).map(|n| s.put(&format!("k{n:03}"), &value)).collect();
    s.write(ops).await;
    assert_eq!(s.names().await.len(), MAX_TXN_OPS);
}

async fn the_largest_transaction_of_compares_and_puts_is_accepted(s: Space) {
    let value = "x".repeat(room(&s, 2 * MAX_TXN_OPS) / MAX_TXN_OPS);
    let ops = (0..MAX_TXN_OPS).map(|n| s.put(&format!("k{n:03}"), &value)).collect();
    let compares =
        (0..MAX_TXN_OPS).map(|n| s.modified(&format!("k{n:03}"), Revision(i64::MAX))).collect::<Vec<Compare>>();
    assert!(!s.txn(compares, ops).await.unwrap().succeeded);
}

async fn one_byte_more_is_refused(s: Space) {
    let error = s.txn(vec![], vec![s.put("k000", &"x".repeat(room(&s, 1) + 1))]).await.unwrap_err();
    let one_more = MAX_TXN_BYTES + 1;
    assert!(matches!(error, StoreError::TooLarge { size, limit: MAX_TXN_BYTES, .. } if size == one_more), "{error}");
    assert!(s.names().await.is_empty());
}

async fn an_empty_key_cannot_be_put(s: Space) {
    let put = Op::Put { key: vec![], value: b"1".to_vec(), lease: None };
    let error = s.txn(vec![], vec![s.put("a", "1"), put]).await.unwrap_err();
    assert!(matches!(error, StoreError::EmptyKey), "{error}");
    assert!(s.names().await.is_empty());
}

async fn an_empty_key_cannot_be_deleted(s: Space) {
    let error = s.txn(vec![], vec![Op::Delete { key: vec![] }]).await.unwrap_err();
    assert!(matches!(error, StoreError::EmptyKey), "{error}");
}

async fn an_empty_key_cannot_be_compared(s: Space) {
    let compare = Compare::ModRevision { key: vec![], equals: Revision(0) };
    let error = s.txn(vec![compare], vec![s.put("a", "1")]).await.unwrap_err();
    assert!(matches!(error, StoreError::EmptyKey), "{error}");
}

async fn a_key_cannot_be_put_twice(s: Space) {
    assert_duplicate(&s, vec![s.put("a", "2"), s.put("b", "2"), s.put("a", "3")]).await;
}

async fn a_key_cannot_be_put_and_deleted(s: Space) {
    assert_duplicate(&s, vec![s.put("a", "2"), s.delete("a")]).await;
}

async fn a_key_cannot_be_deleted_and_put(s: Space) {
    assert_duplicate(&s, vec![s.delete("a"), s.put("a", "2")]).await;
}

async fn a_key_cannot_be_deleted_twice(s: Space) {
    assert_duplicate(&s, vec![s.delete("a"), s.delete("a")]).await;
}

async fn a_duplicate_is_refused_even_when_the_compares_fail(s: Space) {
    let error = s.txn(vec![s.value("a", "no")], vec![s.put("a", "1"), s.put("a", "2")]).await.unwrap_err();
    assert!(matches!(error, StoreError::DuplicateKey(_)), "{error}");
}

async fn a_duplicate_names_the_key(s: Space) {
    let error = s.txn(vec![], vec![s.put("twice", "1"), s.put("once", "1"), s.put("twice", "2")]).await.unwrap_err();
    assert!(matches!(&error, StoreError::DuplicateKey(key) if key.ends_with("/twice")), "{error}");
}

async fn a_refused_transaction_does_not_raise_the_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    s.txn(vec![], vec![s.put("a", "2"), s.delete("a")]).await.unwrap_err();
    s.txn(vec![], puts(&s, MAX_TXN_OPS + 1)).await.unwrap_err();
    assert_eq!(s.write(vec![s.put("a", "3")]).await, plus(revision, 1));
}

async fn too_many_operations_are_told_before_duplicates(s: Space) {
    let ops = (0..=MAX_TXN_OPS).map(|_| s.put("a", "1")).collect();
    let error = s.txn(vec![], ops).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
}

fn puts(s: &Space, count: usize) -> Vec<Op> {
    (0..count).map(|n| s.put(&format!("k{n:03}"), "1")).collect()
}

fn absents(s: &Space, count: usize) -> Vec<Compare> {
    (0..count).map(|n| s.created(&format!("absent{n}"), Revision(0))).collect()
}

/// Bytes left for values in a transaction that names `entries` keys like `k000`.
fn room(s: &Space, entries: usize) -> usize {
    MAX_TXN_BYTES - PER_TXN - entries * (PER_ENTRY + s.key("k000").len())
}

async fn assert_duplicate(s: &Space, ops: Vec<Op>) {
    s.write(vec![s.put("a", "1")]).await;
    let error = s.txn(vec![], ops).await.unwrap_err();
    assert!(matches!(error, StoreError::DuplicateKey(_)), "{error}");
    let all = s.all().await;
    assert_eq!((s.names_of(&all), all[0].value.as_slice()), (vec!["a".to_owned()], b"1".as_slice()));
}

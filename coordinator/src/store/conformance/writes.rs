//! What operations do to keys, versions and revisions.

use super::super::{Op, Range};
use super::space::{Space, plus};

super::cases![
    a_first_put_has_version_one_and_its_revision_twice,
    an_overwrite_raises_version_and_keeps_create_revision,
    putting_the_same_value_is_a_write,
    the_revision_grows_by_one_per_transaction,
    all_operations_of_a_transaction_share_a_revision,
    the_outcome_tells_the_revision_of_what_was_written,
    a_delete_removes_the_key,
    deleting_an_absent_key_changes_nothing,
    deleting_a_deleted_key_changes_nothing,
    deleting_absent_and_present_keys_raises_the_revision_once,
    a_put_beside_the_deletion_of_an_absent_key_is_a_write,
    deleting_a_key_keeps_its_extensions,
    a_recreated_key_starts_over_at_version_one,
    puts_and_deletes_share_a_transaction,
    an_empty_transaction_succeeds_and_raises_nothing,
    an_empty_value_is_a_value,
    binary_keys_and_values_come_back_unchanged,
    a_value_of_a_mebibyte_comes_back_unchanged,
    a_long_key_comes_back_unchanged,
    versions_count_every_put_of_a_life,
    a_key_put_without_a_lease_has_none,
];

async fn a_first_put_has_version_one_and_its_revision_twice(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let a = s.get("a").await.unwrap();
    assert_eq!((a.version, a.create_revision, a.mod_revision), (1, revision, revision));
}

async fn an_overwrite_raises_version_and_keeps_create_revision(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    let second = s.write(vec![s.put("a", "2")]).await;
    let a = s.get("a").await.unwrap();
    assert_eq!((a.version, a.create_revision, a.mod_revision), (2, first, second));
    assert_eq!(a.value, b"2");
}

async fn putting_the_same_value_is_a_write(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    assert_eq!(s.write(vec![s.put("a", "1")]).await, plus(first, 1));
    assert_eq!(s.get("a").await.unwrap().version, 2);
}

async fn the_revision_grows_by_one_per_transaction(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    for more in 1..20 {
        assert_eq!(s.write(vec![s.put("a", "1"), s.put("b", "1")]).await, plus(first, more));
    }
}

async fn all_operations_of_a_transaction_share_a_revision(s: Space) {
    s.write(vec![s.put("b", "1")]).await;
    let revision = s.write(vec![s.put("c", "1"), s.put("a", "1"), s.put("b", "2")]).await;
    assert!(s.all().await.iter().all(|entry| entry.mod_revision == revision));
}

async fn the_outcome_tells_the_revision_of_what_was_written(s: Space) {
    let outcome = s.txn(vec![], vec![s.put("a", "1")]).await.unwrap();
    assert_eq!(s.get("a").await.unwrap().mod_revision, outcome.revision);
    assert_eq!(s.revision().await, outcome.revision);
}

async fn a_delete_removes_the_key(s: Space) {
    let revision = s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    assert_eq!(s.write(vec![s.delete("a")]).await, plus(revision, 1));
    assert_eq!(s.names().await, ["b"]);
}

async fn deleting_an_absent_key_changes_nothing(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let outcome = s.txn(vec![], vec![s.delete("b"), s.delete("c")]).await.unwrap();
    assert_eq!((outcome.succeeded, outcome.revision), (true, revision));
    assert_eq!(s.revision().await, revision);
}

async fn deleting_a_deleted_key_changes_nothing(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let revision = s.write(vec![s.delete("a")]).await;
    assert_eq!(s.write(vec![s.delete("a")]).await, revision);
}

async fn deleting_absent_and_present_keys_raises_the_revision_once(s: Space) {
    let revision = s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    assert_eq!(s.write(vec![s.delete("x"), s.delete("a"), s.delete("b")]).await, plus(revision, 1));
    assert!(s.names().await.is_empty());
}

async fn a_put_beside_the_deletion_of_an_absent_key_is_a_write(s: Space) {
    let revision = s.revision().await;
    assert_eq!(s.write(vec![s.delete("x"), s.put("a", "1")]).await, plus(revision, 1));
}

async fn deleting_a_key_keeps_its_extensions(s: Space) {
    s.write(vec![s.put("a", "1"), s.put("a/b", "1"), s.put("ab", "1")]).await;
    s.write(vec![s.delete("a")]).await;
    assert_eq!(s.names().await, ["a/b", "ab"]);
}

async fn a_recreated_key_starts_over_at_version_one(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.put("a", "2")]).await;
    s.write(vec![s.delete("a")]).await;
    let revision = s.write(vec![s.put("a", "3")]).await;
    let a = s.get("a").await.unwrap();
    assert_eq!((a.version, a.create_revision, a.mod_revision), (1, revision, revision));
}

async fn puts_and_deletes_share_a_transaction(s: Space) {
    let revision = s.write(vec![s.put("old", "1")]).await;
    assert_eq!(s.write(vec![s.delete("old"), s.put("new", "1")]).await, plus(revision, 1));
    assert_eq!(s.names().await, ["new"]);
    assert_eq!(s.names_at(revision).await, ["old"]);
}

async fn an_empty_transaction_succeeds_and_raises_nothing(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let outcome = s.txn(vec![], vec![]).await.unwrap();
    assert_eq!((outcome.succeeded, outcome.revision), (true, revision));
    assert_eq!(s.revision().await, revision);
}

async fn an_empty_value_is_a_value(s: Space) {
    s.write(vec![s.put("a", "")]).await;
    assert_eq!(s.get("a").await.unwrap().value, b"");
}

async fn binary_keys_and_values_come_back_unchanged(s: Space) {
    let key = [s.prefix(), vec![0, 255, 254, 0]].concat();
    let value: Vec<u8> = (0..=255).collect();
    s.write(vec![Op::Put { key: key.clone(), value: value.clone(), lease: None }]).await;
    let page = s.page(Range::prefix(key.clone())).await;
    assert_eq!((&page.entries[0].key, &page.entries[0].value), (&key, &value));
}

async fn a_value_of_a_mebibyte_comes_back_unchanged(s: Space) {
    let value = "x".repeat(1024 * 1024);
    s.write(vec![s.put("a", &value)]).await;
    assert!(s.get("a").await.unwrap().value == value.as_bytes());
}

async fn a_long_key_comes_back_unchanged(s: Space) {
    let name = "k".repeat(4_000);
    s.write(vec![s.put(&name, "1")]).await;
    assert!(s.names().await == [name]);
}

async fn versions_count_every_put_of_a_life(s: Space) {
    for round in 1..=10 {
        s.write(vec![s.put("a", "1"), s.put(&format!("other{round}"), "1")]).await;
        assert_eq!(s.get("a").await.unwrap().version, round);
    }
}

async fn a_key_put_without_a_lease_has_none(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    assert_eq!(s.get("a").await.unwrap().lease, None);
}

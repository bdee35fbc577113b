//! What a compare holds for, for each kind and each state a key can be in.

use super::super::{Compare, Revision};
use super::space::{Space, plus};

super::cases![
    create_revision_zero_holds_for_an_absent_key,
    create_revision_zero_fails_for_a_present_key,
    create_revision_zero_holds_for_a_deleted_key,
    create_revision_zero_fails_for_a_recreated_key,
    create_revision_of_a_key_is_that_of_its_first_put,
    create_revision_stays_when_the_key_is_overwritten,
    create_revision_of_the_former_life_fails_after_recreation,
    create_revision_is_new_after_recreation,
    create_revision_fails_for_the_revision_of_a_later_put,
    mod_revision_zero_holds_for_an_absent_key,
    mod_revision_zero_fails_for_a_present_key,
    mod_revision_zero_holds_for_a_deleted_key,
    mod_revision_of_a_key_is_that_of_its_last_put,
    mod_revision_before_the_last_put_fails,
    mod_revision_of_the_former_life_fails_after_deletion,
    mod_revision_of_the_deletion_itself_fails,
    mod_revision_is_new_after_recreation,
    mod_revision_is_not_moved_by_other_keys,
    a_revision_that_is_still_to_come_fails,
    a_negative_revision_fails,
    value_holds_for_equal_bytes,
    value_fails_for_other_bytes,
    value_fails_for_a_prefix_of_the_value,
    value_fails_for_an_absent_key_even_when_empty,
    value_holds_for_a_present_empty_value,
    value_fails_for_a_deleted_key,
    value_of_the_former_life_fails_after_recreation,
    value_compares_binary_bytes,
    all_compares_have_to_hold,
    one_failing_compare_is_enough_wherever_it_stands,
    one_key_may_be_compared_several_times,
    one_key_compared_in_contradiction_fails,
    compares_see_the_state_before_the_operations,
    a_failed_transaction_writes_nothing,
    a_failed_transaction_tells_the_current_revision,
    a_failed_transaction_does_not_raise_the_revision,
    compares_alone_do_not_raise_the_revision,
    a_create_that_lost_can_be_told_from_one_that_won,
];

const ABSENT: Revision = Revision(0);

async fn create_revision_zero_holds_for_an_absent_key(s: Space) {
    assert!(s.holds(s.created("a", ABSENT)).await);
}

async fn create_revision_zero_fails_for_a_present_key(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    assert!(!s.holds(s.created("a", ABSENT)).await);
}

async fn create_revision_zero_holds_for_a_deleted_key(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.delete("a")]).await;
    assert!(s.holds(s.created("a", ABSENT)).await);
}

async fn create_revision_zero_fails_for_a_recreated_key(s: Space) {
    recreated(&s).await;
    assert!(!s.holds(s.created("a", ABSENT)).await);
}

async fn create_revision_of_a_key_is_that_of_its_first_put(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    assert!(s.holds(s.created("a", first)).await);
}

async fn create_revision_stays_when_the_key_is_overwritten(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.put("a", "2")]).await;
    assert!(s.holds(s.created("a", first)).await);
}

async fn create_revision_of_the_former_life_fails_after_recreation(s: Space) {
    let (former, _) = recreated(&s).await;
    assert!(!s.holds(s.created("a", former)).await);
}

async fn create_revision_is_new_after_recreation(s: Space) {
    let (_, newest) = recreated(&s).await;
    assert!(s.holds(s.created("a", newest)).await);
}

async fn create_revision_fails_for_the_revision_of_a_later_put(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let later = s.write(vec![s.put("a", "2")]).await;
    assert!(!s.holds(s.created("a", later)).await);
}

async fn mod_revision_zero_holds_for_an_absent_key(s: Space) {
    assert!(s.holds(s.modified("a", ABSENT)).await);
}

async fn mod_revision_zero_fails_for_a_present_key(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    assert!(!s.holds(s.modified("a", ABSENT)).await);
}

async fn mod_revision_zero_holds_for_a_deleted_key(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.delete("a")]).await;
    assert!(s.holds(s.modified("a", ABSENT)).await);
}

async fn mod_revision_of_a_key_is_that_of_its_last_put(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let last = s.write(vec![s.put("a", "2")]).await;
    assert!(s.holds(s.modified("a", last)).await);
}

async fn mod_revision_before_the_last_put_fails(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.put("a", "1")]).await;
    assert!(!s.holds(s.modified("a", first)).await);
}

async fn mod_revision_of_the_former_life_fails_after_deletion(s: Space) {
    let first = s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.delete("a")]).await;
    assert!(!s.holds(s.modified("a", first)).await);
}

async fn mod_revision_of_the_deletion_itself_fails(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    let deletion = s.write(vec![s.delete("a")]).await;
    assert!(!s.holds(s.modified("a", deletion)).await);
}

async fn mod_revision_is_new_after_recreation(s: Space) {
    let (former, newest) = recreated(&s).await;
    assert!(s.holds(s.modified("a", newest)).await);
    assert!(!s.holds(s.modified("a", former)).await);
}

async fn mod_revision_is_not_moved_by_other_keys(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.put("b", "1"), s.put("a/child", "1")]).await;
    assert!(s.holds(s.modified("a", revision)).await);
}

async fn a_revision_that_is_still_to_come_fails(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    assert!(!s.holds(s.modified("a", plus(revision, 1))).await);
    assert!(!s.holds(s.created("a", Revision(i64::MAX))).await);
}

async fn a_negative_revision_fails(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    for name in ["a", "absent"] {
        assert!(!s.holds(s.modified(name, Revision(-1))).await);
        assert!(!s.holds(s.created(name, Revision(i64::MIN))).await);
    }
}

async fn value_holds_for_equal_bytes(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    assert!(s.holds(s.value("a", "1")).await);
}

async fn value_fails_for_other_bytes(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    assert!(!s.holds(s.value("a", "2")).await);
}

async fn value_fails_for_a_prefix_of_the_value(s: Space) {
    s.write(vec![s.put("a", "12")]).await;
    assert!(!s.holds(s.value("a", "1")).await);
    assert!(!s.holds(s.value("a", "")).await);
    assert!(!s.holds(s.value("a", "123")).await);
}

async fn value_fails_for_an_absent_key_even_when_empty(s: Space) {
    assert!(!s.holds(s.value("a", "")).await);
    assert!(!s.holds(s.value("a", "1")).await);
}

async fn value_holds_for_a_present_empty_value(s: Space) {
    s.write(vec![s.put("a", "")]).await;
    assert!(s.holds(s.value("a", "")).await);
}

async fn value_fails_for_a_deleted_key(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    s.write(vec![s.delete("a")]).await;
    assert!(!s.holds(s.value("a", "1")).await);
    assert!(!s.holds(s.value("a", "")).await);
}

async fn value_of_the_former_life_fails_after_recreation(s: Space) {
    recreated(&s).await;
    assert!(!s.holds(s.value("a", "former")).await);
    assert!(s.holds(s.value("a", "newest")).await);
}

async fn value_compares_binary_bytes(s: Space) {
    let value = vec![0, 255, 0, 128];
    let put = super::super::Op::Put { key: s.key("a"), value: value.clone(), lease: None };
    s.write(vec![put]).await;
    assert!(s.holds(Compare::Value { key: s.key("a"), equals: value }).await);
    assert!(!s.holds(Compare::Value { key: s.key("a"), equals: vec![0, 255, 0] }).await);
}

async fn all_compares_have_to_hold(s: Space) {
    let revision = s.write(vec![s.put("a", "1"), s.put("b", "2")]).await;
    let compares = vec![s.modified("a", revision), s.value("b", "2"), s.created("c", ABSENT)];
    assert!(s.txn(compares, vec![s.put("c", "3")]).await.unwrap().succeeded);
    assert_eq!(s.names().await, ["a", "b", "c"]);
}

async fn one_failing_compare_is_enough_wherever_it_stands(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    for position in 0..3 {
        let mut compares = vec![s.modified("a", revision), s.value("a", "1")];
        compares.insert(position, s.value("a", "other"));
        assert!(!s.txn(compares, vec![s.put("b", "1")]).await.unwrap().succeeded);
    }
    assert_eq!(s.names().await, ["a"]);
}

async fn one_key_may_be_compared_several_times(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let compares = vec![s.modified("a", revision), s.created("a", revision), s.value("a", "1"), s.value("a", "1")];
    assert!(s.txn(compares, vec![s.put("a", "2")]).await.unwrap().succeeded);
}

async fn one_key_compared_in_contradiction_fails(s: Space) {
    s.write(vec![s.put("a", "1")]).await;
    assert!(!s.txn(vec![s.value("a", "1"), s.value("a", "2")], vec![]).await.unwrap().succeeded);
}

async fn compares_see_the_state_before_the_operations(s: Space) {
    let outcome = s.txn(vec![s.created("a", ABSENT)], vec![s.put("a", "1")]).await.unwrap();
    assert!(outcome.succeeded);
    let outcome = s.txn(vec![s.value("a", "2")], vec![s.put("a", "2")]).await.unwrap();
    assert!(!outcome.succeeded);
}

async fn a_failed_transaction_writes_nothing(s: Space) {
    let revision = s.write(vec![s.put("a", "1"), s.put("b", "1")]).await;
    let ops = vec![s.put("a", "2"), s.delete("b"), s.put("c", "1")];
    assert!(!s.txn(vec![s.value("a", "other")], ops).await.unwrap().succeeded);
    let all = s.all().await;
    assert_eq!(s.names_of(&all), ["a", "b"]);
    assert!(all.iter().all(|entry| entry.mod_revision == revision && entry.value == b"1"));
}

async fn a_failed_transaction_tells_the_current_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let outcome = s.txn(vec![s.value("a", "other")], vec![s.put("a", "2")]).await.unwrap();
    assert_eq!((outcome.succeeded, outcome.revision), (false, revision));
}

async fn a_failed_transaction_does_not_raise_the_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    s.txn(vec![s.value("a", "other")], vec![s.put("a", "2")]).await.unwrap();
    assert_eq!(s.write(vec![s.put("a", "3")]).await, plus(revision, 1));
}

async fn compares_alone_do_not_raise_the_revision(s: Space) {
    let revision = s.write(vec![s.put("a", "1")]).await;
    let outcome = s.txn(vec![s.value("a", "1")], vec![]).await.unwrap();
    assert_eq!((outcome.succeeded, outcome.revision), (true, revision));
    assert_eq!(s.revision().await, revision);
}

async fn a_create_that_lost_can_be_told_from_one_that_won(s: Space) {
    let create = |value| s.txn(vec![s.created("leader", ABSENT)], vec![s.put("leader", value)]);
    let won = create("one").await.unwrap();
    let lost = create("two").await.unwrap();
    assert!(won.succeeded && !lost.succeeded);
    let leader = s.get("leader").await.unwrap();
    assert_eq!((leader.value, leader.create_revision), (b"one".to_vec(), won.revision));
}

/// Puts, deletes and puts `a` again; the revisions of the two puts.
async fn recreated(s: &Space) -> (Revision, Revision) {
    let former = s.write(vec![s.put("a", "former")]).await;
    s.write(vec![s.delete("a")]).await;
    (former, s.write(vec![s.put("a", "newest")]).await)
}

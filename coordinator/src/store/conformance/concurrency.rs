//! Many callers at once.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::super::{Revision, TxnOutcome};
use super::space::{Space, plus};

super::cases![
    of_many_claims_of_one_key_exactly_one_wins,
    of_many_claims_at_one_revision_exactly_one_wins,
    increments_by_compare_and_put_are_not_lost,
    concurrent_writes_have_revisions_of_their_own_without_gaps,
    concurrent_creations_of_different_keys_all_succeed,
    transactions_are_seen_whole_or_not_at_all,
    the_revision_a_reader_sees_never_goes_back,
    a_lease_is_taken_by_one_leader_at_a_time,
];

async fn of_many_claims_of_one_key_exactly_one_wins(s: Space) {
    let claim = |n: usize| {
        let s = s.clone();
        async move { s.txn(vec![s.created("leader", Revision(0))], vec![s.put("leader", &n.to_string())]).await.unwrap() }
    };
    let outcomes = join_all((0..64).map(|n| tokio::spawn(claim(n)))).await;
    let outcomes: Vec<TxnOutcome> = outcomes.into_iter().map(|outcome| outcome.unwrap()).collect();
    let winners: Vec<_> = (0..64).filter(|n| outcomes[*n].succeeded).collect();
    assert_eq!(winners.len(), 1);
    let leader = s.get("leader").await.unwrap();
    assert_eq!(leader.value, winners[0].to_string().into_bytes());
    assert_eq!((leader.version, leader.mod_revision), (1, outcomes[winners[0]].revision));
    assert!(
        outcomes.iter().all(|outcome| outcome.revision == leader.mod_revision),
        "a loser sees the winner's revision"
    );
}

async fn of_many_claims_at_one_revision_exactly_one_wins(s: Space) {
    let revision = s.write(vec![s.put("task", "pending")]).await;
    let claim = |n: usize| {
        let s = s.clone();
        async move { s.txn(vec![s.modified("task", revision)], vec![s.put("task", &n.to_string())]).await.unwrap() }
    };
    let outcomes = join_all((0..64).map(|n| tokio::spawn(claim(n)))).await;
    assert_eq!(outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().succeeded).count(), 1);
    assert_eq!(s.get("task").await.unwrap().version, 2);
}

async fn increments_by_compare_and_put_are_not_lost(s: Space) {
    s.write(vec![s.put("counter", "0")]).await;
    let increment = |s: Space| async move {
        for _ in 0..5 {
            loop {
                let counter = s.get("counter").await.unwrap();
                let value: u32 = String::from_utf8(counter.value).unwrap().parse().unwrap();
                let put = s.put("counter", &(value + 1).to_string());
                if s.txn(vec![s.modified("counter", counter.mod_revision)], vec![put]).await.unwrap().succeeded {
                    break;
                }
            }
        }
    };
    for task in join_all((0..8).map(|_| tokio::spawn(increment(s.clone())))).await {
        task.unwrap();
    }
    let counter = s.get("counter").await.unwrap();
    assert_eq!((counter.value.as_slice(), counter.version), (&b"40"[..], 41));
}

async fn concurrent_writes_have_revisions_of_their_own_without_gaps(s: Space) {
    let before = s.revision().await;
    let write = |n: usize| {
        let s = s.clone();
        async move { s.write(vec![s.put(&format!("k{}", n % 10), "x")]).await }
    };
    let revisions = join_all((0..100).map(|n| tokio::spawn(write(n)))).await;
    let revisions: BTreeSet<_> = revisions.into_iter().map(|revision| revision.unwrap()).collect();
    assert_eq!(revisions, (1..=100).map(|more| plus(before, more)).collect());
}

async fn concurrent_creations_of_different_keys_all_succeed(s: Space) {
    let create = |n: usize| {
        let (s, name) = (s.clone(), format!("k{n}"));
        async move { s.txn(vec![s.created(&name, Revision(0))], vec![s.put(&name, "x")]).await.unwrap().succeeded }
    };
    let outcomes = join_all((0..64).map(|n| tokio::spawn(create(n)))).await;
    assert!(outcomes.into_iter().all(|created| created.unwrap()));
    assert_eq!(s.names().await.len(), 64);
}

async fn transactions_are_seen_whole_or_not_at_all(s: Space) {
    let write = |s: Space| async move {
        for round in 0..50 {
            s.write(["a", "b", "c"].iter().map(|name| s.put(name, &round.to_string())).collect()).await;
        }
    };
    let writer = tokio::spawn(write(s.clone()));
    while !writer.is_finished() {
        let all = s.all().await;
        assert!(all.is_empty() || all.len() == 3);
        assert!(all.windows(2).all(|pair| pair[0].value == pair[1].value), "{all:?}");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn the_revision_a_reader_sees_never_goes_back(s: Space) {
    let write = |s: Space| async move {
        for _ in 0..50 {
            s.write(vec![s.put("a", "x")]).await;
        }
    };
    let writer = tokio::spawn(write(s.clone()));
    let mut last = Revision(0);
    while !writer.is_finished() {
        let revision = s.revision().await;
        assert!(revision >= last);
        last = revision;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn a_lease_is_taken_by_one_leader_at_a_time(s: Space) {
    let mut last = Revision(0);
    for _ in 0..5 {
        let lease = s.store.lease_grant(60).await.unwrap();
        let elect = || s.txn(vec![s.created("leader", Revision(0))], vec![s.put_under("leader", lease)]);
        let elected = elect().await.unwrap();
        assert!(elected.succeeded && elected.revision > last);
        assert!(!elect().await.unwrap().succeeded);
        last = elected.revision;
        s.store.lease_revoke(lease).await.unwrap();
    }
}

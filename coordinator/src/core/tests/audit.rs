//! The audit passes what the core decides and sees what it would never decide.

use windrow_common::{
    claim::Token,
    id::SinkId,
    manifest::Digest,
    task::{Task, TaskPhase, TaskState},
};

use super::bench::{Bench, EPOCH, hourly, manifest};
use crate::core::{
    audit::audit,
    commit,
    table::{Change, Head, Record},
};

/// A bench with a published window and an open task.
fn bench() -> (Bench, SinkId, Task) {
    let mut bench = Bench::new(1, [hourly("flights", "lake")]);
    bench.plan();
    bench.publish_all("flights");
    bench.pass(3_600);
    bench.plan();
    let sink = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().sink.clone();
    let task = bench.tasks("flights", TaskPhase::Pending)[0].clone();
    (bench, sink, task)
}

fn violated(bench: &Bench, record: Record) -> Option<&'static str> {
    let change = Change { put: vec![record], ..Change::default() };
    audit(&bench.table, EPOCH, &change).err().map(|violation| violation.id)
}

#[test]
fn a_seal_with_an_older_token_is_seen() {
    let (mut bench, _, task) = bench();
    let claim = bench.claim(&task.id);
    let seal = |bench: &Bench, token: Token| {
        let mut sealed = bench.task(&task.id).clone();
        let manifest = manifest(&sealed, token);
        sealed.state = TaskState::Sealed { worker: "w0".parse().unwrap(), token, manifest, since: bench.wall };
        violated(bench, Record::Task(sealed))
    };
    assert_eq!(seal(&bench, claim.token), None);
    assert_eq!(seal(&bench, Token { revision: claim.token.revision - 1, ..claim.token }), Some("INV-5"));
    assert_eq!(seal(&bench, Token { epoch: EPOCH - 1, revision: i64::MAX }), Some("INV-5"));
    bench.seal(&claim).unwrap();
    assert_eq!(seal(&bench, Token { revision: claim.token.revision - 1, ..claim.token }), Some("INV-5"));
}

#[test]
fn a_task_with_more_errors_than_it_may_have_is_seen() {
    let (bench, _, mut task) = bench();
    task.errors = 3;
    assert_eq!(violated(&bench, Record::Task(task.clone())), None);
    task.errors = 4;
    assert_eq!(violated(&bench, Record::Task(task)), Some("INV-16"));
}

#[test]
fn an_intent_that_changes_or_follows_from_nothing_is_seen() {
    let (mut bench, sink, _) = bench();
    bench.seal_all("flights");
    bench.record(&sink);
    let recorded = bench.table.sink(&sink).unwrap().intent.clone().unwrap().value;
    let put = |bench: &Bench, intent| violated(bench, Record::Intent(sink.clone(), intent));
    let mut changed = recorded.clone();
    changed.digest = Digest([9; 32]);
    assert_eq!(put(&bench, changed), Some("INV-8"));
    bench.apply(&commit::finalize(&bench.table, &sink, bench.now()).unwrap());
    let mut next = recorded.clone();
    (next.seq, next.previous) = (recorded.seq + 1, Some(recorded.digest));
    assert_eq!(put(&bench, next.clone()), None);
    assert_eq!(put(&bench, recorded), Some("INV-4"));
    next.previous = None;
    assert_eq!(put(&bench, next), Some("INV-4"));
}

#[test]
fn publishing_what_is_not_the_recorded_intent_is_seen() {
    let (mut bench, sink, _) = bench();
    let head = |bench: &Bench, seq, digest| {
        violated(bench, Record::Head(sink.clone(), Head { seq, digest: Some(Digest([digest; 32])), aborted: false }))
    };
    assert_eq!(head(&bench, 2, 2), Some("INV-7"), "there is no intent");
    bench.seal_all("flights");
    bench.record(&sink);
    assert_eq!(head(&bench, 2, 2), None);
    assert_eq!(head(&bench, 2, 3), Some("INV-7"));
    assert_eq!(head(&bench, 3, 2), Some("INV-7"));
}

#[test]
fn a_version_that_is_unchanged_whatever_readers_see_is_seen() {
    let (bench, ..) = bench();
    let name: windrow_common::id::PipelineName = "flights".parse().unwrap();
    let mut coverage = bench.table.pipeline(&name).unwrap().coverage.value.clone();
    assert_eq!(violated(&bench, Record::Coverage(name.clone(), coverage.clone())), None);
    coverage.unchanged.insert(7, 8);
    assert_eq!(violated(&bench, Record::Coverage(name, coverage)), Some("INV-6"));
}

//! Going back to a version: who may ask for what, and how a rollback goes through the sink's lane.

use windrow_common::{
    id::SinkId,
    manifest::{Digest, WriteMode},
    pipeline::Pipeline,
    task::{Failure, Retry},
};

use super::bench::{Bench, failure, full, hourly, request};
use crate::core::{
    backfill::Choice,
    commit::{self, Shows},
    recovery::{self, PastCommit, Step},
    rollback::{self, BadRollback, Known, Phase, Request, Rollback},
};

/// A full load with these versions published, the last one shown.
fn loaded(versions: u32) -> (Bench, SinkId) {
    let mut bench = Bench::new(0, [full("planes", "planes")]);
    bench.plan();
    bench.publish_all("planes");
    for version in 1..versions {
        bench.backfill(&format!("b{version}"), &request("planes", None, Choice::All));
        bench.advance();
        bench.publish_all("planes");
    }
    let sink = bench.table.pipeline(&"planes".parse().unwrap()).unwrap().sink.clone();
    (bench, sink)
}

fn known(shown: u32, kept: &[u32], gone: &[u32]) -> Vec<Known> {
    let of = |version: &u32, gone: Option<&str>| Known {
        version: *version,
        shown: *version == shown,
        gone: gone.map(str::to_owned),
    };
    kept.iter()
        .map(|version| of(version, None))
        .chain(gone.iter().map(|version| of(version, Some("is swept"))))
        .collect()
}

fn asks(id: &str, to: Option<u32>) -> Request {
    Request { request_id: id.to_owned(), pipeline: "planes".parse().unwrap(), to, trace: None }
}

fn ask(bench: &Bench, to: Option<u32>, versions: &[Known]) -> Result<u32, BadRollback> {
    rollback::ask(&bench.table, &asks("r", to), versions, bench.now()).map(|made| made.to)
}

/// Asks for it, and has it taken in.
fn begin(bench: &mut Bench, id: &str, to: u32, shown: u32) {
    let made =
        rollback::ask(&bench.table, &asks(id, Some(to)), &known(shown, &[0, 1, 2, 3], &[]), bench.now()).unwrap();
    bench.apply(&rollback::record(&bench.table, made).unwrap());
}

fn newest<'a>(bench: &'a Bench, sink: &SinkId) -> &'a Rollback {
    &rollback::of(&bench.table, sink).unwrap().value
}

fn finalize(bench: &mut Bench, sink: &SinkId) {
    bench.apply(&commit::finalize(&bench.table, sink, bench.now()).unwrap());
}

#[test]
fn without_a_version_it_goes_to_the_one_before_the_shown_one_and_never_to_what_is_not_kept() {
    let (bench, _) = loaded(1);
    let all = known(3, &[3, 2, 1], &[0]);
    assert_eq!(ask(&bench, None, &all), Ok(2));
    assert_eq!(ask(&bench, Some(1), &all), Ok(1));
    // After one rollback the version before is older still.
    assert_eq!(ask(&bench, None, &known(2, &[2, 3, 1], &[])), Ok(1));
    assert_eq!(ask(&bench, Some(3), &known(2, &[2, 3, 1], &[])), Ok(3));
    assert!(matches!(ask(&bench, Some(3), &all), Err(BadRollback::IsShown { version: 3, .. })));
    assert!(matches!(ask(&bench, None, &known(0, &[0, 1], &[])), Err(BadRollback::NoneBefore { shown: 0, .. })));
    assert!(matches!(ask(&bench, None, &[]), Err(BadRollback::NothingShown(_))));
    for version in [0, 7] {
        let refused = ask(&bench, Some(version), &all).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("v{version} of pipeline planes")) && refused.ends_with("kept: v2, v1"),
            "{refused}"
        );
    }
}

#[test]
fn only_a_full_load_that_replaces_all_and_has_its_table_to_itself_can_be_rolled_back() {
    let appends = |mut pipeline: Pipeline| {
        pipeline.sink.write = WriteMode::Append;
        pipeline
    };
    let cases = [
        (vec![hourly("planes", "planes")], "loads windows of time"),
        (vec![appends(full("planes", "planes"))], "adds each load"),
        (vec![full("planes", "planes"), full("other", "planes")], "other writes where planes does"),
        (vec![full("other", "planes")], "no pipeline is called planes"),
    ];
    for (pipelines, says) in cases {
        let bench = Bench::new(0, pipelines);
        let refused = ask(&bench, None, &known(1, &[1, 0], &[])).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
}

/// Proves FL7. It is one intent of no tasks, recorded before it is tried and with it settled; what is published stays so.
#[test]
fn a_rollback_is_an_intent_of_its_own_and_loads_go_on_above_it() {
    let (mut bench, sink) = loaded(3);
    bench.backfill("later", &request("planes", None, Choice::All));
    bench.advance();
    bench.seal_all("planes");
    let coverage = bench.table.pipeline(&"planes".parse().unwrap()).unwrap().coverage.value.clone();
    begin(&mut bench, "r1", 1, 2);
    let asked = rollback::of(&bench.table, &sink).unwrap().revision;
    let draft = bench.draft(&sink);
    assert_eq!(draft.shows, Some(Shows { version: 1, instead_of: 2, asked }), "it comes before the sealed load");
    assert_eq!((draft.seq, draft.previous, draft.tasks.len()), (4, Some(Digest([3; 32])), 0));
    bench.record_as(&sink, &draft);
    assert_eq!(newest(&bench, &sink).phase, Phase::Intended { seq: 4 });
    assert!(commit::record(&bench.table, &sink, &draft, ("late".to_owned(), Digest([9; 32])), &[]).is_none());
    finalize(&mut bench, &sink);
    assert_eq!(newest(&bench, &sink).phase, Phase::Done { seq: 4 });
    assert_eq!(bench.table.pipeline(&"planes".parse().unwrap()).unwrap().coverage.value, coverage);
    let draft = bench.draft(&sink);
    assert_eq!((draft.seq, draft.tasks.len(), draft.shows), (5, 1, None));
}

#[test]
fn a_draft_of_a_rollback_that_was_given_up_or_asked_for_anew_is_not_recorded() {
    let (mut bench, sink) = loaded(2);
    begin(&mut bench, "r1", 0, 1);
    let draft = bench.draft(&sink);
    let reason = failure(Retry::Never, bench.wall);
    bench.apply(&rollback::give_up(&bench.table, &sink, reason.clone()).unwrap());
    assert_eq!(newest(&bench, &sink).phase, Phase::Failed { failure: reason });
    assert!(commit::record(&bench.table, &sink, &draft, ("late".to_owned(), Digest([9; 32])), &[]).is_none());
    begin(&mut bench, "r2", 0, 1);
    assert!(commit::record(&bench.table, &sink, &draft, ("late".to_owned(), Digest([9; 32])), &[]).is_none());
    assert!(rollback::give_up(&bench.table, &sink, failure(Retry::Never, bench.wall)).is_some());
}

#[test]
fn a_request_is_carried_out_once_and_one_at_a_time() {
    let (mut bench, sink) = loaded(3);
    begin(&mut bench, "r1", 1, 2);
    let again = rollback::known(&bench.table, &asks("r1", None)).unwrap().cloned();
    assert_eq!(again.as_ref(), Some(newest(&bench, &sink)));
    let other = rollback::known(&bench.table, &asks("r2", None));
    assert!(matches!(other, Err(BadRollback::UnderWay { to: 1, .. })), "{other:?}");
    let raced = Rollback { request_id: "r2".to_owned(), ..newest(&bench, &sink).clone() };
    assert!(matches!(rollback::record(&bench.table, raced), Err(BadRollback::UnderWay { .. })));
    bench.record(&sink);
    finalize(&mut bench, &sink);
    assert!(rollback::known(&bench.table, &asks("r2", None)).unwrap().is_none());
    begin(&mut bench, "r2", 0, 1);
    bench.record(&sink);
    finalize(&mut bench, &sink);
    let late = rollback::known(&bench.table, &asks("r1", None));
    assert!(matches!(late, Err(BadRollback::Earlier(_))), "{late:?}");
    assert_eq!(newest(&bench, &sink).earlier, ["r1"]);
}

/// Somebody else changed the table: it is worked out once more, some times; rows that do not fit end it at once.
#[test]
fn a_refused_rollback_is_worked_out_again_or_has_failed() {
    let refuse = |bench: &mut Bench, sink: &SinkId, retry| -> Failure {
        let reason = failure(retry, bench.wall);
        bench.record(sink);
        bench.apply(&commit::finalize_abort(&bench.table, sink, &reason, bench.now()).unwrap());
        reason
    };
    let (mut bench, sink) = loaded(2);
    begin(&mut bench, "r1", 0, 1);
    for _ in 0..4 {
        refuse(&mut bench, &sink, Retry::Later);
        assert_eq!(newest(&bench, &sink).phase, Phase::Asked);
    }
    let last = refuse(&mut bench, &sink, Retry::Later);
    assert_eq!(newest(&bench, &sink).phase, Phase::Failed { failure: last });
    begin(&mut bench, "r2", 0, 1);
    let only = refuse(&mut bench, &sink, Retry::Never);
    assert_eq!(newest(&bench, &sink).phase, Phase::Failed { failure: only });
    let next = commit::next(&bench.table, &super::bench::fleet(&[1]), &sink, &Default::default(), bench.when(0));
    assert_eq!(next, None, "nothing is left to do");
}

/// The ledger is made good: a commit of the sink it had lost is the rollback's own, or makes it one of other circumstances.
#[test]
fn a_rollback_is_settled_by_what_the_sink_holds_when_the_ledger_is_made_good() {
    for (own, aborted) in [(true, false), (true, true), (false, false)] {
        let (mut bench, sink) = loaded(2);
        begin(&mut bench, "r1", 0, 1);
        bench.record(&sink);
        bench.apply(&recovery::begin(&bench.table, &[], bench.now()).unwrap());
        let digest = if own { Digest([3; 32]) } else { Digest([9; 32]) };
        let commit = PastCommit { seq: 3, digest, previous: Some(Digest([2; 32])), aborted, tasks: Vec::new() };
        let Step::Last(change) = recovery::replay(&bench.table, &sink, &commit, bench.now()).unwrap() else {
            panic!("nothing has to make room")
        };
        bench.apply(&change);
        let phase = &newest(&bench, &sink).phase;
        assert_eq!(*phase == Phase::Done { seq: 3 }, own && !aborted, "{phase:?}");
        assert!(phase.is_settled());
    }
}

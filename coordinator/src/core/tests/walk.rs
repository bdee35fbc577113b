//! Random walks: any interleaving of planning, claims, seals, failures, commits, backfills, crashes, zombies, lost answers
//! and changes of leader, and then a world in which everything works again. A failing walk shrinks to a few acts.

use std::{fmt, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use windrow_common::{
    gather::Gather,
    invariant::Violation,
    manifest::WriteMode,
    pipeline::{Pipeline, Unchanged},
    quantity::{ByteSize, Pause},
};

use super::{
    bench::{edit, full, hour, hourly},
    world::{Act, Faults, Sabotage, World},
};

/// Walks of one test.
const WALKS: u32 = 1_000;
/// Acts of a walk, on average.
const STEPS: usize = 300;

/// One walk: the pipelines' settings, what of the data is bad, and what happens.
#[derive(Clone)]
struct Walk {
    per_task: u32,
    lookback: u32,
    concurrency: u32,
    /// How much of one of them is gathered, if any is.
    gather: Option<u64>,
    faults: Faults,
    acts: Vec<Act>,
}

/// On few lines, for the report of a failing walk.
impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acts: Vec<_> = self.acts.iter().map(|act| (act.kind % Act::KINDS, act.arg)).collect();
        let Self { per_task, lookback, concurrency, gather, faults, .. } = self;
        write!(
            f,
            "per_task {per_task}, lookback {lookback}, concurrency {concurrency}, gather {gather:?}, {faults:?}, acts {acts:?}"
        )
    }
}

fn walks() -> impl Strategy<Value = Walk> {
    let bad = || prop::collection::vec((0i64..16).prop_map(hour), 0..2);
    let faults = (bad(), bad(), bad(), bad()).prop_map(|(poison, killer, unpreparable, refused)| Faults {
        poison,
        killer,
        unpreparable,
        refused,
    });
    let acts = prop::collection::vec(any::<(u8, u16)>().prop_map(|(kind, arg)| Act { kind, arg }), 0..2 * STEPS);
    let gather = prop::sample::select(vec![None, Some(25), Some(1_000)]);
    let settings = (prop::sample::select(vec![1u32, 2, 5]), 0u32..3, 1u32..4, gather);
    (settings, faults, acts).prop_map(|((per_task, lookback, concurrency, gather), faults, acts)| Walk {
        per_task,
        lookback,
        concurrency,
        gather,
        faults,
        acts,
    })
}

impl Walk {
    /// Two pipelines that share a table, one of them counted again, and a full load of another that is left out if unchanged.
    fn pipelines(&self) -> Vec<Pipeline> {
        let end = Some("2024-01-01T16:00:00".parse().unwrap());
        let flights = edit(hourly("flights", "lake"), |window| {
            (window.per_task, window.lookback, window.end) = (self.per_task, self.lookback, end);
        });
        let weather = edit(hourly("weather", "lake"), |window| {
            (window.per_task, window.end) = (self.per_task, end);
            window.audit_after = Some(Pause(Duration::from_secs(2 * 3_600)));
        });
        // Windows of the table two of them share are added, and their files are compacted.
        let (mut flights, mut weather) = (flights, weather);
        (flights.sink.write, weather.sink.write) = (WriteMode::Append, WriteMode::Append);
        flights.compaction = Some(Box::default());
        let wait = Pause(Duration::from_secs(300));
        weather.sink.gather = self.gather.map(|size| Gather { wait, size: ByteSize(size) });
        let limit = |mut pipeline: Pipeline| {
            pipeline.limits.concurrency = self.concurrency;
            pipeline
        };
        let planes = Pipeline { unchanged: Unchanged::Skip, ..full("planes", "planes") };
        vec![limit(flights), limit(weather), limit(planes)]
    }

    fn run(&self, sabotage: Sabotage) -> Result<(), Violation> {
        let mut world = World::new(self.pipelines(), self.faults.clone(), sabotage)?;
        self.acts.iter().try_for_each(|act| world.step(*act))?;
        world.heal()
    }
}

fn run_walks(seed: u8, sabotage: Sabotage) -> Result<(), Box<TestError<Walk>>> {
    // A walk that must fail need not be short.
    let max_shrink_iters = if sabotage == Sabotage::None { 2_000 } else { 0 };
    let config = Config { cases: WALKS, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    runner
        .run(&walks(), |walk| walk.run(sabotage).map_err(|violation| TestCaseError::fail(violation.to_string())))
        .map_err(Box::new)
}

fn all_walks_hold(seed: u8) {
    if let Err(error) = run_walks(seed, Sabotage::None) {
        panic!("seed {seed}: {error}");
    }
}

/// Proves CL1, CL3, CL5, CL6, CL7, CO13.
#[test]
fn every_window_is_published_once_whatever_happens_in_between() {
    all_walks_hold(1);
}

/// Proves CL2, CL4.
#[test]
fn every_window_is_published_once_whatever_happens_in_between_again() {
    all_walks_hold(2);
}

/// Without one of the guards the walks must fail, else they would not tell whether the guard is there.
fn some_walk_fails(sabotage: Sabotage, ids: &[&str]) {
    match run_walks(7, sabotage).map_err(|error| *error) {
        Err(TestError::Fail(reason, _)) => {
            assert!(ids.iter().any(|id| reason.message().starts_with(id)), "{sabotage:?}: {reason}");
        }
        other => panic!("{sabotage:?} was not seen: {other:?}"),
    }
}

#[test]
fn a_seal_without_its_token_is_seen() {
    some_walk_fails(Sabotage::SealUnguarded, &["INV-5"]);
}

#[test]
fn a_sink_that_compares_no_digest_is_seen() {
    some_walk_fails(Sabotage::JudgeBySeq, &["INV-1", "INV-6", "INV-15"]);
}

#[test]
fn a_sink_that_compares_nothing_is_seen() {
    some_walk_fails(Sabotage::CommitBlind, &["INV-3", "INV-4", "INV-7", "INV-15", "INV-20"]);
}

#[test]
fn a_store_that_lets_a_former_leader_write_is_seen() {
    some_walk_fails(Sabotage::LeaderUnguarded, &["INV-13", "INV-14"]);
}

#[test]
fn an_answer_taken_for_another_one_is_seen() {
    some_walk_fails(Sabotage::AnyAnswer, &["INV-"]);
}

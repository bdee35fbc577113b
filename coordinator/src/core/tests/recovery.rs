//! What a ledger of another life may not be trusted with. The random walks lose and restore the store as a whole.

use windrow_common::{id::SinkId, task::TaskPhase};

use super::bench::{Bench, hourly};
use crate::core::recovery;

/// Two windows: one sealed and named by the sink's next intent, one sealed after that.
fn bench() -> Bench {
    let mut bench = Bench::new(1, [hourly("flights", "lake")]);
    bench.plan();
    bench.seal_all("flights");
    let sink: SinkId = bench.table.pipeline(&"flights".parse().unwrap()).unwrap().sink.clone();
    bench.record(&sink);
    bench.pass(3_600);
    bench.plan();
    bench.seal_all("flights");
    bench
}

#[test]
fn seals_are_dropped_but_for_those_of_the_open_intent() {
    let mut bench = bench();
    let before = bench.tasks("flights", TaskPhase::Sealed);
    assert_eq!(before.len(), 2);
    let change = recovery::drop_seals(&bench.table, bench.now()).unwrap();
    bench.apply(&change);
    assert_eq!(bench.tasks("flights", TaskPhase::Sealed), before[..1]);
    let again = &bench.tasks("flights", TaskPhase::Pending)[0];
    assert_eq!((again.id, again.errors), (before[1].id, before[1].errors));
    assert_eq!(recovery::drop_seals(&bench.table, bench.now()), None);
}

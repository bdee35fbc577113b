//! Large files that are rewritten, too, their rows in an order.

use std::time::Duration;

use windrow_common::compaction::{Clustering, GroupRef};

use super::{compacted, given, group, phase, sink_of, take_up, with};
use crate::core::{
    apply,
    assign::obstacles,
    compact::{self, Asked},
    tests::bench::{Bench, worker},
    workers::{Role, Workers},
};

/// A major rewrite is worth it although files become more; it goes to workers that know of an order, and to none when its pipeline
/// says another one meanwhile.
#[test]
fn rows_are_put_in_order_by_those_who_know_how_and_as_the_pipeline_says() {
    let by = |column: &str| Clustering { columns: vec![column.to_owned()], ..Clustering::default() };
    let clustered = |column: &str| with(compacted("flights", "lake"), |rule| rule.cluster_by = Some(by(column)));
    let mut bench = Bench::new(0, [clustered("a")]);
    bench.name_committers();
    let sink = sink_of(&bench, "flights");
    let major = GroupRef { makes: 16, major: Some(by("a")), ..group(1, 1, 1_000) };
    let task = take_up(&mut bench, &sink, &[major], Asked::ByItself)[0];
    let speaking = |protocol| {
        let mut workers = Workers::default();
        let mut info = worker("w1", &[Role::Ingest, Role::Sink], 4);
        info.protocol = protocol;
        workers.connect(info, Duration::ZERO);
        workers.connect(worker("w0", &[Role::Sink], 0), Duration::ZERO);
        workers
    };
    assert_eq!([4, 5].map(|protocol| given(&mut bench.clone(), &mut speaking(protocol)).1), [0, 1]);
    assert!(!obstacles(&bench.table, &speaking(4), bench.task(&task), bench.now()).is_empty());
    let asked = |protocol, major| compact::can_plan(&speaking(protocol), &"w1".parse().unwrap(), major);
    assert_eq!([asked(4, true), asked(4, false), asked(5, true)], [false, true, true]);
    assert_eq!(compact::orphans(&bench.table), None);
    let (change, _) = apply::apply(&bench.table, &[clustered("b")]).unwrap();
    bench.apply(&change);
    bench.apply(&compact::orphans(&bench.table).unwrap());
    assert_eq!(phase(&bench, &task), None);
    // Somebody asks for large files where nothing is said of an order.
    let mut bench = Bench::new(0, [compacted("flights", "lake")]);
    bench.name_committers();
    let sizes = GroupRef { major: Some(Clustering::default()), ..group(2, 1, 1_000) };
    take_up(&mut bench, &sink, &[sizes], Asked::ByHand);
    assert_eq!([4, 5].map(|protocol| given(&mut bench.clone(), &mut speaking(protocol)).1), [0, 1]);
    assert_eq!(compact::orphans(&bench.table), None);
}

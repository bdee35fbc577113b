//! Who is still to be told of what.

use windrow_common::{id::SinkId, pipeline::Pipeline, readiness::Notify};

use super::bench::{Bench, applied, hourly};
use crate::core::telling::{self, Todo};

fn telling_somebody(mut pipeline: Pipeline) -> Pipeline {
    pipeline.readiness.notify =
        Some(Notify { url: "https://example.com".to_owned(), secret: "${env:HOOK}".to_owned(), private: Vec::new() });
    pipeline
}

fn sink(bench: &Bench) -> SinkId {
    bench.table.pipeline(&"flights".parse().unwrap()).unwrap().sink.clone()
}

fn note(bench: &mut Bench) {
    let Some(Todo::Note(change)) = telling::next(&bench.table, &sink(bench)) else { panic!("nothing is to be noted") };
    bench.apply(&change);
}

#[test]
fn receivers_hear_of_every_commit_from_the_moment_on_they_are_named() {
    let mut bench = Bench::new(2, [hourly("flights", "lake")]);
    bench.plan();
    bench.publish_all("flights");
    let sink = sink(&bench);
    assert_eq!(telling::next(&bench.table, &sink), None, "nobody asked");
    let named = telling_somebody(hourly("flights", "lake"));
    let (change, _) = crate::core::apply::apply(&bench.table, &[named]).unwrap();
    bench.apply(&change);
    note(&mut bench);
    assert_eq!(telling::next(&bench.table, &sink), None, "what was before is no news");
    bench.pass(2 * 3_600);
    bench.plan();
    bench.publish_all("flights");
    assert_eq!(telling::next(&bench.table, &sink), Some(Todo::Tell { after: 1, up_to: 2 }));
    bench.pass(3_600);
    bench.plan();
    bench.publish_all("flights");
    assert_eq!(telling::next(&bench.table, &sink), Some(Todo::Tell { after: 1, up_to: 3 }));
    let entry = bench.table.pipeline(&"flights".parse().unwrap()).unwrap();
    assert_eq!(telling::untold(&bench.table, entry), Some(2));
    bench.apply(&telling::told(&bench.table, &sink, 2).unwrap());
    assert_eq!(telling::next(&bench.table, &sink), Some(Todo::Tell { after: 2, up_to: 3 }));
    assert_eq!(telling::told(&bench.table, &sink, 2), None, "an answer that is late changes nothing");
    assert_eq!(telling::told(&bench.table, &sink, 4), None, "nor does one that cannot be");
    bench.apply(&telling::told(&bench.table, &sink, 3).unwrap());
    assert_eq!(telling::next(&bench.table, &sink), None);
}

#[test]
fn what_happens_while_nobody_is_named_is_not_told_later() {
    let mut bench = Bench::new(1, [telling_somebody(hourly("flights", "lake"))]);
    note(&mut bench);
    let sink = sink(&bench);
    let become_ = |bench: &mut Bench, pipeline: Pipeline| {
        let (change, _) = crate::core::apply::apply(&bench.table, &[pipeline]).unwrap();
        bench.apply(&change);
    };
    become_(&mut bench, hourly("flights", "lake"));
    note(&mut bench);
    assert!(bench.table.sink(&sink).unwrap().told.is_none());
    bench.plan();
    bench.publish_all("flights");
    become_(&mut bench, telling_somebody(hourly("flights", "lake")));
    note(&mut bench);
    assert_eq!(telling::next(&bench.table, &sink), None);
}

#[test]
fn pipelines_of_one_sink_are_told_of_together() {
    let mut bench = Bench::new(1, [telling_somebody(hourly("flights", "lake"))]);
    bench.apply(&applied(telling_somebody(hourly("more", "lake"))));
    bench.apply(&applied(hourly("others", "lake")));
    let sink = sink(&bench);
    assert_eq!(telling::receivers(&bench.table, &sink).count(), 2);
    assert_eq!(telling::sinks(&bench.table).len(), 1);
}

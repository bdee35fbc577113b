//! Pins: who may have how many for how long, and what is held by whom.

use std::time::Duration;

use jiff::SignedDuration;
use windrow_common::{
    id::{PinId, SinkId},
    pin::{Version, Wanted},
    pipeline::Pipeline,
};

use super::bench::{Bench, full, origin};
use crate::core::pins::{self, BadPin, LONGEST, MARGIN, MOST, Phase, Request};

const DAY: Duration = Duration::from_secs(86_400);

fn asks(id: &str, keep: Duration) -> Request {
    let wanted = Wanted::Version(Version::Table(7));
    Request { request_id: id.to_owned(), pipeline: "planes".parse().unwrap(), wanted, keep, reason: String::new() }
}

fn bench() -> (Bench, SinkId) {
    let bench = Bench::new(0, [full("planes", "planes")]);
    let sink = bench.table.pipeline(&"planes".parse().unwrap()).unwrap().sink.clone();
    (bench, sink)
}

/// Asks for it, and has it taken in.
fn asked(bench: &mut Bench, id: &str) -> PinId {
    let (sink, pin) = pins::ask(&bench.table, &asks(id, DAY), bench.now()).unwrap();
    let id = pin.id.clone();
    bench.apply(&pins::record(&sink, pin));
    id
}

/// Proves CO10. Nothing of the sink may be cleaned from when a pin is asked for until it is held or refused.
#[test]
fn a_pin_counts_from_when_it_is_asked_for() {
    let (mut bench, sink) = bench();
    assert!(!pins::undecided(&bench.table, &sink));
    let id = asked(&mut bench, "a");
    assert!(pins::undecided(&bench.table, &sink) && pins::held(&bench.table, &sink).is_empty());
    bench.apply(&pins::hold(&bench.table, &sink, &id, (Version::Table(7), 2, 20)).unwrap());
    assert!(!pins::undecided(&bench.table, &sink));
    assert_eq!(pins::held(&bench.table, &sink), [Version::Table(7)]);
    assert_eq!(pins::hold(&bench.table, &sink, &id, (Version::Table(8), 2, 20)), None, "it is held already");
    let found = &bench.table.sink(&sink).unwrap().pins[&id].value;
    assert_eq!(found.phase, Phase::Held { version: Version::Table(7), files: 2, bytes: 20 });
    bench.apply(&pins::release(&bench.table, &sink, &id).unwrap());
    assert!(pins::held(&bench.table, &sink).is_empty());
    assert_eq!(pins::release(&bench.table, &sink, &id), None);
}

/// Proves CO10. It ends by itself, and not before another leader's clock may say so.
#[test]
fn a_pin_ends_by_itself_a_margin_after_its_time() {
    let (mut bench, sink) = bench();
    let id = asked(&mut bench, "a");
    bench.apply(&pins::hold(&bench.table, &sink, &id, (Version::Table(7), 2, 20)).unwrap());
    let until = bench.table.sink(&sink).unwrap().pins[&id].value.until;
    assert_eq!(until, bench.wall + DAY);
    let early = until + MARGIN - Duration::from_secs(1);
    assert_eq!(pins::expire(&bench.table, early), None);
    let over = pins::expire(&bench.table, until + MARGIN).unwrap();
    bench.apply(&over);
    assert!(bench.table.sink(&sink).unwrap().pins.is_empty());
    assert_eq!(pins::expire(&bench.table, origin() + SignedDuration::from_hours(9_999)), None);
}

#[test]
fn pins_are_bounded_in_number_and_in_length() {
    let (mut bench, _) = bench();
    let refused = |bench: &Bench, keep| pins::ask(&bench.table, &asks("x", keep), bench.now()).unwrap_err();
    for keep in [Duration::ZERO, Duration::from_millis(10), LONGEST + DAY, Duration::MAX] {
        assert_eq!(refused(&bench, keep), BadPin::Length);
    }
    let long = Request { reason: "x".repeat(501), ..asks("x", DAY) };
    assert_eq!(pins::ask(&bench.table, &long, bench.now()).unwrap_err(), BadPin::Reason);
    for number in 0..MOST {
        asked(&mut bench, &format!("pin {number}"));
    }
    assert!(matches!(refused(&bench, DAY), BadPin::TooMany { count: MOST, .. }));
    let nobody = Request { pipeline: "nobody".parse().unwrap(), ..asks("x", DAY) };
    assert!(matches!(pins::ask(&bench.table, &nobody, bench.now()), Err(BadPin::UnknownPipeline(_))));
}

/// Proves CO10. A pipeline that reads a version of the table holds it for as long as it has work to do.
#[test]
fn a_version_that_a_pipeline_reads_is_held_while_it_has_work() {
    let reader: Pipeline = serde_json::from_value(serde_json::json!({
        "name": "copies", "pattern": "full",
        "source": {
            "from": { "name": "lake", "type": "local", "root": "/lake" }, "format": "delta", "path": "planes", "version": 5,
        },
        "sink": {
            "to": { "name": "lake", "type": "local", "root": "/lake" },
            "format": "delta", "write": "replace_all", "path": "copies",
        },
    }))
    .unwrap();
    let mut bench = Bench::new(0, [full("planes", "planes"), reader]);
    let sink = bench.table.pipeline(&"planes".parse().unwrap()).unwrap().sink.clone();
    assert!(pins::held(&bench.table, &sink).is_empty());
    bench.plan();
    assert_eq!(pins::held(&bench.table, &sink), [Version::Table(5)]);
    bench.publish_all("copies");
    assert!(pins::held(&bench.table, &sink).is_empty());
}

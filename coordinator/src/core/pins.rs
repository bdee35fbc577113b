//! Pins: versions that somebody reads on, which cleaning therefore leaves whole. A pin is recorded before anybody looks
//! whether its version is whole, so no cleaning is decided without it after that; it is held once the sink's committer has
//! found all that it needs, and found that none of it may be on a list of what is deleted already.
//!
//! ```text
//!   ask --> Asked --- whole ---> Held --- over, or let go ---> (gone)
//!             +------ not whole, nobody waits ---------------> (gone)
//! ```
//!
//! While one is Asked, nothing of its sink is cleaned.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use windrow_common::{
    id::{PinId, PipelineName, SinkId},
    manifest::WriteMode,
    pin::{Version, Wanted},
    pipeline::{SinkSpec, SourceSpec},
};

use super::{
    lifecycle::Now,
    table::{Change, Key, PipelineEntry, Record, Table},
};

/// A pin's record.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    pub id: PinId,
    pub request_id: String,
    pub pipeline: PipelineName,
    pub wanted: Wanted,
    pub reason: String,
    pub until: Timestamp,
    pub created: Timestamp,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Whether it can be held is being found out.
    Asked,
    Held {
        version: Version,
        /// What the version consists of.
        files: u64,
        bytes: u64,
    },
}

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub request_id: String,
    pub pipeline: PipelineName,
    pub wanted: Wanted,
    pub keep: Duration,
    pub reason: String,
}

/// Why nothing is pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPin {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("the table of pipeline {pipeline} has {count} pins, and that is the most")]
    TooMany { pipeline: PipelineName, count: usize },
    #[error("a pin is held for a second to {} days", LONGEST.as_secs() / 86_400)]
    Length,
    #[error("a reason has at most {MOST_REASON} bytes")]
    Reason,
}

/// Pins of a sink: each holds files and all of the log from its version on, and is looked at whenever anything is cleaned.
pub const MOST: usize = 32;
/// A pin that is forgotten must end some day.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);
const MOST_REASON: usize = 500;
/// How much longer than asked for a pin is held: another leader's clock may be ahead.
pub const MARGIN: Duration = Duration::from_secs(600);

/// The id follows from the request's, so a repeat finds what the first one made.
pub fn id_of(request_id: &str) -> PinId {
    let hash = blake3::hash(format!("pin {request_id}").as_bytes()).to_hex();
    match format!("pin-{}", &hash[..10]).parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a hexadecimal hash is a valid name"),
    }
}

/// The pin that answers the request, and its sink.
pub fn ask(table: &Table, request: &Request, now: Now) -> Result<(SinkId, Pin), BadPin> {
    let name = &request.pipeline;
    let entry = table.pipeline(name).ok_or_else(|| BadPin::UnknownPipeline(name.clone()))?;
    let count = table.sink(&entry.sink).map_or(0, |sink| sink.pins.len());
    if count >= MOST {
        return Err(BadPin::TooMany { pipeline: name.clone(), count });
    }
    let until = now.wall.checked_add(request.keep).ok();
    let Some(until) = until.filter(|_| (1..=LONGEST.as_secs()).contains(&request.keep.as_secs())) else {
        return Err(BadPin::Length);
    };
    if request.reason.len() > MOST_REASON {
        return Err(BadPin::Reason);
    }
    let pin = Pin {
        id: id_of(&request.request_id),
        request_id: request.request_id.clone(),
        pipeline: name.clone(),
        wanted: request.wanted,
        reason: request.reason.clone(),
        until,
        created: now.wall,
        phase: Phase::Asked,
    };
    Ok((entry.sink.clone(), pin))
}

/// The transaction that makes a pin known.
pub fn record(sink: &SinkId, pin: Pin) -> Change {
    Change::create(Record::Pin(sink.clone(), pin))
}

/// The committer has found the version whole, and certain to stay.
pub fn hold(table: &Table, sink: &SinkId, id: &PinId, (version, files, bytes): (Version, u64, u64)) -> Option<Change> {
    let found = table.sink(sink)?.pins.get(id)?;
    let next = Pin { phase: Phase::Held { version, files, bytes }, ..found.value.clone() };
    (found.value.phase == Phase::Asked).then(|| Change::replace(Record::Pin(sink.clone(), next), found.revision))
}

/// Lets go of a pin, held or not.
pub fn release(table: &Table, sink: &SinkId, id: &PinId) -> Option<Change> {
    let found = table.sink(sink)?.pins.get(id)?;
    let key = Key::Pin(sink.clone(), id.clone());
    Some(Change { expect: vec![(key.clone(), Some(found.revision))], put: Vec::new(), delete: vec![key] })
}

/// The sink a pin is of.
pub fn sink_of<'a>(table: &'a Table, id: &PinId) -> Option<&'a SinkId> {
    table.sinks().find(|(_, entry)| entry.pins.contains_key(id)).map(|(sink, _)| sink)
}

/// Lets go of a pin whose time is over; one after the other.
pub fn expire(table: &Table, now: Timestamp) -> Option<Change> {
    let over = |pin: &Pin| pin.until.checked_add(MARGIN).is_ok_and(|end| end <= now);
    table.sinks().find_map(|(sink, entry)| {
        let id = entry.pins.values().find(|pin| over(&pin.value)).map(|pin| &pin.value.id)?;
        release(table, sink, id)
    })
}

/// Whether a pin of the sink is asked for and not decided on.
pub fn undecided(table: &Table, sink: &SinkId) -> bool {
    table.sink(sink).is_some_and(|entry| entry.pins.values().any(|pin| pin.value.phase == Phase::Asked))
}

/// The versions of a sink that are to stay whole: those that are pinned, and those that pipelines with work to do read.
pub fn held(table: &Table, sink: &SinkId) -> Vec<Version> {
    let pins = table.sink(sink).into_iter().flat_map(|entry| entry.pins.values());
    let pinned = pins.filter_map(|pin| match pin.value.phase {
        Phase::Held { version, .. } => Some(version),
        Phase::Asked => None,
    });
    let reading = table.pipelines().filter(|(name, _)| table.tasks_of(name).next().is_some());
    let read = reading.filter_map(|(_, entry)| read_version(entry, sink));
    let mut all: Vec<Version> = pinned.chain(read).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The version of the sink's table that a pipeline's source names.
fn read_version(entry: &PipelineEntry, sink: &SinkId) -> Option<Version> {
    let source = &entry.spec().source;
    let version = source.params.get("version").and_then(Value::as_u64)?;
    (table_read(source).as_ref() == Some(sink)).then_some(Version::Table(version))
}

/// The sink whose Delta table a source reads, if there is one: its id follows from the place.
pub fn table_read(source: &SourceSpec) -> Option<SinkId> {
    let delta = source.params.get("format").and_then(Value::as_str) == Some("delta");
    let place = || SinkSpec {
        to: source.from.clone(),
        format: "delta".to_owned(),
        write: WriteMode::Append,
        upsert: None,
        staging: None,
        gather: None,
        params: source.params.clone(),
    };
    delta.then(|| place().id())
}

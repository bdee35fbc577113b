//! Going back to a version of a full load that was shown before. A rollback is a commit like any other: asked for in the
//! sink's one record of it, recorded as an intent before it is tried, and settled with that intent. It has no task, for it
//! moves no window: what is published stays published, only what readers see changes.
//!
//! ```text
//!   ask --> Asked --- T7 ---> Intended --- T9 ---> Done
//!             |  ^               |
//!             |  +--- refused ---+--- T11 --> Failed
//!             +------- cannot be worked out --> Failed
//! ```

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    claim::Token,
    error,
    id::{PipelineName, SinkId, TaskId},
    intent::Seq,
    manifest::WriteMode,
    task::{Failure, Retry},
};

use super::{
    lifecycle::Now,
    recovery::PastCommit,
    table::{Change, PipelineEntry, Record, SinkEntry, Table, Versioned},
};

/// A rollback's record; a sink has the newest one.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    pub request_id: String,
    pub pipeline: PipelineName,
    /// The version to show.
    pub to: u32,
    /// The version that was shown when it was asked for; its commit is worked out only while it still is.
    pub shown: u32,
    pub created: Timestamp,
    pub trace: Option<String>,
    /// How often the sink refused its commit because somebody else had changed the table.
    pub refused: u32,
    /// Requests of rollbacks before it, so that a late repeat of one is not taken for a new one.
    pub earlier: Vec<String>,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Its commit is to be worked out.
    Asked,
    /// The intent of this seq is its commit.
    Intended {
        seq: Seq,
    },
    Done {
        seq: Seq,
    },
    /// Readers see what they saw before.
    Failed {
        failure: Failure,
    },
}

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub request_id: String,
    pub pipeline: PipelineName,
    /// Absent: the version before the one that is shown.
    pub to: Option<u32>,
    pub trace: Option<String>,
}

/// A version as the sink's committer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub version: u32,
    pub shown: bool,
    /// Why it cannot be shown again, if it cannot.
    pub gone: Option<String>,
}

/// Why there is no going back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRollback {
    #[error("no pipeline is called {0}")]
    UnknownPipeline(PipelineName),
    #[error("pipeline {0} loads windows of time, and its table has no versions")]
    Windows(PipelineName),
    #[error("pipeline {0} adds each load to those before it, so there is no version to go back to")]
    AddsUp(PipelineName),
    #[error("pipeline {other} writes where {name} does, and what it wrote would be lost")]
    Shared { name: PipelineName, other: PipelineName },
    #[error("a rollback of {pipeline} to v{to} is under way")]
    UnderWay { pipeline: PipelineName, to: u32 },
    #[error("the request {0} was carried out, and others after it")]
    Earlier(String),
    #[error("nothing of pipeline {0} is published")]
    NothingShown(PipelineName),
    #[error("v{version} of pipeline {pipeline} is what readers see")]
    IsShown { pipeline: PipelineName, version: u32 },
    #[error("there is no version of pipeline {pipeline} before v{shown}")]
    NoneBefore { pipeline: PipelineName, shown: u32 },
    #[error("v{version} of pipeline {pipeline} {why}; {kept}")]
    Gone { pipeline: PipelineName, version: u32, why: String, kept: String },
}

/// Requests that are remembered.
const MOST_EARLIER: usize = 16;
/// Times the sink may refuse its commit before it is given up.
const MOST_REFUSED: u32 = 5;
/// Times in a row its commit may be impossible to work out before it is given up: some minutes. Somebody waits for it.
pub const MOST_TRIES: u32 = 10;

impl Rollback {
    /// What names of files say in a task's place. Each time the commit is asked for it is another one, for names that were
    /// given once may still be deleted by somebody who is late.
    pub fn id(&self, asked: Token) -> TaskId {
        let hash = blake3::hash(format!("rollback {asked} {}", self.request_id).as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        TaskId::from_bytes(id)
    }
}

impl Phase {
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }
}

/// The pipeline, if it is one whose versions can be gone back to.
pub fn pipeline<'a>(table: &'a Table, name: &PipelineName) -> Result<&'a PipelineEntry, BadRollback> {
    let entry = table.pipeline(name).ok_or_else(|| BadRollback::UnknownPipeline(name.clone()))?;
    if entry.tiling.is_some() {
        return Err(BadRollback::Windows(name.clone()));
    }
    if entry.spec().sink.write != WriteMode::ReplaceAll {
        return Err(BadRollback::AddsUp(name.clone()));
    }
    match table.pipelines().find(|(other, found)| *other != name && found.sink == entry.sink) {
        Some((other, _)) => Err(BadRollback::Shared { name: name.clone(), other: other.clone() }),
        None => Ok(entry),
    }
}

/// What a request finds before anything is asked of a worker: the rollback an earlier call of it made.
pub fn known<'a>(table: &'a Table, request: &Request) -> Result<Option<&'a Rollback>, BadRollback> {
    let sink = &pipeline(table, &request.pipeline)?.sink;
    let Some(newest) = of(table, sink).map(|found| &found.value) else { return Ok(None) };
    if newest.request_id == request.request_id {
        return Ok(Some(newest));
    }
    if newest.earlier.contains(&request.request_id) {
        return Err(BadRollback::Earlier(request.request_id.clone()));
    }
    match newest.phase.is_settled() {
        true => Ok(None),
        false => Err(BadRollback::UnderWay { pipeline: newest.pipeline.clone(), to: newest.to }),
    }
}

/// The rollback that answers the request, given the versions there are.
pub fn ask(table: &Table, request: &Request, versions: &[Known], now: Now) -> Result<Rollback, BadRollback> {
    let entry = pipeline(table, &request.pipeline)?;
    let name = &request.pipeline;
    let shown = versions.iter().find(|known| known.shown).ok_or_else(|| BadRollback::NothingShown(name.clone()))?;
    let shown = shown.version;
    let to = match request.to {
        Some(to) => to,
        None => versions
            .iter()
            .map(|known| known.version)
            .filter(|version| *version < shown)
            .max()
            .ok_or_else(|| BadRollback::NoneBefore { pipeline: name.clone(), shown })?,
    };
    if to == shown {
        return Err(BadRollback::IsShown { pipeline: name.clone(), version: to });
    }
    let gone = |why: &str| BadRollback::Gone {
        pipeline: name.clone(),
        version: to,
        why: why.to_owned(),
        kept: kept(versions),
    };
    match versions.iter().find(|known| known.version == to).map(|known| &known.gone) {
        None => return Err(gone("is not known to its sink")),
        Some(Some(why)) => return Err(gone(why)),
        Some(None) => {}
    }
    let before = of(table, &entry.sink).map(|found| &found.value);
    let earlier = before.into_iter().flat_map(|before| std::iter::once(&before.request_id).chain(&before.earlier));
    Ok(Rollback {
        request_id: request.request_id.clone(),
        pipeline: name.clone(),
        to,
        shown,
        created: now.wall,
        trace: request.trace.clone(),
        refused: 0,
        earlier: earlier.take(MOST_EARLIER).cloned().collect(),
        phase: Phase::Asked,
    })
}

/// Which versions can be gone back to, in words.
fn kept(versions: &[Known]) -> String {
    let kept = versions.iter().filter(|known| known.gone.is_none() && !known.shown);
    let kept: Vec<String> = kept.map(|known| format!("v{}", known.version)).collect();
    match kept.is_empty() {
        true => "none is kept".to_owned(),
        false => format!("kept: {}", kept.join(", ")),
    }
}

/// The transaction that makes a rollback known. Only a settled one makes room for it.
pub fn record(table: &Table, rollback: Rollback) -> Result<Change, BadRollback> {
    let sink = pipeline(table, &rollback.pipeline)?.sink.clone();
    let before = of(table, &sink);
    if let Some(open) = before.map(|found| &found.value).filter(|found| !found.phase.is_settled()) {
        return Err(BadRollback::UnderWay { pipeline: open.pipeline.clone(), to: open.to });
    }
    let revision = before.map(|found| found.revision);
    let record = Record::Rollback(sink, rollback);
    Ok(Change { expect: vec![(record.key(), revision)], put: vec![record], delete: Vec::new() })
}

/// A sink's newest rollback.
pub fn of<'a>(table: &'a Table, sink: &SinkId) -> Option<&'a Versioned<Rollback>> {
    table.sink(sink)?.rollback.as_ref()
}

/// A sink's rollback that is not settled.
pub fn open<'a>(table: &'a Table, sink: &SinkId) -> Option<&'a Versioned<Rollback>> {
    of(table, sink).filter(|found| !found.value.phase.is_settled())
}

/// With T7: the intent of this seq is the rollback's that was asked for at revision `asked`.
pub(super) fn intended(entry: &SinkEntry, sink: &SinkId, asked: i64, seq: Seq) -> Option<Change> {
    let found = entry.rollback.as_ref().filter(|found| found.revision == asked)?;
    (found.value.phase == Phase::Asked).then(|| moved(sink, found, Phase::Intended { seq }))
}

/// With T9: the sink holds the intent of this seq. `None` if that was no rollback's.
pub(super) fn done(entry: &SinkEntry, sink: &SinkId, seq: Seq) -> Option<Change> {
    let found = entry.rollback.as_ref().filter(|found| found.value.phase == Phase::Intended { seq })?;
    Some(moved(sink, found, Phase::Done { seq }))
}

/// With T11: the sink holds the intent's abort. If somebody else had changed the table it is worked out once more.
pub(super) fn undone(entry: &SinkEntry, sink: &SinkId, seq: Seq, failure: &Failure) -> Option<Change> {
    let found = entry.rollback.as_ref().filter(|found| found.value.phase == Phase::Intended { seq })?;
    let mut next = found.value.clone();
    next.refused += 1;
    next.phase = match failure.retry == Retry::Later && next.refused < MOST_REFUSED {
        true => Phase::Asked,
        false => Phase::Failed { failure: failure.clone() },
    };
    Some(Change::replace(Record::Rollback(sink.clone(), next), found.revision))
}

/// With a commit of the sink the ledger had lost: it may be the rollback's own. One that is anything else was asked for
/// under other circumstances.
pub(super) fn recovered(entry: &SinkEntry, sink: &SinkId, commit: &PastCommit, now: Now) -> Option<Change> {
    let found = entry.rollback.as_ref().filter(|found| !found.value.phase.is_settled())?;
    let intent = entry.intent.as_ref().map(|intent| (intent.value.seq, intent.value.digest));
    let own = found.value.phase == Phase::Intended { seq: commit.seq } && intent == Some((commit.seq, commit.digest));
    let failure = Failure {
        code: error::CONFLICT.code.to_owned(),
        message: "the ledger was made good while it was under way; if it is still wanted, ask for it again".to_owned(),
        retry: Retry::Never,
        at: now.wall,
        took: Duration::ZERO,
        worker: None,
    };
    let phase = match own && !commit.aborted {
        true => Phase::Done { seq: commit.seq },
        false => Phase::Failed { failure },
    };
    Some(moved(sink, found, phase))
}

/// Its commit cannot be worked out, or not any more.
pub fn give_up(table: &Table, sink: &SinkId, failure: Failure) -> Option<Change> {
    let found = of(table, sink).filter(|found| found.value.phase == Phase::Asked)?;
    Some(moved(sink, found, Phase::Failed { failure }))
}

fn moved(sink: &SinkId, found: &Versioned<Rollback>, phase: Phase) -> Change {
    let next = Rollback { phase, ..found.value.clone() };
    Change::replace(Record::Rollback(sink.clone(), next), found.revision)
}

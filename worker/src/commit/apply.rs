//! Carrying a recorded intent out, and what the sink's answer is called on the wire.

use std::collections::BTreeMap;

use windrow_common::{
    error, failpoint,
    intent::{IntentBody, IntentRef, Verdict, judge},
    manifest::{Counts, Digest},
    pipeline::Pipeline,
};
use windrow_proto::{
    convert,
    v1::{self, Settlement},
};

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    marker::{self, Set},
    open::{Connectors, read_pipeline},
    sink::{Applied, Refusal, Sink},
    stage::manifest,
};

/// What the sink answered, and why it refused if it did.
pub(super) async fn apply(connectors: &Connectors, asked: &v1::Commit) -> Result<(Applied, Option<WorkerError>)> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let digest = convert::digest(&asked.digest)
        .map_err(|cause| WorkerError::later(error::VERSION_SKEW, "an intent has no valid digest").because(cause))?;
    let body = recorded(sink.as_ref(), asked, digest).await?;
    let applied = match asked.abort {
        true => sink.abort(&body, &digest).await?,
        false if body.markers.is_empty() => sink.commit(&body, &digest).await?,
        false => marked(&pipeline, sink.as_ref(), &body, &digest).await?,
    };
    let why = match &applied {
        Applied::Refused(refusal) => Some(why(sink.as_ref(), asked, *refusal).await),
        Applied::Unfit(reason) => Some(WorkerError::never(error::SINK_SCHEMA, reason).at(&asked.sink)),
        Applied::Committed { .. } | Applied::Aborted { .. } | Applied::Stale => None,
    };
    Ok((applied, why))
}

/// A commit with markers: those of what it replaces go before readers see anything of it, its own come when they see all of it.
/// Whoever is late does neither.
async fn marked(pipeline: &Pipeline, sink: &dyn Sink, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    let place = marker::place(pipeline, sink, &body.markers)?;
    if judge(body.seq, digest, sink.probe().await?) == Verdict::Apply {
        marker::withdraw(&place, &body.markers).await?;
    }
    let applied = sink.commit(body, digest).await?;
    if let Applied::Committed { .. } = applied {
        failpoint::reach(failpoint::Point::Marking, body.sink.as_str()).await?;
        if marker::set(&place, &body.markers).await? == Set::Gone {
            if sink.probe().await?.is_some_and(|found| found.seq > body.seq) {
                return Ok(Applied::Stale);
            }
            // The rows are there, and their windows are published; a marker nobody can make any more must not keep others.
            tracing::warn!(sink = %body.sink, seq = body.seq, "markers were taken away before they were set");
        }
    }
    Ok(applied)
}

/// A refusal in words. The coordinator acts on none without them: whoever has to look must know at what.
async fn why(sink: &dyn Sink, asked: &v1::Commit, refusal: Refusal) -> WorkerError {
    let error = match refusal {
        Refusal::Conflict => WorkerError::later(
            error::SINK_CONFLICT,
            "somebody else changed what the commit rests on; it is worked out anew",
        ),
        Refusal::Schema => {
            WorkerError::never(error::SINK_SCHEMA, "the table's schema has changed, and the rows do not fit")
        }
        Refusal::Halt => {
            // A look for people only: what it tells decides nothing.
            let found = sink.probe().await.ok().flatten().map_or(0, |committed| committed.seq);
            match found + 1 < asked.seq {
                true => WorkerError::never(
                    error::SINK_ROLLED_BACK,
                    format!("the sink holds commit {found}, and the ledger knows of {}", asked.seq - 1),
                ),
                false => WorkerError::never(
                    error::SINK_FORKED,
                    format!("the sink holds another commit {found} than the ledger"),
                ),
            }
        }
    };
    error.at(&asked.sink)
}

/// The intent's body as it was recorded: reading it checks its digest.
async fn recorded(sink: &dyn Sink, asked: &v1::Commit, digest: Digest) -> Result<IntentBody> {
    let reference = IntentRef {
        seq: asked.seq,
        previous: None,
        path: asked.path.clone(),
        digest,
        tasks: Vec::new(),
        counts: Counts::default(),
        files: BTreeMap::new(),
    };
    let body = manifest::get_intent(sink.storage(), &reference).await?;
    match body.seq == asked.seq && body.sink.as_str() == asked.sink {
        true => Ok(body),
        false => Err(WorkerError::never(
            error::INTERNAL,
            format!("the body at {} is commit {} of {}", asked.path, body.seq, body.sink),
        )),
    }
}

/// Errors tell nothing about the sink: whether the commit is there has to be looked up.
pub(super) fn settlement(applied: Option<&Applied>) -> (Settlement, u64) {
    match applied {
        Some(Applied::Committed { version }) => (Settlement::Committed, *version),
        Some(Applied::Aborted { version }) => (Settlement::Aborted, *version),
        Some(Applied::Stale) => (Settlement::Stale, 0),
        Some(Applied::Refused(Refusal::Conflict)) => (Settlement::Conflict, 0),
        Some(Applied::Unfit(_) | Applied::Refused(Refusal::Schema)) => (Settlement::Schema, 0),
        Some(Applied::Refused(Refusal::Halt)) => (Settlement::Halt, 0),
        None => (Settlement::Unknown, 0),
    }
}

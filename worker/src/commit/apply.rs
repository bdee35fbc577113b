//! Carrying a recorded intent out, and what the sink's answer is called on the wire.

use windrow_common::{
    error,
    intent::{IntentBody, IntentRef},
    manifest::{Counts, Digest},
};
use windrow_proto::{
    convert,
    v1::{self, Settlement},
};

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sink::{Applied, Refusal, Sink},
    stage::manifest,
};

pub(super) async fn apply(connectors: &Connectors, asked: &v1::Commit) -> Result<Applied> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let digest = convert::digest(&asked.digest)
        .map_err(|cause| WorkerError::later(error::VERSION_SKEW, "an intent has no valid digest").because(cause))?;
    let body = recorded(sink.as_ref(), asked, digest).await?;
    match asked.abort {
        true => sink.abort(&body, &digest).await,
        false => sink.commit(&body, &digest).await,
    }
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
pub(super) fn settlement(applied: &Result<Applied>) -> (Settlement, u64) {
    match applied {
        Ok(Applied::Committed { version }) => (Settlement::Committed, *version),
        Ok(Applied::Aborted { version }) => (Settlement::Aborted, *version),
        Ok(Applied::Stale) => (Settlement::Stale, 0),
        Ok(Applied::Refused(Refusal::Conflict)) => (Settlement::Conflict, 0),
        Ok(Applied::Refused(Refusal::Schema)) => (Settlement::Schema, 0),
        Ok(Applied::Refused(Refusal::Halt)) => (Settlement::Halt, 0),
        Err(_) => (Settlement::Unknown, 0),
    }
}

//! The chain of recorded intents, from the newest back: each body names the digest of the one before it. It knows no sink.

use windrow_common::{
    error,
    intent::{Committed, Effect, Fingerprint, IntentBody, Seq},
    manifest::Digest,
};

use super::manifest;
use crate::{
    error::{Result, WorkerError},
    storage::Storage,
};

/// A commit of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub seq: Seq,
    pub digest: Digest,
    pub aborted: bool,
}

/// The newest commit, whose digest the sink knows only in part: that of one of the intents worked out for its seq.
pub async fn tip(storage: &Storage, newest: Committed) -> Result<Link> {
    let (fingerprint, aborted) = match newest.effect {
        Effect::Applied(fingerprint) => (fingerprint, false),
        Effect::Aborted(fingerprint) => (fingerprint, true),
    };
    let candidates = manifest::intents_of(storage, newest.seq).await?;
    let digest = candidates.into_iter().find(|digest| Fingerprint::of(digest) == fingerprint);
    let digest = digest.ok_or_else(|| incomplete(newest.seq))?;
    Ok(Link { seq: newest.seq, digest, aborted })
}

/// The body of a commit; `SINK_HISTORY` when it is not there any more.
pub async fn body(storage: &Storage, link: &Link) -> Result<IntentBody> {
    let body = match manifest::find_intent(storage, link.seq, &link.digest).await {
        Err(cause) if cause.code() == error::STAGED_FILE_BAD => return Err(incomplete(link.seq).because(cause)),
        found => found?,
    };
    if body.seq != link.seq {
        return Err(incomplete(link.seq));
    }
    Ok(body)
}

/// The commit before; `None` before the first. Whether it was an abort is told by the intent that followed it.
pub fn before(body: &IntentBody) -> Result<Option<Link>> {
    let seq = body.seq.saturating_sub(1);
    match body.previous {
        Some(digest) => Ok(Some(Link { seq, digest, aborted: body.previous_aborted })),
        None if seq == 0 => Ok(None),
        None => Err(incomplete(seq)),
    }
}

fn incomplete(seq: Seq) -> WorkerError {
    WorkerError::never(error::SINK_HISTORY, format!("the record of commit {seq} is missing"))
        .at("_windrow/intents")
        .fix("bring the folder back from a backup of the table")
}

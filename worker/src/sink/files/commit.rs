//! Applying an intent: the rule of committing on the log, then the copies readers of the folder see. All of it may be
//! done again by anybody at any time.

use windrow_common::{
    failpoint,
    intent::{IntentBody, Verdict, judge},
    manifest::Digest,
};

use super::{
    entry::Entry,
    log::{Created, Log},
    publish::{self, Publishing},
    state::State,
};
use crate::{
    error::Result,
    sink::{Applied, Refusal},
};

/// The log is read again after a lost race; each round somebody got on, and by then the verdict is final.
const ROUNDS: usize = 4;

pub(super) async fn commit(log: &Log, keeps: bool, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    settle((log, keeps), &Entry::applied(body, digest), body, digest).await
}

pub(super) async fn abort(log: &Log, keeps: bool, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    settle((log, keeps), &Entry::abort(body, digest), body, digest).await
}

async fn settle((log, keeps): (&Log, bool), wanted: &Entry, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    for _ in 0..ROUNDS {
        let state = log.refresh().await?;
        match judge(body.seq, digest, state.committed()) {
            Verdict::Apply => {
                if let Some(refusal) = refusal(&state, wanted) {
                    return Ok(Applied::Refused(refusal));
                }
                // The intent exists, so the one before it is finished and its staged files serve nobody any more.
                publish::tidy(log, keeps, &state).await?;
                failpoint::reach(failpoint::Point::Committing, body.sink.as_str()).await?;
                if let Created::Mine = log.create(wanted).await? {
                    failpoint::reach(failpoint::Point::Committed, body.sink.as_str()).await?;
                    return finish(log, wanted).await;
                }
            }
            // The intent's own effect, applied or aborted, is told by the log, not by what is wanted now.
            Verdict::Done => return finish(log, &Entry::applied(body, digest)).await,
            Verdict::Aborted => return finish(log, &Entry::abort(body, digest)).await,
            Verdict::Stale => return Ok(Applied::Stale),
            Verdict::Forked | Verdict::RolledBack => return Ok(Applied::Refused(Refusal::Halt)),
        }
    }
    Ok(Applied::Refused(Refusal::Halt))
}

/// Why the state does not take the commit, if it does not.
fn refusal(state: &State, wanted: &Entry) -> Option<Refusal> {
    if wanted.previous != state.digest() {
        return Some(Refusal::Halt);
    }
    let gone = wanted.remove.iter().any(|path| !state.files.contains_key(path));
    gone.then_some(Refusal::Conflict)
}

/// Brings about what the log says of a commit.
async fn finish(log: &Log, entry: &Entry) -> Result<Applied> {
    use super::entry::EntryEffect::{Aborted, Applied as Done};
    let published = publish::publish(log, entry).await?;
    let state = log.refresh().await?;
    if state.seq == entry.seq {
        log.snapshot(&state).await?;
    }
    Ok(match (published, entry.effect) {
        (Publishing::Overtaken, _) => Applied::Stale,
        (Publishing::Complete, Done) => Applied::Committed { version: entry.seq },
        (Publishing::Complete, Aborted) => Applied::Aborted { version: entry.seq },
    })
}

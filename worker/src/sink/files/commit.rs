//! Applying an intent: the rule of committing on the log, then the copies readers of the folder see. All of it may be
//! done again by anybody at any time.

use windrow_common::{
    failpoint,
    intent::{IntentBody, Verdict, judge},
    manifest::Digest,
};

use super::{
    FilesSink,
    entry::Entry,
    log::{Created, Log},
    publish::{self, Publishing},
    state::State,
};
use crate::{
    error::Result,
    sink::{Applied, Refusal, regroup::Retiring},
};

/// The log is read again after a lost race; each round somebody got on, and by then the verdict is final.
const ROUNDS: usize = 4;

pub(super) async fn commit(sink: &FilesSink, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    settle(sink, &Entry::applied(body, digest, sink.committer()), body, digest).await
}

pub(super) async fn abort(sink: &FilesSink, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    settle(sink, &Entry::abort(body, digest, sink.committer()), body, digest).await
}

async fn settle(sink: &FilesSink, wanted: &Entry, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    let (log, by) = (&sink.log, sink.committer());
    for _ in 0..ROUNDS {
        let state = log.refresh().await?;
        match judge(body.seq, digest, state.committed()) {
            Verdict::Apply => {
                if let Some(refusal) = refusal(&state, wanted) {
                    return Ok(Applied::Refused(refusal));
                }
                // The intent exists, so the one before it is finished and its staged files serve nobody any more.
                publish::tidy(log, sink.settings.keeps(), &state).await?;
                failpoint::reach(failpoint::Point::Committing, body.sink.as_str()).await?;
                if let Created::Mine = log.create(wanted).await? {
                    failpoint::reach(failpoint::Point::Committed, body.sink.as_str()).await?;
                    return finish(log, wanted).await;
                }
            }
            // The intent's own effect, applied or aborted, is told by the log, not by what is wanted now.
            Verdict::Done => return finish(log, &Entry::applied(body, digest, by)).await,
            Verdict::Aborted => return finish(log, &Entry::abort(body, digest, by)).await,
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
    let gone = |path: &String| !state.files.contains_key(path) && !state.retired.contains_key(path);
    // A file of others is in no log until it is retired, and that it is once.
    let late = |file: &Retiring| match file.version {
        None => !state.files.contains_key(&file.path),
        Some(_) => state.retired.contains_key(&file.path),
    };
    (wanted.remove.iter().any(gone) || wanted.retire.iter().any(late)).then_some(Refusal::Conflict)
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

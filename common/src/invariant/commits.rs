//! Commits of a sink: their chain, the ledger's view of it, and the intent.

use std::collections::BTreeSet;

use super::{Violation, holds};
use crate::{
    claim::Token,
    id::TaskId,
    intent::{IntentRef, Seq},
    manifest::Digest,
};

/// One commit of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub seq: Seq,
    pub digest: Digest,
    /// The digest of the commit before it.
    pub previous: Option<Digest>,
}

/// Where a sink stands: in the ledger, and in its own storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPosition {
    /// Newest finalized commit in the ledger; 0 before the first.
    pub head: Seq,
    /// The seq of the recorded intent.
    pub intent: Option<Seq>,
    /// Newest commit in the sink's storage; 0 before the first.
    pub sink: Seq,
}

/// INV-3: no task is committed twice.
pub fn committed_once(tasks: &[TaskId]) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    tasks.iter().try_for_each(|task| holds("INV-3", seen.insert(task), || format!("task {task} is committed twice")))
}

/// INV-4: a sink's commits count up by one from 1, and each names the digest of the one before.
pub fn commits_chain(commits: &[Link]) -> Result<(), Violation> {
    let mut before = None;
    commits.iter().try_for_each(|commit| commit_follows(before.replace(*commit).as_ref(), commit))
}

/// INV-4, where the chain up to the commit before is known to hold.
pub fn commit_follows(before: Option<&Link>, commit: &Link) -> Result<(), Violation> {
    let (seq, digest) = before.map_or((0, None), |before| (before.seq, Some(before.digest)));
    holds("INV-4", commit.seq == seq + 1 && commit.previous == digest, || {
        format!("commit {} does not follow from commit {seq}", commit.seq)
    })
}

/// INV-6: every published attempt is listed by a commit of its sink.
pub fn published_is_listed(published: &[(TaskId, Token)], listed: &BTreeSet<(TaskId, Token)>) -> Result<(), Violation> {
    published.iter().try_for_each(|attempt| {
        holds("INV-6", listed.contains(attempt), || {
            format!("task {} is published with token {}, no commit of the sink lists it", attempt.0, attempt.1)
        })
    })
}

/// INV-3: no rollback is committed twice.
pub fn rolled_back_once(requests: &[String]) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    requests.iter().try_for_each(|request| {
        holds("INV-3", seen.insert(request), || format!("rollback {request} is committed twice"))
    })
}

/// INV-6: what a rollback shows again was published by a commit before it.
pub fn shows_what_was_published(version: u32, published: &BTreeSet<u32>) -> Result<(), Violation> {
    holds("INV-6", published.contains(&version), || format!("v{version} is shown again and was never published"))
}

/// INV-6 and INV-7: what is published is in the sink, and the sink is ahead of the ledger only by the recorded intent.
pub fn sink_matches_head(at: &SinkPosition) -> Result<(), Violation> {
    let SinkPosition { head, intent, sink } = *at;
    holds("INV-6", sink >= head, || format!("seq {head} is published, the sink holds {sink}"))?;
    holds("INV-7", sink == head || (sink == head + 1 && intent == Some(sink)), || {
        format!("the sink holds {sink}, the head is {head} and the intent is {intent:?}")
    })
}

/// INV-8: the intent of a seq never changes once it is recorded.
pub fn intent_is_immutable(before: &IntentRef, after: &IntentRef) -> Result<(), Violation> {
    holds("INV-8", before.seq != after.seq || before == after, || format!("intent {} has changed", before.seq))
}

//! What a sink's own storage knows of windrow's commits: the chain of recorded intents, walked from the newest back. It
//! is what a ledger that was restored or lost is made good from. Nothing is written here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{
    error,
    intent::{Committed, Effect, Fingerprint, IntentBody, IntentTask, Seq},
    manifest::Digest,
};
use windrow_proto::{convert::digest_bytes, v1};

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sink::Sink,
    stage::manifest,
};

/// Most tasks one answer tells of: some 200 bytes each, so that it fits a message.
const MOST_TASKS: usize = 5_000;
/// Chains kept between two questions; more sinks than this are seldom recovered side by side.
const MOST_CHAINS: usize = 16;
const BODIES_AT_A_TIME: usize = 8;

/// The chains of sinks that are being asked about, so that each is walked once and not once per answer.
#[derive(Default)]
pub(super) struct Histories(Mutex<BTreeMap<String, Arc<Chain>>>);

/// A sink's commits, oldest first.
struct Chain {
    newest: Committed,
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Link {
    seq: Seq,
    digest: Digest,
    aborted: bool,
}

/// The commits after `asked.after`, as many as fit an answer, and the seq of the newest.
pub(super) async fn recall(
    histories: &Histories,
    connectors: &Connectors,
    asked: &v1::Recall,
) -> Result<(Seq, Vec<v1::PastCommit>)> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let Some(newest) = sink.probe().await? else { return Ok((0, Vec::new())) };
    if newest.seq <= asked.after {
        return Ok((newest.seq, Vec::new()));
    }
    let chain = match histories.kept(&asked.sink, &newest) {
        Some(chain) => chain,
        None => histories.keep(&asked.sink, walk(sink.as_ref(), newest).await?),
    };
    let wanted: Vec<Link> = chain.links.iter().filter(|link| link.seq > asked.after).copied().collect();
    let mut bodies = stream::iter(wanted)
        .map(|link| {
            let sink = sink.clone();
            async move { body(sink.as_ref(), link.seq, &link.digest).await.map(|body| (link, body)) }
        })
        .buffered(BODIES_AT_A_TIME);
    let (mut commits, mut tasks) = (Vec::new(), 0);
    while tasks < MOST_TASKS
        && let Some((link, body)) = bodies.try_next().await?
    {
        tasks += body.tasks.len();
        commits.push(past_commit(link, body));
    }
    Ok((newest.seq, commits))
}

impl Histories {
    fn kept(&self, sink: &str, newest: &Committed) -> Option<Arc<Chain>> {
        let chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chains.get(sink).filter(|chain| chain.newest == *newest).cloned()
    }

    fn keep(&self, sink: &str, chain: Chain) -> Arc<Chain> {
        let chain = Arc::new(chain);
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chains.insert(sink.to_owned(), chain.clone());
        while chains.len() > MOST_CHAINS {
            chains.pop_first();
        }
        chain
    }
}

/// From the newest commit to the first. Whether a commit was an abort is told by the sink for the newest one, and by the
/// intent that followed for the others.
async fn walk(sink: &dyn Sink, newest: Committed) -> Result<Chain> {
    let (fingerprint, aborted) = match newest.effect {
        Effect::Applied(fingerprint) => (fingerprint, false),
        Effect::Aborted(fingerprint) => (fingerprint, true),
    };
    let candidates = manifest::intents_of(sink.storage(), newest.seq).await?;
    let digest = candidates.into_iter().find(|digest| Fingerprint::of(digest) == fingerprint);
    let digest = digest.ok_or_else(|| incomplete(newest.seq))?;
    let mut links = vec![Link { seq: newest.seq, digest, aborted }];
    while let Some(link) = links.last().copied() {
        let found = body(sink, link.seq, &link.digest).await?;
        let Some(previous) = found.previous else {
            if link.seq == 1 {
                break;
            }
            return Err(incomplete(link.seq - 1));
        };
        links.push(Link { seq: link.seq - 1, digest: previous, aborted: found.previous_aborted });
    }
    links.reverse();
    Ok(Chain { newest, links })
}

async fn body(sink: &dyn Sink, seq: Seq, digest: &Digest) -> Result<IntentBody> {
    let body = match manifest::find_intent(sink.storage(), seq, digest).await {
        Err(cause) if cause.code() == error::STAGED_FILE_BAD => return Err(incomplete(seq).because(cause)),
        found => found?,
    };
    if body.seq != seq {
        return Err(incomplete(seq));
    }
    Ok(body)
}

fn incomplete(seq: Seq) -> WorkerError {
    WorkerError::never(error::SINK_HISTORY, format!("the record of commit {seq} is missing"))
        .at("_windrow/intents")
        .fix("bring the folder back from a backup of the table")
}

fn past_commit(link: Link, body: IntentBody) -> v1::PastCommit {
    v1::PastCommit {
        seq: link.seq,
        digest: link.digest.0.to_vec(),
        previous: digest_bytes(body.previous.as_ref()),
        aborted: link.aborted,
        tasks: body.tasks.into_iter().map(past_task).collect(),
    }
}

fn past_task(task: IntentTask) -> v1::PastTask {
    v1::PastTask {
        task: task.task.as_bytes().to_vec(),
        pipeline: task.pipeline.to_string(),
        window: Some(task.window.into()),
        revision: task.revision,
        token: Some(task.token.into()),
        counts: Some(task.manifest.counts.into()),
    }
}

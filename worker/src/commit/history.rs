//! What a sink's own storage knows of windrow's commits: the chain of recorded intents, walked from the newest back. It
//! is what a ledger that was restored or lost is made good from.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{
    error,
    intent::{Committed, IntentBody, IntentTask, Seq},
    manifest::Counts,
    marker::Markers,
    pipeline::Pipeline,
};
use windrow_proto::{convert::digest_bytes, v1};

use super::{added, checked_sink};
use crate::{
    error::{Result, WorkerError},
    marker,
    open::{Connectors, read_pipeline},
    sink::{Applied, Sink},
    stage::{
        chain::{self, Link},
        manifest,
    },
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
    let mut chain = match histories.kept(&asked.sink, &newest) {
        Some(chain) => chain,
        None => histories.keep(&asked.sink, walk(sink.as_ref(), newest).await?),
    };
    // Only a history that is complete: one that is not will be asked for again and again.
    if asked.fence {
        chain = histories.keep(&asked.sink, fence(sink.as_ref(), &chain).await?);
        mark(&pipeline, sink.as_ref(), &chain).await?;
    }
    let wanted: Vec<Link> = chain.links.iter().filter(|link| link.seq > asked.after).copied().collect();
    let mut bodies = stream::iter(wanted)
        .map(|link| {
            let sink = sink.clone();
            async move { chain::body(sink.storage(), &link).await.map(|body| (link, body)) }
        })
        .buffered(BODIES_AT_A_TIME);
    let (mut commits, mut tasks) = (Vec::new(), 0);
    while tasks < MOST_TASKS
        && let Some((link, body)) = bodies.try_next().await?
    {
        tasks += body.tasks.len();
        commits.push(past_commit(sink.as_ref(), link, body));
    }
    Ok((chain.newest.seq, commits))
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

/// Spends the sink's next seq on an abort of nothing. What was recorded in another life of the ledger and may still be on its
/// way to the sink has this seq at most, so it can be committed no more, and what is read now stays as it is.
async fn fence(sink: &dyn Sink, chain: &Chain) -> Result<Chain> {
    let overtaken = || WorkerError::later(error::SINK_CONFLICT, "a commit arrived while the sink was being read");
    let tip = chain.links.last().copied().ok_or_else(overtaken)?;
    let before = chain::body(sink.storage(), &tip).await?;
    let nothing = IntentBody {
        sink: before.sink,
        seq: tip.seq + 1,
        previous: Some(tip.digest),
        previous_aborted: tip.aborted,
        tasks: Vec::new(),
        schema: before.schema,
        add: Vec::new(),
        remove: Vec::new(),
        dead_letters: Vec::new(),
        change: None,
        shows: None,
        markers: Markers::default(),
    };
    let (_, digest) = manifest::put_intent(sink.storage(), &nothing).await?;
    let Applied::Aborted { .. } = sink.abort(&nothing, &digest).await? else { return Err(overtaken()) };
    let newest = sink.probe().await?.filter(|newest| newest.seq == nothing.seq).ok_or_else(overtaken)?;
    let link = Link { seq: nothing.seq, digest, aborted: true };
    Ok(Chain { newest, links: chain.links.iter().copied().chain([link]).collect() })
}

/// Sets the markers of the newest commit there is, if whoever carried it out did not come to that. Not before the fence: a commit on its
/// way would replace rows that they tell of.
async fn mark(pipeline: &Pipeline, sink: &dyn Sink, chain: &Chain) -> Result<()> {
    let Some(newest) = chain.links.iter().rfind(|link| !link.aborted) else { return Ok(()) };
    let body = chain::body(sink.storage(), newest).await?;
    if !body.markers.is_empty() {
        marker::set(&marker::place(pipeline, sink, &body.markers)?, &body.markers).await?;
    }
    Ok(())
}

/// From the newest commit to the first.
async fn walk(sink: &dyn Sink, newest: Committed) -> Result<Chain> {
    let mut links = vec![chain::tip(sink.storage(), newest).await?];
    while let Some(link) = links.last() {
        let Some(before) = chain::before(&chain::body(sink.storage(), link).await?)? else { break };
        links.push(before);
    }
    links.reverse();
    Ok(Chain { newest, links })
}

fn past_commit(sink: &dyn Sink, link: Link, body: IntentBody) -> v1::PastCommit {
    let files = added::files(sink, &body);
    let past_task = |task: IntentTask| {
        let files = files.get(&task.task).copied().unwrap_or_default();
        past_task(task, files)
    };
    v1::PastCommit {
        seq: link.seq,
        digest: link.digest.0.to_vec(),
        previous: digest_bytes(body.previous.as_ref()),
        aborted: link.aborted,
        tasks: body.tasks.into_iter().map(past_task).collect(),
    }
}

fn past_task(task: IntentTask, files: u64) -> v1::PastTask {
    v1::PastTask {
        task: task.task.as_bytes().to_vec(),
        pipeline: task.pipeline.to_string(),
        window: Some(task.window.into()),
        revision: task.revision,
        token: Some(task.token.into()),
        counts: Some(Counts { files, ..task.manifest.counts }.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use sha2::{Digest as _, Sha256};
    use windrow_common::{clock::SystemClock, manifest::Digest, marker::Marker};

    use super::*;
    use crate::open::BuiltIn;

    fn pipeline(folder: &std::path::Path) -> Pipeline {
        serde_json::from_value(json!({
            "name": "visits", "pattern": "full",
            "source": { "from": { "name": "in", "type": "synthetic" } },
            "sink": {
                "to": { "name": "lake", "type": "local", "root": folder },
                "format": "parquet", "write": "replace_all", "path": "visits",
            },
        }))
        .unwrap()
    }

    fn intent(pipeline: &Pipeline, seq: Seq, previous: Option<Digest>) -> IntentBody {
        IntentBody {
            sink: pipeline.sink.id(),
            seq,
            previous,
            previous_aborted: false,
            tasks: Vec::new(),
            schema: json!({ "fields": [], "metadata": {} }),
            add: Vec::new(),
            remove: Vec::new(),
            dead_letters: Vec::new(),
            change: None,
            shows: None,
            markers: Markers::default(),
        }
    }

    /// Whoever committed died before the marker was set, and with it the ledger was lost.
    #[tokio::test]
    async fn the_marker_of_the_newest_commit_is_set_once_nothing_can_follow_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path());
        let connectors = Connectors::new(Arc::new(BuiltIn), Arc::new(SystemClock::new()));
        let sink = connectors.sink(&pipeline).unwrap();
        let (path, staged) = ("_SUCCESS".to_owned(), "_windrow/stage/markers/one".to_owned());
        sink.storage().put(&staged, "complete".into()).await.unwrap();
        let marker = Marker { path, staged, bytes: 8, sha256: Digest(Sha256::digest("complete").into()) };
        let markers = Markers { folder: None, objects: vec![marker] };
        let first = IntentBody { markers, ..intent(&pipeline, 1, None) };
        let (_, digest) = manifest::put_intent(sink.storage(), &first).await.unwrap();
        assert_eq!(sink.commit(&first, &digest).await.unwrap(), Applied::Committed { version: 1 });

        let marked = || std::fs::read_to_string(folder.path().join("visits/_SUCCESS")).ok();
        for (fence, expected) in [(false, None), (true, Some("complete")), (true, Some("complete"))] {
            let sink = pipeline.sink.id().to_string();
            let asked =
                v1::Recall { request: 1, sink, pipeline: serde_json::to_vec(&pipeline).unwrap(), after: 0, fence };
            recall(&Histories::default(), &connectors, &asked).await.unwrap();
            assert_eq!(marked().as_deref(), expected);
        }
    }

    /// An intent that was recorded in another life of the ledger arrives after the sink was read: it is refused.
    #[tokio::test]
    async fn a_sink_that_was_read_takes_no_commit_of_another_life_of_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = pipeline(folder.path());
        let connectors = Connectors::new(Arc::new(BuiltIn), Arc::new(SystemClock::new()));
        let sink = connectors.sink(&pipeline).unwrap();
        let first = intent(&pipeline, 1, None);
        let (_, digest) = manifest::put_intent(sink.storage(), &first).await.unwrap();
        assert_eq!(sink.commit(&first, &digest).await.unwrap(), Applied::Committed { version: 1 });
        let late = IntentBody { remove: vec!["before".to_owned()], ..intent(&pipeline, 2, Some(digest)) };
        let (_, late_digest) = manifest::put_intent(sink.storage(), &late).await.unwrap();

        let json = serde_json::to_vec(&pipeline).unwrap();
        let asked = |after, fence| v1::Recall {
            request: 1,
            sink: pipeline.sink.id().to_string(),
            pipeline: json.clone(),
            after,
            fence,
        };
        let histories = Histories::default();
        let told = |commits: Vec<v1::PastCommit>| -> Vec<(Seq, bool)> {
            commits.into_iter().map(|commit| (commit.seq, commit.aborted)).collect()
        };
        let (newest, commits) = recall(&histories, &connectors, &asked(0, true)).await.unwrap();
        assert_eq!((newest, told(commits)), (2, vec![(1, false), (2, true)]));
        assert_eq!(
            sink.commit(&late, &late_digest).await.unwrap(),
            Applied::Refused(crate::sink::Refusal::Halt),
            "the late commit meets another one of its seq"
        );
        let (newest, commits) = recall(&Histories::default(), &connectors, &asked(1, false)).await.unwrap();
        assert_eq!((newest, told(commits)), (2, vec![(2, true)]));
    }
}

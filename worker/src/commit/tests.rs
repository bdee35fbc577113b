//! The committer with a sink that does what the test tells it to, on a real folder.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::json;
use windrow_common::{
    claim::Token,
    clock::SystemClock,
    id::TaskId,
    intent::{Committed, IntentBody},
    manifest::{Counts, Digest, Manifest, WriteMode},
    marker::Markers,
    pipeline::Pipeline,
    window::{Axis, Window},
};
use windrow_proto::v1::{Settlement, prepared::Outcome};

use super::*;
use crate::{
    open::BuiltIn,
    sink::{Applied, Next, Refusal, Sink},
    stage::{Attempt, Changes, FileFormat, Layout, manifest, stage, tests::Place},
    storage::Storage,
};

/// Answers commits from a script; whatever else is asked of it, it does.
struct Scripted {
    place: Place,
    pipeline: Pipeline,
    answers: Mutex<VecDeque<Says>>,
    /// What was done, in order.
    done: Mutex<Vec<String>>,
}

enum Says {
    Applied(Applied),
    Error,
    Panic,
    /// Takes so long.
    After(Duration),
}

impl Scripted {
    fn new(path: &str, answers: impl IntoIterator<Item = Says>) -> Arc<Self> {
        let pipeline = pipeline(path);
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { place: Place::new(), pipeline, answers, done: Mutex::default() })
    }

    async fn answer(&self, what: String) -> Result<Applied> {
        self.done.lock().unwrap().push(format!("{what} begins"));
        let says = self.answers.lock().unwrap().pop_front();
        let answer = match says {
            None => Ok(Applied::Committed { version: 1 }),
            Some(Says::Applied(applied)) => Ok(applied),
            Some(Says::Error) => Err(WorkerError::later(error::SINK_UNREACHABLE, "no answer")),
            Some(Says::Panic) => panic!("a bug in the sink"),
            Some(Says::After(pause)) => {
                tokio::time::sleep(pause).await;
                Ok(Applied::Committed { version: 1 })
            }
        };
        self.done.lock().unwrap().push(format!("{what} ends"));
        answer
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

#[async_trait]
impl Sink for Scripted {
    fn storage(&self) -> &Storage {
        &self.place.storage
    }

    async fn layout(&self, schema: SchemaRef) -> Result<Layout> {
        Ok(Layout {
            format: FileFormat::JsonLines,
            schema,
            partition_by: Vec::new(),
            target_bytes: 1 << 20,
            folder: String::new(),
            cursor: None,
            stats: false,
            changes: Changes::default(),
        })
    }

    async fn probe(&self) -> Result<Option<Committed>> {
        Ok(None)
    }

    async fn prepare(&self, next: Next) -> Result<IntentBody> {
        let add = next.tasks.iter().flat_map(|(_, manifest)| manifest.files.clone()).collect();
        Ok(IntentBody {
            sink: self.pipeline.sink.id(),
            seq: next.seq,
            previous: next.previous,
            previous_aborted: next.previous_aborted,
            tasks: next.tasks.into_iter().map(|(task, _)| task).collect(),
            schema: json!({}),
            add,
            remove: Vec::new(),
            dead_letters: Vec::new(),
            change: None,
            shows: None,
            markers: Markers::default(),
        })
    }

    async fn commit(&self, body: &IntentBody, _: &Digest) -> Result<Applied> {
        self.answer(format!("commit {}", body.seq)).await
    }

    async fn abort(&self, body: &IntentBody, _: &Digest) -> Result<Applied> {
        self.answer(format!("abort {}", body.seq)).await
    }

    async fn referenced(&self) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }
}

fn pipeline(path: &str) -> Pipeline {
    serde_json::from_value(json!({
        "name": "flights", "pattern": "incremental",
        "source": { "from": { "name": "s", "type": "synthetic" } },
        "sink": { "to": { "name": "lake", "type": "local" }, "format": "json", "write": "append", "path": path },
    }))
    .unwrap()
}

fn committer(sinks: &[&Arc<Scripted>]) -> Arc<Committer> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let connectors = Arc::new(Connectors::new(Arc::new(BuiltIn), clock.clone()));
    for sink in sinks {
        connectors.stand_in_sink(&sink.pipeline, Arc::clone(sink) as Arc<dyn Sink>);
    }
    Arc::new(Committer::new(connectors, clock, "w1".parse().unwrap(), Metrics::new()))
}

/// A task whose files are staged and whose manifest is written.
async fn sealed(sink: &Scripted, number: u8) -> v1::SealedTask {
    let window = Window::new(Axis::Time, 0, 10).unwrap();
    let attempt = Attempt { task: TaskId::from_bytes([number; 16]), token: Token { epoch: 1, revision: 7 }, window };
    let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
    let layout = sink.layout(batch.schema()).await.unwrap();
    let files = stage(sink.storage(), &layout, &attempt, stream::iter([Ok(batch)]).boxed()).await.unwrap();
    let manifest = Manifest {
        task: attempt.task,
        token: attempt.token,
        attempt: 1,
        pipeline: sink.pipeline.name.clone(),
        sink: sink.pipeline.sink.id(),
        window,
        write: WriteMode::Append,
        schema: json!({}),
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts: Counts::default(),
    };
    let reference = manifest::put_manifest(sink.storage(), &manifest).await.unwrap();
    v1::SealedTask {
        task: attempt.task.as_bytes().to_vec(),
        pipeline: sink.pipeline.name.to_string(),
        window: Some(window.into()),
        revision: 0,
        token: Some(attempt.token.into()),
        manifest: Some((&reference).into()),
        shard: 0,
        compaction: false,
        comparison: false,
        guard: None,
        declared: None,
    }
}

fn question(sink: &Scripted, seq: u64, tasks: Vec<v1::SealedTask>) -> v1::Prepare {
    let pipeline = serde_json::to_vec(&sink.pipeline).unwrap();
    v1::Prepare {
        request: 1,
        sink: sink.pipeline.sink.id().to_string(),
        pipeline,
        seq,
        tasks,
        ..v1::Prepare::default()
    }
}

async fn draft(committer: &Committer, sink: &Scripted, seq: u64) -> v1::IntentDraft {
    let tasks = vec![sealed(sink, 1).await];
    match committer.prepare(question(sink, seq, tasks)).await.outcome.unwrap() {
        Outcome::Draft(draft) => draft,
        Outcome::Failure(failure) => panic!("{failure:?}"),
    }
}

async fn recorded(committer: &Committer, sink: &Scripted, seq: u64) -> v1::Commit {
    let v1::IntentDraft { path, digest, .. } = draft(committer, sink, seq).await;
    v1::Commit {
        request: 2,
        sink: sink.pipeline.sink.id().to_string(),
        pipeline: serde_json::to_vec(&sink.pipeline).unwrap(),
        seq,
        path,
        digest,
        ..v1::Commit::default()
    }
}

async fn blamed(committer: &Committer, asked: v1::Prepare) -> v1::PrepareFailure {
    match committer.prepare(asked).await.outcome.unwrap() {
        Outcome::Failure(failure) => failure,
        Outcome::Draft(draft) => panic!("{draft:?}"),
    }
}

#[tokio::test]
async fn sealed_tasks_become_an_intent_that_anybody_can_read() {
    let sink = Scripted::new("a", []);
    let committer = committer(&[&sink]);
    let draft = draft(&committer, &sink, 1).await;
    let reference = windrow_common::intent::IntentRef {
        seq: 1,
        previous: None,
        path: draft.path,
        digest: windrow_proto::convert::digest(&draft.digest).unwrap(),
        tasks: Vec::new(),
        counts: Counts::default(),
        files: BTreeMap::new(),
    };
    let body = manifest::get_intent(sink.storage(), &reference).await.unwrap();
    assert_eq!((body.tasks.len(), body.add.len()), (1, 1));
    assert!(sink.done().is_empty(), "preparing commits nothing");
}

/// Proves CL3.
#[tokio::test]
async fn a_task_whose_staged_files_are_gone_or_changed_is_named_and_has_to_run_again() {
    let sink = Scripted::new("a", []);
    let committer = committer(&[&sink]);
    for damage in [(|path: &str| std::fs::remove_file(path).unwrap()) as fn(&str), |path| {
        std::fs::write(path, "something else entirely").unwrap()
    }] {
        for kind in ["part-", "_windrow/manifests"] {
            let tasks = vec![sealed(&sink, 1).await, sealed(&sink, 2).await];
            let victim = sink.place.all_files().into_iter().find(|file| file.contains(kind)).unwrap();
            damage(&victim);
            let failure = blamed(&committer, question(&sink, 1, tasks)).await;
            assert!(failure.staged_files_bad, "{kind}");
            assert!(failure.task == vec![1; 16] || failure.task == vec![2; 16]);
            assert_eq!(failure.failure.unwrap().code, error::STAGED_FILE_BAD.code);
            for file in sink.place.all_files() {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

/// The sink sees one load, and the intent publishes all of its tasks.
#[tokio::test]
async fn shards_of_a_window_become_one_load() {
    let sink = Scripted::new("flights", []);
    let committer = committer(&[&sink]);
    let shard = |number, shard| {
        let sink = &sink;
        async move { v1::SealedTask { shard, ..sealed(sink, number).await } }
    };
    let other = v1::SealedTask { revision: 1, ..sealed(&sink, 4).await };
    let tasks = vec![shard(1, 0).await, shard(2, 1).await, shard(3, 2).await, other.clone()];
    let Outcome::Draft(draft) = committer.prepare(question(&sink, 1, tasks)).await.outcome.unwrap() else {
        panic!("it cannot be prepared")
    };
    assert_eq!(draft.files, [1; 4], "of each task that is published");
    let reference = windrow_common::intent::IntentRef {
        seq: 1,
        previous: None,
        path: draft.path,
        digest: windrow_proto::convert::digest(&draft.digest).unwrap(),
        tasks: Vec::new(),
        counts: Counts::default(),
        files: BTreeMap::new(),
    };
    let body = manifest::get_intent(sink.storage(), &reference).await.unwrap();
    let ids: Vec<TaskId> = body.tasks.iter().map(|task| task.task).collect();
    assert_eq!(ids, [1, 4, 2, 3].map(|number| TaskId::from_bytes([number; 16])), "those that stand for windows first");
    assert_eq!((body.add.len(), body.add.iter().map(|file| file.rows).sum::<u64>()), (4, 8));

    let failure = blamed(&committer, question(&sink, 1, vec![other, shard(2, 1).await])).await;
    assert_eq!(failure.failure.unwrap().code, error::VERSION_SKEW.code, "a shard is nothing without its window");
}

#[tokio::test]
async fn a_manifest_of_another_attempt_is_not_taken() {
    let sink = Scripted::new("a", []);
    let committer = committer(&[&sink]);
    let stale = v1::SealedTask { token: Some(v1::Token { epoch: 1, revision: 8 }), ..sealed(&sink, 1).await };
    let failure = blamed(&committer, question(&sink, 1, vec![stale])).await;
    assert!(failure.staged_files_bad);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_answered_with_a_failure() {
    let sink = Scripted::new("a", []);
    let committer = committer(&[&sink]);
    let good = question(&sink, 1, Vec::new());
    let elsewhere = v1::Prepare { sink: pipeline("b").sink.id().to_string(), ..good.clone() };
    let unreadable = v1::Prepare { pipeline: b"{".to_vec(), ..good.clone() };
    let cut = v1::Prepare { tasks: vec![v1::SealedTask::default()], ..good };
    for (asked, code) in [(elsewhere, error::INTERNAL), (unreadable, error::VERSION_SKEW), (cut, error::VERSION_SKEW)] {
        assert_eq!(blamed(&committer, asked).await.failure.unwrap().code, code.code);
    }
}

#[tokio::test]
async fn each_answer_of_a_sink_has_its_settlement_and_every_error_means_unknown() {
    let cases = [
        (Says::Applied(Applied::Committed { version: 4 }), Settlement::Committed),
        (Says::Applied(Applied::Aborted { version: 4 }), Settlement::Aborted),
        (Says::Applied(Applied::Stale), Settlement::Stale),
        (Says::Applied(Applied::Refused(Refusal::Conflict)), Settlement::Conflict),
        (Says::Applied(Applied::Refused(Refusal::Schema)), Settlement::Schema),
        (Says::Applied(Applied::Refused(Refusal::Halt)), Settlement::Halt),
        (Says::Error, Settlement::Unknown),
        (Says::Panic, Settlement::Unknown),
    ];
    for (says, expected) in cases {
        let sink = Scripted::new("a", [says]);
        let committer = committer(&[&sink]);
        let asked = recorded(&committer, &sink, 1).await;
        let settled = committer.commit(asked).await;
        assert_eq!((settled.request, settled.seq, settled.settlement()), (2, 1, expected));
        let code = settled.failure.map(|failure| failure.code);
        let expected_code = match expected {
            Settlement::Conflict => Some("WR-K007"),
            Settlement::Schema => Some("WR-K004"),
            // The sink has commit 0, and 0 is what the ledger has before commit 1.
            Settlement::Halt => Some("WR-K008"),
            Settlement::Unknown => code.as_deref(),
            _ => None,
        };
        assert_eq!(code.as_deref(), expected_code, "{expected:?} without its reason is not heard");
        assert_eq!(
            code.is_some(),
            !matches!(expected, Settlement::Committed | Settlement::Aborted | Settlement::Stale)
        );
        let tells_version = matches!(expected, Settlement::Committed | Settlement::Aborted);
        assert_eq!(settled.version, if tells_version { 4 } else { 0 });
    }
}

#[tokio::test]
async fn a_commit_asked_for_again_after_a_panic_is_carried_out() {
    let sink = Scripted::new("a", [Says::Panic]);
    let committer = committer(&[&sink]);
    let asked = recorded(&committer, &sink, 1).await;
    assert_eq!(committer.commit(asked.clone()).await.settlement(), Settlement::Unknown);
    assert_eq!(committer.commit(asked).await.settlement(), Settlement::Committed);
}

#[tokio::test]
async fn only_the_recorded_body_is_committed_or_aborted() {
    let sink = Scripted::new("a", []);
    let committer = committer(&[&sink]);
    let asked = recorded(&committer, &sink, 1).await;
    let wrong_digest = v1::Commit { digest: vec![0; 32], ..asked.clone() };
    let wrong_seq = v1::Commit { seq: 2, ..asked.clone() };
    let nowhere = v1::Commit { path: "_windrow/intents/none.json".to_owned(), ..asked.clone() };
    for refused in [wrong_digest, wrong_seq, nowhere] {
        assert_eq!(committer.commit(refused).await.settlement(), Settlement::Unknown);
    }
    assert!(sink.done().is_empty());
    committer.commit(v1::Commit { abort: true, ..asked }).await;
    assert_eq!(sink.done(), ["abort 1 begins", "abort 1 ends"]);
}

#[tokio::test]
async fn one_sink_does_one_thing_after_the_other_while_another_goes_on() {
    let slow = Duration::from_millis(300);
    let (first, second) = (Scripted::new("a", [Says::After(slow)]), Scripted::new("b", []));
    let committer = committer(&[&first, &second]);
    let one = recorded(&committer, &first, 1).await;
    let two = recorded(&committer, &first, 2).await;
    let other = recorded(&committer, &second, 1).await;
    let (one, two) = tokio::join!(committer.commit(one), async {
        tokio::time::sleep(slow / 10).await;
        let other = committer.commit(other).await;
        assert_eq!(other.settlement(), Settlement::Committed);
        assert_eq!(first.done(), ["commit 1 begins"], "the other sink had to wait");
        committer.commit(two).await
    });
    assert_eq!((one.settlement(), two.settlement()), (Settlement::Committed, Settlement::Committed));
    assert_eq!(first.done(), ["commit 1 begins", "commit 1 ends", "commit 2 begins", "commit 2 ends"]);
    assert!(committer.lanes.sinks.lock().unwrap().len() <= 2);
}

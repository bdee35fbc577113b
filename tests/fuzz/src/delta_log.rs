//! Commits of other writers in a Delta log. What windrow makes of them commit by commit is what a reader of the whole log
//! makes of them; and what it then commits itself stands in the log for every reader.

use std::{cell::OnceCell, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use serde_json::{Value, json};
use windrow_common::{
    id::TaskId,
    intent::{Committed, Effect, Fingerprint, IntentBody, IntentTask},
    manifest::{Counts, Digest, Manifest, ManifestRef, StagedFile, WriteMode},
    pipeline::Pipeline,
    window::{Axis, Window},
};
use windrow_worker::{
    error::Result,
    sink::{Applied, Next, Sink, delta::over},
    stage::manifest::put_intent,
    storage::Storage,
};

use super::rows::block_on;

const HOUR: i64 = 3_600_000_000;

thread_local! {
    /// A table with a commit of windrow's, made once by the sink itself.
    static GROUND: OnceCell<Vec<(Path, Bytes)>> = const { OnceCell::new() };
}

/// The input as the commit after windrow's first.
pub fn check(data: &[u8]) {
    let ground = GROUND.with(|ground| ground.get_or_init(|| block_on(ground_made())).clone());
    block_on(check_commit(&ground, data));
}

async fn check_commit(ground: &[(Path, Bytes)], text: &[u8]) {
    let objects = Arc::new(InMemory::new());
    for (path, bytes) in ground {
        put(&objects, path, bytes.clone()).await;
    }
    let follower = sink(&objects);
    let before = follower.probe().await.expect("the table is sound").expect("windrow has committed");
    put(&objects, &commit_path(2), Bytes::copy_from_slice(text)).await;
    let newcomer = sink(&objects);
    let (Ok(followed), Ok(read)) = (follower.probe().await, newcomer.probe().await) else { return };
    assert_eq!(followed, read, "windrow's last commit, read in steps and at once");
    let Some(found) = read.filter(|found| *found == before) else {
        // Somebody else has written windrow's record. That is a fork, which is told when it is met.
        return;
    };
    let replacement = |sink: Arc<dyn Sink>| async move { replace_all(sink.as_ref(), found).await };
    let (Ok(first), Ok(second)) = (replacement(follower.clone()).await, replacement(newcomer).await) else { return };
    assert_eq!(sorted(&first.remove), sorted(&second.remove), "the files of the table, read in steps and at once");

    let (_, digest) = put_intent(follower.storage(), &first).await.expect("memory takes it");
    let Ok(applied) = follower.commit(&first, &digest).await else { return };
    let Applied::Committed { .. } = applied else { return };
    assert_eq!(follower.commit(&first, &digest).await.ok(), Some(applied), "committing twice");
    let effect = Effect::Applied(Fingerprint::of(&digest));
    let third = sink(&objects);
    assert_eq!(third.probe().await.expect("it was read before"), Some(Committed { seq: first.seq, effect }));
    let left = replace_all(third.as_ref(), Committed { seq: first.seq, effect }).await.expect("it was prepared before");
    assert_eq!(left.remove, Vec::<String>::new(), "files that were removed are back");
}

fn sorted(paths: &[String]) -> Vec<&String> {
    let mut paths: Vec<&String> = paths.iter().collect();
    paths.sort();
    paths
}

/// An intent after `found` that leaves nothing in the table; what it removes is what is there.
async fn replace_all(sink: &dyn Sink, found: Committed) -> Result<IntentBody> {
    let manifest = manifest(2, WriteMode::ReplaceAll, Vec::new());
    let next = Next { seq: found.seq + 1, previous: None, previous_aborted: false, tasks: vec![manifest] };
    sink.prepare(next).await
}

async fn ground_made() -> Vec<(Path, Bytes)> {
    let objects = Arc::new(InMemory::new());
    let files: Vec<StagedFile> = (0..2).map(staged).collect();
    for file in &files {
        put(&objects, &Path::from(file.path.as_str()), Bytes::from(vec![0; file.bytes as usize])).await;
    }
    let sink = sink(&objects);
    let tasks = vec![manifest(1, WriteMode::Append, files)];
    let next = Next { seq: 1, previous: None, previous_aborted: false, tasks };
    let body = sink.prepare(next).await.expect("an intent");
    let (_, digest) = put_intent(sink.storage(), &body).await.expect("memory takes it");
    sink.commit(&body, &digest).await.expect("a commit");
    let listed: Vec<_> = objects.list(None).try_collect().await.expect("memory lists");
    let mut ground = Vec::new();
    for meta in listed {
        let bytes = objects.get(&meta.location).await.expect("it is there").bytes().await.expect("it is there");
        ground.push((meta.location, bytes));
    }
    ground
}

async fn put(objects: &InMemory, path: &Path, bytes: Bytes) {
    objects.put(path, bytes.into()).await.expect("memory takes it");
}

fn commit_path(version: u64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

fn sink(objects: &Arc<InMemory>) -> Arc<dyn Sink> {
    let storage = Storage::over(objects.clone(), "memory:///".parse().expect("an address"));
    over(&pipeline(), storage).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn pipeline() -> Pipeline {
    serde_json::from_value(json!({
        "name": "flights",
        "pattern": "incremental",
        "source": { "from": { "name": "s", "type": "synthetic" }, "cursor": "at" },
        "sink": {
            "to": { "name": "lake", "type": "local" },
            "format": "delta", "write": "append", "path": "", "target_file_size": "1",
        },
    }))
    .expect("a pipeline")
}

fn staged(number: i64) -> StagedFile {
    StagedFile {
        path: format!("part-{number:016x}-e1-t1-0.parquet"),
        bytes: 3,
        sha256: Digest([1; 32]),
        rows: 1,
        window: Window::new(Axis::Time, number * HOUR, (number + 1) * HOUR).expect("not empty"),
        partition: Default::default(),
        stats: Some(json!({ "numRecords": 1 })),
        clustered: None,
    }
}

fn manifest(revision: i64, write: WriteMode, files: Vec<StagedFile>) -> (IntentTask, Manifest) {
    let pipeline = pipeline();
    let window = Window::new(Axis::Time, 0, 2 * HOUR).expect("not empty");
    let (task, token) = (TaskId::from_bytes([revision as u8; 16]), windrow_common::claim::Token { epoch: 1, revision });
    let counts = Counts::default();
    let reference = ManifestRef { path: "m".to_owned(), sha256: Digest([2; 32]), counts, proof: None };
    let intent = IntentTask {
        task,
        pipeline: pipeline.name.clone(),
        window,
        revision: 0,
        token,
        manifest: reference,
        declared: None,
    };
    let manifest = Manifest {
        task,
        token,
        attempt: 1,
        sink: pipeline.sink.id(),
        pipeline: pipeline.name,
        window,
        write,
        schema: schema(),
        files,
        dead_letters: Vec::new(),
        inputs: Vec::new(),
        counts,
    };
    (intent, manifest)
}

fn schema() -> Value {
    use arrow_schema::{DataType, Field, Schema, TimeUnit};
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Schema::new(vec![Field::new("at", at, true), Field::new("id", DataType::Int64, true)]);
    serde_json::to_value(schema).expect("it is JSON")
}

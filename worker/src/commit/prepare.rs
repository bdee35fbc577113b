//! From sealed tasks to the body of an intent, written down where every committer finds it.

use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{
    error, failpoint,
    id::TaskId,
    intent::IntentTask,
    manifest::{Digest, Manifest},
};
use windrow_proto::{
    convert::{Malformed, optional_digest, required, task_id},
    v1,
};

use super::{added, checked_sink, guarded, versions};
use crate::{
    error::WorkerError,
    marker::{self, Owner},
    open::{Connectors, read_pipeline},
    sink::Next,
    stage::manifest,
    storage::Storage,
};

/// Manifests read at a time.
const MANIFESTS_AT_A_TIME: usize = 8;

/// Why no intent came about, and the task to blame if one is known.
pub(super) struct Blamed {
    pub(super) task: Option<TaskId>,
    pub(super) cause: WorkerError,
}

impl From<WorkerError> for Blamed {
    fn from(cause: WorkerError) -> Self {
        Self { task: cause.stale(), cause }
    }
}

pub(super) async fn prepare(connectors: &Connectors, asked: v1::Prepare) -> Result<v1::IntentDraft, Blamed> {
    if let Some(show) = &asked.show {
        let draft = versions::show(connectors, &asked, show).await?;
        failpoint::reach(failpoint::Point::Prepared, &asked.sink).await.map_err(WorkerError::from)?;
        return Ok(draft);
    }
    let pipeline = read_pipeline(&asked.pipeline)?;
    let id = checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let previous = optional_digest(&asked.previous).map_err(malformed)?;
    let guards = guarded::guards(&asked.tasks).map_err(malformed)?;
    let rewrites = asked.tasks.iter().filter(|task| task.compaction).count();
    if rewrites > 0 && rewrites < asked.tasks.len() {
        let what = "files that were rewritten and windows were sent for one commit";
        return Err(WorkerError::later(error::VERSION_SKEW, what).into());
    }
    let comparisons = asked.tasks.iter().filter(|task| task.comparison).count();
    if comparisons > 0 && asked.tasks.len() > 1 {
        let what = "a comparison of keys was sent for a commit with others";
        return Err(WorkerError::later(error::VERSION_SKEW, what).into());
    }
    let shards: Vec<u32> = asked.tasks.iter().map(|task| task.shard).collect();
    let tasks = asked.tasks.into_iter().map(intent_task).collect::<Result<Vec<_>, _>>().map_err(malformed)?;
    let order: Vec<TaskId> = tasks.iter().map(|task| task.task).collect();
    let storage = sink.storage();
    let tasks: Vec<(IntentTask, Manifest)> =
        stream::iter(tasks).map(|task| sealed(storage, task)).buffered(MANIFESTS_AT_A_TIME).try_collect().await?;
    let (tasks, others) = joined(shards.into_iter().zip(tasks))?;
    guarded::check(sink.as_ref(), &guards, &tasks).await?;
    let next = Next { seq: asked.seq, previous, previous_aborted: asked.previous_aborted, tasks };
    let mut body = match (rewrites, comparisons) {
        (0, 0) => sink.prepare(next).await?,
        (0, _) => sink.delete(next).await?,
        _ => sink.replace_files(next).await?,
    };
    if body.sink != id || body.seq != asked.seq || body.previous != previous {
        let what = format!("the sink worked out commit {} of {}, not {} of {id}", body.seq, body.sink, asked.seq);
        return Err(WorkerError::never(error::INTERNAL, what).into());
    }
    // Behind those that stand for windows, whose places the sink may have noted.
    body.tasks.extend(others);
    if let Some(first) = body.tasks.first() {
        let owner = Owner { task: first.task, token: first.token };
        body.markers = marker::stage(sink.as_ref(), &pipeline, &body, owner).await?;
    }
    let (path, Digest(digest)) = manifest::put_intent(storage, &body).await?;
    failpoint::reach(failpoint::Point::Prepared, &asked.sink).await.map_err(WorkerError::from)?;
    let files = added::files(sink.as_ref(), &body);
    let files = order.iter().map(|task| files.get(task).copied().unwrap_or_default()).collect();
    Ok(v1::IntentDraft { path, digest: digest.to_vec(), shows: None, files })
}

/// The task with its manifest, if all of its files are there.
async fn sealed(storage: &Storage, task: IntentTask) -> Result<(IntentTask, Manifest), Blamed> {
    let blame = |cause| Blamed { task: Some(task.task), cause };
    let found = manifest::get_manifest(storage, &task.manifest).await.map_err(blame)?;
    if (found.task, found.token) != (task.task, task.token) {
        let cause = WorkerError::later(error::STAGED_FILE_BAD, "a manifest is of another attempt");
        return Err(blame(cause.at(&task.manifest.path)));
    }
    manifest::verify_files(storage, &found.files).await.map_err(blame)?;
    manifest::verify_files(storage, &found.dead_letters).await.map_err(blame)?;
    Ok((task, found))
}

/// The shards of a window as the one load they are: a sink knows windows. And those that were cut off, which are published
/// all the same.
fn joined(tasks: impl Iterator<Item = (u32, (IntentTask, Manifest))>) -> Result<Joined, Blamed> {
    let (mut whole, mut others): Joined = (Vec::new(), Vec::new());
    for (shard, (task, manifest)) in tasks {
        if shard == 0 {
            whole.push((task, manifest));
            continue;
        }
        let same = |first: &IntentTask| {
            (&first.pipeline, first.window, first.revision) == (&task.pipeline, task.window, task.revision)
        };
        let Some((_, load)) = whole.last_mut().filter(|(first, _)| same(first)) else {
            return Err(WorkerError::later(error::VERSION_SKEW, "a shard was sent without its window").into());
        };
        if load.schema != manifest.schema || load.write != manifest.write {
            let cause = WorkerError::later(error::STAGED_FILE_BAD, "shards of one window were staged differently");
            return Err(Blamed { task: Some(task.task), cause: cause.at(&task.manifest.path) });
        }
        load.files.extend(manifest.files);
        load.dead_letters.extend(manifest.dead_letters);
        load.inputs.extend(manifest.inputs);
        load.counts += manifest.counts;
        others.push(task);
    }
    Ok((whole, others))
}

/// What sinks are given, and what is published with it.
type Joined = (Vec<(IntentTask, Manifest)>, Vec<IntentTask>);

fn intent_task(sealed: v1::SealedTask) -> Result<IntentTask, Malformed> {
    Ok(IntentTask {
        task: task_id(&sealed.task)?,
        pipeline: sealed.pipeline.parse()?,
        window: required(sealed.window, "window")?.try_into()?,
        revision: sealed.revision,
        token: required(sealed.token, "token")?.into(),
        manifest: required(sealed.manifest, "manifest")?.try_into()?,
        declared: sealed.declared.map(TryInto::try_into).transpose()?.map(Box::new),
    })
}

fn malformed(cause: Malformed) -> WorkerError {
    WorkerError::later(error::VERSION_SKEW, "a question of the coordinator makes no sense").because(cause)
}

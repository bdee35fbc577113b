//! Versions of a full load: which there are, for people, and the commit that shows one of them again.

use windrow_common::{
    error,
    id::TaskId,
    manifest::{Digest, Manifest, ManifestRef},
};
use windrow_proto::{
    convert::{Malformed, optional_digest, required, task_id},
    v1,
};

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    marker::{self, Owner},
    open::{Connectors, read_pipeline},
    sink::{
        Again, Sink,
        versions::{self, Version},
    },
    stage::manifest,
    storage::Storage,
};

/// Versions one answer tells of, and among which the one to be shown again is looked for.
const MOST_LISTED: usize = 100;

pub(super) async fn list(connectors: &Connectors, asked: &v1::ListVersions) -> Result<Vec<v1::Version>> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let found = versions::walk(sink.storage(), sink.probe().await?, MOST_LISTED).await?;
    let gone = sink.gone(&found).await?;
    let mut listed = Vec::with_capacity(found.len());
    for (at, (version, gone)) in found.iter().zip(gone).enumerate() {
        let (at_us, attempt) = loaded(sink.storage(), version).await?;
        listed.push(v1::Version {
            version: version.number,
            seq: version.seq(),
            at_us,
            rows: version.rows(),
            attempt,
            shown: at == 0,
            gone: gone.filter(|_| at > 0).unwrap_or_default(),
        });
    }
    Ok(listed)
}

/// When its load was sealed and by which attempt, as far as that is known.
async fn loaded(storage: &Storage, version: &Version) -> Result<(i64, u32)> {
    let Some(task) = version.load.as_ref().and_then(|load| load.tasks.last()) else { return Ok((0, 0)) };
    let at = storage.head(&task.manifest.path).await?.map_or(0, |found| found.last_modified.timestamp_micros());
    Ok((at, attempt(storage, &task.manifest).await.map_or(0, |manifest| manifest.attempt)))
}

/// For people only: what is not there is not told.
async fn attempt(storage: &Storage, reference: &ManifestRef) -> Option<Manifest> {
    manifest::get_manifest(storage, reference).await.ok()
}

/// Works out the commit that shows a version again, unless another one is shown than when that was asked for.
pub(super) async fn show(
    connectors: &Connectors,
    asked: &v1::Prepare,
    show: &v1::ShowVersion,
) -> Result<v1::IntentDraft> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    let id = checked_sink(&asked.sink, &pipeline)?;
    let sink = connectors.sink(&pipeline)?;
    let again = again(asked, show).map_err(|cause| {
        WorkerError::later(error::VERSION_SKEW, "a question of the coordinator makes no sense").because(cause)
    })?;
    let found = versions::walk(sink.storage(), sink.probe().await?, MOST_LISTED).await?;
    let version = wanted(sink.as_ref(), &found, show).await.map_err(|error| error.at(&asked.sink))?;
    let mut body = sink.show_again(version, again).await?;
    if (body.seq, body.shows) != (asked.seq, Some(show.version)) || body.sink != id || !body.tasks.is_empty() {
        let what = format!("the sink worked out commit {} of {}, not a rollback", body.seq, body.sink);
        return Err(WorkerError::never(error::INTERNAL, what));
    }
    let owner = Owner { task: again.id, token: again.token };
    body.markers = marker::stage(sink.as_ref(), &pipeline, &body, owner).await?;
    let (path, Digest(digest)) = manifest::put_intent(sink.storage(), &body).await?;
    Ok(v1::IntentDraft { path, digest: digest.to_vec(), shows: Some(show.version), files: Vec::new() })
}

/// The version to be shown, if it can be and if things are as they were.
async fn wanted<'a>(sink: &dyn Sink, found: &'a [Version], show: &v1::ShowVersion) -> Result<&'a Version> {
    let shown = found.first().map(|version| version.number);
    if shown != Some(show.instead_of) {
        let now = shown.map_or("nothing".to_owned(), |shown| format!("v{shown}"));
        let message = format!("{now} is shown by now, and it was v{} when the rollback was asked for", show.instead_of);
        return Err(WorkerError::never(error::CONFLICT, message)
            .fix("look what is shown: windrow get versions PIPELINE; then ask again"));
    }
    let gone = |why: &str| {
        WorkerError::never(error::VERSION_GONE, format!("v{} {why}", show.version))
            .fix("see what there is: windrow get versions PIPELINE")
    };
    let version = found.iter().find(|version| version.number == show.version);
    let version = version.ok_or_else(|| gone("is not known to its sink"))?;
    match sink.gone(std::slice::from_ref(version)).await?.pop().flatten() {
        Some(why) => Err(gone(&why)),
        None => Ok(version),
    }
}

fn again(asked: &v1::Prepare, show: &v1::ShowVersion) -> std::result::Result<Again, Malformed> {
    let task: TaskId = task_id(&show.id)?;
    Ok(Again {
        seq: asked.seq,
        previous: optional_digest(&asked.previous)?,
        previous_aborted: asked.previous_aborted,
        id: task,
        token: required(show.token, "token")?.into(),
    })
}

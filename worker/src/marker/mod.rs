//! Markers: the last that is written of a window, and the first that goes when it is loaded again.
//!
//! ```text
//!   prepare            commit                                     told
//!   stage ----> withdraw -> the sink's own step -> set ----> the windows are published
//! ```
//!
//! They are staged before their intent is recorded and only copied after that, so whoever is late finds nothing to copy: a
//! marker never says that rows are there which a later commit is about to replace. What is set is what was recorded, to the
//! byte, whoever sets it and however often.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest as _, Sha256};
use windrow_common::{
    claim::Token,
    id::TaskId,
    intent::IntentBody,
    manifest::Digest,
    marker::{Marker, Markers},
    pipeline::Pipeline,
};

use crate::{
    error::{Result, WorkerError},
    sink::Sink,
    stage::{StagedName, joined},
    storage::{Copied, Storage},
};

mod check;
mod describe;
mod place;
mod plan;
#[cfg(test)]
mod tests;

pub use check::check;
pub(crate) use place::place;

/// Where markers wait, relative to their folder.
const STAGE_FOLDER: &str = "_windrow/stage/markers";
/// What stands behind a marker's name in that of its description.
const DESCRIPTION: &str = ".json";
/// Markers written, copied or deleted at a time.
const AT_A_TIME: usize = 16;
/// Tries to put a marker where another object stands.
const TRIES: usize = 3;

/// Whom staged markers are named after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) task: TaskId,
    pub(crate) token: Token,
}

/// Writes down the markers of a commit that has been worked out, where nobody looks.
pub(crate) async fn stage(sink: &dyn Sink, pipeline: &Pipeline, body: &IntentBody, owner: Owner) -> Result<Markers> {
    let Some(publish) = &pipeline.readiness.publish else { return Ok(Markers::default()) };
    let planned = plan::plan(pipeline, publish, body, &sink.shown_as(&body.add))?;
    let markers = Markers { folder: publish.folder.clone(), objects: Vec::new() };
    if planned.is_empty() {
        return Ok(Markers::default());
    }
    let storage = place(pipeline, sink, &markers)?;
    let write = stream::iter((0..).zip(planned)).map(|(number, planned)| {
        let storage = &storage;
        async move {
            let name = StagedName::new(&owner.task, owner.token, number, "json");
            let staged = joined(&[STAGE_FOLDER, &name.to_string()]);
            let (bytes, sha256) = (planned.body.len() as u64, sha256(&planned.body));
            storage.put(&staged, Bytes::from(planned.body)).await?;
            Ok::<_, WorkerError>(Marker { path: planned.path, staged, bytes, sha256 })
        }
    });
    Ok(Markers { objects: write.buffered(AT_A_TIME).try_collect().await?, ..markers })
}

/// Takes away what stands where the markers are to be, the last to be set first: no consumer starts on rows that are about to be
/// replaced.
pub(crate) async fn withdraw(storage: &Storage, markers: &Markers) -> Result<()> {
    let takes: Vec<_> = groups(markers).into_iter().map(|group| take_all(storage, group)).collect();
    stream::iter(takes).buffer_unordered(AT_A_TIME).try_collect().await
}

async fn take_all(storage: &Storage, group: &[Marker]) -> Result<()> {
    for marker in group.iter().rev() {
        if storage.head(&marker.path).await?.is_some() {
            storage.delete(&marker.path).await?;
        }
    }
    Ok(())
}

/// Each marker with what describes it, which has to stand before it does and goes after it.
fn groups(markers: &Markers) -> Vec<&[Marker]> {
    markers.objects.chunk_by(|one, next| one.path.strip_suffix(DESCRIPTION) == Some(&next.path)).collect()
}

/// How setting markers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// All of them stand.
    Done,
    /// Some are gone from where they waited and do not stand where they belong: somebody set them long ago, or took them away.
    Gone,
}

/// Puts the markers in their places, each behind its description. Repeating it changes nothing.
pub(crate) async fn set(storage: &Storage, markers: &Markers) -> Result<Set> {
    let puts: Vec<_> = groups(markers).into_iter().map(|group| put_all(storage, group)).collect();
    let ends: Vec<Set> = stream::iter(puts).buffer_unordered(AT_A_TIME).try_collect().await?;
    let staged = stream::iter(markers.objects.iter().map(Ok));
    staged.try_for_each_concurrent(AT_A_TIME, |marker| storage.delete(&marker.staged)).await?;
    Ok(if ends.contains(&Set::Gone) { Set::Gone } else { Set::Done })
}

async fn put_all(storage: &Storage, group: &[Marker]) -> Result<Set> {
    for marker in group {
        if put(storage, marker).await? == Set::Gone {
            return Ok(Set::Gone);
        }
    }
    Ok(Set::Done)
}

async fn put(storage: &Storage, marker: &Marker) -> Result<Set> {
    for _ in 0..TRIES {
        match storage.copy_if_absent(&marker.staged, &marker.path).await? {
            Copied::Made => return Ok(Set::Done),
            Copied::SourceMissing if stands(storage, marker).await? => return Ok(Set::Done),
            Copied::SourceMissing => return Ok(Set::Gone),
            Copied::TargetExists if stands(storage, marker).await? => return Ok(Set::Done),
            // Nobody else's: it was withdrawn before the commit, or is of no commit at all.
            Copied::TargetExists => storage.delete(&marker.path).await?,
        }
    }
    Ok(Set::Gone)
}

/// Whether the marker is where consumers look, as it was recorded.
async fn stands(storage: &Storage, marker: &Marker) -> Result<bool> {
    let found = storage.get(&marker.path).await?;
    Ok(found.is_some_and(|bytes| sha256(&bytes) == marker.sha256))
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

//! The few operations on single objects the log and the publishing are made of.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
use windrow_common::error;

use crate::{
    error::{Result, WorkerError},
    stage::sink_error,
};

pub(super) type Objects = Arc<dyn ObjectStore>;

pub(super) fn location(path: &str) -> Result<Path> {
    Path::parse(path)
        .map_err(|cause| WorkerError::never(error::SINK_BROKEN, "a path is not valid").at(path).because(cause))
}

/// Creates an object that must not exist. `false`: one exists, perhaps by a lost try of this very call.
pub(super) async fn create(objects: &Objects, path: &str, bytes: Bytes) -> Result<bool> {
    match objects.put_opts(&location(path)?, bytes.into(), PutOptions::from(PutMode::Create)).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
        Err(cause) => Err(sink_error(cause, path)),
    }
}

pub(super) async fn put(objects: &Objects, path: &str, bytes: Bytes) -> Result<()> {
    objects.put(&location(path)?, bytes.into()).await.map(|_| ()).map_err(|cause| sink_error(cause, path))
}

pub(super) async fn get(objects: &Objects, path: &str) -> Result<Option<Bytes>> {
    let found = match objects.get(&location(path)?).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(cause) => return Err(sink_error(cause, path)),
    };
    found.bytes().await.map(Some).map_err(|cause| sink_error(cause, path))
}

pub(super) async fn size(objects: &Objects, path: &str) -> Result<Option<u64>> {
    match objects.head(&location(path)?).await {
        Ok(found) => Ok(Some(found.size)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(cause) => Err(sink_error(cause, path)),
    }
}

pub(super) async fn delete(objects: &Objects, path: &str) -> Result<()> {
    match objects.delete(&location(path)?).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(cause) => Err(sink_error(cause, path)),
    }
}

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Made,
    TargetExists,
    SourceMissing,
}

/// Copies unless the target exists. Stores that cannot make that one step look first; all who copy to a target copy the
/// same bytes, so the worst that happens is that it is written twice.
pub(super) async fn copy_if_absent(objects: &Objects, from: &str, to: &str) -> Result<Copied> {
    let (source, target) = (location(from)?, location(to)?);
    let answer = match objects.copy_if_not_exists(&source, &target).await {
        Err(Error::NotSupported { .. } | Error::NotImplemented { .. }) => {
            if size(objects, to).await?.is_some() {
                return Ok(Copied::TargetExists);
            }
            objects.copy(&source, &target).await
        }
        other => other,
    };
    match answer {
        Ok(()) => Ok(Copied::Made),
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Copied::TargetExists),
        Err(Error::NotFound { .. }) => Ok(Copied::SourceMissing),
        Err(cause) => Err(sink_error(cause, to)),
    }
}

//! The few operations on single objects that sinks, manifests and intents are built of.

use bytes::Bytes;
use object_store::{Error, ObjectMeta, ObjectStoreExt, PutMode, path::Path};
use windrow_common::error;

use super::{Storage, sink_error};
use crate::error::{Result, WorkerError};

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    Made,
    TargetExists,
    SourceMissing,
}

impl Storage {
    /// Writes an object that must not exist yet. `false`: it exists, by somebody else or by a lost try of this very
    /// call, so the caller reads it and compares.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<bool> {
        let location = location(path)?;
        match self.objects().put_opts(&location, bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(cause) => Err(sink_error(cause, path)),
        }
    }

    /// Writes an object, replacing what is there.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        self.objects().put(&location(path)?, bytes.into()).await.map(|_| ()).map_err(|cause| sink_error(cause, path))
    }

    /// An object's bytes; `None` when there is no such object.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let found = match self.objects().get(&location(path)?).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(cause) => return Err(sink_error(cause, path)),
        };
        found.bytes().await.map(Some).map_err(|cause| sink_error(cause, path))
    }

    /// An object's size, tag and time; `None` when there is no such object.
    pub async fn head(&self, path: &str) -> Result<Option<ObjectMeta>> {
        match self.objects().head(&location(path)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(sink_error(cause, path)),
        }
    }

    /// Copies an object unless the target exists. Stores that cannot make that one step look first: only for targets to
    /// which everybody copies the same bytes, so that the worst that happens is that they are written twice.
    pub async fn copy_if_absent(&self, from: &str, to: &str) -> Result<Copied> {
        let (source, target) = (location(from)?, location(to)?);
        let answer = match self.objects().copy_if_not_exists(&source, &target).await {
            Err(Error::NotSupported { .. } | Error::NotImplemented { .. }) => {
                if self.head(to).await?.is_some() {
                    return Ok(Copied::TargetExists);
                }
                self.objects().copy(&source, &target).await
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

    /// Removes an object; one that is not there is fine.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.objects().delete(&location(path)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(sink_error(cause, path)),
        }
    }
}

/// A path relative to the root, taken literally.
fn location(path: &str) -> Result<Path> {
    Path::parse(path).map_err(|cause| {
        WorkerError::never(error::BAD_VALUE, "this is no path of an object").at(path.to_owned()).because(cause)
    })
}

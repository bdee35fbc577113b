//! Pins: the version an object had when the attempt started, and whether it still has it.

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use sha2::{Digest as _, Sha256};
use windrow_common::{error, manifest::Input};

use crate::{
    error::{Result, WorkerError},
    storage::{SAY_WHO, names_no_bucket, names_no_credentials, refuses, said},
};

/// An object with its present version.
pub(super) fn pinned(path: &Path, meta: &ObjectMeta) -> Input {
    Input { name: path.to_string(), bytes: meta.size, version: Some(version(meta)), into: None }
}

/// The ETag, or size and time where a store gives none.
fn version(meta: &ObjectMeta) -> String {
    match &meta.e_tag {
        Some(tag) => tag.clone(),
        None => format!("{}-{}", meta.size, meta.last_modified.timestamp_micros()),
    }
}

/// What tells an object's contents from any others. A bucket's ETag does. A file's times do not: two writes within a tick of
/// the clock have the same, and anybody may set them; so files are read.
pub(super) async fn contents(store: &dyn ObjectStore, kind: &str, pin: &Input) -> Result<String> {
    // In quotes it is a strong tag, of the very bytes.
    if let Some(tag) = pin.version.as_deref().filter(|tag| kind == "s3" && tag.starts_with('"')) {
        return Ok(format!("{tag} {}", pin.bytes));
    }
    let unread = |cause| unreadable(&pin.name, cause);
    let found = store.get(&path_of(pin)?).await.map_err(unread)?;
    verify_meta(&found.meta, pin)?;
    let mut hash = Sha256::new();
    let mut bytes = found.into_stream();
    while let Some(chunk) = bytes.try_next().await.map_err(unread)? {
        hash.update(&chunk);
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// Fails unless the object still is what was pinned.
pub(super) async fn verify(store: &dyn ObjectStore, pin: &Input) -> Result<()> {
    match store.head(&path_of(pin)?).await {
        Ok(meta) => verify_meta(&meta, pin),
        Err(object_store::Error::NotFound { .. }) => Err(changed(pin, "it is gone")),
        Err(cause) => Err(unreadable(&pin.name, cause)),
    }
}

pub(super) fn verify_meta(meta: &ObjectMeta, pin: &Input) -> Result<()> {
    let same = meta.size == pin.bytes && pin.version.as_deref().is_none_or(|pinned| pinned == version(meta));
    if same { Ok(()) } else { Err(changed(pin, "it was written again")) }
}

pub(super) fn path_of(pin: &Input) -> Result<Path> {
    Path::parse(&pin.name).map_err(|cause| WorkerError::never(error::SOURCE_UNREADABLE, cause.to_string()))
}

pub(super) fn changed(pin: &Input, how: &str) -> WorkerError {
    WorkerError::later(error::SOURCE_CHANGED, format!("the input changed while it was read: {how}"))
        .at(&pin.name)
        .fix("write new files under new names, or under another name first and then rename them")
}

/// A store's error: refused rights stay, everything else may pass.
pub(crate) fn unreadable(name: &str, cause: object_store::Error) -> WorkerError {
    let error = match &cause {
        cause if names_no_credentials(cause) => {
            WorkerError::later(error::SOURCE_UNREADABLE, "nobody said who reads the bucket").fix(SAY_WHO)
        }
        cause if refuses(cause) => WorkerError::never(error::SOURCE_UNREADABLE, "the source may not be read")
            .fix("give the connection's credentials the right to read and list"),
        cause if names_no_bucket(cause) => WorkerError::later(error::SOURCE_MISSING, "there is no such bucket")
            .fix("create the bucket, or correct the connection's root, region and endpoint"),
        _ => WorkerError::later(error::SOURCE_UNREADABLE, "the source cannot be read"),
    };
    error.at(name).because(said(cause))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::{PutPayload, memory::InMemory};

    use super::*;

    async fn told(kind: &str, tag: Option<&str>, text: &'static str) -> String {
        let (store, path) = (InMemory::new(), Path::from("a.csv"));
        store.put(&path, PutPayload::from_static(text.as_bytes())).await.unwrap();
        let own = pinned(&path, &store.head(&path).await.unwrap());
        let pin = Input { version: tag.map(str::to_owned).or(own.version.clone()), ..own };
        contents(&store, kind, &pin).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_strong_tag_of_a_bucket_stands_for_the_contents() {
        assert_eq!(told("s3", Some("\"abc\""), "one").await, "\"abc\" 3", "it is not read");
        let digest = told("local", None, "one").await;
        assert_eq!(digest.len(), 64);
        assert_eq!(told("local", None, "one").await, digest, "whenever it was written");
        assert_ne!(told("local", None, "two").await, digest);
    }

    #[tokio::test]
    async fn what_is_no_longer_what_was_resolved_proves_nothing() {
        let (store, path) = (InMemory::new(), Path::from("a.csv"));
        store.put(&path, PutPayload::from_static(b"one")).await.unwrap();
        let pin = pinned(&path, &store.head(&path).await.unwrap());
        store.put(&path, PutPayload::from_static(b"two")).await.unwrap();
        assert_eq!(contents(&store, "local", &pin).await.unwrap_err().code(), error::SOURCE_CHANGED);
    }
}

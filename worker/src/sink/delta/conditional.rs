//! Whether the store refuses to create what exists. Exactly-once rests on it, and some stores only pretend.

use bytes::Bytes;
use uuid::Uuid;
use windrow_common::error;

use crate::{
    error::{Result, WorkerError},
    storage::Storage,
};

/// Creates one key twice: the second must fail.
pub(super) async fn check(storage: &Storage) -> Result<()> {
    let path = format!("_windrow/check/{}", Uuid::new_v4());
    let first = storage.create(&path, Bytes::from_static(b"1")).await?;
    let second = storage.create(&path, Bytes::from_static(b"2")).await?;
    storage.delete(&path).await?;
    if first && !second {
        return Ok(());
    }
    Err(WorkerError::never(error::SINK_UNSUPPORTED, "the store creates objects that exist already")
        .at(storage.url().to_string())
        .fix("use a store that honours `If-None-Match: *`; with others a commit could be made twice"))
}

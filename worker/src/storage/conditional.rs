//! Whether a store refuses to create what exists. Exactly-once rests on it, and some stores only pretend.

use bytes::Bytes;
use uuid::Uuid;
use windrow_common::error;

use super::Storage;
use crate::error::{Result, WorkerError};

impl Storage {
    /// Fails with `SINK_UNCONDITIONAL` unless of two creates of one key the second fails. Asked once for each opening.
    pub async fn check_conditional_writes(&self) -> Result<()> {
        self.conditional.get_or_try_init(|| self.create_twice()).await.copied()
    }

    async fn create_twice(&self) -> Result<()> {
        let path = format!("_windrow/probe/{}", Uuid::new_v4());
        // The first may be told "exists" after a lost try of its own; then too the key is taken.
        let here = |error: WorkerError| error.at(self.url().to_string());
        self.create(&path, Bytes::from_static(b"1")).await.map_err(here)?;
        let second = self.create(&path, Bytes::from_static(b"2")).await.map_err(here)?;
        self.delete(&path).await.map_err(here)?;
        if !second {
            return Ok(());
        }
        Err(WorkerError::never(error::SINK_UNCONDITIONAL, "the store overwrites what may be created once only")
            .at(self.url().to_string())
            .fix("use a store that honours `If-None-Match: *`, such as AWS S3, R2 or MinIO; with this one a commit could be made twice"))
    }
}

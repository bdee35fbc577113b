//! One file being staged: encoder, upload and what is told about it. Knows one partition's rows only.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use object_store::path::Path;
use windrow_common::{error, manifest::StagedFile, window::Window};

use super::{
    FileFormat,
    encode::{Encoder, End},
    stats::Stats,
    upload::Upload,
};
use crate::{
    error::{Result, WorkerError},
    storage::Storage,
};

/// Encoded bytes text formats pile up before they are handed to the upload.
const HAND_OVER_BYTES: usize = 1 << 20;

/// A file that does not exist until it is finished. Dropped, it never will.
pub(crate) struct OpenFile {
    path: String,
    partition: BTreeMap<String, Option<String>>,
    rows: u64,
    encoder: Encoder,
    upload: Upload,
    stats: Option<Stats>,
}

/// What a file is to be.
pub(crate) struct FilePlan<'a> {
    pub(crate) path: String,
    pub(crate) partition: BTreeMap<String, Option<String>>,
    pub(crate) format: &'a FileFormat,
    /// Without the partition columns.
    pub(crate) schema: &'a SchemaRef,
    /// Whether to collect statistics.
    pub(crate) stats: bool,
    /// Encoded bytes of Parquet after which a row group is ended: what the file may hold in memory.
    pub(crate) row_group_bytes: usize,
}

impl OpenFile {
    pub(crate) fn new(storage: &Storage, plan: FilePlan<'_>) -> Result<Self> {
        let location = Path::parse(&plan.path).map_err(|cause| {
            WorkerError::never(error::VALUE_MALFORMED, "a partition value makes no valid path")
                .at(plan.path.clone())
                .because(cause)
        })?;
        Ok(Self {
            encoder: Encoder::new(plan.format, plan.schema, plan.row_group_bytes)?,
            upload: Upload::new(storage.objects(), plan.path.clone(), location),
            stats: plan.stats.then(|| Stats::new(plan.schema)),
            path: plan.path,
            partition: plan.partition,
            rows: 0,
        })
    }

    pub(crate) async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.encoder.write(rows).map_err(|error| error.at(self.path.clone()))?;
        self.rows += rows.num_rows() as u64;
        if let Some(stats) = &mut self.stats {
            stats.add(rows);
        }
        let finished = match &self.encoder {
            Encoder::Parquet(_) => true,
            text => text.pending() >= HAND_OVER_BYTES,
        };
        if finished {
            self.upload.write_all(self.encoder.take()).await?;
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The file's size if it were finished now, about.
    pub(super) fn bytes(&self) -> u64 {
        self.upload.bytes() + self.encoder.pending() as u64
    }

    pub(super) fn memory(&self) -> usize {
        self.encoder.memory() + self.upload.memory()
    }

    /// Makes it exist. `window` holds all its rows.
    pub(crate) async fn finish(mut self, window: Window) -> Result<StagedFile> {
        let End { bytes, footer } = match self.encoder.finish() {
            Ok(end) => end,
            Err(error) => {
                self.upload.abort().await;
                return Err(error.at(self.path));
            }
        };
        if let Err(error) = self.upload.write_all(bytes).await {
            self.upload.abort().await;
            return Err(error);
        }
        let uploaded = self.upload.finish().await?;
        Ok(StagedFile {
            path: self.path,
            bytes: uploaded.bytes,
            sha256: uploaded.sha256,
            rows: self.rows,
            window,
            partition: self.partition,
            stats: self.stats.map(|stats| stats.into_json(footer.as_ref())),
            clustered: None,
        })
    }

    pub(super) async fn abort(self) {
        self.upload.abort().await;
    }
}

//! One file being staged: encoder, upload and what is told about it. Knows one partition's rows only.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use object_store::path::Path;
use windrow_common::{error, manifest::StagedFile, window::Window};

use super::{Layout, encode::Encoder, stats::Stats, upload::Upload};
use crate::{
    error::{Result, WorkerError},
    storage::Storage,
};

/// Encoded bytes text formats pile up before they are handed to the upload.
const HAND_OVER_BYTES: usize = 1 << 20;

/// A file that does not exist until it is finished.
pub(super) struct OpenFile {
    path: String,
    partition: BTreeMap<String, Option<String>>,
    window: Window,
    rows: u64,
    encoder: Encoder,
    upload: Upload,
    stats: Option<Stats>,
}

/// What a file is to be.
pub(super) struct Plan {
    pub(super) path: String,
    pub(super) partition: BTreeMap<String, Option<String>>,
    pub(super) window: Window,
}

impl OpenFile {
    pub(super) fn new(storage: &Storage, layout: &Layout, schema: &SchemaRef, plan: Plan) -> Result<Self> {
        let location = Path::parse(&plan.path).map_err(|cause| {
            WorkerError::never(error::VALUE_MALFORMED, "a partition value makes no valid path")
                .at(plan.path.clone())
                .because(cause)
        })?;
        Ok(Self {
            encoder: Encoder::new(&layout.format, schema)?,
            upload: Upload::new(storage.objects(), plan.path.clone(), location),
            stats: layout.delta_stats.then(|| Stats::new(schema)),
            path: plan.path,
            partition: plan.partition,
            window: plan.window,
            rows: 0,
        })
    }

    pub(super) async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
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
            self.upload.write(self.encoder.take()).await?;
        }
        Ok(())
    }

    /// The file's size if it were finished now, about.
    pub(super) fn bytes(&self) -> u64 {
        self.upload.bytes() + self.encoder.pending() as u64
    }

    pub(super) fn memory(&self) -> usize {
        self.encoder.memory() + self.upload.memory()
    }

    pub(super) async fn finish(mut self) -> Result<StagedFile> {
        let rest = match self.encoder.finish() {
            Ok(rest) => rest,
            Err(error) => {
                self.upload.abort().await;
                return Err(error.at(self.path));
            }
        };
        if let Err(error) = self.upload.write(rest).await {
            self.upload.abort().await;
            return Err(error);
        }
        let uploaded = self.upload.finish().await?;
        Ok(StagedFile {
            path: self.path,
            bytes: uploaded.bytes,
            sha256: uploaded.sha256,
            rows: self.rows,
            window: self.window,
            partition: self.partition,
            stats: self.stats.map(Stats::into_json),
        })
    }

    pub(super) async fn abort(self) {
        self.upload.abort().await;
    }
}

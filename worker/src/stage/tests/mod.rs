//! Staging onto a real folder, read back with independent readers.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path as FsPath, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use futures::{StreamExt, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use windrow_common::{
    claim::Token,
    id::TaskId,
    manifest::{Digest, StagedFile},
    window::{Axis, Window},
};

use super::*;
use crate::{error::WorkerError, storage::tests::Ground};

mod failing;
mod files;
mod records;
mod types;

pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) storage: Storage,
}

impl Place {
    pub(crate) fn new() -> Self {
        let Ground { folder, storage } = Ground::new();
        Self { folder, storage }
    }

    fn read(&self, file: &StagedFile) -> Vec<u8> {
        std::fs::read(self.folder.path().join(&file.path)).unwrap()
    }

    /// Every file there is, temporary ones included.
    pub(crate) fn all_files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found
    }
}

fn walk(folder: &FsPath, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path.display().to_string());
        }
    }
}

fn attempt() -> Attempt {
    Attempt {
        task: TaskId::from_bytes([0xab; 16]),
        token: Token { epoch: 1, revision: 42 },
        window: Window::new(Axis::Time, 0, 1_000).unwrap(),
    }
}

fn layout(schema: SchemaRef, format: FileFormat) -> Layout {
    Layout {
        format,
        schema,
        partition_by: Vec::new(),
        target_bytes: 128 << 20,
        folder: "data".to_owned(),
        cursor: None,
        stats: false,
        changes: Changes::default(),
    }
}

fn parquet() -> FileFormat {
    FileFormat::Parquet { metadata: BTreeMap::new() }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn rows(batches: Vec<RecordBatch>) -> BatchStream {
    stream::iter(batches.into_iter().map(Ok)).boxed()
}

fn read_parquet(bytes: Vec<u8>) -> Vec<RecordBatch> {
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
    reader.unwrap().build().unwrap().map(Result::unwrap).collect()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

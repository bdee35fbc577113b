//! Staging: rows become files under the sink's root that no reader sees until an intent names them. File names carry
//! the task and its token, so two attempts never write the same file. Nothing here knows how a sink commits.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::stream::BoxStream;
use serde_json::Value;
use windrow_common::{claim::Token, id::TaskId, manifest::StagedFile, window::Window};

use crate::{error::Result, storage::Storage, verbatim::Verbatim};

mod cast;
pub mod chain;
mod changes;
pub mod dead_letters;
mod encode;
mod file;
mod fit;
mod fitting;
pub mod manifest;
mod name;
mod partition;
mod stats;
mod upload;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use changes::{Changes, Discard, mark_of, marked, unmarked};
pub(crate) use encode::{check_columns, check_format};
pub(crate) use file::{FilePlan, OpenFile};
pub use fitting::{Fitting, Unfit};
pub(crate) use name::joined;
pub use name::{StagedName, hive_folder};
pub(crate) use stats::told_apart;
pub(crate) use upload::Upload;

/// Rows on their way into files; all batches have one schema.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// Writes `rows` as files of `layout` and returns what was written, in the order the files were begun. An empty stream
/// makes no file.
///
/// Rows are cast to the layout's schema by column name: `SINK_SCHEMA` when a column has no place in it or no cast exists,
/// `VALUE_MALFORMED` when a value does not survive the cast. When it fails or is dropped, no listing of the table shows a
/// row; whole files already written stay as orphans under names that carry the attempt, for the sweep.
pub async fn stage(
    storage: &Storage,
    layout: &Layout,
    attempt: &Attempt,
    rows: BatchStream,
) -> Result<Vec<StagedFile>> {
    writer::StageWriter::new(storage, layout, attempt)?.write_all(rows).await
}

/// How rows are laid out in files.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub format: FileFormat,
    /// The schema of the rows as they are written, partition columns included: the input is cast to it. Names and order are
    /// the table's.
    pub schema: SchemaRef,
    /// Columns whose values become `name=value` folders (Hive form) and are left out of the files.
    pub partition_by: Vec<String>,
    /// A new file is begun when one reaches about this size in bytes.
    pub target_bytes: u64,
    /// The folder, relative to the sink's root, files are put into; empty for the root itself.
    pub folder: String,
    /// Column of the written rows that tells their window, by which rows of a replaced window are found later. A staged
    /// file's window is always the attempt's whole window: sinks replace windows by it.
    pub cursor: Option<String>,
    /// Whether to collect statistics in Delta's form (`numRecords`, `minValues`, `maxValues`, `nullCount`); bounds of Parquet alone.
    pub stats: bool,
    /// What of the rows' columns is not as the table has it.
    pub changes: Changes,
}

/// The formats staging writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// zstd level 1 unless told otherwise.
    Parquet {
        metadata: BTreeMap<String, String>,
    },
    Csv {
        delimiter: u8,
        header: bool,
    },
    JsonLines,
    /// One column of text, a line each.
    Lines,
    /// Rows as their source wrote them, one behind the other; the file is what its manifest says, no more.
    Verbatim(Box<Verbatim>),
}

impl Layout {
    /// What a manifest tells of the rows: their schema, its columns marked where the table is to change for them.
    pub fn told(&self) -> serde_json::Result<Value> {
        match &self.format {
            FileFormat::Verbatim(rows) => Ok(rows.told()),
            _ => serde_json::to_value(self.changes.mark(&self.schema)),
        }
    }
}

/// Whose files are being staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub task: TaskId,
    pub token: Token,
    pub window: Window,
}

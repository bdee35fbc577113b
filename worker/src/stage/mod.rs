//! Staging: rows become files under the sink's root that no reader sees until an intent names them. File names carry
//! the task and its token, so two attempts never write the same file. Nothing here knows how a sink commits.

use std::collections::BTreeMap;

use arrow_schema::SchemaRef;
use windrow_common::{claim::Token, id::TaskId, window::Window};

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
    /// Column of the (written) rows that tells their window, to narrow a file's window to what it holds; microseconds
    /// UTC or a timestamp type.
    pub cursor: Option<String>,
    /// Whether to collect Delta statistics (`numRecords`, `minValues`, `maxValues`, `nullCount`).
    pub delta_stats: bool,
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
}

/// Whose files are being staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub task: TaskId,
    pub token: Token,
    pub window: Window,
}

//! Rejected input as files: JSON lines that tell what was rejected, where it stood and why. They are staged like rows
//! and published beside the table.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use windrow_common::error;

use super::{Attempt, Changes, FileFormat, Layout};
use crate::{
    error::{Result, WorkerError},
    source::Reject,
};

/// The folder, relative to the sink's root, dead letters are staged and kept in.
pub const FOLDER: &str = "_windrow/dead_letters";

/// The columns of a dead letter.
pub fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("input"),
        Field::new("position", DataType::UInt64, false),
        text("code"),
        text("reason"),
        text("raw"),
        text("window"),
        text("task"),
    ]))
}

/// How dead letters are laid out, whatever the sink's own layout is.
pub fn layout() -> Layout {
    Layout {
        format: FileFormat::JsonLines,
        schema: schema(),
        partition_by: Vec::new(),
        target_bytes: 64 << 20,
        folder: FOLDER.to_owned(),
        cursor: None,
        stats: false,
        changes: Changes::default(),
    }
}

/// Rejects as rows of [`schema`].
pub fn rows(rejects: &[Reject], attempt: &Attempt) -> Result<RecordBatch> {
    let text =
        |of: fn(&Reject) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rejects.iter().map(of))) };
    let same = |value: String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rejects.iter().map(|_| &value))) };
    let columns: Vec<ArrayRef> = vec![
        text(|reject| &reject.input),
        Arc::new(UInt64Array::from_iter_values(rejects.iter().map(|reject| reject.position))),
        text(|reject| reject.code),
        text(|reject| &reject.reason),
        text(|reject| &reject.raw),
        same(attempt.window.to_string()),
        same(attempt.task.to_string()),
    ];
    RecordBatch::try_new(schema(), columns)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "rejects make no rows").because(cause))
}

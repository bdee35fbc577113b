//! What a marker says, as JSON. Its form is a contract with consumers; keys are added, none changes its meaning.

use serde::Serialize;
use windrow_common::{
    closed::Declared,
    error,
    intent::IntentBody,
    manifest::{Digest, StagedFile},
    pipeline::Pipeline,
    window::Window,
};

use super::plan::Load;
use crate::error::{Result, WorkerError};

/// The form there is so far.
const FORM: u32 = 1;

/// A file as its readers see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) file: &'a StagedFile,
}

/// What there is to tell.
pub(super) struct Told<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) body: &'a IntentBody,
    pub(super) loads: &'a [Load<'a>],
    pub(super) files: &'a [&'a File<'a>],
}

#[derive(Serialize)]
struct Description<'a> {
    form: u32,
    pipeline: &'a str,
    /// The sink's commit that put it there.
    seq: u64,
    windows: Vec<Described>,
    /// Under the sink's folder.
    files: Vec<DescribedFile<'a>>,
    /// Of the rows, in the JSON form of arrow-schema's serde.
    schema: &'a serde_json::Value,
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    stretch: Stretch,
    #[serde(flatten)]
    load: Option<DescribedLoad>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Stretch {
    Time { start: String, end: String },
    Version { version: i64 },
}

#[derive(Serialize)]
struct DescribedLoad {
    /// 0 for the first time the window is loaded.
    revision: u32,
    task: String,
    /// Of the attempt whose rows these are.
    token: String,
    rows_read: u64,
    rows_written: u64,
    rows_rejected: u64,
    /// Whoever has declared the window complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    declared: Option<Declared>,
}

#[derive(Serialize)]
struct DescribedFile<'a> {
    path: &'a str,
    bytes: u64,
    rows: u64,
    sha256: Digest,
}

pub(super) fn describe(told: &Told<'_>) -> Result<Vec<u8>> {
    let description = Description {
        form: FORM,
        pipeline: told.pipeline.name.as_str(),
        seq: told.body.seq,
        windows: told.loads.iter().map(described).collect(),
        files: told.files.iter().map(|file| described_file(file)).collect(),
        schema: &told.body.schema,
    };
    serde_json::to_vec(&description)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a marker cannot be written as JSON").because(cause))
}

fn described(load: &Load<'_>) -> Described {
    let described = load.task.map(|task| DescribedLoad {
        revision: task.revision,
        task: task.task.to_string(),
        token: task.token.to_string(),
        rows_read: load.counts.rows_read,
        rows_written: load.counts.rows_written,
        rows_rejected: load.counts.rows_rejected,
        declared: task.declared.as_deref().cloned(),
    });
    Described { stretch: stretch(&load.window), load: described }
}

fn stretch(window: &Window) -> Stretch {
    match window.instants() {
        Some((start, end)) => Stretch::Time { start: start.to_string(), end: end.to_string() },
        None => Stretch::Version { version: window.start() },
    }
}

fn described_file<'a>(file: &File<'a>) -> DescribedFile<'a> {
    DescribedFile { path: file.path, bytes: file.file.bytes, rows: file.file.rows, sha256: file.file.sha256 }
}

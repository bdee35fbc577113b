//! Where markers lie: with the files of a folder, or in a folder of their own beside a table. What keeps a table's files keeps its
//! markers; a database has none, so they lie where its rows are staged.

use windrow_common::{
    error,
    marker::Markers,
    pipeline::{Connection, Pipeline},
};

use crate::{
    error::{Result, WorkerError},
    sink::Sink,
    storage::Storage,
};

/// The store of a commit's markers, rooted at their folder.
pub(crate) fn place(pipeline: &Pipeline, sink: &dyn Sink, markers: &Markers) -> Result<Storage> {
    let Some(folder) = &markers.folder else { return Ok(sink.storage().clone()) };
    Storage::open(keeper(pipeline), folder, true).map_err(|cause| {
        let at = format!("pipeline {}, {}", pipeline.name, cause.path);
        let message = format!("the folder of the markers cannot be opened: {}", cause.message);
        let error = match cause.code == error::BAD_VALUE {
            true => WorkerError::never(cause.code, message),
            false => WorkerError::later(cause.code, message),
        };
        error.at(at)
    })
}

/// The connection that keeps the sink's files.
pub(super) fn keeper(pipeline: &Pipeline) -> &Connection {
    pipeline.sink.staging.as_deref().unwrap_or(&pipeline.sink.to)
}

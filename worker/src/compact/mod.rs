//! Compaction: the whole route of a task that rewrites files, from the list of them to the reference of a manifest that may be
//! sealed. As with ingestion, whoever drops it leaves nothing visible behind. It runs where the sink's credentials are, so no
//! row takes a hop.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::Instrument;
use windrow_common::{
    compaction::GroupRef,
    error, failpoint,
    manifest::{Counts, Manifest},
    pipeline::Pipeline,
};

use crate::{
    error::{Result, WorkerError},
    ingest::Staged,
    open::Connectors,
    session::{Assignment, Progress},
    sink::regroup::{Group, Rewritten, Room, Working, get_group},
    stage::{Attempt, manifest},
};

/// What compaction needs beside the task.
pub struct Compact {
    connectors: Arc<Connectors>,
    /// Where rows are put aside that are sorted; the system's temporary folder if `None`.
    spill: Option<PathBuf>,
}

impl Compact {
    pub fn new(connectors: Arc<Connectors>, spill: Option<PathBuf>) -> Self {
        Self { connectors, spill }
    }

    /// THE route.
    pub async fn run(&self, pipeline: &Pipeline, task: &Assignment, progress: &Arc<Progress>) -> Result<Staged> {
        let sink = self.connectors.sink(pipeline)?;
        let storage = sink.storage();
        let reference = group_of(task)?;
        let group = get_group(storage, &reference.sha256).await?;
        if group.sink != pipeline.sink.id() {
            return Err(WorkerError::never(error::INTERNAL, format!("a group of {} was to be rewritten", group.sink)));
        }
        failpoint::reach(failpoint::Point::Reading, pipeline.name.as_str()).await?;

        let attempt = Attempt { task: task.task, token: task.token, window: task.window };
        let rows = AtomicU64::new(0);
        let read = |count: u64| {
            rows.fetch_add(count, Ordering::Relaxed);
            progress.add_read(count);
            progress.add_written(count);
        };
        let span = tracing::info_span!("rewrite", windrow.files = reference.files, windrow.bytes = reference.bytes);
        let room = Room { memory: pipeline.limits.memory, spill: self.spill.clone() };
        let working = Working { attempt: &attempt, read: &read, room: &room };
        let rewritten = sink.rewrite(&group, working).instrument(span).await?;
        progress.add_bytes(rewritten.files.iter().map(|file| file.bytes).sum());

        let manifest = manifest_of(pipeline, task, &group, rewritten);
        Ok(Staged { manifest: manifest::put_manifest(storage, &manifest).await?, kept: None })
    }
}

/// The group a task names.
fn group_of(task: &Assignment) -> Result<GroupRef> {
    let named = task.part.as_deref().and_then(|part| serde_json::from_str(part).ok());
    named.ok_or_else(|| WorkerError::later(error::VERSION_SKEW, "a task that rewrites files does not say which"))
}

fn manifest_of(pipeline: &Pipeline, task: &Assignment, group: &Group, rewritten: Rewritten) -> Manifest {
    let rows: u64 = rewritten.files.iter().map(|file| file.rows).sum();
    let counts = Counts {
        rows_read: rows,
        rows_written: rows,
        bytes_written: rewritten.files.iter().map(|file| file.bytes).sum(),
        files: rewritten.files.len() as u64,
        ..Counts::default()
    };
    Manifest {
        task: task.task,
        token: task.token,
        attempt: task.attempt,
        pipeline: pipeline.name.clone(),
        sink: pipeline.sink.id(),
        window: task.window,
        write: pipeline.sink.write,
        schema: rewritten.schema,
        files: rewritten.files,
        dead_letters: Vec::new(),
        inputs: group.inputs(),
        counts,
    }
}

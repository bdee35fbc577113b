//! Ingestion: the whole route of a task, from the source's rows to the reference of a manifest that may be sealed. It
//! holds no claim and talks to no coordinator; whoever drops it leaves nothing visible behind.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tracing::{Instrument, Span};
use windrow_common::{
    clock::{Clock, SystemClock},
    error, failpoint,
    id::PipelineName,
    intent::Seq,
    manifest::{Counts, Input, Manifest, ManifestRef, Proof, StagedFile},
    pipeline::Pipeline,
    window::Window,
};

use crate::{
    ahead::ahead,
    error::{Outcome, Result, WorkerError},
    flight::{Part, Pass, Rest, without_dictionaries},
    open::Connectors,
    session::{Assignment, Progress},
    source::{Chunk, Reject, RowStream, Slice, Source},
    stage::{Attempt, BatchStream, Unfit},
    transform::{Shape, Transform, TransformLimits},
    verbatim,
};

mod compare;
mod course;
mod hops;
mod keyed;
mod late;
mod paced;
mod proof;
mod ready;
mod recount;
mod rejects;
mod watched;

use course::Course;
pub use hops::Hops;
use paced::paced;
use rejects::Rejects;
use watched::watched;

/// Slices opened ahead of the one being read, so that small inputs do not wait for each other.
const OPENED_AHEAD: usize = 2;

/// What an attempt asks of the coordinator on its way.
#[async_trait]
pub trait Leave: Send + Sync {
    /// How long rows that were read have to wait, from the answer on. It fails when nobody can say, or the attempt counts no
    /// more.
    async fn turn(&self, rows: u64) -> Result<Duration>;

    /// Whether others read these parts of the input. It fails when nobody can say.
    async fn cut(&self, parts: Vec<String>) -> Result<bool>;

    /// Whether the task is done with, now that its source is proven to hold this and the sink to show the commit `seq`. A recount
    /// says in words what it `found` beside what was loaded. It fails when nobody can say.
    async fn proven(&self, proof: Proof, seq: Seq, found: String) -> Result<bool>;
}

/// What came of a task.
pub enum Ingested {
    Staged(Box<Staged>),
    /// Nothing was to be moved, and the coordinator knows.
    Compared,
}

/// What may be sealed, and what has to live until it is.
pub struct Staged {
    pub manifest: ManifestRef,
    /// The slice whose source others read from.
    pub kept: Option<Slice>,
}

/// What ingestion needs beside the task.
pub struct Ingest {
    connectors: Arc<Connectors>,
    hops: Hops,
    /// Where transforms spill; the system's temporary folder if `None`.
    spill: Option<PathBuf>,
}

impl Ingest {
    pub fn new(connectors: Arc<Connectors>, hops: Hops, spill: Option<PathBuf>) -> Self {
        Self { connectors, hops, spill }
    }

    /// THE route. What it returns may be sealed; when it fails, or is dropped, no reader sees a row.
    pub async fn run(
        &self,
        pipeline: &Pipeline,
        task: &Assignment,
        (progress, leave): (&Arc<Progress>, &Arc<dyn Leave>),
    ) -> Result<Ingested> {
        let source = self.connectors.source(pipeline)?;
        let hop = self.hops.to(task.flight_endpoint.as_deref())?;
        let pass = Pass { ticket: task.ticket.clone(), pipeline: task.pipeline.clone() };

        check_source(source.as_ref(), task.windows)?;
        check_markers(pipeline, task.windows)?;
        let read = tracing::info_span!("read");
        if !task.waited_enough {
            ready::check(source.as_ref(), &pipeline.readiness.require, &task.window).instrument(read.clone()).await?;
        }
        let shown = proof::shown(task, &hop, &pass).await;
        let looking = SystemClock::new();
        let slices = resolve(source.as_ref(), task).instrument(read.clone()).await?;
        progress.add_listing(looking.elapsed());
        let slices = late::alone(&hop, &pass, task, slices).await?;
        let proof = proof::of(source.as_ref(), &slices, (pipeline, task)).instrument(read.clone()).await?;
        if proof::is_shown(proof.as_ref(), shown, leave.as_ref()).await? {
            return Ok(Ingested::Compared);
        }
        let course = Course::of(pipeline, task, source.as_ref(), (&hop, &pass), self.transform(pipeline));
        let course = course.instrument(read.clone()).await?;
        // A transform that looks at more than one row needs to see them all.
        let counts = pipeline.readiness.require.counts() && !task.waited_enough && task.part.is_none();
        let (slices, kept) = match course.is_row_wise() && task.part.is_none() && task.windows == 1 && !counts {
            true => share(source.as_ref(), slices, &task.window, leave.as_ref()).instrument(read.clone()).await?,
            false => (slices, None),
        };

        let inputs = slices.iter().map(|slice| slice.input.clone()).collect();
        let rejects = Arc::new(Rejects::new(hop.clone(), pass.clone(), attempt_of(task), pipeline.limits.max_rejected));
        let found = Found {
            schema: course.input(),
            rejects: rejects.clone(),
            rows: AtomicU64::new(0),
            progress: progress.clone(),
        };
        let found = Arc::new(found);
        let reading = Reading {
            window: task.window,
            verbatim: course.is_verbatim(),
            rate: pipeline.source.from.limits.rows_per_s,
            leave: leave.clone(),
            span: read.clone(),
        };
        let rows = watched(sorted(chunks_of(source.clone(), slices, reading), found.clone()), read);
        let output = course.output();
        let rows = course.apply(rows, &found).await?;
        let rows = watched(written(rows, progress.clone(), pipeline.name.clone()), tracing::info_span!("transform"));

        let staged = hop.put(&pass, Part::Rows, output.clone(), rows).await?;
        progress.add_bytes(staged.files.iter().map(|file| file.bytes).sum());
        let Rest { schema, unfit } = staged.rest.map_or_else(|| untold(&output), Ok)?;
        let values_discarded = unfit.values.values().sum();
        let (rejected, dead_letters) = rejects.finish(found.rows.load(Ordering::Relaxed), unfit).await?;

        let rows_read = found.rows.load(Ordering::Relaxed) + rejected;
        if counts {
            ready::check_count(source.as_ref(), &task.window, rows_read).await?;
        }
        let counts = Counts { rows_read, values_discarded, ..Counts::default() };
        let manifest = manifest_of(pipeline, task, Draft { schema, files: staged.files, dead_letters, inputs, counts });
        let manifest = ManifestRef { proof, ..hop.finish(&pass, manifest).await? };
        Ok(Ingested::Staged(Box::new(Staged { manifest, kept })))
    }

    fn transform(&self, pipeline: &Pipeline) -> Transform {
        let limits = TransformLimits { memory: pipeline.limits.memory, spill: self.spill.clone() };
        let deleted = pipeline.sink.upsert.as_ref().and_then(|upsert| upsert.deleted.as_deref());
        Transform::new(&pipeline.transform, limits).marking(deleted)
    }
}

/// What the task is to read: a window, or the shard of one that another attempt cut.
async fn resolve(source: &dyn Source, task: &Assignment) -> Result<Vec<Slice>> {
    match &task.part {
        _ if task.declared => Ok(Vec::new()),
        Some(part) => Ok(vec![source.shard(part).await?]),
        None => source.resolve(&task.window).await.map_err(|error| apart(error, task.windows)),
    }
}

/// Leaves parts of a large input to others, if they will come: what is left to read here, and what of it must live on until
/// they have read theirs.
async fn share(
    source: &dyn Source,
    slices: Vec<Slice>,
    window: &Window,
    leave: &dyn Leave,
) -> Result<(Vec<Slice>, Option<Slice>)> {
    let [slice] = &slices[..] else { return Ok((slices, None)) };
    let shards = source.cut(slice, window).await?;
    let parts: Vec<String> = shards.iter().skip(1).filter_map(|shard| shard.part.clone()).collect();
    match shards.first() {
        Some(first) if !parts.is_empty() && leave.cut(parts).await? => Ok((vec![first.clone()], Some(first.clone()))),
        _ => Ok((slices, None)),
    }
}

/// Several windows may go in one only if each row stays in its own, and can be told apart afterwards. The coordinator
/// answers with smaller runs.
fn check_run(shape: &Shape, windows: u32) -> Result<()> {
    let reason = match (windows, shape.row_wise, shape.keeps_cursor) {
        (0 | 1, ..) => return Ok(()),
        (_, false, _) => "the transform looks at more than one row at a time",
        (_, true, false) => "the rows do not keep the cursor column, by which a window's rows are told apart",
        (_, true, true) => return Ok(()),
    };
    Err(one_by_one(windows, reason))
}

/// Windows that each have objects of their own cannot be read in one go, and must not be resolved in one either.
fn check_source(source: &dyn Source, windows: u32) -> Result<()> {
    match windows > 1 && source.by_window() {
        true => Err(one_by_one(windows, "each has objects of its own")),
        false => Ok(()),
    }
}

/// What is published of a run is published at once, and nobody could say what of it is a window's.
fn check_markers(pipeline: &Pipeline, windows: u32) -> Result<()> {
    match windows > 1 && pipeline.readiness.publish.is_some() {
        true => Err(one_by_one(windows, "each gets a marker of its own")),
        false => Ok(()),
    }
}

/// A run would wait for the last of its windows to be complete; apart, the others need not.
fn apart(error: WorkerError, windows: u32) -> WorkerError {
    match windows > 1 && error.outcome() == Outcome::NotReady {
        true => one_by_one(windows, &format!("not all of them are complete: {error}")),
        false => error,
    }
}

fn one_by_one(windows: u32, reason: &str) -> WorkerError {
    WorkerError::never(error::NOT_ROW_WISE, format!("{windows} windows cannot go in one: {reason}"))
        .fix("nothing needs to be done: the windows are run one by one; set `window.per_task: 1` to plan them so")
}

/// What was found in the source.
struct Found {
    /// Of what is read, for which everything after it was made.
    schema: SchemaRef,
    rejects: Arc<Rejects>,
    rows: AtomicU64,
    progress: Arc<Progress>,
}

/// How a source is read.
struct Reading {
    window: Window,
    verbatim: bool,
    /// Rows a second that all who read from it may take together.
    rate: Option<NonZeroU32>,
    leave: Arc<dyn Leave>,
    span: Span,
}

/// What all slices hold, one slice after the other, at the pace of their source and ahead of whoever takes them.
fn chunks_of(source: Arc<dyn Source>, slices: Vec<Slice>, reading: Reading) -> RowStream {
    let Reading { window, verbatim, rate, leave, span } = reading;
    let chunks = stream::iter(slices).map(move |slice| {
        let source = source.clone();
        async move {
            match verbatim {
                true => source.read_verbatim(&slice, &window).await,
                false => source.read(&slice, &window).await,
            }
        }
    });
    let chunks = chunks.buffered(OPENED_AHEAD).try_flatten().boxed();
    let chunks = match rate {
        Some(rate) => paced(chunks, rate, leave),
        None => chunks,
    };
    ahead(chunks, span)
}

/// The rows alone: what is rejected leaves the stream here.
fn sorted(chunks: RowStream, found: Arc<Found>) -> BatchStream {
    let rows = chunks.try_filter_map(move |chunk| {
        let found = found.clone();
        async move { found.sorted(chunk).await }
    });
    rows.boxed()
}

impl Found {
    /// A source whose columns change between the look at them and the reading would otherwise give values of one column to
    /// another.
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let (expected, found) = (self.schema.fields(), batch.schema_ref().fields());
        let same = Arc::ptr_eq(&self.schema, batch.schema_ref())
            || expected.len() == found.len()
                && expected.iter().zip(found).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
                && verbatim::is_same(&self.schema, batch.schema_ref());
        match same {
            true => Ok(()),
            false => Err(WorkerError::later(error::SOURCE_CHANGED, "the source's columns changed while it was read")),
        }
    }

    async fn sorted(&self, chunk: Chunk) -> Result<Option<RecordBatch>> {
        match chunk {
            Chunk::Rows(batch) => {
                self.check(&batch)?;
                self.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                self.progress.add_read(batch.num_rows() as u64);
                Ok(Some(batch).filter(|batch| batch.num_rows() > 0))
            }
            Chunk::Rejected(rejects) => {
                self.progress.add_read(rejects.len() as u64);
                self.rejects.add(rejects).await?;
                Ok(None)
            }
        }
    }

    /// Rejects rows that were good ones until now.
    async fn leave(&self, rejects: Vec<Reject>) -> Result<()> {
        let gone = rejects.len() as u64;
        // A transform may make more rows than it gets.
        let less = |rows: u64| Some(rows.saturating_sub(gone));
        let _ = self.rows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.rejects.add(rejects).await
    }
}

fn written(rows: BatchStream, progress: Arc<Progress>, pipeline: PipelineName) -> BatchStream {
    let pass = move |batch: RecordBatch| {
        let (progress, pipeline) = (progress.clone(), pipeline.clone());
        async move {
            if progress.rows_written() > 0 {
                failpoint::reach(failpoint::Point::Reading, pipeline.as_str()).await?;
            }
            progress.add_written(batch.num_rows() as u64);
            Ok(batch)
        }
    };
    rows.and_then(pass).boxed()
}

fn attempt_of(task: &Assignment) -> Attempt {
    Attempt { task: task.task, token: task.token, window: task.window }
}

/// What an attempt can say of itself; the sink worker counts the rest.
struct Draft {
    /// Of the staged rows, as JSON.
    schema: Value,
    files: Vec<StagedFile>,
    dead_letters: Vec<StagedFile>,
    inputs: Vec<Input>,
    counts: Counts,
}

/// What is to be taken for granted of a sink worker that tells no more than its files: it is of an older version.
fn untold(rows: &Schema) -> Result<Rest> {
    let schema = serde_json::to_value(without_dictionaries(rows))
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a schema cannot be written as JSON").because(cause))?;
    Ok(Rest { schema, unfit: Unfit::default() })
}

fn manifest_of(pipeline: &Pipeline, task: &Assignment, draft: Draft) -> Manifest {
    Manifest {
        task: task.task,
        token: task.token,
        attempt: task.attempt,
        pipeline: pipeline.name.clone(),
        sink: pipeline.sink.id(),
        window: task.window,
        write: pipeline.sink.write,
        schema: draft.schema,
        files: draft.files,
        dead_letters: draft.dead_letters,
        inputs: draft.inputs,
        counts: draft.counts,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use windrow_common::task::Retry;

    use super::*;

    #[test]
    fn a_run_that_is_not_complete_is_split_and_a_window_waits() {
        let open = || WorkerError::not_ready(error::SOURCE_OPEN, "process 7 writes");
        assert_eq!(apart(open(), 1).outcome(), Outcome::NotReady);
        let split = apart(open(), 2);
        assert_eq!((split.code(), split.outcome()), (error::NOT_ROW_WISE, Outcome::Failed(Retry::Never)));
        assert!(split.to_string().contains("process 7 writes"), "{split}");
    }

    #[test]
    fn several_windows_go_in_one_only_if_their_rows_can_be_told_apart() {
        let shape = |row_wise, keeps_cursor| Shape { output: Arc::new(Schema::empty()), row_wise, keeps_cursor };
        assert!(check_run(&shape(false, false), 1).is_ok());
        assert!(check_run(&shape(true, true), 1_000).is_ok());
        for refused in [shape(false, true), shape(true, false)] {
            assert_eq!(check_run(&refused, 2).unwrap_err().code(), error::NOT_ROW_WISE);
        }
    }
}

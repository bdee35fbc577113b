//! Working out the next commit completely, in invisible files only: windows are cut out of files that hold others too,
//! and small files of Parquet are merged.

use std::sync::atomic::AtomicU32;

use arrow_schema::{Schema, SchemaRef};
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask, Seq},
    manifest::{Digest, Manifest, WriteMode},
    marker::Markers,
    window::Window,
};

use super::{
    FilesSink, STAGE_FOLDER, partition_folder,
    schema::{file_schema, grown, is_instant},
    state::State,
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Next,
        change::{self, Rewriter, Rule, without},
    },
    stage::{joined, mark_of, marked},
};

pub(super) async fn prepare(sink: &FilesSink, next: Next) -> Result<IntentBody> {
    let state = sink.log.refresh().await?;
    check_position(&state, next.seq, next.previous)?;
    let schema = schema_after(&state, &next.tasks)?;
    let plan = change::plan(&state.files, &next.tasks);
    let cursor = sink.settings.cursor.as_deref().filter(|name| {
        sink.settings.is_parquet()
            && is_instant(&schema, name)
            && !sink.settings.partition_by.iter().any(|column| column == name)
    });
    change::check_rewrites(&plan.rewrite, cursor)?;
    let remove = state.with_retired(plan.remove.clone());
    let rewriter = Rewriter {
        storage: &sink.storage,
        schema: without(&schema, &sink.settings.partition_by),
        cursor,
        tasks: &next.tasks,
        folder: staged_folder,
        count: AtomicU32::new(0),
    };
    let windows: Vec<Window> = next.tasks.iter().map(|(task, _)| task.window).collect();
    // Files of text are never merged: nobody could tell later which of their rows are of which window.
    let target_bytes = if sink.settings.is_parquet() { sink.settings.target_bytes } else { 0 };
    let cursor = cursor.filter(|_| !sink.settings.apart);
    let add = change::write(&rewriter, plan, Rule { target_bytes, cursor, windows: &windows }).await?;
    let Some((_, first)) = next.tasks.first() else {
        return Err(WorkerError::never(error::INTERNAL, "an intent without tasks was asked for"));
    };
    Ok(IntentBody {
        sink: first.sink.clone(),
        seq: next.seq,
        previous: next.previous,
        previous_aborted: next.previous_aborted,
        schema: serde_json::to_value(schema.as_ref()).map_err(|cause| {
            WorkerError::never(error::INTERNAL, "a schema cannot be written as JSON").because(cause)
        })?,
        add,
        remove,
        dead_letters: next.tasks.iter().flat_map(|(_, manifest)| manifest.dead_letters.clone()).collect(),
        change: None,
        shows: None,
        markers: Markers::default(),
        tasks: next.tasks.into_iter().map(|(task, _)| task).collect(),
    })
}

/// Where rows of a file in `folder` are staged again, be it published, staged or aside.
fn staged_folder(folder: &str) -> String {
    joined(&[STAGE_FOLDER, partition_folder(folder)])
}

pub(super) fn check_position(state: &State, next: Seq, previous: Option<Digest>) -> Result<()> {
    let found = state.seq;
    if found + 1 == next && state.digest() == previous {
        return Ok(());
    }
    let (code, message) = if found + 1 < next {
        (error::SINK_ROLLED_BACK, format!("the log ends at commit {found}, the ledger knows of {}", next - 1))
    } else {
        (error::SINK_FORKED, format!("the log's commit {found} is not the one the ledger knows"))
    };
    Err(WorkerError::never(code, message)
        .fix("find out who restored or shares the folder; then restore the log, or write to another folder"))
}

/// The columns with the marks they were staged with.
fn marked_as(rows: &Schema, staged: &Schema) -> Schema {
    let fields = rows.fields().iter().zip(staged.fields()).map(|(field, staged)| match mark_of(staged) {
        None => field.clone(),
        Some(_) => marked(field, None),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The files' schema after the commit. Rows were cast to the schema there was when they were staged, so before the
/// first commit all have to agree.
fn schema_after(state: &State, tasks: &[(IntentTask, Manifest)]) -> Result<SchemaRef> {
    let mut schema: Option<SchemaRef> = state.schema.clone();
    for (task, manifest) in tasks {
        let at = |error: WorkerError| error.at(format!("task {} of {}", task.task, task.pipeline));
        let rows: Schema = serde_json::from_value(manifest.schema.clone()).map_err(|cause| {
            at(WorkerError::later(error::STAGED_FILE_BAD, "a manifest's schema is not readable").because(cause))
        })?;
        let staged = rows;
        let rows = file_schema(&staged).map_err(at)?;
        schema = Some(match schema {
            Some(known) if manifest.write != WriteMode::ReplaceAll && state.schema.is_some() => {
                grown(&marked_as(&rows, &staged), &known).map_err(|error| at(error.staged_again(task.task)))?
            }
            Some(known) if manifest.write != WriteMode::ReplaceAll && known != rows => {
                return Err(at(WorkerError::later(
                    error::SINK_SCHEMA,
                    "the first rows of a folder were staged with two schemas",
                )
                .staged_again(task.task)));
            }
            _ => rows,
        });
    }
    schema.ok_or_else(|| WorkerError::never(error::INTERNAL, "an intent without tasks was asked for"))
}

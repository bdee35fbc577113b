//! The next commit, worked out completely: staged files are looked at, windows are cut out of files that hold others
//! too, small files are merged. Only invisible files are written.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arrow_schema::{Field, Schema};
use futures::{TryStreamExt, stream};
use serde_json::Value;
use uuid::Uuid;
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask},
    manifest::{Manifest, StagedFile},
    window::{Axis, Window},
};

use super::{
    DeltaSink, guard, layout,
    merge::{self, Rule},
    plan::{self, Plan, Rewrite},
    rewrite::{Rewriter, no_cursor},
    table::{Table, without},
    types,
};
use crate::{
    error::{Result, WorkerError},
    sink::Next,
    storage::Storage,
};

/// Staged files looked at together.
const HEADS: usize = 16;

impl DeltaSink {
    pub(super) async fn work_out(&self, next: Next) -> Result<IntentBody> {
        let table = self.newest().await?;
        let schema = self.schema_after(table.as_deref(), &next.tasks)?;
        verify(&self.storage, &next.tasks).await?;
        let none = HashMap::new();
        let plan = plan::plan(table.as_deref().map_or(&none, |table| &table.files), &next.tasks);
        if let Some(table) = table.as_deref() {
            check_removals(&plan, table)?;
        }
        let cursor = self.cursor.as_deref().filter(|name| {
            schema.field_with_name(name).is_ok_and(|field| layout::is_cursor(field.data_type()))
                && !self.params.partition_by.iter().any(|column| column == name)
        });
        check_rewrites(&plan.rewrite, cursor)?;
        let file_schema = match table.as_deref() {
            Some(table) => table.file_schema(),
            None => without(&schema, &self.params.partition_by),
        };
        let count = AtomicU32::new(0);
        let name = |folder: &str, task: usize| name(folder, next.tasks.get(task).map(|(task, _)| task), &count);
        let rewriter = Rewriter { storage: &self.storage, schema: file_schema, cursor, name: &name };
        let remove = plan.remove.iter().cloned().collect();
        let windows: Vec<Window> = next.tasks.iter().map(|(task, _)| task.window).collect();
        let rule = Rule { target_bytes: self.params.target_file_size.0, cursor, windows: &windows };
        let add = write(&rewriter, plan, rule).await?;
        Ok(IntentBody {
            sink: self.id.clone(),
            seq: next.seq,
            previous: next.previous,
            previous_aborted: next.previous_aborted,
            schema: serde_json::to_value(&schema).map_err(unreadable_schema)?,
            add,
            remove,
            dead_letters: next.tasks.iter().flat_map(|(_, manifest)| manifest.dead_letters.clone()).collect(),
            tasks: next.tasks.into_iter().map(|(task, _)| task).collect(),
        })
    }

    /// The table's schema after the commit; fails when staged rows do not fit it.
    fn schema_after(&self, table: Option<&Table>, tasks: &[(IntentTask, Manifest)]) -> Result<Schema> {
        let rows = tasks
            .iter()
            .map(|(_, manifest)| types::table_schema(&schema_of(&manifest.schema)?))
            .collect::<Result<Vec<_>>>()?;
        let Some(table) = table else { return union(rows) };
        layout::check_partitioning(table, &self.params)?;
        for rows in &rows {
            let fitted = types::fit(rows, &table.schema)?;
            if let Some(field) = fitted.fields().iter().find(|field| !same_type(rows, field)) {
                return Err(WorkerError::later(
                    error::SINK_SCHEMA,
                    "rows were staged for another version of the table",
                )
                .at(format!("column {:?}", field.name()))
                .fix("stage the window again"));
            }
        }
        Ok(table.schema.as_ref().clone())
    }
}

fn same_type(rows: &Schema, field: &Field) -> bool {
    rows.field_with_name(field.name()).is_ok_and(|staged| staged.data_type() == field.data_type())
}

/// Every column of the tasks' rows, in the order of their first appearance.
fn union(rows: Vec<Schema>) -> Result<Schema> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for field in rows.iter().flat_map(|schema| schema.fields()) {
        match fields.iter().find(|known| known.name() == field.name()) {
            None => fields.push(field.clone()),
            Some(known) if known.data_type() == field.data_type() => {}
            Some(known) => {
                let message = format!("tasks disagree on a type: {} and {}", known.data_type(), field.data_type());
                return Err(WorkerError::never(error::SINK_SCHEMA, message)
                    .at(format!("column {:?}", field.name()))
                    .fix("declare the column's type, or cast it in the transform"));
            }
        }
    }
    Ok(Schema::new(fields))
}

/// A schema as manifests and intents hold it.
pub(super) fn schema_of(json: &Value) -> Result<Schema> {
    serde_json::from_value(json.clone()).map_err(unreadable_schema)
}

fn unreadable_schema(cause: serde_json::Error) -> WorkerError {
    WorkerError::never(error::INTERNAL, "a schema cannot be read or written as JSON").because(cause)
}

/// Whether every staged file is there with the size its manifest says.
async fn verify(storage: &Storage, tasks: &[(IntentTask, Manifest)]) -> Result<()> {
    let files: Vec<_> =
        tasks.iter().flat_map(|(_, manifest)| manifest.files.iter().chain(&manifest.dead_letters)).map(Ok).collect();
    stream::iter(files).try_for_each_concurrent(HEADS, |file| verify_file(storage, file)).await
}

async fn verify_file(storage: &Storage, file: &StagedFile) -> Result<()> {
    let bad = |message: String| Err(WorkerError::later(error::STAGED_FILE_BAD, message).at(file.path.clone()));
    match storage.head(&file.path).await? {
        Some(found) if found.size == file.bytes => Ok(()),
        Some(found) => bad(format!("a staged file has {} bytes instead of {}", found.size, file.bytes)),
        None => bad("a staged file is missing".to_owned()),
    }
}

fn check_removals(plan: &Plan, table: &Table) -> Result<()> {
    if !plan.remove.is_empty() && guard::is_append_only(&table.configuration) {
        return Err(WorkerError::never(
            error::SINK_UNSUPPORTED,
            "the table allows only additions, and rows are to be replaced",
        )
        .fix("use `write: append`, or unset delta.appendOnly on the table"));
    }
    let has_vector = |path: &&String| table.files.get(*path).is_some_and(|file| file.deletion_vector.is_some());
    match plan.remove.iter().find(has_vector) {
        None => Ok(()),
        Some(path) => {
            Err(WorkerError::never(error::SINK_UNSUPPORTED, "a file with a deletion vector would have to be replaced")
                .at(path.clone())
                .fix("purge the table's deletion vectors (REORG TABLE .. APPLY (PURGE)) and switch them off"))
        }
    }
}

fn check_rewrites(rewrites: &[Rewrite], cursor: Option<&str>) -> Result<()> {
    let untellable = |rewrite: &&Rewrite| cursor.is_none() || rewrite.cuts.iter().any(|cut| cut.axis() != Axis::Time);
    rewrites.iter().find(untellable).map_or(Ok(()), |rewrite| Err(no_cursor(rewrite)))
}

/// Rewrites and merges; the files to add, in an order that depends on the tasks alone.
async fn write(rewriter: &Rewriter<'_>, plan: Plan, rule: Rule<'_>) -> Result<Vec<StagedFile>> {
    let mut add: BTreeMap<(usize, Window, String), StagedFile> = BTreeMap::new();
    let mut insert = |task: usize, order: String, file: StagedFile| add.insert((task, file.window, order), file);
    for rewrite in &plan.rewrite {
        for (part, file) in rewriter.cut(rewrite).await?.into_iter().enumerate() {
            insert(rewrite.task, format!("{}/{part}", rewrite.path), file);
        }
    }
    let merge = merge::merge(plan.take, rule);
    for bin in &merge.bins {
        let (Some(first), Some(window)) = (bin.first(), merge::hull(bin)) else { continue };
        insert(first.task, first.file.path.clone(), rewriter.join(bin, window).await?);
    }
    for taken in merge.alone {
        insert(taken.task, taken.file.path.clone(), taken.file);
    }
    Ok(add.into_values().collect())
}

/// `part-<task16>-<token>-<n>-<uuid>.parquet` in the folder.
fn name(folder: &str, task: Option<&IntentTask>, count: &AtomicU32) -> String {
    let n = count.fetch_add(1, Ordering::Relaxed);
    let owner = task.map(|task| format!("{}-{}", task.task.short(), task.token)).unwrap_or_default();
    let file = format!("part-{owner}-{n}-{}.parquet", Uuid::new_v4());
    if folder.is_empty() { file } else { format!("{folder}/{file}") }
}

//! The next commit, worked out completely: windows are cut out of files that hold others too, small files are merged.
//! Only invisible files are written.

use std::{collections::HashMap, sync::atomic::AtomicU32};

use arrow_schema::{Field, FieldRef, Schema};
use serde_json::Value;
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask},
    manifest::{Manifest, WriteMode},
    marker::Markers,
    window::Window,
};

use super::{DeltaSink, guard, layout, table::Table, types};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Next,
        change::{self, Rewriter, Rule, without},
    },
    stage,
};

impl DeltaSink {
    pub(super) async fn work_out(&self, next: Next) -> Result<IntentBody> {
        let table = self.newest().await?;
        let schema = self.schema_after(table.as_deref(), &next.tasks)?;
        let none = HashMap::new();
        let plan = change::plan(table.as_deref().map_or(&none, |table| &table.files), &next.tasks);
        if let Some(table) = table.as_deref() {
            check_removals(&plan.remove, table)?;
        }
        let cursor = self.cursor.as_deref().filter(|name| {
            schema.field_with_name(name).is_ok_and(|field| layout::is_cursor(field.data_type()))
                && !self.params.partition_by.iter().any(|column| column == name)
        });
        change::check_rewrites(&plan.rewrite, cursor)?;
        let unmarked: Vec<Field> = schema.fields().iter().map(|field| stage::unmarked(field)).collect();
        let rewriter = Rewriter {
            storage: &self.storage,
            schema: without(&Schema::new(unmarked), &self.params.partition_by),
            cursor,
            tasks: &next.tasks,
            folder: str::to_owned,
            count: AtomicU32::new(0),
        };
        let remove = plan.remove.iter().cloned().collect();
        let windows: Vec<Window> = next.tasks.iter().map(|(task, _)| task.window).collect();
        let rule = Rule { target_bytes: self.params.target_file_size.0, cursor, windows: &windows };
        let add = change::write(&rewriter, plan, rule).await?;
        Ok(IntentBody {
            sink: self.id.clone(),
            seq: next.seq,
            previous: next.previous,
            previous_aborted: next.previous_aborted,
            schema: serde_json::to_value(&schema).map_err(unreadable_schema)?,
            add,
            remove,
            dead_letters: next.tasks.iter().flat_map(|(_, manifest)| manifest.dead_letters.clone()).collect(),
            change: None,
            shows: None,
            markers: Markers::default(),
            tasks: next.tasks.into_iter().map(|(task, _)| task).collect(),
        })
    }

    /// The table's schema after the commit, with the columns marked that change it; fails when staged rows do not fit it.
    fn schema_after(&self, table: Option<&Table>, tasks: &[(IntentTask, Manifest)]) -> Result<Schema> {
        // What tasks before the last load that replaces everything brought is gone.
        let first = tasks.iter().rposition(|(_, manifest)| manifest.write == WriteMode::ReplaceAll).unwrap_or(0);
        let replaces_all = tasks.get(first).is_some_and(|(_, manifest)| manifest.write == WriteMode::ReplaceAll);
        let Some(table) = table else {
            let rows = tasks.iter().map(|(_, manifest)| types::table_schema(&schema_of(&manifest.schema)?));
            let rows = rows.collect::<Result<Vec<_>>>()?;
            return change::union(tasks.iter().map(|(task, _)| task.task).zip(&rows));
        };
        layout::check_partitioning(table, &self.params)?;
        let mut after = Columns { fields: table.schema.fields().to_vec(), replaces_all };
        for (task, manifest) in &tasks[first..] {
            let staged = schema_of(&manifest.schema)?;
            let rows = types::table_schema(&staged)?;
            for (field, staged) in rows.fields().iter().zip(staged.fields()) {
                after.take(field, stage::mark_of(staged)).map_err(|error| error.staged_again(task.task))?;
            }
            after
                .fields
                .iter()
                .filter(|column| rows.field_with_name(column.name()).is_err())
                .try_for_each(|column| types::check_needed(column))?;
        }
        Ok(Schema::new(after.fields))
    }
}

/// The table's columns as they become, task by task.
struct Columns {
    fields: Vec<FieldRef>,
    /// Whether no row of the table stays.
    replaces_all: bool,
}

impl Columns {
    /// A column of staged rows; `mark` tells that the table is to change for it, and which type it had.
    fn take(&mut self, field: &Field, mark: Option<&str>) -> Result<()> {
        let known = self.fields.iter().position(|column| column.name() == field.name());
        match (known, mark) {
            (None, Some(_)) => self.fields.push(stage::marked(field, None)),
            (Some(at), _) if self.fields[at].data_type() == field.data_type() => {}
            (Some(at), Some(before)) if self.replaces_all && self.fields[at].data_type().to_string() == before => {
                self.fields[at] = stage::marked(field, Some(before));
            }
            _ => {
                return Err(WorkerError::later(
                    error::SINK_SCHEMA,
                    "rows were staged for another version of the table",
                )
                .at(format!("column {:?}", field.name()))
                .fix("stage the window again"));
            }
        }
        Ok(())
    }
}

/// A schema as manifests and intents hold it.
pub(super) fn schema_of(json: &Value) -> Result<Schema> {
    serde_json::from_value(json.clone()).map_err(unreadable_schema)
}

fn unreadable_schema(cause: serde_json::Error) -> WorkerError {
    WorkerError::never(error::INTERNAL, "a schema cannot be read or written as JSON").because(cause)
}

/// Whether these files of the table may be taken out of it.
pub(super) fn check_removals<'a>(remove: impl IntoIterator<Item = &'a String> + Clone, table: &Table) -> Result<()> {
    if remove.clone().into_iter().next().is_some() && guard::is_append_only(&table.configuration) {
        return Err(WorkerError::never(
            error::SINK_UNSUPPORTED,
            "the table allows only additions, and rows are to be replaced",
        )
        .fix("use `write: append`, or unset delta.appendOnly on the table"));
    }
    let has_vector = |path: &&String| table.files.get(*path).is_some_and(|file| file.deletion_vector.is_some());
    match remove.into_iter().find(has_vector) {
        None => Ok(()),
        Some(path) => {
            Err(WorkerError::never(error::SINK_UNSUPPORTED, "a file with a deletion vector would have to be replaced")
                .at(path.clone())
                .fix("purge the table's deletion vectors (REORG TABLE .. APPLY (PURGE)) and switch them off"))
        }
    }
}

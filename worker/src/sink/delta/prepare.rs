//! The next commit, worked out completely: windows are cut out of files that hold others too, small files are merged.
//! Only invisible files are written.

use std::{collections::HashMap, sync::atomic::AtomicU32};

use arrow_schema::{Field, Schema};
use serde_json::Value;
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask},
    manifest::Manifest,
    window::Window,
};

use super::{DeltaSink, guard, layout, table::Table, types};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Next,
        change::{self, Rewriter, Rule, without},
    },
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
        let file_schema = match table.as_deref() {
            Some(table) => table.file_schema(),
            None => without(&schema, &self.params.partition_by),
        };
        let rewriter = Rewriter {
            storage: &self.storage,
            schema: file_schema,
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
            tasks: next.tasks.into_iter().map(|(task, _)| task).collect(),
        })
    }

    /// The table's schema after the commit; fails when staged rows do not fit it.
    fn schema_after(&self, table: Option<&Table>, tasks: &[(IntentTask, Manifest)]) -> Result<Schema> {
        let rows = tasks
            .iter()
            .map(|(_, manifest)| types::table_schema(&schema_of(&manifest.schema)?))
            .collect::<Result<Vec<_>>>()?;
        let Some(table) = table else { return change::union(&rows) };
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

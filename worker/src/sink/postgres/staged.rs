//! What the rows of a commit are, as their manifests tell it, and what the table becomes for them: values in columns of arrow types,
//! or rows as other servers wrote them, of one kind or of several.

use std::{collections::BTreeSet, sync::Arc};

use arrow_schema::{Schema, SchemaRef};
use windrow_common::{error, intent::IntentTask, manifest::Manifest, task::Retry};

use super::{
    PostgresSink,
    change::{Alter, NewColumn},
    layout,
    session::Open,
    target::Table,
    verbatim,
};
use crate::{
    error::{Outcome, Result, WorkerError},
    sink::change::union,
    verbatim::Verbatim,
};

/// See the module.
pub(super) struct Staged {
    /// Of all rows of values.
    pub(super) schema: SchemaRef,
    pub(super) alter: Vec<Alter>,
    /// The kinds of rows that nobody decoded.
    pub(super) verbatim: Vec<Verbatim>,
    /// For each task which of those its rows are, from 1; 0 for values.
    pub(super) shapes: Vec<usize>,
    /// Of a table that is made for all of them.
    pub(super) columns: Vec<NewColumn>,
    /// Whether all rows have the cursor, and it tells instants.
    pub(super) instants: bool,
}

impl Staged {
    /// Fails with the task whose rows have to be staged again where they do not fit the table as it is now.
    pub(super) async fn of(
        sink: &PostgresSink,
        open: &Open,
        table: Option<&Table>,
        tasks: &[(IntentTask, Manifest)],
    ) -> Result<Self> {
        let (mut values, mut alter) = (Vec::new(), BTreeSet::new());
        let (mut verbatim, mut shapes): (Vec<Verbatim>, Vec<usize>) = (Vec::new(), Vec::new());
        for (task, manifest) in tasks {
            let at = |error: WorkerError| error.at(format!("task {} of {}", task.task, task.pipeline));
            let Some(rows) = Verbatim::of_told(&manifest.schema).map_err(at)? else {
                let (rows, changes) = of_values(sink, table, manifest).map_err(|error| match error.outcome() {
                    // Only what was staged for another table than there is now can become better by being staged again.
                    Outcome::Failed(Retry::Later) => at(error.staged_again(task.task)),
                    _ => at(error),
                })?;
                values.push((task.task, rows));
                alter.extend(changes);
                shapes.push(0);
                continue;
            };
            if let Some(known) = verbatim.iter().position(|known| *known == rows) {
                shapes.push(known + 1);
                continue;
            }
            if let Some(why) = sink.misfit(open, &rows, table).await.map_err(at)? {
                let error =
                    WorkerError::later(error::SINK_SCHEMA, format!("rows do not go in as they are any more: {why}"));
                return Err(at(error.staged_again(task.task)));
            }
            verbatim.push(rows);
            shapes.push(verbatim.len());
        }
        let schema = Arc::new(union(values.iter().map(|(task, rows)| (*task, rows.as_ref())))?);
        let of_values = (!values.is_empty() || verbatim.is_empty()).then(|| sink.in_rows(&schema));
        let instants = of_values.unwrap_or(true) && verbatim.iter().all(|rows| sink.in_verbatim(rows));
        let mut columns = layout::new_columns(&schema, &sink.params)?;
        for (place, rows) in verbatim.iter().enumerate() {
            let first = shapes.iter().position(|shape| *shape == place + 1).map(|task| &tasks[task].0);
            merge(&mut columns, rows, table.is_none()).map_err(|error| match first {
                Some(task) => error.staged_again(task.task),
                None => error,
            })?;
        }
        Ok(Self { schema, alter: alter.into_iter().collect(), verbatim, shapes, columns, instants })
    }
}

/// Rows of values in the columns they are copied in, and what the table becomes for them.
fn of_values(sink: &PostgresSink, table: Option<&Table>, manifest: &Manifest) -> Result<(SchemaRef, Vec<Alter>)> {
    let rows: Schema = serde_json::from_value(manifest.schema.clone()).map_err(|cause| {
        WorkerError::later(error::STAGED_FILE_BAD, "a manifest's schema is not readable").because(cause)
    })?;
    layout::of_staged(&rows, table, sink.rules())
}

/// The columns with those of the rows among them. Where a table is made, a column has one type.
fn merge(columns: &mut Vec<NewColumn>, rows: &Verbatim, made: bool) -> Result<()> {
    for column in verbatim::new_columns(rows) {
        match columns.iter().find(|known| known.name == column.name) {
            None => columns.push(column),
            Some(known) if known.sql == column.sql || !made => {}
            Some(known) => {
                let message = format!("rows bring the column {:?} as {} and as {}", column.name, known.sql, column.sql);
                return Err(WorkerError::later(error::SINK_SCHEMA, message));
            }
        }
    }
    Ok(())
}

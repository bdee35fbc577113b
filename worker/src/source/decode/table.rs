//! A batch of text rows becomes the arrow rows of one window: rows outside it are left out before anything but their
//! cursor is parsed, and what is no row is rejected with its reason.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use windrow_common::error;

use super::{
    cursor::{Cursor, Place, Placer},
    emit::Emitter,
    rows::{Flaw, Rows},
    types::{Column, Kind, schema_of},
    values::{ColumnText, Flaws, Nulls},
};
use crate::error::{Result, WorkerError};

/// What a window's rows are made of.
#[derive(Clone, Debug)]
pub(in crate::source) struct Table {
    columns: Arc<[Column]>,
    schema: SchemaRef,
    nulls: Nulls,
    cursor: Option<Cursor>,
}

impl Table {
    pub(in crate::source) fn new(columns: Arc<[Column]>, nulls: Nulls, cursor: Option<Cursor>) -> Self {
        Self { schema: schema_of(&columns), columns, nulls, cursor }
    }

    pub(in crate::source) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Emits the rows of the window and the rejects of a batch.
    pub(in crate::source) fn take(&self, rows: &impl Rows, out: &mut Emitter) -> Result<()> {
        let picked = self.pick(rows, out)?;
        if picked.is_empty() {
            return Ok(());
        }
        let mut flaws = Flaws::new();
        let arrays = self.columns.iter().enumerate().map(|(index, column)| {
            ColumnText { rows, picked: &picked, index, column, nulls: &self.nulls }.build(&mut flaws)
        });
        let arrays = arrays.collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(unexpected)?;
        let batch = self.without(batch, flaws, &picked, rows, out)?;
        out.rows(batch)
    }

    /// The rows of the window, by their cursors alone.
    fn pick(&self, rows: &impl Rows, out: &mut Emitter) -> Result<Vec<usize>> {
        let mut picked = Vec::with_capacity(rows.len());
        let mut placer = self.cursor.as_ref().map(|cursor| (cursor.column, cursor.placer()));
        for row in 0..rows.len() {
            // A row without its proper shape has no cursor to be trusted: every window of its file rejects it.
            let flaw = match (rows.flaw(row), &mut placer) {
                (Some(flaw), _) => flaw,
                (None, None) => {
                    picked.push(row);
                    continue;
                }
                (None, Some((column, placer))) => match self.place(rows, row, *column, placer) {
                    Ok(inside) => {
                        if inside {
                            picked.push(row);
                        }
                        continue;
                    }
                    Err(flaw) => flaw,
                },
            };
            out.reject(rows, row, flaw)?;
        }
        Ok(picked)
    }

    fn place(&self, rows: &impl Rows, row: usize, index: usize, placer: &mut Placer<'_>) -> Result<bool, Flaw> {
        let column = &self.columns[index];
        // An empty cursor says nothing, even where an empty text is a value.
        let text = rows.field(row, index).filter(|text| !text.is_empty() && !self.nulls.is_null(text, &column.kind));
        let Some(text) = text else {
            let reason = format!("the cursor {:?} is null", column.name);
            return Err(Flaw { code: error::CURSOR_MISSING, reason });
        };
        match placer.place(text) {
            Place::Inside => Ok(true),
            Place::Outside => Ok(false),
            Place::Unreadable(reason) => {
                let reason = format!("the cursor {:?}: {reason}", column.name);
                Err(Flaw { code: error::VALUE_MALFORMED, reason })
            }
        }
    }

    /// The batch without its flawed rows, which are rejected.
    fn without(
        &self,
        batch: RecordBatch,
        mut flaws: Flaws,
        picked: &[usize],
        rows: &impl Rows,
        out: &mut Emitter,
    ) -> Result<RecordBatch> {
        if flaws.is_empty() {
            return Ok(batch);
        }
        // The sort is stable: of a row's flaws the first column's is told.
        flaws.sort_by_key(|(at, _)| *at);
        flaws.dedup_by_key(|(at, _)| *at);
        let mut keep = vec![true; picked.len()];
        for (at, flaw) in flaws {
            keep[at] = false;
            out.reject(rows, picked[at], flaw)?;
        }
        filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(unexpected)
    }
}

/// The columns of files read as text lines.
pub(in crate::source) fn line_columns() -> Vec<Column> {
    vec![Column { name: "value".to_owned(), kind: Kind::String }]
}

/// An arrow operation that only a mistake of ours can make fail.
pub(in crate::source) fn unexpected(cause: arrow_schema::ArrowError) -> WorkerError {
    WorkerError::never(error::INTERNAL, "the rows could not be put together").because(cause)
}

//! The rows of a binary COPY as arrow batches.

use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter;
use windrow_common::{count::counted, error};

use super::{
    cutter::{Cutter, Field, Taker},
    form::{Form, Special},
    values::{Flaw, Values, shown},
};

/// How much is taken at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most rows of a batch.
    pub rows: usize,
    /// Bytes after which no further row joins a batch.
    pub bytes: usize,
    /// Most bytes of a row.
    pub row_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 8_192, bytes: 8 << 20, row_bytes: 256 << 20 }
    }
}

/// A row that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flawed {
    /// The row's number in the stream, from 1.
    pub position: u64,
    pub flaw: Flaw,
    /// The row for people, cut to what the caller keeps.
    pub raw: String,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("the stream does not begin as a binary COPY does")]
    Head,
    #[error("a row has {} where the query has {}", counted(*found, "field"), counted(*expected, "column"))]
    Fields { expected: usize, found: usize },
    #[error("a field has a length below zero")]
    Length,
    #[error("a row has more than {}", counted(*.0, "byte"))]
    TooLong(usize),
    #[error("the stream goes on after its end")]
    AfterEnd,
    #[error("the stream broke off")]
    Cut,
}

/// Reads a stream.
pub struct Decoder {
    cutter: Cutter,
    batch: Batch,
}

/// The batch under construction, and how rows are put into it.
struct Batch {
    schema: SchemaRef,
    forms: Vec<Form>,
    special: Special,
    /// The column whose null is a flaw.
    cursor: Option<usize>,
    limits: Limits,
    /// Most bytes of a flawed row that are shown.
    shown_bytes: usize,
    rows_seen: u64,
    values: Vec<Values>,
    rows: usize,
    bytes: usize,
    /// With the rows' places in the batch.
    flawed: Vec<(usize, Flawed)>,
}

impl Decoder {
    /// Of columns in the schema's order, which has their forms' types.
    pub fn new(schema: SchemaRef, forms: Vec<Form>, special: Special, limits: Limits) -> Self {
        let values = forms.iter().map(Values::new).collect();
        let cutter = Cutter::new(forms.len(), limits.row_bytes);
        let (shown_bytes, rows_seen, rows, bytes) = (1 << 10, 0, 0, 0);
        let flawed = Vec::new();
        let batch =
            Batch { schema, forms, special, cursor: None, limits, shown_bytes, rows_seen, values, rows, bytes, flawed };
        Self { cutter, batch }
    }

    /// Takes null in this column for a flaw.
    pub fn with_cursor(mut self, column: Option<usize>) -> Self {
        self.batch.cursor = column;
        self
    }

    /// Shows so many bytes of a flawed row.
    pub fn showing(mut self, bytes: usize) -> Self {
        self.batch.shown_bytes = bytes;
        self
    }

    /// Takes rows from the front of `chunk`; what is left of it when a batch is full, stays. Whether one is.
    pub fn feed(&mut self, chunk: &mut &[u8]) -> Result<bool, StreamError> {
        self.cutter.feed(chunk, &mut self.batch)?;
        Ok(self.batch.is_full())
    }

    /// The rows taken so far and those that could not be; the next one begins a new batch.
    pub fn take(&mut self) -> Result<(RecordBatch, Vec<Flawed>), ArrowError> {
        let mut arrays: Vec<_> = self.batch.values.iter_mut().map(Values::finish).collect();
        let mut rows = std::mem::take(&mut self.batch.rows);
        self.batch.bytes = 0;
        let flawed = std::mem::take(&mut self.batch.flawed);
        if !flawed.is_empty() {
            let mut keep = vec![true; rows];
            flawed.iter().for_each(|(row, _)| keep[*row] = false);
            let keep = BooleanArray::from(keep);
            arrays = arrays.iter().map(|array| filter(array, &keep)).collect::<Result<_, _>>()?;
            rows -= flawed.len();
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.batch.schema.clone(), arrays, &options)?;
        Ok((batch, flawed.into_iter().map(|(_, flawed)| flawed).collect()))
    }

    /// Rows taken since the last batch.
    pub fn rows(&self) -> usize {
        self.batch.rows
    }

    /// Fails unless the stream has come to its end: one that broke off is never taken for a whole one.
    pub fn finish(&self) -> Result<(), StreamError> {
        self.cutter.finish()
    }
}

impl Taker for Batch {
    fn is_full(&self) -> bool {
        self.rows >= self.limits.rows || self.bytes >= self.limits.bytes
    }

    /// Appends the row. Of its flaws the first column's is told.
    fn take(&mut self, row: &[u8], fields: &[Field]) {
        let mut first = None;
        for (column, field) in fields.iter().enumerate() {
            let field = field.map(|(from, to)| &row[from..to]);
            let appended = self.values[column].append(field, self.special);
            let null_cursor = field.is_none() && self.cursor == Some(column);
            if let (None, Err(flaw)) = (&first, appended) {
                first = Some((column, flaw));
            } else if first.is_none() && null_cursor {
                let reason = "the cursor is null".to_owned();
                first = Some((column, Flaw { code: error::CURSOR_MISSING, reason }));
            }
        }
        self.rows_seen += 1;
        if let Some((column, mut flaw)) = first {
            flaw.reason = format!("column {:?}: {}", self.schema.field(column).name(), flaw.reason);
            let flawed = Flawed { position: self.rows_seen, flaw, raw: self.shown(row, fields) };
            self.flawed.push((self.rows, flawed));
        }
        self.rows += 1;
        self.bytes += row.len();
    }
}

impl Batch {
    /// `name=value` for each column.
    fn shown(&self, row: &[u8], fields: &[Field]) -> String {
        let mut text = String::new();
        for (column, field) in fields.iter().enumerate() {
            if text.len() > self.shown_bytes {
                break;
            }
            let value = match field {
                None => "null".to_owned(),
                // What is longer than all that is kept need not be made readable.
                Some((from, to)) => shown(&self.forms[column], &row[*from..(*to).min(from + 4 * self.shown_bytes)]),
            };
            let before = if column == 0 { "" } else { ", " };
            text.push_str(&format!("{before}{}={value}", self.schema.field(column).name()));
        }
        text.truncate(text.floor_char_boundary(self.shown_bytes));
        text
    }
}

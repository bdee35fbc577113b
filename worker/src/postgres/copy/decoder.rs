//! The stream of a binary COPY: a head, rows of fields, an end. Rows may begin and end anywhere in the chunks.

use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::filter::filter;
use windrow_common::error;

use super::{
    form::{Form, Special},
    values::{Flaw, Values, shown},
};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of what else the head holds.
const HEAD: usize = SIGNATURE.len() + 8;
/// Flags that change the meaning of what follows.
const CRITICAL: u32 = 0xffff_0000;

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
    #[error("a row has {found} fields where the query has {expected} columns")]
    Fields { expected: usize, found: usize },
    #[error("a field has a length below zero")]
    Length,
    #[error("a row has more than {0} bytes")]
    TooLong(usize),
    #[error("the stream goes on after its end")]
    AfterEnd,
    #[error("the stream broke off")]
    Cut,
}

/// Reads a stream.
pub struct Decoder {
    schema: SchemaRef,
    forms: Vec<Form>,
    special: Special,
    /// The column whose null is a flaw.
    cursor: Option<usize>,
    limits: Limits,
    /// Most bytes of a flawed row that are shown.
    shown_bytes: usize,
    at: At,
    /// The beginning of a row whose rest is still to come.
    pending: Vec<u8>,
    batch: Batch,
    rows_seen: u64,
    /// Where the fields of the row under way are; `None` for null.
    fields: Vec<Option<(usize, usize)>>,
}

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Row,
    End,
}

/// The batch under construction.
struct Batch {
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
        let batch = Batch { values, rows: 0, bytes: 0, flawed: Vec::new() };
        let (at, pending, fields) = (At::Head, Vec::new(), Vec::with_capacity(forms.len()));
        let shown_bytes = 1 << 10;
        Self { schema, forms, special, cursor: None, limits, shown_bytes, at, pending, batch, rows_seen: 0, fields }
    }

    /// Takes null in this column for a flaw.
    pub fn with_cursor(mut self, column: Option<usize>) -> Self {
        self.cursor = column;
        self
    }

    /// Shows so many bytes of a flawed row.
    pub fn showing(mut self, bytes: usize) -> Self {
        self.shown_bytes = bytes;
        self
    }

    /// Takes rows from the front of `chunk`; what is left of it when a batch is full, stays. Whether one is.
    pub fn feed(&mut self, chunk: &mut &[u8]) -> Result<bool, StreamError> {
        if self.pending.is_empty() {
            let used = self.take_rows(chunk)?;
            *chunk = &chunk[used..];
            if !self.is_full() {
                self.pending.extend_from_slice(chunk);
                *chunk = &[];
            }
        } else {
            self.pending.extend_from_slice(chunk);
            *chunk = &[];
            let pending = std::mem::take(&mut self.pending);
            let used = self.take_rows(&pending)?;
            self.pending = pending;
            self.pending.drain(..used);
        }
        if self.pending.len() > self.limits.row_bytes && !self.is_full() {
            return Err(StreamError::TooLong(self.limits.row_bytes));
        }
        Ok(self.is_full())
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
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
        Ok((batch, flawed.into_iter().map(|(_, flawed)| flawed).collect()))
    }

    /// Rows taken since the last batch.
    pub fn rows(&self) -> usize {
        self.batch.rows
    }

    /// Fails unless the stream has come to its end: one that broke off is never taken for a whole one.
    pub fn finish(&self) -> Result<(), StreamError> {
        match self.at == At::End && self.pending.is_empty() {
            true => Ok(()),
            false => Err(StreamError::Cut),
        }
    }

    fn is_full(&self) -> bool {
        self.batch.rows >= self.limits.rows || self.batch.bytes >= self.limits.bytes
    }

    /// Takes whole rows until the batch is full; how many bytes they had.
    fn take_rows(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        let mut used = 0;
        while !self.is_full() {
            let rest = &bytes[used..];
            let taken = match self.at {
                At::Head => self.head(rest)?,
                At::Row => self.row(rest)?,
                At::End if rest.is_empty() => None,
                At::End => return Err(StreamError::AfterEnd),
            };
            let Some(taken) = taken else { break };
            used += taken;
        }
        Ok(used)
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamError> {
        if !bytes.starts_with(&SIGNATURE[..SIGNATURE.len().min(bytes.len())]) {
            return Err(StreamError::Head);
        }
        let Some(head) = bytes.get(..HEAD) else { return Ok(None) };
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if word(SIGNATURE.len()) & CRITICAL != 0 {
            return Err(StreamError::Head);
        }
        let length = usize::try_from(word(SIGNATURE.len() + 4)).unwrap_or(usize::MAX);
        let length = HEAD.checked_add(length).filter(|length| *length <= self.limits.row_bytes);
        let length = length.ok_or(StreamError::Head)?;
        if bytes.len() < length {
            return Ok(None);
        }
        self.at = At::Row;
        Ok(Some(length))
    }

    /// One row, if it is there as a whole.
    fn row(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamError> {
        let Some(count) = bytes.first_chunk::<2>() else { return Ok(None) };
        let mut at = 2;
        match i16::from_be_bytes(*count) {
            -1 => {
                self.at = At::End;
                return Ok(Some(at));
            }
            count if usize::try_from(count) == Ok(self.forms.len()) => {}
            count => {
                let found = usize::try_from(count).unwrap_or_default();
                return Err(StreamError::Fields { expected: self.forms.len(), found });
            }
        }
        self.fields.clear();
        for _ in 0..self.forms.len() {
            let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
            at += 4;
            let length = i32::from_be_bytes(*length);
            if length == -1 {
                self.fields.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| StreamError::Length)?;
            let end = at + length;
            if end > self.limits.row_bytes {
                return Err(StreamError::TooLong(self.limits.row_bytes));
            }
            if end > bytes.len() {
                return Ok(None);
            }
            self.fields.push(Some((at, end)));
            at = end;
        }
        self.append(bytes);
        self.batch.bytes += at;
        Ok(Some(at))
    }

    /// Appends the row whose fields were found. Of its flaws the first column's is told.
    fn append(&mut self, bytes: &[u8]) {
        let mut first = None;
        for (column, field) in self.fields.iter().enumerate() {
            let field = field.map(|(from, to)| &bytes[from..to]);
            let appended = self.batch.values[column].append(field, self.special);
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
            let flawed = Flawed { position: self.rows_seen, flaw, raw: self.shown(bytes) };
            self.batch.flawed.push((self.batch.rows, flawed));
        }
        self.batch.rows += 1;
    }

    /// `name=value` for each column.
    fn shown(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for (column, field) in self.fields.iter().enumerate() {
            if text.len() > self.shown_bytes {
                break;
            }
            let value = match field {
                None => "null".to_owned(),
                // What is longer than all that is kept need not be made readable.
                Some((from, to)) => shown(&self.forms[column], &bytes[*from..(*to).min(from + 4 * self.shown_bytes)]),
            };
            let before = if column == 0 { "" } else { ", " };
            text.push_str(&format!("{before}{}={value}", self.schema.field(column).name()));
        }
        text.truncate(text.floor_char_boundary(self.shown_bytes));
        text
    }
}

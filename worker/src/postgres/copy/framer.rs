//! The rows of a binary COPY as they are: where each ends is found, and nothing else is looked at.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, SchemaRef};

use super::{
    cutter::{Cutter, Field, Taker},
    decoder::{Limits, StreamError},
};

/// Reads a stream.
pub struct Framer {
    cutter: Cutter,
    batch: Batch,
}

/// The batch under construction: the rows' bytes, and where each ends.
struct Batch {
    /// Of one column, which holds a row's bytes.
    schema: SchemaRef,
    limits: Limits,
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Framer {
    /// Of rows of so many columns, given out in batches of `schema`, whose one column holds a row.
    pub fn new(schema: SchemaRef, columns: usize, limits: Limits) -> Self {
        let batch = Batch { schema, limits, bytes: Vec::new(), ends: vec![0] };
        Self { cutter: Cutter::new(columns, limits.row_bytes), batch }
    }

    /// Takes rows from the front of `chunk`; what is left of it when a batch is full, stays. Whether one is.
    pub fn feed(&mut self, chunk: &mut &[u8]) -> Result<bool, StreamError> {
        self.cutter.feed(chunk, &mut self.batch)?;
        Ok(self.batch.is_full())
    }

    /// The rows taken so far; the next one begins a new batch.
    pub fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let ends = std::mem::replace(&mut self.batch.ends, vec![0]);
        // The next batch is about as long as this one.
        let room = self.batch.bytes.len();
        let bytes = std::mem::replace(&mut self.batch.bytes, Vec::with_capacity(room));
        let rows = BinaryArray::try_new(OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(bytes), None)?;
        RecordBatch::try_new(self.batch.schema.clone(), vec![Arc::new(rows) as ArrayRef])
    }

    /// Rows taken since the last batch.
    pub fn rows(&self) -> usize {
        self.batch.ends.len() - 1
    }

    /// Fails unless the stream has come to its end: one that broke off is never taken for a whole one.
    pub fn finish(&self) -> Result<(), StreamError> {
        self.cutter.finish()
    }
}

impl Taker for Batch {
    fn is_full(&self) -> bool {
        self.ends.len() > self.limits.rows || self.bytes.len() >= self.limits.bytes
    }

    fn take(&mut self, row: &[u8], _: &[Field]) {
        self.bytes.extend_from_slice(row);
        // A batch is full long before: its bytes and a row's are bounded.
        self.ends.push(i32::try_from(self.bytes.len()).unwrap_or(i32::MAX));
    }
}

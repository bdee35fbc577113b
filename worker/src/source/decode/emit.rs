//! The way out of a reading thread: rows in well-sized batches, rejects up to a limit, into a bounded channel.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::coalesce::BatchCoalescer;
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinHandle};
use windrow_common::error;

use super::{
    rows::{BATCH_ROWS, Flaw, Rows},
    table::unexpected,
};
use crate::{
    error::{Result, WorkerError},
    source::{Chunk, MAX_REJECT_BYTES, Reject, RowStream},
};

/// Chunks that may wait for the consumer.
pub(in crate::source) const AHEAD: usize = 3;
/// Most rejects of a slice; past them the file is not what it was taken for.
pub(in crate::source) const MAX_REJECTS: usize = 100_000;
/// Rejects that are sent together, which bounds a chunk to a few MiB.
const REJECTS_PER_CHUNK: usize = 256;

/// Sends what is read of one slice.
pub(in crate::source) struct Emitter {
    name: String,
    send: mpsc::Sender<Chunk>,
    batches: BatchCoalescer,
    rejects: Vec<Reject>,
    rejected: usize,
}

impl Emitter {
    pub(in crate::source) fn new(name: &str, schema: SchemaRef, send: mpsc::Sender<Chunk>) -> Self {
        let batches = BatchCoalescer::new(schema, BATCH_ROWS);
        Self { name: name.to_owned(), send, batches, rejects: Vec::new(), rejected: 0 }
    }

    pub(in crate::source) fn rows(&mut self, batch: RecordBatch) -> Result<()> {
        self.batches.push_batch(batch).map_err(unexpected)?;
        self.send_completed()
    }

    pub(in crate::source) fn reject(&mut self, rows: &impl Rows, row: usize, flaw: Flaw) -> Result<()> {
        self.rejected += 1;
        if self.rejected > MAX_REJECTS {
            return Err(too_many_rejects(&self.name, &flaw));
        }
        self.rejects.push(reject(&self.name, rows.line(row), rows.raw(row), flaw));
        if self.rejects.len() >= REJECTS_PER_CHUNK { self.send_rejects() } else { Ok(()) }
    }

    /// Sends what is still held back.
    pub(in crate::source) fn finish(mut self) -> Result<()> {
        self.batches.finish_buffered_batch().map_err(unexpected)?;
        self.send_completed()?;
        self.send_rejects()
    }

    fn send_completed(&mut self) -> Result<()> {
        while let Some(batch) = self.batches.next_completed_batch() {
            self.send(Chunk::Rows(batch))?;
        }
        Ok(())
    }

    fn send_rejects(&mut self) -> Result<()> {
        if self.rejects.is_empty() {
            return Ok(());
        }
        let rejects = std::mem::take(&mut self.rejects);
        self.send(Chunk::Rejected(rejects))
    }

    fn send(&self, chunk: Chunk) -> Result<()> {
        let gone = |_| WorkerError::later(error::CANCELLED, "nobody takes the rows any more").at(&self.name);
        self.send.blocking_send(chunk).map_err(gone)
    }
}

/// What a task or thread sends, and its error at the end. One that died is an error too, never an early end.
pub(in crate::source) fn received(receive: mpsc::Receiver<Chunk>, thread: JoinHandle<Result<()>>) -> RowStream {
    stream::unfold(Some((receive, thread)), |state| async {
        let (mut receive, thread) = state?;
        if let Some(chunk) = receive.recv().await {
            return Some((Ok(chunk), Some((receive, thread))));
        }
        match thread.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((Err(error), None)),
            Err(cause) => {
                let error = WorkerError::later(error::INTERNAL, "the reading thread died").because(cause);
                Some((Err(error), None))
            }
        }
    })
    .boxed()
}

/// A row of an object that could not become one.
pub(in crate::source) fn reject(name: &str, position: u64, raw: &[u8], flaw: Flaw) -> Reject {
    let mut raw = String::from_utf8_lossy(&raw[..raw.len().min(MAX_REJECT_BYTES)]).into_owned();
    // What replaces bad bytes is longer than they are.
    let end = (0..=MAX_REJECT_BYTES.min(raw.len())).rev().find(|at| raw.is_char_boundary(*at)).unwrap_or(0);
    raw.truncate(end);
    Reject { input: name.to_owned(), position, code: flaw.code.code, reason: flaw.reason, raw }
}

pub(in crate::source) fn too_many_rejects(name: &str, flaw: &Flaw) -> WorkerError {
    WorkerError::never(
        error::TOO_MANY_REJECTED,
        format!("more than {MAX_REJECTS} rows had to be rejected, the last because {}", flaw.reason),
    )
    .at(name)
    .fix("compare the file with the declared format and schema")
}

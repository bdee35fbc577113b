//! Reading ahead: what is read is decoded on a task of its own, while what came before is worked on. Nothing is read before
//! the stream is polled, and nothing more is once it is dropped. Knows nothing of what is read.

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::mpsc::{self, Receiver},
    task::{JoinError, JoinSet},
};
use tracing::{Instrument, Span};
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Chunks that wait to be taken; the reader holds one more.
const MOST_AHEAD: usize = 1;

/// Rows, or whatever else is read a chunk at a time.
type Chunks<T> = BoxStream<'static, Result<T>>;

/// The same chunks, read inside the span.
pub(crate) fn ahead<T: Send + 'static>(chunks: Chunks<T>, span: Span) -> Chunks<T> {
    stream::once(async move { Ahead::start(chunks, span).into_stream() }).flatten().boxed()
}

/// A reader at work. Dropping it stops the reader.
struct Ahead<T> {
    chunks: Receiver<Result<T>>,
    reader: JoinSet<()>,
}

impl<T: Send + 'static> Ahead<T> {
    fn start(mut read: Chunks<T>, span: Span) -> Self {
        let (sender, chunks) = mpsc::channel(MOST_AHEAD);
        let mut reader = JoinSet::new();
        let reading = async move {
            while let Some(chunk) = read.next().await {
                if sender.send(chunk).await.is_err() {
                    break;
                }
                // Whoever was woken would wait for this thread, although another one is free.
                tokio::task::yield_now().await;
            }
        };
        reader.spawn(reading.instrument(span));
        Self { chunks, reader }
    }

    fn into_stream(self) -> Chunks<T> {
        let next = |mut ahead: Self| async move {
            match ahead.chunks.recv().await {
                Some(chunk) => Some((chunk, ahead)),
                None => ahead.ended().await.map(|error| (Err(error), ahead)),
            }
        };
        stream::unfold(self, next).boxed()
    }

    /// What ended the reader, if it was not the end of its source: a reader that is gone is no end of rows.
    async fn ended(&mut self) -> Option<WorkerError> {
        match self.reader.join_next().await?.map_err(JoinError::try_into_panic) {
            Ok(()) => None,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(cause)) => {
                Some(WorkerError::later(error::INTERNAL, "the task that reads was stopped").because(cause))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures::{FutureExt, TryStreamExt};

    use super::*;

    #[tokio::test]
    async fn chunks_come_in_order_and_an_error_ends_them() {
        let broken = || WorkerError::later(error::SOURCE_UNREADABLE, "the connection is gone");
        let read = stream::iter((0..9).map(Ok)).chain(stream::once(async move { Err(broken()) }));
        let mut rows = ahead(read.boxed(), Span::none());
        for at in 0..9 {
            assert_eq!(rows.try_next().await.unwrap(), Some(at));
        }
        assert_eq!(rows.try_next().await.unwrap_err().code(), error::SOURCE_UNREADABLE);
        assert!(rows.try_next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn no_more_is_read_ahead_than_may_wait_and_nothing_once_the_stream_is_dropped() {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        let source = stream::iter(0..1_000).map(move |at| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(at)
        });
        let mut rows = ahead(source.boxed(), Span::none());
        tokio::task::yield_now().await;
        assert_eq!(read.load(Ordering::Relaxed), 0, "nobody has asked yet");
        rows.try_next().await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read.load(Ordering::Relaxed), 1 + MOST_AHEAD + 1);
        drop(rows);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read.load(Ordering::Relaxed), 1 + MOST_AHEAD + 1);
    }

    #[tokio::test]
    async fn a_reader_that_panics_is_no_end_of_rows() {
        let source: Chunks<u64> = stream::once(async { panic!("a bug") }).boxed();
        let mut rows = ahead(source, Span::none());
        assert!(std::panic::AssertUnwindSafe(rows.next()).catch_unwind().await.is_err());
    }
}

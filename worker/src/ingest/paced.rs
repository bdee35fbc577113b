//! Rows at the pace of a source that limits them. The limit is one for all workers, so it is the coordinator that says
//! whose rows go through next; they are kept back here, and with them the reader behind them.

use std::{num::NonZeroU32, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::Leave;
use crate::source::{Chunk, RowStream};

/// The chunks, in pieces of a second's rows at most, so that those who read at once take turns.
pub(super) fn paced(chunks: RowStream, rate: NonZeroU32, leave: Arc<dyn Leave>) -> RowStream {
    let most = usize::try_from(rate.get()).unwrap_or(usize::MAX);
    let pieces = chunks.map_ok(move |chunk| stream::iter(pieces(chunk, most)).map(Ok)).try_flatten();
    let paced = pieces.and_then(move |piece| {
        let leave = leave.clone();
        async move {
            let wait = leave.turn(count(&piece)).await?;
            tokio::time::sleep(wait).await;
            Ok(piece)
        }
    });
    paced.boxed()
}

fn pieces(chunk: Chunk, most: usize) -> Vec<Chunk> {
    match chunk {
        Chunk::Rows(batch) => {
            let starts = (0..batch.num_rows()).step_by(most);
            starts.map(|start| Chunk::Rows(batch.slice(start, most.min(batch.num_rows() - start)))).collect()
        }
        rejected @ Chunk::Rejected(_) => vec![rejected],
    }
}

fn count(chunk: &Chunk) -> u64 {
    match chunk {
        Chunk::Rows(batch) => batch.num_rows() as u64,
        Chunk::Rejected(rejects) => rejects.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{sync::Mutex, time::Duration};

    use arrow_array::{Int64Array, RecordBatch};
    use arrow_schema::{DataType, Field, Schema};
    use async_trait::async_trait;
    use windrow_common::{intent::Seq, manifest::Proof};

    use super::*;
    use crate::error::Result;

    /// A queue like the coordinator's, on this runtime's clock.
    struct Queue(Mutex<tokio::time::Instant>);

    #[async_trait]
    impl Leave for Queue {
        async fn turn(&self, rows: u64) -> Result<Duration> {
            let now = tokio::time::Instant::now();
            let mut end = self.0.lock().unwrap();
            *end = (*end).max(now) + Duration::from_millis(rows);
            Ok(*end - now)
        }

        async fn cut(&self, _: Vec<String>) -> Result<bool> {
            Ok(false)
        }

        async fn proven(&self, _: Proof, _: Seq, _: String) -> Result<bool> {
            Ok(false)
        }
    }

    fn rows(count: i64) -> RowStream {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..count))]).unwrap();
        stream::iter([Ok(Chunk::Rows(batch))]).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn rows_come_whole_in_order_and_no_faster_than_their_turns() {
        let queue: Arc<dyn Leave> = Arc::new(Queue(Mutex::new(tokio::time::Instant::now())));
        let rate = NonZeroU32::new(1_000).unwrap();
        let began = tokio::time::Instant::now();
        let read = |count| {
            let mut stream = paced(rows(count), rate, queue.clone());
            async move {
                let mut seen = Vec::new();
                while let Some(chunk) = stream.try_next().await.unwrap() {
                    let Chunk::Rows(batch) = chunk else { panic!("nothing is rejected") };
                    assert!(batch.num_rows() <= 1_000);
                    let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                    seen.extend(column.values().iter().copied());
                }
                seen
            }
        };
        let (one, other) = tokio::join!(read(2_500), read(1_500));
        assert_eq!((one, other), ((0..2_500).collect(), (0..1_500).collect::<Vec<_>>()));
        assert_eq!(began.elapsed(), Duration::from_millis(4_000), "4,000 rows at 1,000 a second");
    }
}

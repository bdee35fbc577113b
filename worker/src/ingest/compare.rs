//! A comparison of keys: the whole route of its task, from what the sink has noted to the reference of a manifest that may be
//! sealed. The keys of the source go to the sink worker as rows do; it finds out which of the table's are not among them, and
//! stages those. Here no key is held for longer than a batch is under way.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use tracing::Instrument;
use windrow_common::{deletes::ACCEPTED, error, failpoint, manifest::Counts, pipeline::Pipeline, window::Window};

use super::{Draft, Ingest, Leave, Reading, Staged, chunks_of, manifest_of, watched, written};
use crate::{
    error::{Result, WorkerError},
    flight::{Part, Pass, Rest},
    session::{Assignment, Progress},
    sink::Noted,
    source::{Chunk, RowStream},
    stage::BatchStream,
    transform::Transform,
};

impl Ingest {
    /// THE route.
    pub async fn compare(
        &self,
        pipeline: &Pipeline,
        task: &Assignment,
        (progress, leave): (&Arc<Progress>, &Arc<dyn Leave>),
    ) -> Result<Staged> {
        let (Some(deletes), Some(upsert)) = (&pipeline.deletes, &pipeline.sink.upsert) else {
            return Err(WorkerError::later(error::VERSION_SKEW, "the pipeline does not say which keys are compared"));
        };
        let hop = self.hops.to(task.flight_endpoint.as_deref())?;
        let pass = Pass { ticket: task.ticket.clone(), pipeline: task.pipeline.clone() };
        let rows = self.connectors.source(pipeline)?;
        check_kept(&self.transform(pipeline), &rows.schema().await?, &upsert.key).await?;

        // The source is asked later: a row that came between would be taken for one that is gone.
        let note = hop.note(&pass).await?;
        failpoint::reach(failpoint::Point::Reading, pipeline.name.as_str()).await?;
        let read = tracing::info_span!("read");
        let reading = deletes.reading(pipeline);
        let whole = Window::version(0);
        let source = async {
            let come = rows.written().await?;
            let keys = self.connectors.source(&reading)?.keys(&upsert.key, &come)?;
            Ok::<_, WorkerError>((keys.resolve(&whole).await?, keys.schema().await?, keys))
        };
        let (slices, schema, keys) = source.instrument(read.clone()).await?;
        let inputs = slices.iter().map(|slice| slice.input.clone()).collect();
        let rate = reading.source.from.limits.rows_per_s;
        let reading = Reading { window: whole, verbatim: false, rate, leave: leave.clone(), span: read.clone() };
        let chunks = chunks_of(keys, slices, reading);
        let count = Arc::new(AtomicU64::new(0));
        let keys = watched(readable(chunks, (count.clone(), progress.clone())), read);
        let keys = written(keys, progress.clone(), pipeline.name.clone());

        let accept = task.part.as_deref() == Some(ACCEPTED);
        let staged = hop.put(&pass, Part::Keys(Noted { note, accept }), schema, keys).await?;
        let untold = || WorkerError::later(error::VERSION_SKEW, "the sink worker does not say what it staged");
        let Rest { schema, .. } = staged.rest.ok_or_else(untold)?;
        let counts = Counts {
            rows_read: count.load(Ordering::Relaxed),
            rows_deleted: staged.files.iter().map(|file| file.rows).sum(),
            ..Counts::default()
        };
        let draft = Draft { schema, files: staged.files, dead_letters: Vec::new(), inputs, counts };
        let manifest = hop.finish(&pass, manifest_of(pipeline, task, draft)).await?;
        Ok(Staged { manifest, kept: None })
    }
}

/// Keys are compared as the source has them, so a transform must leave them as they are. What rows it leaves out does not
/// matter: their keys are at the source all the same.
async fn check_kept(transform: &Transform, rows: &SchemaRef, key: &[String]) -> Result<()> {
    for column in key {
        if !transform.check(rows.clone(), Some(column)).await?.keeps_cursor {
            return Err(WorkerError::never(
                error::KEYS_UNKNOWN,
                format!(
                    "the transform makes the key's column {column:?}, so the source has no such keys to compare with"
                ),
            )
            .fix("have the transform keep it as the source has it, or remove `deletes`"));
        }
    }
    Ok(())
}

/// The keys alone. One that cannot be read could be any of the table's.
fn readable(chunks: RowStream, (count, progress): (Arc<AtomicU64>, Arc<Progress>)) -> BatchStream {
    let keys = chunks.try_filter_map(move |chunk| {
        let found = found(chunk, &count, &progress);
        async move { found }
    });
    keys.boxed()
}

fn found(chunk: Chunk, count: &AtomicU64, progress: &Progress) -> Result<Option<RecordBatch>> {
    match chunk {
        Chunk::Rows(batch) => {
            count.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            progress.add_read(batch.num_rows() as u64);
            Ok(Some(batch).filter(|batch| batch.num_rows() > 0))
        }
        Chunk::Rejected(rejects) => {
            let Some(first) = rejects.first() else { return Ok(None) };
            let message =
                format!("a key of the source cannot be read, so nobody knows which one it is: {}", first.reason);
            Err(WorkerError::never(error::KEYS_UNKNOWN, message)
                .at(format!("{} at {}", first.input, first.position))
                .fix("correct the row at the source, or remove `deletes`"))
        }
    }
}

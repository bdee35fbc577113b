//! Reading an object as a pipeline would: the source as it is, on a store in memory.

use std::{future::Future, sync::Arc};

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use windrow_common::{
    pipeline::SourceSpec,
    window::{Axis, Window},
};
use windrow_worker::{
    error::{Result, WorkerError},
    source::{Chunk, MAX_REJECT_BYTES, Reject, Source, object_store::over},
    storage::Storage,
};

use super::parts::Parts;

/// A pipeline takes batches one by one; here they are kept, and a few bytes of Parquet can be a million nulls.
const MOST_ROWS: usize = 100_000;

thread_local! {
    /// One for all inputs: making one costs more than reading most of them. Nobody waits for a pause.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
}

/// Runs a future to its end.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// What was read.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) rejects: Vec<Reject>,
}

impl Taken {
    pub(super) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// An object and how it is read.
pub(super) struct Object<'a> {
    pub(super) name: &'a str,
    pub(super) content: &'a [u8],
    /// What a pipeline says of its source beside `from` and `path`.
    pub(super) params: Value,
}

impl Object<'_> {
    /// The rows of a window, the object arriving in parts of a size.
    pub(super) fn read(&self, window: &Window, part: usize) -> Result<Taken> {
        block_on(async {
            let source = self.source(part).await;
            let schema = source.schema().await?;
            let (mut rows, mut batches, mut rejects) = (0, Vec::new(), Vec::new());
            for slice in source.resolve(window).await? {
                let mut chunks = source.read(&slice, window).await?;
                while let Some(chunk) = chunks.try_next().await? {
                    match chunk {
                        Chunk::Rows(batch) => {
                            rows += batch.num_rows();
                            batches.push(batch);
                        }
                        Chunk::Rejected(some) => rejects.extend(some),
                    }
                    if rows > MOST_ROWS {
                        return Err(WorkerError::never(windrow_common::error::INPUT_TOO_LARGE, "more rows than bytes"));
                    }
                }
            }
            for batch in &batches {
                assert_eq!(batch.schema(), schema, "a batch is of another schema than the source");
            }
            for reject in &rejects {
                assert!(reject.raw.len() <= MAX_REJECT_BYTES, "a reject keeps {} bytes", reject.raw.len());
                assert!(windrow_common::error::find(reject.code).is_some(), "no code {:?}", reject.code);
            }
            Ok(Taken { batches, rejects })
        })
    }

    /// All rows, as a full load reads them.
    pub(super) fn read_all(&self, part: usize) -> Result<Taken> {
        self.read(&Window::version(0), part)
    }

    /// That it is read the same however it arrives, and that windows side by side hold what the one around them holds.
    pub(super) fn check_ways(&self, all: &Result<Taken>, part: usize, meeting: i64) {
        let again = self.read_all(part);
        match (all, &again) {
            (Ok(all), Ok(again)) => {
                assert_eq!(all.batches, again.batches, "in parts of {part} bytes");
                assert_eq!(all.rejects, again.rejects, "in parts of {part} bytes");
            }
            (Err(all), Err(again)) => assert_eq!(said(all), said(again), "in parts of {part} bytes"),
            (all, again) => panic!("whole {all:?}, in parts of {part} bytes {again:?}"),
        }
        if let (Some(_), Ok(all)) = (self.params.get("cursor"), all) {
            self.check_windows(all.rows() + all.rejects.len(), meeting);
        }
    }

    /// A row lies in one of two windows that meet, if it lies in their union.
    fn check_windows(&self, all: usize, meeting: i64) {
        const FAR: i64 = 1 << 57;
        let meeting = meeting.clamp(1 - FAR, FAR - 1);
        let rows = |start, end| {
            let window = Window::new(Axis::Time, start, end).expect("not empty");
            self.read(&window, usize::MAX).map(|taken| (taken.rows(), taken.rejects))
        };
        match (rows(-FAR, meeting), rows(meeting, FAR), rows(-FAR, FAR)) {
            (Ok((before, _)), Ok((after, _)), Ok((both, rejects))) => {
                assert_eq!(before + after, both, "rows on both sides of {meeting}, and together");
                assert!(both + rejects.len() <= all, "a window holds more than there is");
            }
            (before, after, both) => {
                let failed = [before.err(), after.err(), both.err()].into_iter().flatten();
                let codes: Vec<String> = failed.map(|error| said(&error)).collect();
                assert!(codes.len() == 3 && codes.iter().all(|code| *code == codes[0]), "{codes:?}");
            }
        }
    }

    async fn source(&self, part: usize) -> Arc<dyn Source> {
        let objects = Arc::new(Parts::of(part));
        objects.put(&Path::from(self.name), self.content.to_vec().into()).await.expect("memory takes it");
        let mut params = self.params.clone();
        params["from"] = json!({ "name": "files", "type": "local" });
        params["path"] = json!(self.name);
        let spec: SourceSpec = serde_json::from_value(params).expect("a source");
        let storage = Storage::over(objects, "memory:///".parse().expect("an address"));
        over(&spec, storage).unwrap_or_else(|faults| panic!("{faults:?}"))
    }
}

/// An error as its reader sees it, without what lies beneath.
fn said(error: &WorkerError) -> String {
    format!("{} {error}", error.code().code)
}

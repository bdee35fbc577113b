//! Rows in the order of some of their columns, within a bound of memory: what does not fit is put aside in files and merged.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::{
    common::DataFusionError,
    execution::{
        SendableRecordBatchStream, TaskContext,
        context::SessionContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::RuntimeEnvBuilder,
    },
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column},
    physical_plan::{
        ExecutionPlan,
        sorts::sort::SortExec,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
    prelude::SessionConfig,
};
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc::Receiver;
use windrow_common::{error, quantity::ByteSize};

use crate::error::{Result, WorkerError};

const BATCH_ROWS: usize = 8_192;
/// What is kept back for merging what was put aside, unless that is too much of what there is at all.
const MERGE_RESERVE: usize = 10 << 20;

/// What sorting may take.
#[derive(Clone, Debug)]
pub struct Room {
    /// Of memory; past it rows are put aside.
    pub memory: ByteSize,
    /// The folder they are put aside in; the system's temporary folder if `None`.
    pub spill: Option<PathBuf>,
}

/// All rows of a channel in the order of columns, which are named by their places among all, nulls first. Fails with
/// `OUT_OF_MEMORY` where there is no room.
pub(super) fn sorted(
    schema: &SchemaRef,
    by: &[usize],
    rows: Receiver<RecordBatch>,
    room: &Room,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>> {
    let sort = || {
        let input = Arc::new(Input { schema: schema.clone(), rows: Mutex::new(Some(rows)) });
        let input = StreamingTableExec::try_new(schema.clone(), vec![input], None, [], false, None)?;
        let column = |place: &usize| Arc::new(Column::new(schema.field(*place).name(), *place));
        let by = LexOrdering::new(by.iter().map(|place| PhysicalSortExpr::new_default(column(place))))
            .ok_or_else(|| DataFusionError::Internal("rows were to be sorted by nothing".to_owned()))?;
        SortExec::new(by, Arc::new(input)).execute(0, context(room)?)
    };
    Ok(sort().map_err(failure)?.map(|batch| batch.map_err(failure)))
}

fn context(room: &Room) -> Result<Arc<TaskContext>, DataFusionError> {
    let memory = usize::try_from(room.memory.0).unwrap_or(usize::MAX);
    let mode = match &room.spill {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .build_arc()?;
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
        .with_sort_spill_reservation_bytes(MERGE_RESERVE.min(memory / 4));
    Ok(SessionContext::new_with_config_rt(config, runtime).task_ctx())
}

fn failure(cause: DataFusionError) -> WorkerError {
    let error = match cause.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            WorkerError::never(error::OUT_OF_MEMORY, "sorting the rows of a group needs more memory than it may take")
                .fix("raise `limits.memory` of the pipeline")
        }
        _ => WorkerError::later(error::OUT_OF_MEMORY, "rows that do not fit memory cannot be put aside and sorted")
            .fix("check that the worker's folder for spilling can be written and has room"),
    };
    error.because(cause)
}

/// What a channel brings, once.
struct Input {
    schema: SchemaRef,
    rows: Mutex<Option<Receiver<RecordBatch>>>,
}

impl PartitionStream for Input {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let taken = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        let batches = match taken {
            Some(mut rows) => stream::poll_fn(move |context| rows.poll_recv(context)).map(Ok).boxed(),
            None => stream::iter([Err(DataFusionError::Internal("the rows are gone".to_owned()))]).boxed(),
        };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::{ArrayRef, Int64Array, StringArray, cast::AsArray, types::Int64Type};
    use futures::TryStreamExt;

    use super::*;

    fn batch(numbers: impl Iterator<Item = i64>) -> RecordBatch {
        let numbers: Vec<i64> = numbers.collect();
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| format!("text {n:050}"))));
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    async fn sorting(batches: i64, memory: u64, spill: Option<PathBuf>) -> Result<Vec<i64>> {
        let (rows, found) = tokio::sync::mpsc::channel(1);
        let schema = batch(0..1).schema();
        let room = Room { memory: ByteSize(memory), spill };
        let stream = sorted(&schema, &[0], found, &room)?;
        let send = async move {
            for part in 0..batches {
                // Every number of a stretch once, in an order of no use.
                let numbers = (0..1_000).map(|n| (part * 1_000 + n) * 7_919 % (batches * 1_000));
                if rows.send(batch(numbers)).await.is_err() {
                    return;
                }
            }
        };
        let (_, found) = tokio::join!(send, stream.try_collect::<Vec<_>>());
        Ok(found?.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
    }

    /// Rows of about forty megabytes are sorted in four, and what was put aside is gone afterwards.
    #[tokio::test]
    async fn rows_that_do_not_fit_memory_are_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let found = sorting(500, 4 << 20, Some(folder.path().to_owned())).await.unwrap();
        assert_eq!(found, (0..500_000).collect::<Vec<i64>>());
        let left: usize = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| std::fs::read_dir(entry.unwrap().path()).map_or(1, Iterator::count))
            .sum();
        assert_eq!(left, 0, "files are left behind");
    }

    #[tokio::test]
    async fn where_there_is_no_room_it_is_said_so() {
        let full = sorting(200, 64 << 10, None).await.unwrap_err();
        assert_eq!(full.code(), error::OUT_OF_MEMORY, "{full}");
        assert!(full.fix_text().unwrap().contains("limits.memory"), "{full}");
        let nowhere = sorting(200, 4 << 20, Some("/proc/nowhere".into())).await.unwrap_err();
        assert!(nowhere.fix_text().unwrap().contains("spilling"), "{nowhere}");
    }
}

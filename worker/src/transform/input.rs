//! The table `input`: a stream of batches that flows once.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow_schema::SchemaRef;
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::{StreamExt, stream};
use windrow_common::error;

use super::BatchStream;
use crate::error::{Result, WorkerError};

/// The batches of an input until somebody takes them, and then the error they ended with.
#[derive(Clone)]
pub(super) struct Spring(Arc<Mutex<State>>);

enum State {
    Full(BatchStream),
    Flowing,
    Failed(WorkerError),
}

impl Spring {
    pub(super) fn new(batches: BatchStream) -> Self {
        Self(Arc::new(Mutex::new(State::Full(batches))))
    }

    /// The error the input ended with; once.
    pub(super) fn failure(&self) -> Option<WorkerError> {
        match self.swap(State::Flowing) {
            State::Failed(error) => Some(error),
            State::Full(_) | State::Flowing => None,
        }
    }

    fn take(&self) -> Option<BatchStream> {
        match self.swap(State::Flowing) {
            State::Full(batches) => Some(batches),
            State::Flowing | State::Failed(_) => None,
        }
    }

    fn swap(&self, state: State) -> State {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), state)
    }
}

/// The one partition of the table.
pub(super) struct InputTable {
    schema: SchemaRef,
    spring: Spring,
}

impl InputTable {
    /// A table that yields what flows from a spring.
    pub(super) fn streaming(schema: SchemaRef, spring: Spring) -> Result<Arc<dyn TableProvider>> {
        let partition = Arc::new(Self { schema: schema.clone(), spring });
        let table = StreamingTable::try_new(schema, vec![partition])
            .map_err(|cause| WorkerError::never(error::INTERNAL, "the input cannot be made a table").because(cause))?;
        Ok(Arc::new(table))
    }

    /// A table to plan with.
    pub(super) fn empty(schema: SchemaRef) -> Result<Arc<dyn TableProvider>> {
        Self::streaming(schema, Spring::new(stream::empty().boxed()))
    }
}

impl PartitionStream for InputTable {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let spring = self.spring.clone();
        let batches = match spring.take() {
            Some(batches) => batches,
            None => {
                let twice = WorkerError::never(error::BAD_SQL, "the input can be read only once");
                stream::iter([Err(twice)]).boxed()
            }
        };
        // The error itself waits in the spring, for DataFusion would hand it on wrapped.
        let batches = batches.map(move |batch| {
            batch.map_err(|error| {
                spring.swap(State::Failed(error));
                DataFusionError::External("the input failed".into())
            })
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

impl fmt::Debug for InputTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputTable")
    }
}

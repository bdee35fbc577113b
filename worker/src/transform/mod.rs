//! What happens to rows between source and sink: SELECTs over the table `input`, one after the other, on a stream of
//! batches. It may not know sources, sinks or tasks, and reaches no table, file or address but its input.

use std::{path::PathBuf, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use datafusion::{
    execution::{
        context::SessionContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::LogicalPlan,
    prelude::SessionConfig,
};
use futures::{StreamExt, stream::BoxStream};
use windrow_common::{error, pipeline::TransformStep, quantity::ByteSize, upsert::DELETED_COLUMN};

use crate::error::{Result, WorkerError};

mod fault;
mod input;
mod output;
mod plan;
#[cfg(test)]
mod tests;

use input::{InputTable, Spring};

/// Batches of one schema.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// The name of the table a step selects from.
const INPUT: &str = "input";
const BATCH_ROWS: usize = 8_192;
/// What a sort keeps back for merging what it spilled, unless that is too much of what it may take at all.
const SORT_RESERVE: usize = 10 << 20;

/// The steps of a pipeline, ready to be applied to any number of streams.
#[derive(Clone, Debug)]
pub struct Transform {
    steps: Vec<Step>,
    limits: TransformLimits,
}

/// One SELECT over the table `input`.
#[derive(Clone, Debug)]
struct Step {
    /// Where it stands in the pipeline.
    place: String,
    sql: String,
    /// Whether it is ours, around a condition of the user's.
    marks: bool,
}

/// What one application of a transform may take.
#[derive(Clone, Debug)]
pub struct TransformLimits {
    /// Memory of operators that hold rows back; past it they spill or fail with `OUT_OF_MEMORY`.
    pub memory: ByteSize,
    /// The folder files are spilled into; the system's temporary folder if `None`.
    pub spill: Option<PathBuf>,
}

/// What a transform makes of an input, known before a row is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The schema of all batches that come out.
    pub output: SchemaRef,
    /// Whether every row is made of one input row alone, so that adjacent windows may be transformed in one go.
    pub row_wise: bool,
    /// Whether the output has the input's cursor column, under its name and unchanged.
    pub keeps_cursor: bool,
}

impl Transform {
    pub fn new(steps: &[TransformStep], limits: TransformLimits) -> Self {
        let steps = steps.iter().enumerate().map(|(step, TransformStep::Sql(sql))| Step {
            place: format!("transform step {}", step + 1),
            sql: sql.clone(),
            marks: false,
        });
        Self { steps: steps.collect(), limits }
    }

    /// With one step more if there is a condition: it says in the column [`DELETED_COLUMN`] for which rows it holds. For null it
    /// does not.
    pub fn marking(mut self, condition: Option<&str>) -> Self {
        self.steps.extend(condition.map(|condition| Step {
            place: "sink.deleted".to_owned(),
            // The condition may end in a comment.
            sql: format!("SELECT *, coalesce(({condition}\n), false) AS {DELETED_COLUMN} FROM {INPUT}"),
            marks: true,
        }));
        self
    }

    /// Whether rows pass unchanged, for there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Plans all steps for an input without running any. Fails with `BAD_SQL`.
    pub async fn check(&self, input: SchemaRef, cursor: Option<&str>) -> Result<Shape> {
        let mut row_wise = true;
        let mut origin = cursor.map(str::to_owned);
        let mut schema = input;
        let mut plans = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let context = self.context()?;
            let table = InputTable::empty(schema)?;
            let plan = plan::plan(&context, &step.sql, table).await.map_err(|error| step.refused(error))?;
            row_wise &= plan::is_row_wise(&plan);
            schema = output::schema(&plan);
            step.check(&schema)?;
            plans.push(plan);
        }
        // From the last step's column of that name back to the input's.
        for plan in plans.iter().rev() {
            origin = origin.and_then(|column| plan::origin(plan, &column));
        }
        let keeps_cursor = origin.is_some() && origin.as_deref() == cursor;
        Ok(Shape { output: schema, row_wise, keeps_cursor })
    }

    /// The transformed rows. An error of `rows` comes out as it went in. Fails with `BAD_SQL`, `SQL_FAILED` or
    /// `OUT_OF_MEMORY`; memory is bounded by the limits and a few batches.
    pub async fn apply(&self, input: SchemaRef, rows: BatchStream) -> Result<BatchStream> {
        let mut schema = input;
        let mut stream = rows;
        for step in &self.steps {
            let context = self.context()?;
            let spring = Spring::new(stream);
            let table = InputTable::streaming(schema, spring.clone())?;
            let plan = plan::plan(&context, &step.sql, table).await.map_err(|error| step.refused(error))?;
            schema = output::schema(&plan);
            let rows = start(&context, plan).await.map_err(|cause| fault::running(&cause).at(&step.place))?;
            stream = output::stream(rows, schema.clone(), spring, step.place.clone()).boxed();
        }
        Ok(stream)
    }

    /// A session that knows nothing, with its own share of memory.
    fn context(&self) -> Result<SessionContext> {
        let memory = usize::try_from(self.limits.memory.0).unwrap_or(usize::MAX);
        // Each step holds rows back at the same time as the others.
        let share = (memory / self.steps.len().max(1)).max(1 << 20);
        let mut config = SessionConfig::new()
            // One partition keeps the order of the rows, and tasks are the unit of parallelism.
            .with_target_partitions(1)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false)
            .with_sort_spill_reservation_bytes(SORT_RESERVE.min(share / 4));
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        let context = SessionContext::new_with_config_rt(config, self.runtime(share)?);
        for function in context.state().table_functions().keys() {
            context.deregister_udtf(function);
        }
        Ok(context)
    }

    fn runtime(&self, memory: usize) -> Result<Arc<RuntimeEnv>> {
        let mode = match &self.limits.spill {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()
            .map_err(|cause| {
                WorkerError::later(error::SQL_FAILED, "no place to spill to can be made")
                    .because(cause)
                    .fix("check that the worker's temporary folder can be written")
            })
    }
}

async fn start(
    context: &SessionContext,
    plan: LogicalPlan,
) -> datafusion::error::Result<datafusion::execution::SendableRecordBatchStream> {
    context.execute_logical_plan(plan).await?.execute_stream().await
}

impl Step {
    /// An error of the step's SQL, with its place.
    fn refused(&self, error: WorkerError) -> WorkerError {
        let error = error.at(&self.place);
        match self.marks {
            true => error.fix("write a condition on one row as the transform leaves it, such as `op = 'D'`"),
            false => error,
        }
    }

    /// Fails if it marks rows by what is no condition.
    fn check(&self, rows: &SchemaRef) -> Result<()> {
        let found = rows.field_with_name(DELETED_COLUMN).map(|field| field.data_type());
        match found {
            Ok(other) if self.marks && *other != DataType::Boolean => {
                let message = format!("`deleted` is no condition: it is {other}, not true or false");
                Err(self.refused(WorkerError::never(error::BAD_SQL, message)))
            }
            _ => Ok(()),
        }
    }
}

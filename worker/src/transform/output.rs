//! What comes out of a step: the schema and batches of plain types, for not every sink has a form for DataFusion's
//! views and dictionaries.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use datafusion::{execution::SendableRecordBatchStream, logical_expr::LogicalPlan};
use futures::{Stream, StreamExt};
use windrow_common::error;

use super::{fault, input::Spring};
use crate::error::{Result, WorkerError};

/// The schema of a plan's rows, in plain types.
pub(super) fn schema(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().iter();
    let fields = fields.map(|field| Field::new(field.name(), plain(field.data_type()), field.is_nullable()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    }
}

/// The rows of a running plan, ending with its error or its input's.
pub(super) fn stream(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    spring: Spring,
    place: String,
) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static {
    rows.map(move |batch| match batch {
        Ok(batch) => made_plain(&batch, &schema).map_err(|cause| {
            WorkerError::never(error::SQL_FAILED, "the result does not have the planned types")
                .at(&place)
                .because(cause)
        }),
        Err(cause) => Err(spring.failure().unwrap_or_else(|| fault::running(&cause).at(&place))),
    })
}

fn made_plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

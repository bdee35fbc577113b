//! The columns that rows of several tasks have together. Pure.

use std::sync::Arc;

use arrow_schema::{Field, Schema};
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Every column of the tasks' rows, in the order of their first appearance; `SINK_SCHEMA` where two disagree on a type.
pub(in crate::sink) fn union<'a>(rows: impl IntoIterator<Item = &'a Schema>) -> Result<Schema> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for field in rows.into_iter().flat_map(|schema| schema.fields()) {
        match fields.iter().find(|known| known.name() == field.name()) {
            None => fields.push(field.clone()),
            Some(known) if known.data_type() == field.data_type() => {}
            Some(known) => {
                let message = format!("tasks disagree on a type: {} and {}", known.data_type(), field.data_type());
                return Err(WorkerError::never(error::SINK_SCHEMA, message)
                    .at(format!("column {:?}", field.name()))
                    .fix("declare the column's type, or cast it in the transform"));
            }
        }
    }
    Ok(Schema::new(fields))
}

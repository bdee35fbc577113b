//! The columns that rows of several tasks have together. Pure.

use std::sync::Arc;

use arrow_schema::{Field, Schema};
use windrow_common::{error, id::TaskId};

use crate::error::{Result, WorkerError};

/// Every column of the tasks' rows, in the order of their first appearance. Where two disagree on a type, the later one is to be
/// staged again: by then there is a table that says which type it is.
pub(in crate::sink) fn union<'a>(rows: impl IntoIterator<Item = (TaskId, &'a Schema)>) -> Result<Schema> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    for (task, schema) in rows {
        for field in schema.fields() {
            match fields.iter().find(|known| known.name() == field.name()) {
                None => fields.push(field.clone()),
                Some(known) if known.data_type() == field.data_type() => {}
                Some(known) => {
                    let message = format!("tasks disagree on a type: {} and {}", known.data_type(), field.data_type());
                    return Err(WorkerError::later(error::SINK_SCHEMA, message)
                        .at(format!("column {:?}", field.name()))
                        .fix("the rows are staged again; if it fails then, declare the column's type, or cast it in the transform")
                        .staged_again(task));
                }
            }
        }
    }
    Ok(Schema::new(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_schema::DataType::{Int64, Utf8};

    use super::*;

    #[test]
    fn the_later_of_two_tasks_that_disagree_is_staged_again() {
        let of = |columns: &[(&str, arrow_schema::DataType)]| {
            Schema::new(columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>())
        };
        let (first, second) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        let (one, more, other) = (of(&[("a", Int64)]), of(&[("b", Utf8), ("a", Int64)]), of(&[("a", Utf8)]));
        let both = union([(first, &one), (second, &more)]).unwrap();
        assert_eq!(both, of(&[("a", Int64), ("b", Utf8)]));
        let refused = union([(first, &one), (second, &other)]).unwrap_err();
        assert_eq!((refused.code(), refused.stale()), (error::SINK_SCHEMA, Some(second)));
    }
}

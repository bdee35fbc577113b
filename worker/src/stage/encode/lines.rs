//! Text as lines: each value as it is, and a line end behind it. What would be no line, or more than one, is refused.

use arrow_array::{RecordBatch, cast::AsArray};
use arrow_schema::Schema;
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// `SINK_SCHEMA` unless there is one column.
pub(super) fn check(schema: &Schema) -> Result<()> {
    if schema.fields().len() == 1 {
        return Ok(());
    }
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Err(WorkerError::never(
        error::SINK_SCHEMA,
        format!("lines have one column, and the rows have {}", names.join(", ")),
    )
    .fix("select the column that is the line, in a transform, or write `format: json`"))
}

/// `NO_LINE` for the first value that is null or has a line end within it.
pub(super) fn write(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<()> {
    let name = batch.schema_ref().field(0).name();
    let column = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
    let column = column.ok_or_else(|| WorkerError::never(error::INTERNAL, "lines came as no text"))?;
    each(out, column.iter(), name)
}

fn each<'t>(out: &mut Vec<u8>, values: impl Iterator<Item = Option<&'t str>>, column: &str) -> Result<()> {
    for value in values {
        let why = match value {
            None => "null is no line",
            Some(text) if text.contains('\n') => "a line end within a line would make two of it",
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                out.push(b'\n');
                continue;
            }
        };
        let start: String = value.unwrap_or_default().chars().take(60).collect();
        return Err(WorkerError::never(error::NO_LINE, format!("{why}: {start:?}"))
            .at(format!("column {column:?}"))
            .fix("leave such rows out or replace what breaks the line in a transform, or write `format: json`"));
    }
    Ok(())
}

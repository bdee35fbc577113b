//! How rows are staged for a table: cast to the table's types, split by its partitions. Pure.

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::{DataType, Schema};
use windrow_common::error;

use super::{params::Params, table::Table, types};
use crate::{
    error::{Result, WorkerError},
    sink::policy::Policy,
    stage::{Changes, FileFormat, Layout},
};

/// The layout for rows of `schema`, on `table` or on the one to be made.
pub(super) fn layout(
    schema: &Schema,
    table: Option<&Table>,
    params: &Params,
    (cursor, policy): (Option<&str>, &Policy),
) -> Result<Layout> {
    let rows = types::table_schema(schema)?;
    let (schema, changes) = match table {
        Some(table) => {
            check_partitioning(table, params)?;
            types::meet(&rows, &table.schema, policy)?
        }
        None => (Arc::new(rows), Changes::default()),
    };
    check_partition_columns(&schema, &params.partition_by)?;
    let cursor = cursor.filter(|name| schema.field_with_name(name).is_ok_and(|field| is_cursor(field.data_type())));
    Ok(Layout {
        format: FileFormat::Parquet { metadata: BTreeMap::new() },
        cursor: cursor.map(str::to_owned),
        schema,
        partition_by: params.partition_by.clone(),
        target_bytes: params.target_file_size.0,
        folder: String::new(),
        stats: true,
        changes,
    })
}

/// Whether rows can be told apart by a column of this type.
pub(super) fn is_cursor(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// Fails unless the table is partitioned as the pipeline says.
pub(super) fn check_partitioning(table: &Table, params: &Params) -> Result<()> {
    if table.partition_by == params.partition_by {
        return Ok(());
    }
    let message =
        format!("the table is partitioned by {:?}, the pipeline says {:?}", table.partition_by, params.partition_by);
    Err(WorkerError::never(error::SINK_SCHEMA, message).fix("set `partition_by` to what the table has"))
}

fn check_partition_columns(schema: &Schema, partition_by: &[String]) -> Result<()> {
    for column in partition_by {
        let bad = |message: &str, fix: &str| {
            Err(WorkerError::never(error::SINK_SCHEMA, message).at(format!("partition column {column:?}")).fix(fix))
        };
        match schema.field_with_name(column) {
            Err(_) => return bad("the rows have no such column", "correct `partition_by` or add it in the transform"),
            Ok(field) if field.data_type().is_nested() || *field.data_type() == DataType::Binary => {
                return bad("a partition needs plain values", "partition by a column of numbers, text, dates or times");
            }
            Ok(_) => {}
        }
    }
    if !partition_by.is_empty() && partition_by.len() == schema.fields().len() {
        return Err(WorkerError::never(error::SINK_SCHEMA, "no column would be left in the files")
            .fix("leave at least one column out of `partition_by`"));
    }
    Ok(())
}

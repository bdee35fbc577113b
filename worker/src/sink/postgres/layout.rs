//! How rows are staged for a table, and what of them is copied: pure but for what the catalogue said.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use windrow_common::{error, upsert::DELETED_COLUMN};

use super::{
    change::NewColumn,
    params::Checked,
    target::{Table, WINDOW_COLUMN},
    types,
};
use crate::{
    error::{Result, WorkerError},
    stage::{FileFormat, Layout},
};

/// Where files are staged, relative to the root of the sink's staging place.
pub(super) const STAGE_FOLDER: &str = "_windrow/stage";
/// A new file is begun when one has this many bytes.
const TARGET_BYTES: u64 = 128 << 20;
/// Most columns a table of PostgreSQL may have, less those of ours.
const MOST_COLUMNS: usize = 1_590;
/// Names of columns with more bytes are cut by PostgreSQL.
const LONGEST_NAME: usize = 63;

/// The layout for rows of `wire`.
pub(super) fn layout(wire: SchemaRef) -> Layout {
    Layout {
        format: FileFormat::Parquet { metadata: BTreeMap::new() },
        schema: wire,
        partition_by: Vec::new(),
        target_bytes: TARGET_BYTES,
        folder: STAGE_FOLDER.to_owned(),
        cursor: None,
        stats: false,
    }
}

/// What the pipeline says of the rows.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) params: &'a Checked,
    /// Whether a column of ours may say which rows delete.
    pub(super) marked: bool,
}

/// The rows' columns in the types they are staged and copied in. `table` is the one that takes them; without it one is
/// made, or a version.
pub(super) fn wire(rows: &Schema, table: Option<&Table>, rules: Rules<'_>) -> Result<SchemaRef> {
    let params = rules.params;
    let is_mark = |field: &FieldRef| rules.marked && field.name() == DELETED_COLUMN;
    let (marks, rows): (Vec<FieldRef>, Vec<FieldRef>) = rows.fields().iter().cloned().partition(is_mark);
    let rows = &Schema::new(rows);
    check_names(rows)?;
    let fields = rows.fields().iter().map(|field| {
        let wire = match (table, params.types.get(field.name())) {
            (Some(table), _) => match table.columns.get(field.name()) {
                Some(column) if column.made => return Err(made(field)),
                Some(column) => types::wire(field, &column.target)?,
                None => return Err(homeless(field)),
            },
            (None, Some(declared)) => types::wire(field, &declared.target)?,
            (None, None) => types::wire_of_rows(field)?,
        };
        Ok(Arc::new(Field::new(field.name(), wire, true)))
    });
    let mut fields: Vec<FieldRef> = fields.collect::<Result<_>>()?;
    fields.extend(marks);
    match table {
        Some(table) => check_needed(rows, table)?,
        None => check_declared(rows, params)?,
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The columns of a table made for rows of `wire`; a mark is none.
pub(super) fn new_columns(wire: &Schema, params: &Checked) -> Result<Vec<NewColumn>> {
    let column = |field: &FieldRef| {
        let usual = types::sql(field.data_type()).ok_or_else(|| {
            WorkerError::never(error::INTERNAL, format!("a column is staged as {}", field.data_type()))
        })?;
        let declared = params.types.get(field.name()).map(|declared| declared.sql.clone());
        let sql = declared.unwrap_or_else(|| usual.clone());
        let cast = types::copied(field.data_type()) != Some(sql.clone());
        Ok(NewColumn { name: field.name().clone(), sql, cast })
    };
    wire.fields().iter().filter(|field| field.name() != DELETED_COLUMN).map(column).collect()
}

fn check_names(rows: &Schema) -> Result<()> {
    let mut seen = BTreeSet::new();
    let bad =
        |message: String| Err(WorkerError::never(error::SINK_SCHEMA, message).fix("rename the column in a transform"));
    for name in rows.fields().iter().map(|field| field.name()) {
        if !seen.insert(name) {
            return bad(format!("two columns are called {name:?}"));
        }
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
            return bad(format!("PostgreSQL has no column called {name:?}"));
        }
        if name.starts_with("_windrow_") {
            return bad(format!("the name {name:?} is taken by windrow"));
        }
    }
    if rows.fields().is_empty() || rows.fields().len() > MOST_COLUMNS {
        return bad(format!("the rows have {} columns", rows.fields().len()));
    }
    Ok(())
}

fn check_needed(rows: &Schema, table: &Table) -> Result<()> {
    let lacking = table
        .columns
        .iter()
        .find(|(name, column)| column.needed && name.as_str() != WINDOW_COLUMN && rows.field_with_name(name).is_err());
    match lacking {
        None => Ok(()),
        Some((name, _)) => Err(WorkerError::never(
            error::SINK_SCHEMA,
            format!("the table wants a value for the column {name:?}, which the rows lack"),
        )
        .fix("give the column a value in a transform, or a default in the table")),
    }
}

/// What the pipeline declares must be about columns there are.
fn check_declared(rows: &Schema, params: &Checked) -> Result<()> {
    let named = params.primary_key.iter().chain(params.indexes.iter().flatten()).chain(params.types.keys());
    match named.into_iter().find(|name| rows.field_with_name(name).is_err()) {
        None => Ok(()),
        Some(name) => Err(WorkerError::never(error::SINK_SCHEMA, format!("the rows have no column {name:?}"))
            .fix("correct `primary_key`, `indexes` or `types`, or add the column in a transform")),
    }
}

fn homeless(field: &Field) -> WorkerError {
    WorkerError::never(error::SINK_SCHEMA, format!("the table has no column {:?}, which the rows have", field.name()))
        .fix("leave the column out in a transform, or add it to the table")
}

fn made(field: &Field) -> WorkerError {
    WorkerError::never(
        error::SINK_SCHEMA,
        format!("the table makes the values of the column {:?} itself", field.name()),
    )
    .fix("leave the column out in a transform")
}

//! Which types the files have, and whether rows fit those that are there already. Pure.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use windrow_common::error;

use super::{STAGE_FOLDER, Settings};
use crate::{
    error::{Result, WorkerError},
    mapping::{Stored, losses, losses_in_json, losses_in_text},
    sink::policy::Policy,
    stage::{Changes, FileFormat, Layout, check_columns, check_format, mark_of, unmarked},
};

/// How rows of `rows` are staged beside files of the schema `table`, if there are any.
pub(super) fn layout(rows: &Schema, table: Option<&SchemaRef>, settings: &Settings) -> Result<Layout> {
    let rows = file_schema(rows)?;
    let (schema, changes) = match table {
        Some(table) => meet(&rows, table, &settings.policy)?,
        None => (rows, Changes::default()),
    };
    for column in &settings.partition_by {
        if schema.field_with_name(column).is_err() {
            return Err(WorkerError::never(
                error::SINK_SCHEMA,
                format!("the rows have no column {column:?} to partition by"),
            )
            .fix("correct `partition_by`, or add the column in a transform"));
        }
    }
    if settings.format == FileFormat::Lines {
        let in_files = |field: &&FieldRef| !settings.partition_by.contains(field.name());
        let fields: Vec<FieldRef> = schema.fields().iter().filter(in_files).cloned().collect();
        check_columns(&settings.format, &Schema::new(fields))?;
    }
    let cursor = settings.cursor.clone().filter(|name| is_instant(&schema, name));
    Ok(Layout {
        format: settings.format.clone(),
        schema,
        partition_by: settings.partition_by.clone(),
        target_bytes: settings.target_bytes,
        folder: STAGE_FOLDER.to_owned(),
        // Which windows a file's rows are of is told by how many have no cursor.
        stats: cursor.is_some() && settings.is_parquet(),
        cursor,
        changes,
    })
}

/// Whether rows can be told apart by the column.
pub(super) fn is_instant(schema: &Schema, name: &str) -> bool {
    schema
        .field_with_name(name)
        .is_ok_and(|field| matches!(field.data_type(), DataType::Timestamp(..) | DataType::Int64))
}

/// The rows' schema in types that all readers of such files know, every column nullable.
pub(super) fn file_schema(rows: &Schema) -> Result<SchemaRef> {
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = rows.fields().iter().find(|field| !seen.insert(field.name())) {
        return Err(WorkerError::never(error::SINK_SCHEMA, format!("two columns are called {:?}", twice.name()))
            .fix("rename one of them in a transform"));
    }
    let fields = rows.fields().iter().map(|field| known_field(field)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn known_field(field: &Field) -> Result<FieldRef> {
    let kind = known_type(field.data_type()).ok_or_else(|| {
        WorkerError::never(
            error::SINK_UNSUPPORTED_TYPE,
            format!("files have no form for the column {:?} of type {}", field.name(), field.data_type()),
        )
        .fix("cast the column in a transform")
    })?;
    Ok(Arc::new(Field::new(field.name(), kind, true)))
}

fn known_type(from: &DataType) -> Option<DataType> {
    use DataType::*;
    let inner = |field: &FieldRef| known_field(field).ok();
    Some(match from {
        Float16 => Float32,
        // Spark and Delta have no unsigned integers.
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Date64 => Date32,
        // Spark refuses nanoseconds; zones other than UTC are lost on most readers.
        Timestamp(_, zone) => Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        Decimal32(precision, scale)
        | Decimal64(precision, scale)
        | Decimal128(precision, scale)
        | Decimal256(precision, scale)
            if *precision <= 38 && *scale >= 0 =>
        {
            Decimal128(*precision, *scale)
        }
        Dictionary(_, values) => known_type(values)?,
        RunEndEncoded(_, values) => known_type(values.data_type())?,
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            List(inner(item)?)
        }
        Struct(fields) => Struct(fields.iter().map(inner).collect::<Option<Vec<_>>>()?.into()),
        Map(entries, sorted) => Map(Arc::clone(entries), *sorted),
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Utf8 | Binary | Date32 | Time32(_) | Time64(_) => {
            from.clone()
        }
        _ => return None,
    })
}

/// The files' columns, those they are to get behind them, and what of the rows does not fit. What the policy does not allow is
/// refused.
fn meet(rows: &Schema, table: &Schema, policy: &Policy) -> Result<(SchemaRef, Changes)> {
    let mut changes = policy.changes();
    let mut kept: Vec<FieldRef> = Vec::with_capacity(table.fields().len());
    for column in table.fields() {
        match rows.field_with_name(column.name()) {
            Ok(field) => {
                kept.extend(policy.meet(field, Some(column), both_numbers)?.staged(Some(column), &mut changes))
            }
            // Files of text have to have all columns, and null is a value of each.
            Err(_) => kept.push(column.clone()),
        }
    }
    for field in rows.fields().iter().filter(|field| table.field_with_name(field.name()).is_err()) {
        kept.extend(policy.meet(field, None, both_numbers)?.staged(None, &mut changes));
    }
    Ok((Arc::new(Schema::new(kept)), changes))
}

/// Whether values can be tried in a column of another type: they are checked when they are cast.
fn both_numbers(from: &DataType, to: &DataType) -> bool {
    from.is_numeric() && to.is_numeric()
}

/// What each column becomes, one by one: for plans.
pub(super) fn stored(rows: &Schema, table: Option<&SchemaRef>, settings: &Settings) -> Vec<Result<Stored>> {
    let one = |field: &FieldRef| {
        let made = known_field(field)?;
        check_format(&settings.format, &made)?;
        let (column, change) = match table {
            None => (made, None),
            Some(table) => {
                let column = table.fields().iter().find(|column| column.name() == made.name());
                settings.policy.meet(&made, column, both_numbers)?.planned(&made)
            }
        };
        let kind = column.data_type();
        let mut losses = losses(field.data_type(), kind);
        losses.extend(match settings.format {
            FileFormat::Parquet { .. } | FileFormat::Lines | FileFormat::Verbatim(_) => Vec::new(),
            FileFormat::Csv { .. } => losses_in_text(kind),
            FileFormat::JsonLines => losses_in_json(kind),
        });
        Ok(Stored { kind: kind.to_string(), change, losses })
    };
    rows.fields().iter().map(one).collect()
}

/// The files' schema once it has the columns that staged rows of `rows` bring, which say so by a mark. `SINK_SCHEMA` where rows were
/// staged for other columns than there are.
pub(super) fn grown(rows: &Schema, table: &SchemaRef) -> Result<SchemaRef> {
    let mut fields = table.fields().to_vec();
    for field in rows.fields() {
        match fields.iter().find(|column| column.name() == field.name()) {
            Some(column) if column.data_type() == field.data_type() => {}
            None if mark_of(field).is_some() => fields.push(Arc::new(unmarked(field))),
            _ => {
                return Err(WorkerError::later(
                    error::SINK_SCHEMA,
                    "rows were staged for other columns than there are",
                )
                .at(format!("column {:?}", field.name()))
                .fix("stage the window again"));
            }
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

//! Which type a column has in a Delta table, and whether rows fit a table that exists. Pure.

use std::{collections::HashSet, sync::Arc};

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use windrow_common::error;

use crate::{
    error::{Result, WorkerError},
    sink::policy::{Policy, holds},
    stage::Changes,
};

/// Delta's `timestamp`.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Whether values of the type are times without a zone, or hold some. A table may have such columns only if its protocol says
/// so: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md>, "Timestamp without timezone".
pub(super) fn is_local_time(kind: &DataType) -> bool {
    use DataType::{List, Map, Struct, Timestamp};
    match kind {
        Timestamp(_, None) => true,
        List(field) | Map(field, _) => is_local_time(field.data_type()),
        Struct(fields) => fields.iter().any(|field| is_local_time(field.data_type())),
        _ => false,
    }
}

/// Whether the schema has a column of times without a zone.
pub(super) fn has_local_times(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| is_local_time(field.data_type()))
}

/// The schema a new table gets for rows of `schema`: types widened to what Delta can hold, every column nullable.
pub(super) fn table_schema(schema: &Schema) -> Result<Schema> {
    let mut seen = HashSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !seen.insert(field.name().to_lowercase())) {
        return Err(WorkerError::never(error::SINK_SCHEMA, "two columns have the same name but for case")
            .at(format!("column {:?}", twice.name()))
            .fix("rename one of them in the transform: Delta does not tell them apart"));
    }
    schema.fields().iter().map(|field| table_field(field, field.name())).collect::<Result<Fields>>().map(Schema::new)
}

/// The columns in which rows of `rows` (of [`table_schema`]'s types) are staged for a table of the schema `table`: those of its own
/// first, in its order, then those it is to get. What the policy does not allow is refused.
pub(super) fn meet(rows: &Schema, table: &Schema, policy: &Policy) -> Result<(SchemaRef, Changes)> {
    let mut changes = policy.changes();
    let mut kept: Vec<FieldRef> = Vec::with_capacity(rows.fields().len());
    for column in table.fields() {
        match rows.field_with_name(column.name()) {
            Ok(field) => {
                kept.extend(policy.meet(field, Some(column), |_, _| false)?.staged(Some(column), &mut changes))
            }
            Err(_) => check_needed(column)?,
        }
    }
    for field in rows.fields().iter().filter(|field| table.field_with_name(field.name()).is_err()) {
        check_case(field, table)?;
        kept.extend(policy.meet(field, None, |_, _| false)?.staged(None, &mut changes));
    }
    check_protocol(&kept, table, &changes)?;
    Ok((Arc::new(Schema::new(kept)), changes))
}

/// A table gets no column its protocol does not allow: another protocol would lock out readers it has now.
fn check_protocol(kept: &[FieldRef], table: &Schema, changes: &Changes) -> Result<()> {
    let new = |field: &&FieldRef| is_local_time(field.data_type()) && changes.evolves.contains_key(field.name());
    match kept.iter().find(new).filter(|_| !has_local_times(table)) {
        None => Ok(()),
        Some(field) => {
            let message = "the table has no times without a zone yet, and would need another protocol for one";
            Err(WorkerError::never(error::SINK_SCHEMA, message)
                .at(format!("column {:?}", field.name()))
                .fix("declare the zone of such times with the source's `timezone`, or write a new table"))
        }
    }
}

/// Fails unless rows may lack the column.
pub(super) fn check_needed(column: &Field) -> Result<()> {
    match column.is_nullable() {
        true => Ok(()),
        false => Err(WorkerError::never(error::SINK_SCHEMA, "the table wants a value the rows do not have")
            .at(format!("column {:?}", column.name()))
            .fix("give the column a value in the transform")),
    }
}

/// Delta does not tell names apart by their case.
pub(super) fn check_case(field: &Field, table: &Schema) -> Result<()> {
    match table.fields().iter().find(|column| column.name().eq_ignore_ascii_case(field.name())) {
        None => Ok(()),
        Some(column) => {
            let message = format!("the table calls the column {:?}", column.name());
            Err(WorkerError::never(error::SINK_SCHEMA, message)
                .at(format!("column {:?}", field.name()))
                .fix("rename the column in the transform: Delta does not tell the two apart"))
        }
    }
}

/// Whether rows of `rows` can stand in a table of the schema `table` as they are.
pub(super) fn fits(rows: &Schema, table: &Schema) -> bool {
    let has = |field: &FieldRef| {
        table.field_with_name(field.name()).is_ok_and(|column| holds(field.data_type(), column.data_type()))
    };
    let lacks = |column: &FieldRef| rows.field_with_name(column.name()).is_err() && !column.is_nullable();
    rows.fields().iter().all(has) && !table.fields().iter().any(lacks)
}

fn table_field(field: &Field, place: &str) -> Result<FieldRef> {
    Ok(Arc::new(Field::new(field.name(), table_type(field.data_type(), place)?, true)))
}

fn table_type(from: &DataType, place: &str) -> Result<DataType> {
    use DataType::*;
    Ok(match from {
        Boolean | Int8 | Int16 | Int32 | Int64 | Float32 | Float64 | Utf8 | Binary | Date32 => from.clone(),
        Float16 => Float32,
        UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Date64 => Date32,
        Timestamp(_, Some(_)) => timestamp(),
        Timestamp(_, None) => Timestamp(TimeUnit::Microsecond, None),
        Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) if *scale >= 0 => {
            Decimal128(*precision, *scale)
        }
        Dictionary(_, values) => table_type(values, place)?,
        RunEndEncoded(_, values) => table_type(values.data_type(), place)?,
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            let item = table_type(item.data_type(), &format!("{place}[]"))?;
            List(Arc::new(Field::new("element", item, true)))
        }
        Struct(fields) => Struct(
            fields
                .iter()
                .map(|field| table_field(field, &format!("{place}.{}", field.name())))
                .collect::<Result<Fields>>()?,
        ),
        Map(entries, sorted) => Map(table_entries(entries, place)?, *sorted),
        _ => return Err(no_form(from, place)),
    })
}

fn table_entries(entries: &Field, place: &str) -> Result<FieldRef> {
    let DataType::Struct(pair) = entries.data_type() else { return Err(no_form(entries.data_type(), place)) };
    let [key, value] = &pair[..] else { return Err(no_form(entries.data_type(), place)) };
    let key = table_type(key.data_type(), &format!("{place}.key"))?;
    let value = table_type(value.data_type(), &format!("{place}.value"))?;
    let pair = vec![Field::new("key", key, false), Field::new("value", value, true)];
    Ok(Arc::new(Field::new("key_value", DataType::Struct(pair.into()), false)))
}

fn no_form(from: &DataType, place: &str) -> WorkerError {
    let fix = match from {
        DataType::Time32(_) | DataType::Time64(_) => "cast it to BIGINT microseconds or to text in the transform",
        DataType::Duration(_) | DataType::Interval(_) => "cast it to BIGINT or to text in the transform",
        DataType::Decimal256(..) => "cast it to a decimal of at most 38 digits, or to text, in the transform",
        DataType::Null => "the column holds nothing but null: declare its type, or leave it out",
        _ => "cast it in the transform, or leave it out",
    };
    WorkerError::never(error::SINK_UNSUPPORTED_TYPE, format!("delta has no form for the type {from}"))
        .at(format!("column {place:?}"))
        .fix(fix)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use DataType::*;

    use super::*;

    fn one(data_type: DataType) -> Schema {
        Schema::new(vec![Field::new("x", data_type, false)])
    }

    #[test]
    fn every_type_becomes_what_delta_can_hold() {
        let utc = || Some("UTC".into());
        let cases = [
            (UInt8, Int16),
            (UInt16, Int32),
            (UInt32, Int64),
            (UInt64, Decimal128(20, 0)),
            (Float16, Float32),
            (LargeUtf8, Utf8),
            (Utf8View, Utf8),
            (LargeBinary, Binary),
            (BinaryView, Binary),
            (FixedSizeBinary(16), Binary),
            (Date64, Date32),
            (Timestamp(TimeUnit::Nanosecond, utc()), timestamp()),
            (Timestamp(TimeUnit::Second, Some("+02:00".into())), timestamp()),
            (Timestamp(TimeUnit::Nanosecond, None), Timestamp(TimeUnit::Microsecond, None)),
            (Timestamp(TimeUnit::Millisecond, Some("Europe/Zurich".into())), timestamp()),
            (Dictionary(Box::new(Int32), Box::new(LargeUtf8)), Utf8),
            (Decimal64(9, 2), Decimal128(9, 2)),
            (LargeList(Arc::new(Field::new("item", UInt8, false))), List(Arc::new(Field::new("element", Int16, true)))),
            (Struct(vec![Field::new("a", UInt32, false)].into()), Struct(vec![Field::new("a", Int64, true)].into())),
        ];
        for (from, to) in cases {
            let schema = table_schema(&one(from.clone())).unwrap();
            assert_eq!(schema.field(0).data_type(), &to, "{from}");
            assert!(schema.field(0).is_nullable());
            assert_eq!(table_schema(&schema).unwrap(), schema, "{from}: the mapping is not stable");
        }
    }

    #[test]
    fn types_without_a_form_are_refused_with_a_way_out() {
        let refused = [
            Time64(TimeUnit::Microsecond),
            Duration(TimeUnit::Second),
            Interval(arrow_schema::IntervalUnit::MonthDayNano),
            Decimal256(50, 2),
            Null,
            Struct(vec![Field::new("deep", Time32(TimeUnit::Second), true)].into()),
        ];
        for data_type in refused {
            let found = table_schema(&one(data_type.clone())).unwrap_err();
            assert_eq!(found.code(), error::SINK_UNSUPPORTED_TYPE, "{data_type}");
            assert!(found.fix_text().is_some());
        }
    }

    fn policy(schema: serde_json::Value) -> Policy {
        let pipeline = serde_json::from_value(serde_json::json!({
            "name": "p", "pattern": "incremental", "schema": schema,
            "source": { "from": { "name": "s", "type": "synthetic" } },
            "sink": { "to": { "name": "l", "type": "local" }, "format": "delta", "write": "append" },
        }));
        Policy::of(&pipeline.unwrap(), crate::sink::delta::schema_changes)
    }

    #[test]
    fn rows_fit_a_table_only_without_loss() {
        let table = Schema::new(vec![
            Field::new("id", Int64, true),
            Field::new("price", Decimal128(12, 2), true),
            Field::new("note", Utf8, true),
        ]);
        let frozen = policy(serde_json::json!({}));
        let rows = Schema::new(vec![Field::new("price", Decimal128(8, 2), true), Field::new("id", Int32, true)]);
        let (fitted, changes) = meet(&rows, &table, &frozen).unwrap();
        assert_eq!(fitted.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "price"]);
        assert_eq!(changes, Changes::default());
        assert!(fits(&rows, &table));

        let refused = |rows: Schema| {
            assert!(!fits(&rows, &table));
            meet(&rows, &table, &frozen).unwrap_err().to_string()
        };
        assert!(refused(Schema::new(vec![Field::new("fresh", Utf8, true)])).contains("fresh"));
        assert!(refused(Schema::new(vec![Field::new("id", Utf8, true)])).contains("id"));
        assert!(refused(Schema::new(vec![Field::new("price", Decimal128(12, 3), true)])).contains("price"));
        assert!(
            refused(Schema::new(vec![Field::new("ID", Int64, true)])).contains("the table calls the column \"id\"")
        );
    }

    #[test]
    fn a_policy_says_what_becomes_of_columns_that_do_not_fit() {
        let table = Schema::new(vec![Field::new("id", Int32, true)]);
        let rows = Schema::new(vec![Field::new("fresh", Utf8, true), Field::new("id", Int64, true)]);
        let evolving = serde_json::json!({ "new_column": "evolve", "type_change": "discard_value" });
        let (fitted, changes) = meet(&rows, &table, &policy(evolving)).unwrap();
        assert_eq!(*fitted, Schema::new(vec![Field::new("id", Int32, true), Field::new("fresh", Utf8, true)]));
        assert_eq!(changes.evolves, [("fresh".to_owned(), None)].into());
        assert_eq!(changes.doubted, ["id".to_owned()].into());
        assert!(changes.discards());
    }

    #[test]
    fn a_table_without_times_without_a_zone_gets_none() {
        let local = || Field::new("at", Timestamp(TimeUnit::Microsecond, None), true);
        let rows = Schema::new(vec![Field::new("id", Int32, true), local()]);
        let evolving = policy(serde_json::json!({ "new_column": "evolve" }));
        let without = Schema::new(vec![Field::new("id", Int32, true)]);
        let refused = meet(&rows, &without, &evolving).unwrap_err();
        assert_eq!(refused.code(), error::SINK_SCHEMA, "{refused}");
        let with = Schema::new(vec![Field::new("id", Int32, true), Field::new("times", List(Arc::new(local())), true)]);
        assert_eq!(meet(&rows, &with, &evolving).unwrap().0.fields().len(), 2);
    }

    #[test]
    fn a_column_the_table_insists_on_may_not_be_missing() {
        let table = Schema::new(vec![Field::new("id", Int64, false), Field::new("note", Utf8, true)]);
        let rows = Schema::new(vec![Field::new("note", Utf8, true)]);
        assert_eq!(meet(&rows, &table, &policy(serde_json::json!({}))).unwrap_err().code(), error::SINK_SCHEMA);
        assert!(!fits(&rows, &table));
    }
}

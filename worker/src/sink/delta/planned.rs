//! What each column becomes in a Delta table, one by one: for plans. Pure.

use arrow_schema::{DataType, Field, Schema};

use super::{table::Table, types};
use crate::{
    error::Result,
    mapping::{Stored, losses},
    sink::policy::Policy,
};

pub(super) fn stored(rows: &Schema, table: Option<&Table>, policy: &Policy) -> Vec<Result<Stored>> {
    rows.fields().iter().map(|field| column(field, table, policy)).collect()
}

fn column(field: &Field, table: Option<&Table>, policy: &Policy) -> Result<Stored> {
    let alone = types::table_schema(&Schema::new(vec![field.clone()]))?;
    let made = alone.field(0);
    let stored = |kind: &DataType, change| Stored { kind: name(kind), change, losses: losses(field.data_type(), kind) };
    let Some(table) = table else { return Ok(stored(made.data_type(), None)) };
    let column = table.schema.fields().iter().find(|column| column.name() == made.name());
    if column.is_none() {
        types::check_case(made, &table.schema)?;
    }
    let meeting = policy.meet(made, column, |_, _| false)?;
    let (kind, change) = meeting.planned(made);
    Ok(stored(kind.data_type(), change))
}

/// The type as Delta calls it.
fn name(kind: &DataType) -> String {
    let plain = |name: &str| name.to_owned();
    match kind {
        DataType::Boolean => plain("boolean"),
        DataType::Int8 => plain("byte"),
        DataType::Int16 => plain("short"),
        DataType::Int32 => plain("integer"),
        DataType::Int64 => plain("long"),
        DataType::Float32 => plain("float"),
        DataType::Float64 => plain("double"),
        DataType::Utf8 => plain("string"),
        DataType::Binary => plain("binary"),
        DataType::Date32 => plain("date"),
        DataType::Timestamp(_, Some(_)) => plain("timestamp"),
        DataType::Timestamp(_, None) => plain("timestamp_ntz"),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) => format!("array<{}>", name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{}:{}", field.name(), name(field.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let pair: Vec<_> = pair.iter().map(|field| name(field.data_type())).collect();
                format!("map<{}>", pair.join(","))
            }
            _ => plain("map"),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::TimeUnit;

    use super::*;

    #[test]
    fn types_are_called_as_delta_calls_them() {
        let list = DataType::List(Arc::new(Field::new("element", DataType::Int64, true)));
        let entries = Field::new(
            "key_value",
            DataType::Struct(vec![Field::new("key", DataType::Utf8, false), Field::new("value", list, true)].into()),
            false,
        );
        for (kind, called) in [
            (DataType::Int64, "long"),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "timestamp"),
            (DataType::Decimal128(12, 2), "decimal(12,2)"),
            (DataType::Struct(vec![Field::new("a", DataType::Date32, true)].into()), "struct<a:date>"),
            (DataType::Map(Arc::new(entries), false), "map<string,array<long>>"),
        ] {
            assert_eq!(name(&kind), called);
        }
    }
}

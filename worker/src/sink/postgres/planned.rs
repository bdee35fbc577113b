//! What each column becomes in a table of the database, one by one: for plans. Pure but for what the catalogue said.

use arrow_schema::{Field, FieldRef, Schema};

use super::{layout, params::Checked, target::Table, types};
use crate::{
    error::Result,
    mapping::{Loss, Stored, TableChange, losses},
    sink::policy::Policy,
};

pub(super) fn stored(rows: &Schema, table: Option<&Table>, params: &Checked, policy: &Policy) -> Vec<Result<Stored>> {
    rows.fields().iter().map(|field| column(field, table, params, policy)).collect()
}

fn column(field: &FieldRef, table: Option<&Table>, params: &Checked, policy: &Policy) -> Result<Stored> {
    let (wire, change) = layout::meet(field, table, params, policy)?.planned(field);
    let known = table.and_then(|table| table.columns.get(field.name())).filter(|_| change.is_none());
    let makes = table.is_none() || change == Some(TableChange::Added);
    let declared = params.types.get(field.name()).filter(|_| makes);
    let kind = match (known, declared) {
        (Some(known), _) => known.cast.clone(),
        (None, Some(declared)) => declared.sql.clone(),
        (None, None) => types::sql(wire.data_type()).unwrap_or_else(|| wire.data_type().to_string()),
    };
    let mut losses = losses(field.data_type(), wire.data_type());
    losses.extend(of_type(&kind, &wire));
    Ok(Stored { kind, change, losses })
}

/// What the database's own type does to what is put there.
fn of_type(kind: &str, wire: &Field) -> Option<Loss> {
    let text = *wire.data_type() == arrow_schema::DataType::Utf8;
    match kind.split('(').next().unwrap_or_default().trim() {
        "jsonb" if text => Some(Loss::DocumentOrder),
        "character" | "bpchar" if text => Some(Loss::Padding),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_schema::{DataType, TimeUnit};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_names_the_databases_types_and_what_they_lose() {
        let params = json!({ "table": "t", "types": { "doc": "jsonb", "code": "char(3)", "id": "uuid" } });
        let params = Checked::decode(params.as_object().unwrap()).unwrap();
        let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let rows = Schema::new(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("doc", DataType::Utf8, true),
            Field::new("code", DataType::Utf8, true),
            Field::new("n", DataType::UInt32, true),
            Field::new("at", nanoseconds, true),
            Field::new("odd", DataType::Duration(TimeUnit::Second), true),
        ]);
        let found = stored(&rows, None, &params, &Policy::FROZEN);
        let told: Vec<_> =
            found[..5].iter().map(|one| one.as_ref().unwrap()).map(|one| (one.kind.as_str(), &one.losses)).collect();
        let expected = [
            ("uuid", vec![]),
            ("jsonb", vec![Loss::DocumentOrder]),
            ("character(3)", vec![Loss::Padding]),
            ("bigint", vec![Loss::Unsigned]),
            ("timestamptz", vec![Loss::Nanoseconds]),
        ];
        assert_eq!(told, expected.each_ref().map(|(kind, losses)| (*kind, losses)));
        assert!(found[5].as_ref().unwrap_err().fix_text().is_some());
    }
}

//! A commit that changes the table's columns: whether the table still is what the change was worked out on, and the metadata
//! such a commit writes. Everything else about the table stays as its other writers left it. Pure.

use std::collections::HashSet;

use arrow_schema::{Field, FieldRef, Schema};
use deltalake_core::kernel::{StructType, engine::arrow_conversion::TryIntoKernel};
use serde_json::{Value, json};
use windrow_common::{error, intent::IntentBody};

use super::{log::broken, table::Table};
use crate::{
    error::{Result, WorkerError},
    sink::Refusal,
    stage::{mark_of, unmarked},
};

/// The columns of an intent that the table has not, or not so.
fn changing<'a>(wanted: &'a Schema, table: &'a Table) -> impl Iterator<Item = (&'a FieldRef, &'a str)> {
    let there = |field: &Field| {
        table.schema.field_with_name(field.name()).is_ok_and(|column| column.data_type() == field.data_type())
    };
    let marked = wanted.fields().iter().filter_map(|field| mark_of(field).map(|before| (field, before)));
    marked.filter(move |(field, _)| !there(field))
}

/// The columns of an intent that the table has to have already.
pub(super) fn staying(wanted: &Schema, table: &Table) -> Schema {
    let changing: HashSet<&str> = changing(wanted, table).map(|(field, _)| field.name().as_str()).collect();
    let stays = wanted.fields().iter().filter(|field| !changing.contains(field.name().as_str()));
    Schema::new(stays.map(|field| unmarked(field)).collect::<Vec<_>>())
}

/// Why the table cannot be changed as the intent wants any more, if so.
pub(super) fn refusal(wanted: &Schema, body: &IntentBody, table: &Table) -> Option<Refusal> {
    let removed: HashSet<&String> = body.remove.iter().collect();
    let stays = || table.files.keys().any(|path| !removed.contains(path));
    changing(wanted, table).find_map(|(field, before)| {
        let known = table.schema.fields().iter().find(|column| column.name().eq_ignore_ascii_case(field.name()));
        match known {
            None if before.is_empty() => None,
            // A file in the old type would not be readable any more.
            Some(column) if column.data_type().to_string() == before => stays().then_some(Refusal::Conflict),
            _ => Some(Refusal::Schema),
        }
    })
}

/// The table's metadata with the intent's columns; `None` if it has them all.
pub(super) fn metadata(wanted: &Schema, table: &Table) -> Result<Option<Value>> {
    let mut changing = changing(wanted, table).peekable();
    if changing.peek().is_none() {
        return Ok(None);
    }
    let mut metadata = table.metadata.as_ref().clone();
    let mut schema: Value =
        serde_json::from_str(metadata["schemaString"].as_str().unwrap_or_default()).map_err(broken)?;
    let columns = schema["fields"]
        .as_array_mut()
        .ok_or_else(|| WorkerError::never(error::SINK_BROKEN, "the table's metadata have no columns"))?;
    for (field, _) in changing {
        let column = as_delta(field)?;
        match columns.iter_mut().find(|known| known["name"] == column["name"]) {
            Some(known) => *known = column,
            None => columns.push(column),
        }
    }
    metadata["schemaString"] = schema.to_string().into();
    Ok(Some(json!({ "metaData": metadata })))
}

/// The column as it stands in a table's schema.
fn as_delta(field: &Field) -> Result<Value> {
    let alone = Schema::new(vec![unmarked(field)]);
    let columns: StructType = (&alone).try_into_kernel().map_err(broken)?;
    let mut columns = serde_json::to_value(columns).map_err(broken)?;
    Ok(columns["fields"][0].take())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::HashMap, sync::Arc};
    use windrow_common::marker::Markers;

    use arrow_schema::DataType;

    use super::*;
    use crate::{sink::delta::table::ActiveFile, stage::marked};

    fn table(columns: Vec<Field>, files: &[&str]) -> Table {
        let schema = r#"{"type":"struct","fields":[{"name":"id","type":"integer","nullable":true,"metadata":{"comment":"ours"}}]}"#;
        let file = ActiveFile {
            bytes: 1,
            rows: None,
            partition: Default::default(),
            window: None,
            bounds: None,
            deletion_vector: None,
            told_apart: false,
            modified: 0,
            clustered: None,
        };
        Table {
            version: 3,
            stamp: None,
            schema: Arc::new(Schema::new(columns)),
            metadata: Arc::new(json!({ "id": "t", "schemaString": schema, "configuration": { "a": "b" } })),
            partition_by: Vec::new(),
            configuration: Default::default(),
            files: files.iter().map(|path| ((*path).to_owned(), file.clone())).collect::<HashMap<_, _>>(),
            txns: Default::default(),
        }
    }

    fn body(remove: &[&str]) -> IntentBody {
        IntentBody {
            shows: None,
            markers: Markers::default(),
            sink: "lake".parse().unwrap(),
            seq: 4,
            previous: None,
            previous_aborted: false,
            schema: Value::Null,
            add: Vec::new(),
            remove: remove.iter().map(|path| (*path).to_owned()).collect(),
            dead_letters: Vec::new(),
            change: None,
            tasks: Vec::new(),
        }
    }

    fn id() -> Field {
        Field::new("id", DataType::Int32, true)
    }

    fn columns(metadata: &Value) -> Value {
        serde_json::from_str::<Value>(metadata["metaData"]["schemaString"].as_str().unwrap()).unwrap()["fields"].take()
    }

    #[test]
    fn a_column_is_added_and_what_others_wrote_stays() {
        let wanted = Schema::new(vec![Arc::new(id()), marked(&Field::new("name", DataType::Utf8, true), None)]);
        let table = table(vec![id()], &["a"]);
        assert_eq!(refusal(&wanted, &body(&[]), &table), None);
        assert_eq!(staying(&wanted, &table), Schema::new(vec![id()]));
        let metadata = metadata(&wanted, &table).unwrap().unwrap();
        assert_eq!(metadata["metaData"]["configuration"], json!({ "a": "b" }));
        assert_eq!(
            columns(&metadata),
            json!([
                { "name": "id", "type": "integer", "nullable": true, "metadata": { "comment": "ours" } },
                { "name": "name", "type": "string", "nullable": true, "metadata": {} },
            ])
        );
    }

    #[test]
    fn what_somebody_else_has_done_already_is_not_done_again() {
        let name = || Field::new("name", DataType::Utf8, true);
        let wanted = Schema::new(vec![Arc::new(id()), marked(&name(), None)]);
        let done = table(vec![id(), name()], &["a"]);
        assert_eq!((refusal(&wanted, &body(&[]), &done), metadata(&wanted, &done).unwrap()), (None, None));
        for other in [Field::new("name", DataType::Int64, true), Field::new("NAME", DataType::Utf8, true)] {
            let other = table(vec![id(), other], &["a"]);
            assert_eq!(refusal(&wanted, &body(&[]), &other), Some(Refusal::Schema));
        }
    }

    #[test]
    fn a_type_changes_only_with_all_files_of_before() {
        let wanted = Schema::new(vec![marked(&Field::new("id", DataType::Utf8, true), Some("Int32"))]);
        let table = |kind| table(vec![Field::new("id", kind, true)], &["a", "b"]);
        assert_eq!(refusal(&wanted, &body(&["a", "b"]), &table(DataType::Int32)), None);
        assert_eq!(refusal(&wanted, &body(&["a"]), &table(DataType::Int32)), Some(Refusal::Conflict));
        assert_eq!(refusal(&wanted, &body(&["a", "b"]), &table(DataType::Int64)), Some(Refusal::Schema));
        let metadata = metadata(&wanted, &table(DataType::Int32)).unwrap().unwrap();
        assert_eq!(columns(&metadata)[0]["type"], "string");
    }
}

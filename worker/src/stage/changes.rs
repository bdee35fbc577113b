//! What a layout knows of columns that are not in the table as they are in the rows, and how a staged schema tells it to the
//! committer. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arrow_schema::{Field, Schema};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Columns the table is to get, or to get in another type, each with the type it had.
    pub evolves: BTreeMap<String, Option<String>>,
    /// Columns whose values may not all have an equal in the table's type.
    pub doubted: BTreeSet<String>,
    /// What of a column that the table lacks is discarded; without it such a column is an error.
    pub new_column: Option<Discard>,
    /// What is discarded where a value does not fit; without it such a value is an error.
    pub type_change: Option<Discard>,
}

/// What goes where a value does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The row, to the dead letters.
    Row,
    /// The value.
    Value,
}

/// In a field's metadata: the type the table's column had, empty if there was none.
const MARK: &str = "windrow:evolves";

impl Changes {
    /// Whether anything of the rows may be discarded.
    pub fn discards(&self) -> bool {
        self.new_column.is_some() || self.type_change.is_some()
    }

    /// The schema with the columns the table is to get marked.
    pub fn mark(&self, schema: &Schema) -> Schema {
        let mark = |field: &Arc<Field>| match self.evolves.get(field.name()) {
            None => field.clone(),
            Some(before) => marked(field, before.as_deref()),
        };
        Schema::new(schema.fields().iter().map(mark).collect::<Vec<_>>())
    }
}

/// The field as one that changes the table.
pub fn marked(field: &Field, before: Option<&str>) -> Arc<Field> {
    let mark = HashMap::from([(MARK.to_owned(), before.unwrap_or_default().to_owned())]);
    Arc::new(field.clone().with_metadata(mark))
}

/// The type the table's column had before, if the field changes the table; empty if it had no such column.
pub fn mark_of(field: &Field) -> Option<&str> {
    field.metadata().get(MARK).map(String::as_str)
}

/// The field as the table has it.
pub fn unmarked(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(MARK);
    field.clone().with_metadata(metadata)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_schema::DataType;

    use super::*;

    #[test]
    fn marks_travel_with_the_schema() {
        let schema = Schema::new(["a", "b", "c"].map(|name| Field::new(name, DataType::Int64, true)).to_vec());
        let evolves = BTreeMap::from([("b".to_owned(), None), ("c".to_owned(), Some("Int32".to_owned()))]);
        let json = serde_json::to_value(Changes { evolves, ..Changes::default() }.mark(&schema)).unwrap();
        let read: Schema = serde_json::from_value(json).unwrap();
        let marks: Vec<_> = read.fields().iter().map(|field| mark_of(field)).collect();
        assert_eq!(marks, [None, Some(""), Some("Int32")]);
        assert_eq!(unmarked(read.field(1)), *schema.field(1));
    }
}

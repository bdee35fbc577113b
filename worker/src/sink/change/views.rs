//! Texts and bytes as views: where they lie in a page is noted, and nothing is copied until they are written. Pure.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

/// The columns with their texts and bytes as views.
pub(in crate::sink) fn views(schema: &Schema) -> SchemaRef {
    let view = |field: &Arc<Field>| match view(field.data_type()) {
        Some(kind) => Arc::new(field.as_ref().clone().with_data_type(kind)),
        None => Arc::clone(field),
    };
    Arc::new(Schema::new_with_metadata(schema.fields().iter().map(view).collect::<Vec<_>>(), schema.metadata().clone()))
}

/// The view of a type that has one.
pub(super) fn view(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        _ => None,
    }
}

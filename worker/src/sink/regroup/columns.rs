//! The columns that files of Parquet have together. Pure.

use std::sync::Arc;

use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Every column of some files, in the order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Together {
    fields: Vec<FieldRef>,
    files: usize,
}

impl Together {
    /// `COMPACTION_UNSUPPORTED` where the file has another type for a column than those before it: which one is meant nobody
    /// knows.
    pub(super) fn add(&mut self, file: &Schema) -> Result<()> {
        for field in file.fields() {
            let Some(known) = self.fields.iter_mut().find(|known| known.name() == field.name()) else {
                let absent_before = self.files > 0;
                self.fields.push(Arc::new(nullable(field, absent_before)));
                continue;
            };
            if known.data_type() != field.data_type() {
                let message = format!(
                    "files that are to become one have {} and {} for the column {:?}",
                    known.data_type(),
                    field.data_type(),
                    field.name()
                );
                return Err(WorkerError::never(error::COMPACTION_UNSUPPORTED, message)
                    .fix("give files of other types a folder of their own, or write them again with one type"));
            }
            *known = Arc::new(nullable(known, field.is_nullable()));
        }
        for known in self.fields.iter_mut().filter(|known| file.field_with_name(known.name()).is_err()) {
            *known = Arc::new(nullable(known, true));
        }
        self.files += 1;
        Ok(())
    }

    pub(super) fn schema(self) -> SchemaRef {
        Arc::new(Schema::new(self.fields))
    }
}

fn nullable(field: &Field, also: bool) -> Field {
    field.clone().with_nullable(field.is_nullable() || also)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_schema::DataType::{self, Int32, Int64, Utf8};

    use super::*;

    fn file(columns: &[(&str, DataType, bool)]) -> Schema {
        Schema::new(columns.iter().map(|(name, kind, null)| Field::new(*name, kind.clone(), *null)).collect::<Vec<_>>())
    }

    #[test]
    fn a_column_that_some_files_lack_is_null_there_and_one_of_two_types_is_refused() {
        let mut together = Together::default();
        together.add(&file(&[("id", Int64, false), ("old", Utf8, false)])).unwrap();
        together.add(&file(&[("id", Int64, false), ("new", Int32, false)])).unwrap();
        let refused = together.add(&file(&[("id", Utf8, false)])).unwrap_err();
        assert_eq!(refused.code(), error::COMPACTION_UNSUPPORTED);
        let expected = file(&[("id", Int64, false), ("old", Utf8, true), ("new", Int32, true)]);
        assert_eq!(together.schema().as_ref(), &expected);
    }
}

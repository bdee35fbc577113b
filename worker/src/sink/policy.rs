//! How the rows' columns meet those of a table that is there, by the pipeline's policy: one meaning for every sink. Pure.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use windrow_common::{
    error,
    manifest::WriteMode,
    pipeline::{Pipeline, SinkSpec},
    schema::OnChange,
};

use crate::{
    error::{Result, WorkerError},
    mapping::TableChange,
    stage::{Changes, Discard},
};

/// The policies a sink can follow, for what a pipeline writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaChanges {
    pub new_column: &'static [OnChange],
    pub type_change: &'static [OnChange],
    /// What holds where the pipeline says nothing.
    pub usual: OnChange,
    /// Why the others are not among them.
    pub why: &'static str,
}

impl SchemaChanges {
    /// Of a sink whose table takes new columns, but changes no type of a column that has rows. A load that replaces
    /// everything leaves no such rows.
    pub(super) const fn of_files(write: WriteMode, why: &'static str) -> Self {
        use OnChange::{DiscardRow, DiscardValue, Evolve, Freeze};
        let type_change: &[OnChange] = match write {
            WriteMode::ReplaceAll => &OnChange::ALL,
            WriteMode::Append | WriteMode::ReplaceWindow | WriteMode::Upsert => &[Freeze, DiscardRow, DiscardValue],
        };
        Self { new_column: &[Evolve, Freeze, DiscardRow, DiscardValue], type_change, usual: Freeze, why }
    }
}

/// A pipeline's policy at its sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Policy {
    pub(in crate::sink) new_column: OnChange,
    pub(in crate::sink) type_change: OnChange,
    /// Whether no row stays that is there: then a column may get any type.
    fresh: bool,
}

impl Policy {
    /// Of rows that have met the table already.
    pub(in crate::sink) const FROZEN: Self =
        Self { new_column: OnChange::Freeze, type_change: OnChange::Freeze, fresh: false };

    pub(in crate::sink) fn of(pipeline: &Pipeline, can: fn(&SinkSpec) -> SchemaChanges) -> Self {
        let usual = can(&pipeline.sink).usual;
        Self {
            new_column: pipeline.schema.new_column.unwrap_or(usual),
            type_change: pipeline.schema.type_change.unwrap_or(usual),
            fresh: pipeline.sink.write == WriteMode::ReplaceAll,
        }
    }

    /// How a column of the rows, in the sink's types, meets the table's column of the same name. `takes` tells whether values
    /// of one type can be tried in a column of another where the policy says nothing else.
    pub(in crate::sink) fn meet(
        &self,
        field: &Field,
        column: Option<&FieldRef>,
        takes: fn(&DataType, &DataType) -> bool,
    ) -> Result<Meeting> {
        let Some(column) = column else { return self.meet_new(field) };
        let (from, to) = (field.data_type(), column.data_type());
        if holds(from, to) {
            return Ok(Meeting::Fits(column.clone()));
        }
        match self.type_change {
            OnChange::DiscardRow | OnChange::DiscardValue => Ok(Meeting::Doubted(column.clone())),
            OnChange::Evolve if self.fresh => Ok(Meeting::Changed(nullable(field))),
            OnChange::Evolve | OnChange::Freeze if takes(from, to) => Ok(Meeting::Fits(column.clone())),
            OnChange::Evolve | OnChange::Freeze => Err(type_changed(field.name(), from, to)),
        }
    }

    fn meet_new(&self, field: &Field) -> Result<Meeting> {
        match self.new_column {
            OnChange::Evolve => Ok(Meeting::Added(nullable(field))),
            OnChange::DiscardRow | OnChange::DiscardValue => Ok(Meeting::LeftOut),
            OnChange::Freeze => Err(new_column(field.name(), field.data_type())),
        }
    }

    /// What staging has to look at, before any column has met the table's.
    pub(in crate::sink) fn changes(&self) -> Changes {
        let discard = |policy: OnChange| match policy {
            OnChange::DiscardRow => Some(Discard::Row),
            OnChange::DiscardValue => Some(Discard::Value),
            OnChange::Evolve | OnChange::Freeze => None,
        };
        Changes { new_column: discard(self.new_column), type_change: discard(self.type_change), ..Changes::default() }
    }
}

/// How a column of the rows meets the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Meeting {
    /// It goes into this column of the table.
    Fits(FieldRef),
    /// It goes into this column as far as its values do.
    Doubted(FieldRef),
    /// The table gets it.
    Added(FieldRef),
    /// The table's column gets this type.
    Changed(FieldRef),
    /// The table does not get it.
    LeftOut,
}

impl Meeting {
    /// The column values are staged in, if they are; what is to be known of it is noted in `changes`.
    pub(in crate::sink) fn staged(self, before: Option<&FieldRef>, changes: &mut Changes) -> Option<FieldRef> {
        let before = before.map(|column| column.data_type().to_string());
        match self {
            Self::Fits(column) => Some(column),
            Self::Doubted(column) => {
                changes.doubted.insert(column.name().clone());
                Some(column)
            }
            Self::Added(column) | Self::Changed(column) => {
                changes.evolves.insert(column.name().clone(), before);
                Some(column)
            }
            Self::LeftOut => None,
        }
    }

    /// For plans: the column a column `made` for the rows would be, and what becomes of the table for it.
    pub(in crate::sink) fn planned(self, made: &Field) -> (FieldRef, Option<TableChange>) {
        match self {
            Self::Fits(column) => (column, None),
            Self::Doubted(column) => (column, Some(TableChange::Kept)),
            Self::Added(column) => (column, Some(TableChange::Added)),
            Self::Changed(column) => (column, Some(TableChange::Changed)),
            Self::LeftOut => (nullable(made), Some(TableChange::LeftOut)),
        }
    }
}

fn nullable(field: &Field) -> FieldRef {
    Arc::new(Field::new(field.name(), field.data_type().clone(), true))
}

/// Whether every value of `from` has an equal in `to`. A column whose type becomes wider by this keeps all it has; a date does not
/// become an instant, for that takes a zone.
pub(in crate::sink) fn holds(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, List, Map, Struct};
    match (from, to) {
        (Int8, Int16 | Int32 | Int64 | Float32 | Float64)
        | (Int16, Int32 | Int64 | Float32 | Float64)
        | (Int32, Int64 | Float64)
        | (Float32, Float64) => true,
        (Int8 | Int16 | Int32 | Int64, Decimal128(precision, scale)) => {
            integer_digits(from) <= i16::from(*precision) - i16::from(*scale)
        }
        (Decimal128(p, s), Decimal128(precision, scale)) => {
            s <= scale && i16::from(*p) - i16::from(*s) <= i16::from(*precision) - i16::from(*scale)
        }
        (List(from), List(to)) => holds(from.data_type(), to.data_type()),
        (Map(from, _), Map(to, _)) => holds(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(a, b)| a.name() == b.name() && holds(a.data_type(), b.data_type()))
        }
        _ => from == to,
    }
}

fn integer_digits(integer: &DataType) -> i16 {
    match integer {
        DataType::Int8 => 3,
        DataType::Int16 => 5,
        DataType::Int32 => 10,
        _ => 19,
    }
}

pub(in crate::sink) fn new_column(name: &str, kind: &DataType) -> WorkerError {
    WorkerError::never(error::SINK_SCHEMA, format!("the rows have a column of type {kind} that the table has not"))
        .at(format!("column {name:?}"))
        .fix(
            "add it by `schema: { new_column: evolve }`, discard what it brings by `discard_value` or `discard_row`, or leave \
             it out in the transform",
        )
}

pub(in crate::sink) fn type_changed(name: &str, rows: &DataType, table: &impl std::fmt::Display) -> WorkerError {
    WorkerError::never(
        error::SINK_SCHEMA,
        format!("the rows are of type {rows}, the table's column is of type {table}"),
    )
    .at(format!("column {name:?}"))
    .fix(
        "cast it in the transform, change the table's column, or say by `schema: { type_change: .. }` what becomes of \
             values that do not fit",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use DataType::*;

    use super::*;

    fn field(kind: DataType) -> FieldRef {
        Arc::new(Field::new("x", kind, true))
    }

    fn policy(answer: OnChange, fresh: bool) -> Policy {
        Policy { new_column: answer, type_change: answer, fresh }
    }

    #[test]
    fn a_new_column_is_added_refused_or_left_out() {
        let meet = |answer| policy(answer, false).meet(&field(Utf8), None, |_, _| false);
        assert_eq!(meet(OnChange::Evolve).unwrap(), Meeting::Added(field(Utf8)));
        assert_eq!(meet(OnChange::DiscardRow).unwrap(), Meeting::LeftOut);
        assert_eq!(meet(OnChange::DiscardValue).unwrap(), Meeting::LeftOut);
        let refused = meet(OnChange::Freeze).unwrap_err();
        assert_eq!(refused.code(), error::SINK_SCHEMA);
        assert!(refused.to_string().contains("\"x\"") && refused.to_string().contains("Utf8"), "{refused}");
        assert!(refused.fix_text().unwrap().contains("evolve"));
    }

    #[test]
    fn a_changed_type_fits_changes_or_is_refused_with_both_types() {
        let meet = |answer, fresh, from, to| policy(answer, fresh).meet(&field(from), Some(&field(to)), |_, _| false);
        for answer in OnChange::ALL {
            assert_eq!(meet(answer, false, Int32, Int64).unwrap(), Meeting::Fits(field(Int64)), "{answer:?}");
        }
        for answer in [OnChange::DiscardRow, OnChange::DiscardValue] {
            assert_eq!(meet(answer, true, Int64, Int32).unwrap(), Meeting::Doubted(field(Int32)));
        }
        assert_eq!(meet(OnChange::Evolve, true, Int64, Int32).unwrap(), Meeting::Changed(field(Int64)));
        for answer in [OnChange::Evolve, OnChange::Freeze] {
            let refused = meet(answer, false, Int64, Int32).unwrap_err().to_string();
            assert!(refused.contains("Int64") && refused.contains("Int32") && refused.contains("\"x\""), "{refused}");
        }
        let taken = policy(OnChange::Freeze, false).meet(&field(Int64), Some(&field(Int32)), |_, _| true).unwrap();
        assert_eq!(taken, Meeting::Fits(field(Int32)));
    }

    #[test]
    fn a_type_holds_another_only_if_it_has_all_its_values() {
        for (from, to) in [
            (Int16, Int64),
            (Int32, Float64),
            (Float32, Float64),
            (Int64, Decimal128(21, 2)),
            (Decimal128(10, 2), Decimal128(12, 3)),
        ] {
            assert!(holds(&from, &to), "{from} in {to}");
            assert!(!holds(&to, &from), "{to} in {from}");
        }
        for (from, to) in [
            (Int32, Float32),
            (Int64, Float64),
            (Date32, Timestamp(arrow_schema::TimeUnit::Microsecond, Some("UTC".into()))),
            (Decimal128(10, 2), Decimal128(10, 3)),
            (Int64, Utf8),
            (Boolean, Int8),
        ] {
            assert!(!holds(&from, &to), "{from} in {to}");
        }
    }
}

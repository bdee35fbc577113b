//! Rows into the table's types, or an error that names the column, the row and the value: never a silent null, never a
//! silently different number. Pure.

use std::sync::Arc;

use arrow::compute::{
    CastOptions, can_cast_types, cast_with_options, is_not_null, is_null, kernels::cmp::distinct, nullif,
};
use arrow::util::display::array_value_to_string;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, RecordBatch, RecordBatchOptions,
    TimestampNanosecondArray,
    cast::AsArray,
    new_null_array,
    types::{Float32Type, Float64Type},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Casts the batches of one stream.
pub(super) struct Caster {
    target: SchemaRef,
    rows_seen: u64,
    truncated_nanoseconds: bool,
}

impl Caster {
    pub(super) fn new(target: SchemaRef) -> Self {
        Self { target, rows_seen: 0, truncated_nanoseconds: false }
    }

    /// The batch in the target's types, names and order. Nullable columns it lacks become null.
    pub(super) fn cast(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        refuse_homeless(&batch.schema(), &self.target)?;
        let target = Arc::clone(&self.target);
        let columns = target.fields().iter().map(|field| self.column(batch, field)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let cast = RecordBatch::try_new_with_options(target, columns, &options)
            .map_err(|cause| WorkerError::never(error::SINK_SCHEMA, "rows do not fit the table").because(cause))?;
        self.rows_seen += batch.num_rows() as u64;
        Ok(cast)
    }

    fn column(&mut self, batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
        let Some(column) = batch.column_by_name(field.name()) else {
            return missing(field, batch.num_rows());
        };
        let cast = self.cast_column(column, field)?;
        if !field.is_nullable() && cast.null_count() > 0 {
            let row = (0..cast.len()).find(|row| cast.is_null(*row)).unwrap_or(0);
            return Err(misfit("null in a column that takes no nulls".to_owned(), field, self.rows_seen, row));
        }
        Ok(cast)
    }

    fn cast_column(&mut self, column: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        let (from, to) = (column.data_type(), field.data_type());
        if from == to {
            return Ok(Arc::clone(column));
        }
        if !can_cast_types(from, to) {
            return Err(WorkerError::never(
                error::SINK_SCHEMA,
                format!("the column {:?} is {from} and the table's is {to}", field.name()),
            )
            .fix("cast the column in a transform, or write to another table"));
        }
        let cast = cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
            .map_err(|cause| refused(column, field, self.rows_seen).because(cause))?;
        if let Some(row) = first_difference(column, &cast) {
            return Err(misfit(shown(column, row, to), field, self.rows_seen, row));
        }
        self.warn_about_nanoseconds(column, field);
        Ok(cast)
    }

    /// Table formats hold microseconds; readers fail on more. The loss is told once.
    fn warn_about_nanoseconds(&mut self, column: &ArrayRef, field: &Field) {
        let coarser = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        let Some(nanoseconds) = column.as_any().downcast_ref::<TimestampNanosecondArray>() else { return };
        if coarser && !self.truncated_nanoseconds && nanoseconds.iter().flatten().any(|value| value % 1_000 != 0) {
            self.truncated_nanoseconds = true;
            tracing::warn!(column = field.name(), "nanoseconds are cut to microseconds");
        }
    }
}

/// The column in the type of a table's column as far as its values have an equal there, null elsewhere; and which have none.
/// Values are compared as numbers, as instants or as what they are: text that is a whole number is one, and nothing else turns
/// into something of another kind.
pub(super) fn fitting(column: &ArrayRef, to: &DataType) -> Result<(ArrayRef, BooleanArray)> {
    let broken = |cause: arrow_schema::ArrowError| {
        WorkerError::never(error::INTERNAL, "a column cannot be fitted to the table's").because(cause)
    };
    let safe = CastOptions { safe: true, ..CastOptions::default() };
    let column = match column.data_type() {
        DataType::Dictionary(_, values) => &cast_with_options(column, values, &safe).map_err(broken)?,
        _ => column,
    };
    let given = is_not_null(column).map_err(broken)?;
    if column.data_type() == to {
        return Ok((Arc::clone(column), BooleanArray::from(vec![false; column.len()])));
    }
    if !of_one_kind(column.data_type(), to) {
        return Ok((new_null_array(to, column.len()), given));
    }
    let cast = cast_with_options(column, to, &safe).map_err(broken)?;
    let lost = arrow::compute::and(&given, &is_null(&cast).map_err(broken)?).map_err(broken)?;
    let misfits = match changed(column, &cast).map_err(broken)? {
        Some(changed) => arrow::compute::or(&lost, &changed).map_err(broken)?,
        None => lost,
    };
    Ok((nullif(&cast, &misfits).map_err(broken)?, misfits))
}

/// Whether values of one type can be of the other at all.
fn of_one_kind(from: &DataType, to: &DataType) -> bool {
    use DataType::{LargeUtf8, Timestamp, Utf8, Utf8View};
    match (from, to) {
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() == to.is_some(),
        (Utf8 | LargeUtf8 | Utf8View, to) => to.is_integer(),
        (from, to) => from.is_numeric() && to.is_numeric() && can_cast_types(from, to),
    }
}

/// Which values a cast changed, if any can be.
fn changed(column: &ArrayRef, cast: &ArrayRef) -> Result<Option<BooleanArray>, arrow_schema::ArrowError> {
    let (from, to) = (column.data_type(), cast.data_type());
    if let (DataType::Float64, DataType::Float32) = (from, to) {
        let (wide, narrow) = (column.as_primitive::<Float64Type>(), cast.as_primitive::<Float32Type>());
        return Ok(Some((0..wide.len()).map(|row| Some(overflows(wide, narrow, row))).collect()));
    }
    if !may_lose(from, to) {
        return Ok(None);
    }
    let back = cast_with_options(cast, from, &CastOptions { safe: true, ..CastOptions::default() })?;
    distinct(&back, &without_negative_zero(column)).map(Some)
}

fn refuse_homeless(given: &Schema, target: &Schema) -> Result<()> {
    match given.fields().iter().find(|field| target.field_with_name(field.name()).is_err()) {
        None => Ok(()),
        Some(homeless) => Err(WorkerError::never(
            error::SINK_SCHEMA,
            format!("the table has no column {:?}, which the rows have", homeless.name()),
        )
        .fix("leave the column out in a transform, or write to another table")),
    }
}

fn missing(field: &Field, rows: usize) -> Result<ArrayRef> {
    if field.is_nullable() {
        return Ok(new_null_array(field.data_type(), rows));
    }
    Err(WorkerError::never(
        error::SINK_SCHEMA,
        format!("the rows lack the column {:?}, which takes no nulls", field.name()),
    )
    .fix("add the column in a transform"))
}

/// The first row whose value the cast changed: it became null, or casting it back gives something else.
fn first_difference(column: &ArrayRef, cast: &ArrayRef) -> Option<usize> {
    if cast.logical_null_count() > column.logical_null_count() {
        return (0..column.len()).find(|row| cast.is_null(*row) && !column.is_null(*row)).or(Some(0));
    }
    let (from, to) = (column.data_type(), cast.data_type());
    if let (DataType::Float64, DataType::Float32) = (from, to) {
        let (wide, narrow) = (column.as_primitive::<Float64Type>(), cast.as_any().downcast_ref::<Float32Array>()?);
        return (0..wide.len()).find(|row| overflows(wide, narrow, *row));
    }
    if !may_lose(from, to) {
        return None;
    }
    let back = cast_with_options(cast, from, &CastOptions { safe: true, ..CastOptions::default() }).ok()?;
    let original = without_negative_zero(column);
    if back.as_ref() == original.as_ref() {
        return None;
    }
    (0..column.len()).find(|row| back.slice(*row, 1).as_ref() != original.slice(*row, 1).as_ref())
}

/// Whether a successful cast between the types can still change a number or an instant.
fn may_lose(from: &DataType, to: &DataType) -> bool {
    let coarser_by_rule = matches!(
        (from, to),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Microsecond, _))
    );
    let both_numbers = from.is_numeric() && to.is_numeric() && !(from.is_floating() && to.is_floating());
    let both_temporal = from.is_temporal() && to.is_temporal();
    (both_numbers || both_temporal) && !coarser_by_rule && can_cast_types(to, from)
}

fn overflows(wide: &Float64Array, narrow: &Float32Array, row: usize) -> bool {
    wide.is_valid(row) && wide.value(row).is_finite() && !narrow.value(row).is_finite()
}

/// An integer has no -0.0 to give back.
fn without_negative_zero(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| value + 0.0))
        }
        _ => Arc::clone(column),
    }
}

/// The error of a cast that failed as a whole, with the row found by casting rows one by one.
fn refused(column: &ArrayRef, field: &Field, rows_seen: u64) -> WorkerError {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let row = (0..column.len())
        .find(|row| cast_with_options(&column.slice(*row, 1), field.data_type(), &options).is_err())
        .unwrap_or(0);
    misfit(shown(column, row, field.data_type()), field, rows_seen, row)
}

pub(super) fn shown(column: &ArrayRef, row: usize, to: &DataType) -> String {
    let value: String = array_value_to_string(column, row).unwrap_or_default().chars().take(80).collect();
    format!("{value:?} does not fit {to}")
}

fn misfit(what: String, field: &Field, rows_seen: u64, row: usize) -> WorkerError {
    WorkerError::never(error::VALUE_MALFORMED, what)
        .at(format!("column {:?}, row {} of the staged rows", field.name(), rows_seen + row as u64 + 1))
        .fix("correct the value or the column's type in a transform")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::{Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn cast_one(column: ArrayRef, to: DataType) -> Result<RecordBatch> {
        let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
        Caster::new(Arc::new(Schema::new(vec![Field::new("x", to, true)]))).cast(&batch)
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_and_never_null() {
        let cases: Vec<(ArrayRef, DataType)> = vec![
            (Arc::new(Int64Array::from(vec![1, i64::MAX])), DataType::Int32),
            (Arc::new(Int64Array::from(vec![1, (1 << 53) + 1])), DataType::Float64),
            (Arc::new(Float64Array::from(vec![1.0, 1.5])), DataType::Int64),
            (Arc::new(Float64Array::from(vec![1.0, f64::NAN])), DataType::Int64),
            (Arc::new(Float64Array::from(vec![1.0, 1e300])), DataType::Float32),
            (Arc::new(StringArray::from(vec!["1", "one"])), DataType::Int32),
            (
                Arc::new(Decimal128Array::from(vec![100, 105]).with_precision_and_scale(9, 2).unwrap()),
                DataType::Decimal128(9, 1),
            ),
            (Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000, 1])), DataType::Date32),
        ];
        for (column, to) in cases {
            let label = format!("{} to {to}", column.data_type());
            let error = cast_one(column, to).expect_err(&label);
            assert_eq!(error.code(), error::VALUE_MALFORMED, "{label}");
            assert!(error.to_string().contains("row 2 "), "{label}: {error}");
        }
    }

    #[test]
    fn values_without_an_equal_are_found_and_the_others_arrive() {
        let utc =
            |values: Vec<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) };
        let cases: Vec<(ArrayRef, DataType, &[bool])> = vec![
            (Arc::new(Int64Array::from(vec![Some(1), Some(i64::MAX), None])), DataType::Int32, &[false, true, false]),
            (
                Arc::new(Float64Array::from(vec![1.0, 1.5, f64::NAN, -0.0])),
                DataType::Int64,
                &[false, true, true, false],
            ),
            (Arc::new(Float64Array::from(vec![0.1, 1e300])), DataType::Float32, &[false, true]),
            (
                Arc::new(StringArray::from(vec![Some("7"), Some("x"), Some("1.5"), None])),
                DataType::Int64,
                &[false, true, true, false],
            ),
            (
                Arc::new(Decimal128Array::from(vec![100, 105]).with_precision_and_scale(9, 2).unwrap()),
                DataType::Decimal128(9, 1),
                &[false, true],
            ),
            // Of another kind: no text becomes an instant, no number a text, no date an instant.
            (Arc::new(StringArray::from(vec!["2024-01-01T00:00:00Z"])), utc(vec![0]).data_type().clone(), &[true]),
            (Arc::new(Int64Array::from(vec![1])), DataType::Utf8, &[true]),
            (Arc::new(arrow_array::Date32Array::from(vec![1])), utc(vec![0]).data_type().clone(), &[true]),
            (Arc::new(arrow_array::BooleanArray::from(vec![true])), DataType::Int32, &[true]),
        ];
        for (column, to, wanted) in cases {
            let label = format!("{} to {to}", column.data_type());
            let (fitted, misfits) = fitting(&column, &to).unwrap();
            assert_eq!(misfits.iter().map(Option::unwrap).collect::<Vec<_>>(), wanted, "{label}");
            assert_eq!(fitted.data_type(), &to, "{label}");
            for (row, misfit) in wanted.iter().enumerate() {
                assert_eq!(fitted.is_null(row), *misfit || column.is_null(row), "{label} row {row}");
            }
        }
    }

    #[test]
    fn a_value_that_fits_arrives_unchanged() {
        let batch = cast_one(Arc::new(Int32Array::from(vec![Some(7), None])), DataType::Int64).unwrap();
        assert_eq!(batch.column(0).as_ref(), &Int64Array::from(vec![Some(7), None]) as &dyn Array);
        let batch = cast_one(Arc::new(Float64Array::from(vec![-0.0, 3.0])), DataType::Int64).unwrap();
        assert_eq!(batch.column(0).as_ref(), &Int64Array::from(vec![0, 3]) as &dyn Array);
        let batch = cast_one(Arc::new(Float64Array::from(vec![0.1])), DataType::Float32).unwrap();
        assert_eq!(batch.column(0).as_ref(), &Float32Array::from(vec![0.1]) as &dyn Array);
    }

    #[test]
    fn columns_are_matched_by_name_and_none_is_lost() {
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("b", Arc::new(Int64Array::from(vec![1])) as ArrayRef, true),
            ("a", Arc::new(Int64Array::from(vec![2])) as ArrayRef, true),
        ])
        .unwrap();
        let schema = |names: &[(&str, bool)]| {
            Arc::new(Schema::new(
                names.iter().map(|(name, null)| Field::new(*name, DataType::Int64, *null)).collect::<Vec<_>>(),
            ))
        };
        let cast = Caster::new(schema(&[("a", false), ("b", true), ("c", true)])).cast(&batch).unwrap();
        assert_eq!(cast.column(0).as_ref(), &Int64Array::from(vec![2]) as &dyn Array);
        assert_eq!(cast.column(2).null_count(), 1);
        for bad in [schema(&[("a", true)]), schema(&[("a", true), ("b", true), ("c", false)])] {
            assert_eq!(Caster::new(bad).cast(&batch).unwrap_err().code(), error::SINK_SCHEMA);
        }
    }

    #[test]
    fn a_null_where_none_is_allowed_is_named_by_its_row() {
        let batch = RecordBatch::try_from_iter_with_nullable([(
            "x",
            Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
            true,
        )])
        .unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
        let error = Caster::new(schema).cast(&batch).unwrap_err();
        assert_eq!(error.code(), error::VALUE_MALFORMED);
        assert!(error.to_string().contains("row 2 "), "{error}");
    }
}

//! The cursor: which rows of a file lie in a window. Its values are instants, days or whole microseconds.

use arrow_array::{
    Array, ArrayRef, BooleanArray, Datum, Int64Array, Scalar,
    cast::AsArray,
    types::{
        Date32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use windrow_common::{
    error,
    window::{Axis, Window},
};

use super::{
    time::{TimestampParser, Zone, days_to_micros, parse_date},
    types::{Column, Kind},
};
use crate::error::{Result, WorkerError};

/// The cursor column and the window its values are held against.
#[derive(Clone, Debug)]
pub(in crate::source) struct Cursor {
    /// Its place among the columns.
    pub(in crate::source) column: usize,
    kind: CursorKind,
    window: Window,
}

/// What the cursor's values are.
#[derive(Clone, Debug)]
enum CursorKind {
    /// Timestamps; the zone is of those without one.
    Instant(Option<Zone>),
    /// Days that begin at midnight of the zone, else of UTC.
    Day(Option<Zone>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Micros,
}

/// How a row's cursor stands to the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Place {
    Inside,
    Outside,
    Unreadable(String),
}

impl Cursor {
    /// The cursor of a window of time among columns of text; full loads have none, for they take every row.
    pub(in crate::source) fn of_text(
        name: Option<&str>,
        columns: &[Column],
        zone: Option<&Zone>,
        window: &Window,
    ) -> Result<Option<Self>> {
        let Some(name) = name.filter(|_| window.axis() == Axis::Time) else { return Ok(None) };
        let found = columns.iter().position(|column| column.name == name);
        let column = found.ok_or_else(|| no_such_column(name, columns.iter().map(|column| column.name.as_str())))?;
        let kind = match &columns[column].kind {
            Kind::String => CursorKind::Instant(zone.cloned()),
            Kind::Timestamp { zone: own } => CursorKind::Instant(own.clone().or_else(|| zone.cloned())),
            Kind::Date => CursorKind::Day(zone.cloned()),
            Kind::Int64 => CursorKind::Micros,
            other => return Err(unusable(name, &other.name())),
        };
        Ok(Some(Self { column, kind, window: *window }))
    }

    /// The cursor of a window of time among arrow columns.
    pub(in crate::source) fn of_arrays(
        name: Option<&str>,
        schema: &arrow_schema::Schema,
        zone: Option<&Zone>,
        window: &Window,
    ) -> Result<Option<Self>> {
        let Some(name) = name.filter(|_| window.axis() == Axis::Time) else { return Ok(None) };
        let Ok(column) = schema.index_of(name) else {
            return Err(no_such_column(name, schema.fields().iter().map(|field| field.name().as_str())));
        };
        let kind = match schema.field(column).data_type() {
            DataType::Timestamp(_, None) if zone.is_none() => {
                return Err(
                    unusable(name, "timestamp without time zone").fix("declare its zone with `cursor_timezone`")
                );
            }
            DataType::Timestamp(_, stored) => CursorKind::Instant(zone.filter(|_| stored.is_none()).cloned()),
            DataType::Date32 => CursorKind::Day(zone.cloned()),
            DataType::Int64 => CursorKind::Micros,
            other => return Err(unusable(name, &other.to_string())),
        };
        Ok(Some(Self { column, kind, window: *window }))
    }

    /// Places rows by the text of their cursor.
    pub(in crate::source) fn placer(&self) -> Placer<'_> {
        let zone = match &self.kind {
            CursorKind::Instant(zone) => zone.as_ref(),
            CursorKind::Day(_) | CursorKind::Micros => None,
        };
        Placer { cursor: self, instants: TimestampParser::new(zone) }
    }

    /// For each value whether it lies in the window; null where it is null.
    pub(in crate::source) fn inside(&self, values: &ArrayRef) -> Result<BooleanArray, ArrowError> {
        let micros = self.micros(values)?;
        let bound = |at: i64| Scalar::new(Int64Array::from(vec![at]));
        let (start, end) = (bound(self.window.start()), bound(self.window.end()));
        let after: &dyn Datum = &micros;
        let from = arrow::compute::kernels::cmp::gt_eq(after, &start)?;
        let to = arrow::compute::kernels::cmp::lt(after, &end)?;
        arrow::compute::and(&from, &to)
    }

    /// Whether values between the two may lie in the window; so when in doubt.
    pub(in crate::source) fn may_overlap(&self, least: Option<i64>, greatest: Option<i64>) -> bool {
        let begins_before_end = least.is_none_or(|least| least < self.window.end());
        begins_before_end && greatest.is_none_or(|greatest| greatest >= self.window.start())
    }

    /// Cursor values as microseconds UTC.
    pub(in crate::source) fn micros(&self, values: &ArrayRef) -> Result<Int64Array, ArrowError> {
        let fault = |cause: String| ArrowError::CastError(cause);
        match (&self.kind, values.data_type()) {
            (CursorKind::Micros, DataType::Int64) => Ok(values.as_primitive::<Int64Type>().clone()),
            (CursorKind::Instant(None), DataType::Timestamp(..)) => to_micros(values),
            (CursorKind::Instant(Some(zone)), DataType::Timestamp(..)) => {
                to_micros(values)?.try_unary(|at| zone.of_local_micros(at).map_err(fault))
            }
            (CursorKind::Day(None), DataType::Date32) => Ok(values.as_primitive::<Date32Type>().unary(days_to_micros)),
            (CursorKind::Day(Some(zone)), DataType::Date32) => {
                Ok(values.as_primitive::<Date32Type>().unary(|day| zone.start_of_day(day)))
            }
            (_, other) => Err(fault(format!("a cursor cannot be of type {other}"))),
        }
    }
}

/// Timestamps of any unit as whole microseconds at or before them. Those that microseconds do not reach become the last
/// there are, which no window holds.
fn to_micros(values: &ArrayRef) -> Result<Int64Array, ArrowError> {
    Ok(match values.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            values.as_primitive::<TimestampSecondType>().unary(|seconds| seconds.saturating_mul(1_000_000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            values.as_primitive::<TimestampMillisecondType>().unary(|millis| millis.saturating_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            values.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            values.as_primitive::<TimestampNanosecondType>().unary(|nanos| nanos.div_euclid(1_000))
        }
        other => return Err(ArrowError::CastError(format!("{other} is no timestamp"))),
    })
}

/// Places the rows of a file, one after the other.
pub(in crate::source) struct Placer<'a> {
    cursor: &'a Cursor,
    instants: TimestampParser<'a>,
}

impl Placer<'_> {
    pub(in crate::source) fn place(&mut self, text: &str) -> Place {
        let at = match &self.cursor.kind {
            CursorKind::Instant(_) => self.instants.parse(text),
            CursorKind::Micros => text.parse().map_err(|_| format!("{text:?} is no whole number of microseconds")),
            CursorKind::Day(zone) => match (parse_date(text), zone) {
                (None, _) => Err(format!("{text:?} is no date")),
                (Some(day), None) => Ok(days_to_micros(day)),
                (Some(day), Some(zone)) => Ok(zone.start_of_day(day)),
            },
        };
        match at {
            Ok(at) if self.cursor.window.contains(at) => Place::Inside,
            Ok(_) => Place::Outside,
            Err(reason) => Place::Unreadable(reason),
        }
    }
}

fn no_such_column<'a>(name: &str, columns: impl Iterator<Item = &'a str>) -> WorkerError {
    let known = columns.collect::<Vec<_>>().join(", ");
    WorkerError::never(error::CURSOR_MISSING, format!("there is no cursor column {name:?}; there are {known}"))
        .fix("correct `cursor`")
}

fn unusable(name: &str, kind: &str) -> WorkerError {
    WorkerError::never(error::CURSOR_MISSING, format!("the cursor column {name:?} is of type {kind}"))
        .fix("a cursor is a timestamp, a date or a whole number of microseconds; declare it so in `schema`")
}

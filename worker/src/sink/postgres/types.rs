//! Which type a column has on its way into a table, and whether rows fit it. Pure.
//!
//! Values travel in one of a few types of Arrow, for which COPY has a binary form; what a table has beyond them (`uuid`,
//! `jsonb`, enumerations) takes them as text.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use windrow_common::error;

use crate::{
    error::{Result, WorkerError},
    postgres::{Class, Type},
};

/// Most digits Arrow's decimals have room for.
const MOST_DIGITS: u8 = 38;

/// The built-in types by their number in every PostgreSQL, and what they are called.
const KNOWN: [(u32, Base, &str, &[&str]); 16] = [
    (16, Base::Bool, "boolean", &["bool"]),
    (17, Base::Bytea, "bytea", &[]),
    (19, Base::Name, "name", &[]),
    (20, Base::Int8, "bigint", &["int8"]),
    (21, Base::Int2, "smallint", &["int2"]),
    (23, Base::Int4, "integer", &["int", "int4"]),
    (25, Base::Text, "text", &[]),
    (700, Base::Float4, "real", &["float4"]),
    (701, Base::Float8, "double precision", &["float8", "float"]),
    (1042, Base::Text, "character", &["char", "bpchar"]),
    (1043, Base::Text, "character varying", &["varchar"]),
    (1082, Base::Date, "date", &[]),
    (1083, Base::Time, "time without time zone", &["time"]),
    (1114, Base::Timestamp, "timestamp without time zone", &["timestamp"]),
    (1184, Base::Timestamptz, "timestamp with time zone", &["timestamptz"]),
    (1700, Base::Numeric, "numeric", &["decimal"]),
];

/// What values of a column look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    /// Cut to 63 bytes without a word, so nothing of ours goes there.
    Name,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    /// Whatever can be written as text.
    Other,
}

/// A column's type as far as it matters for what goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) base: Base,
    /// Precision and scale of a numeric.
    pub(super) digits: Option<(u16, i16)>,
    /// Digits of a second's fraction, where the type has fewer than values may have.
    pub(super) coarse: bool,
    pub(super) array: bool,
}

/// A type as the pipeline declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// As it stands in a statement.
    pub(super) sql: String,
    pub(super) target: Target,
}

/// The type in which a column's values are staged and copied.
pub(super) fn wire_of_rows(field: &Field) -> Result<DataType> {
    plain(field.data_type()).ok_or_else(|| no_form(field))
}

/// The type in which they are for a column of a table: a cast of the rows' that loses nothing, or is refused row by row.
pub(super) fn wire(field: &Field, target: &Target) -> Result<DataType> {
    let rows = wire_of_rows(field)?;
    if target.coarse {
        return Err(misfit(field, "the column keeps fewer digits of a second than rows may have"));
    }
    let wanted = match (&rows, target.array) {
        (DataType::List(item), true) if target.base != Base::Other => {
            let item = scalar(item.data_type(), target).ok_or_else(|| misfit(field, MISFIT))?;
            Some(list_of(item))
        }
        (_, true) if target.base != Base::Other => None,
        (DataType::List(_) | DataType::Binary, _) if target.base == Base::Other => None,
        (DataType::List(_), false) => None,
        _ => scalar(&rows, target),
    };
    wanted.ok_or_else(|| misfit(field, MISFIT))
}

/// The type in which a column's own values travel; none where only the table knows what they may be.
pub(super) fn own_wire(target: &Target) -> Option<DataType> {
    use DataType::*;
    if target.coarse || target.array {
        return None;
    }
    Some(match target.base {
        Base::Bool => Boolean,
        Base::Int2 => Int16,
        Base::Int4 => Int32,
        Base::Int8 => Int64,
        Base::Float4 => Float32,
        Base::Float8 => Float64,
        Base::Numeric => return numeric(&Decimal128(1, 0), Some(target.digits?)),
        Base::Text => Utf8,
        Base::Bytea => Binary,
        Base::Date => Date32,
        Base::Time => Time64(TimeUnit::Microsecond),
        Base::Timestamp => Timestamp(TimeUnit::Microsecond, None),
        Base::Timestamptz => Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Base::Name | Base::Other => return None,
    })
}

const MISFIT: &str = "rows of this type have no place in the table's column";

/// The type by which values of a wire type are copied; also that of columns made for them.
pub(super) fn sql(wire: &DataType) -> Option<String> {
    use DataType::*;
    let name = match wire {
        Boolean => "boolean",
        Int16 => "smallint",
        Int32 => "integer",
        Int64 => "bigint",
        Float32 => "real",
        Float64 => "double precision",
        Utf8 => "text",
        Binary => "bytea",
        Date32 => "date",
        Time64(TimeUnit::Microsecond) => "time",
        Timestamp(TimeUnit::Microsecond, None) => "timestamp",
        Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz",
        Decimal128(precision, scale) => return Some(format!("numeric({precision},{scale})")),
        List(item) if !item.data_type().is_nested() => return Some(format!("{}[]", sql(item.data_type())?)),
        _ => return None,
    };
    Some(name.to_owned())
}

/// The same where COPY writes the number of the elements' type: pgpq knows `timestamp` alone.
pub(super) fn copied(wire: &DataType) -> Option<String> {
    match wire {
        DataType::List(item) if matches!(item.data_type(), DataType::Timestamp(..)) => Some("timestamp[]".to_owned()),
        DataType::List(item) if matches!(item.data_type(), DataType::Decimal128(..)) => Some("numeric[]".to_owned()),
        _ => sql(wire),
    }
}

/// Whether rows can be told apart by a column of this type.
pub(super) fn is_instant(wire: &DataType) -> bool {
    matches!(wire, DataType::Timestamp(..) | DataType::Int64)
}

impl Target {
    pub(super) fn of(found: &Type) -> Self {
        match &found.class {
            Class::Array(item) => Self { array: true, ..Self::of(item) },
            _ => {
                let known = KNOWN.iter().find(|(oid, ..)| *oid == found.oid);
                Self::with(known.map_or(Base::Other, |known| known.1), found.modifier)
            }
        }
    }

    fn with(base: Base, modifier: i32) -> Self {
        let timed = matches!(base, Base::Time | Base::Timestamp | Base::Timestamptz);
        let digits = (base == Base::Numeric && modifier >= 4).then(|| {
            let packed = modifier - 4;
            // The scale is a signed number of eleven bits.
            let scale = ((packed & 0x7ff) ^ 1024) - 1024;
            ((packed >> 16) as u16, scale as i16)
        });
        Self { base, digits, coarse: timed && (0..6).contains(&modifier), array: false }
    }
}

impl Declared {
    /// `name`, `name(1)`, `name(1,2)`, each with `[]` or not. Nothing else gets into a statement.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let (item, array) = match text.strip_suffix("[]") {
            Some(item) => (item.trim(), true),
            None => (text.as_str(), false),
        };
        let (name, numbers) = match item.split_once('(') {
            Some((name, rest)) => (name.trim(), Some(rest.strip_suffix(')')?)),
            None => (item, None),
        };
        let numbers: Vec<i32> = numbers
            .map(|numbers| numbers.split(',').map(|number| number.trim().parse().ok()).collect::<Option<Vec<_>>>())
            .unwrap_or(Some(Vec::new()))?;
        let known = KNOWN.iter().find(|(_, _, own, aliases)| *own == name || aliases.contains(&name));
        let simple = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if known.is_none() && !name.splitn(2, '.').all(simple) {
            return None;
        }
        let base = known.map_or(Base::Other, |known| known.1);
        let modifier = match (base, numbers.as_slice()) {
            (_, []) => -1,
            (Base::Numeric, [precision @ 1..=1000]) => (precision << 16) + 4,
            (Base::Numeric, [precision @ 1..=1000, scale @ 0..=1000]) => ((precision << 16) | scale) + 4,
            (Base::Time | Base::Timestamp | Base::Timestamptz, [digits @ 0..=6]) => *digits,
            (Base::Text | Base::Other, [1..=i32::MAX]) => -1,
            _ => return None,
        };
        let name = known.map_or(name, |known| known.2);
        let shown = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let numbers = if shown.is_empty() { String::new() } else { format!("({shown})") };
        // The words that follow a time's name come after its digits.
        let (first, rest) = match base {
            Base::Time | Base::Timestamp | Base::Timestamptz => name.split_once(' ').unwrap_or((name, "")),
            _ => (name, ""),
        };
        let gap = if rest.is_empty() { "" } else { " " };
        let sql = format!("{first}{numbers}{gap}{rest}{}", if array { "[]" } else { "" });
        Some(Self { sql, target: Target { array, ..Target::with(base, modifier) } })
    }
}

/// The few types values travel in.
fn plain(from: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match from {
        Boolean | Int16 | Int32 | Int64 | Float32 | Float64 | Utf8 | Binary | Date32 => from.clone(),
        Int8 | UInt8 => Int16,
        UInt16 => Int32,
        UInt32 => Int64,
        UInt64 => Decimal128(20, 0),
        Float16 => Float32,
        LargeUtf8 | Utf8View => Utf8,
        LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Date64 => Date32,
        Time32(_) | Time64(_) => Time64(TimeUnit::Microsecond),
        Timestamp(_, zone) => Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        Decimal32(precision, scale)
        | Decimal64(precision, scale)
        | Decimal128(precision, scale)
        | Decimal256(precision, scale)
            if *precision <= MOST_DIGITS && *scale >= 0 =>
        {
            Decimal128(*precision, *scale)
        }
        Dictionary(_, values) => plain(values)?,
        RunEndEncoded(_, values) => plain(values.data_type())?,
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            let item = plain(item.data_type()).filter(|item| !item.is_nested())?;
            list_of(item)
        }
        _ => return None,
    })
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// What rows of a plain type become for a column that is no array.
fn scalar(rows: &DataType, target: &Target) -> Option<DataType> {
    use DataType::*;
    let number = rows.is_numeric();
    Some(match target.base {
        Base::Bool => Boolean,
        Base::Int2 if number => Int16,
        Base::Int4 if number => Int32,
        Base::Int8 if number => Int64,
        Base::Float4 if number => Float32,
        Base::Float8 if number => Float64,
        Base::Numeric => numeric(rows, target.digits)?,
        Base::Text => Utf8,
        Base::Bytea => Binary,
        Base::Date => Date32,
        Base::Time => Time64(TimeUnit::Microsecond),
        Base::Timestamp => Timestamp(TimeUnit::Microsecond, None),
        Base::Timestamptz => Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Base::Other => return Some(Utf8),
        _ => return None,
    })
    .filter(|wanted| wanted == rows || (number && wanted.is_numeric()))
}

/// PostgreSQL rounds what has more digits than the column, so the cast is ours: it refuses instead.
fn numeric(rows: &DataType, digits: Option<(u16, i16)>) -> Option<DataType> {
    let exact = rows.is_integer() || matches!(rows, DataType::Decimal128(..));
    match digits {
        Some((precision, scale)) => {
            let precision = u8::try_from(precision).ok().filter(|precision| *precision <= MOST_DIGITS)?;
            let scale = i8::try_from(scale).ok().filter(|scale| (0..=precision as i8).contains(scale))?;
            rows.is_numeric().then_some(DataType::Decimal128(precision, scale))
        }
        None => exact.then(|| rows.clone()),
    }
}

fn no_form(field: &Field) -> WorkerError {
    WorkerError::never(
        error::SINK_UNSUPPORTED_TYPE,
        format!("PostgreSQL has no form for the column {:?} of type {}", field.name(), field.data_type()),
    )
    .fix("cast the column in a transform; lists hold plain values, and structs and maps go as text")
}

fn misfit(field: &Field, message: &str) -> WorkerError {
    WorkerError::never(error::SINK_SCHEMA, message.to_owned())
        .at(format!("column {:?} of type {}", field.name(), field.data_type()))
        .fix("cast the column in a transform, or change the table's column")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(data_type: DataType) -> Field {
        Field::new("c", data_type, true)
    }

    fn declared(text: &str) -> Declared {
        Declared::parse(text).unwrap()
    }

    #[test]
    fn every_plain_type_has_a_form_for_copying() {
        use DataType::*;
        let utc = || Timestamp(TimeUnit::Nanosecond, Some("Europe/Paris".into()));
        for (from, wanted) in [
            (UInt8, "smallint"),
            (UInt32, "bigint"),
            (UInt64, "numeric(20,0)"),
            (Float16, "real"),
            (LargeUtf8, "text"),
            (FixedSizeBinary(16), "bytea"),
            (Decimal128(12, 2), "numeric(12,2)"),
            (Time32(TimeUnit::Second), "time"),
            (utc(), "timestamptz"),
            (Timestamp(TimeUnit::Second, None), "timestamp"),
            (Dictionary(Box::new(Int8), Box::new(Utf8)), "text"),
            (LargeList(Arc::new(field(Int8))), "smallint[]"),
        ] {
            let wire = wire_of_rows(&field(from.clone())).unwrap();
            assert_eq!(sql(&wire).unwrap(), wanted, "{from}");
        }
    }

    #[test]
    fn what_has_no_form_is_refused_by_name() {
        use DataType::*;
        let nested = List(Arc::new(field(List(Arc::new(field(Int8))))));
        let pair = Struct(vec![field(Int8)].into());
        for from in [nested, pair, Interval(arrow_schema::IntervalUnit::DayTime), Decimal256(40, 0), Null] {
            let refused = wire_of_rows(&field(from.clone())).unwrap_err();
            assert_eq!(refused.code(), error::SINK_UNSUPPORTED_TYPE, "{from}");
        }
    }

    #[test]
    fn rows_take_the_type_of_the_tables_column_or_are_refused() {
        use DataType::*;
        let utc = || Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (rows, column, wanted) in [
            (Int64, "int", Some(Int32)),
            (Int64, "numeric(10,2)", Some(Decimal128(10, 2))),
            (Float64, "numeric(10,2)", Some(Decimal128(10, 2))),
            (Int32, "numeric", Some(Int32)),
            (Float64, "numeric", None),
            (Utf8, "varchar(5)", Some(Utf8)),
            (Utf8, "uuid", Some(Utf8)),
            (Int64, "text", None),
            (Utf8, "int", None),
            (utc(), "timestamptz", Some(utc())),
            (utc(), "timestamptz(3)", None),
            (utc(), "timestamp", None),
            (Utf8, "name", None),
            (Utf8, "text[]", None),
            (List(Arc::new(field(Int64))), "int[]", Some(List(Arc::new(Field::new("item", Int32, true))))),
            (List(Arc::new(field(Utf8))), "uuid[]", None),
        ] {
            let found = wire(&field(rows.clone()), &declared(column).target).ok();
            assert_eq!(found, wanted, "{rows} into {column}");
        }
    }

    #[test]
    fn a_columns_own_values_travel_in_its_own_type() {
        use DataType::*;
        for (column, wanted) in [
            ("int", Some(Int32)),
            ("numeric(10,2)", Some(Decimal128(10, 2))),
            ("numeric(50,2)", None),
            ("numeric", None),
            ("varchar(5)", Some(Utf8)),
            ("uuid", None),
            ("int[]", None),
            ("timestamptz(3)", None),
        ] {
            assert_eq!(own_wire(&declared(column).target), wanted, "{column}");
        }
    }

    #[test]
    fn a_declared_type_is_a_name_and_numbers_and_nothing_else() {
        for (text, sql) in [
            ("INT", "integer"),
            ("numeric(10, 2)", "numeric(10,2)"),
            ("timestamptz(6)", "timestamp(6) with time zone"),
            ("uuid", "uuid"),
            ("public.mood", "public.mood"),
            ("varchar(5)[]", "character varying(5)[]"),
        ] {
            assert_eq!(declared(text).sql, sql);
        }
        for wrong in
            ["", "int)", "int default 1", "a.b.c", "x'y", "numeric(a)", "int(3)", "uuid; --", "1x", "a(1", "[]"]
        {
            assert_eq!(Declared::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_catalogues_modifier_says_how_many_digits() {
        let found =
            Type { oid: 1700, name: String::new(), modifier: (12 << 16 | 3) + 4, class: Class::Base, domain: None };
        assert_eq!(Target::of(&found).digits, Some((12, 3)));
    }
}

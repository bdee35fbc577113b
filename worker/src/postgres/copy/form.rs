//! Which arrow type a PostgreSQL type becomes, and how its bytes are read.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};

use crate::postgres::{Class, Type};

/// What becomes of values that PostgreSQL has and arrow, or most readers, have not: NaN and infinity of decimals,
/// infinity of dates and timestamps, years before 1 and after 9999, and 24:00.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Special {
    /// Their row is rejected.
    #[default]
    Reject,
    /// They become null.
    Null,
}

/// How a column's bytes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Bool,
    Int16,
    Int32,
    Int64,
    /// An unsigned number of 32 bits.
    Oid,
    Float32,
    Float64,
    /// Exact, up to 76 digits.
    Decimal {
        precision: u8,
        scale: i8,
    },
    /// A number of any size, as text.
    NumericText,
    /// Bytes that are text already.
    Text,
    /// Text behind a version number.
    Jsonb,
    /// ISO 8601, as PostgreSQL itself writes it when asked to.
    Interval,
    Uuid,
    /// An address or a network.
    Inet,
    /// Six or eight bytes.
    MacAddress,
    Bytes,
    Date,
    Time,
    /// Microseconds; in UTC, or without a zone.
    Timestamp {
        utc: bool,
    },
    List(Box<Form>),
}

impl Form {
    /// How values of the type are read; `None` where they have to be asked for as text.
    pub fn of(kind: &Type) -> Option<Self> {
        match &kind.class {
            // The name of its label is what an enum's value is sent as.
            Class::Enum => Some(Self::Text),
            Class::Array(element) => Self::of(element).map(|element| Self::List(Box::new(element))),
            Class::Base => Self::of_base(kind),
            Class::Composite | Class::Range | Class::Pseudo => None,
        }
    }

    /// By the oids that PostgreSQL gives its own types for ever.
    fn of_base(kind: &Type) -> Option<Self> {
        Some(match kind.oid {
            16 => Self::Bool,
            17 => Self::Bytes,
            20 => Self::Int64,
            21 => Self::Int16,
            23 => Self::Int32,
            26 => Self::Oid,
            // name, text, json, character, character varying
            19 | 25 | 114 | 1042 | 1043 => Self::Text,
            700 => Self::Float32,
            701 => Self::Float64,
            650 | 869 => Self::Inet,
            829 | 774 => Self::MacAddress,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp { utc: false },
            1184 => Self::Timestamp { utc: true },
            1186 => Self::Interval,
            1700 => Self::of_numeric(kind.modifier),
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => return None,
        })
    }

    /// A decimal where precision and scale are declared and fit one, else text. A scale below zero or above the precision,
    /// which PostgreSQL has, gets as many digits as its values can have.
    fn of_numeric(modifier: i32) -> Self {
        let Some(declared) = modifier.checked_sub(4).filter(|declared| *declared >= 0) else {
            return Self::NumericText;
        };
        let precision = (declared >> 16) & 0xffff;
        // The lower eleven bits are signed.
        let scale = ((declared & 0x7ff) ^ 1_024) - 1_024;
        let (precision, scale) = match scale {
            ..0 => (precision - scale, 0),
            _ => (precision.max(scale), scale),
        };
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(precision @ 1..=76), Ok(scale)) => Self::Decimal { precision, scale },
            _ => Self::NumericText,
        }
    }

    /// The arrow type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::Oid => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision: precision @ ..=38, scale } => DataType::Decimal128(*precision, *scale),
            Self::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale),
            Self::NumericText
            | Self::Text
            | Self::Jsonb
            | Self::Interval
            | Self::Uuid
            | Self::Inet
            | Self::MacAddress => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp { utc: true } => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Timestamp { utc: false } => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::List(item) => DataType::List(Arc::new(Self::item_field(item))),
        }
    }

    pub(super) fn item_field(item: &Form) -> Field {
        Field::new("item", item.data_type(), true)
    }

    /// Whether the type has values that [`Special`] speaks of.
    pub fn has_special(&self) -> bool {
        match self {
            Self::Decimal { .. } | Self::Date | Self::Time | Self::Timestamp { .. } => true,
            Self::List(item) => item.has_special(),
            _ => false,
        }
    }
}

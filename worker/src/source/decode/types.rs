//! Declared columns: names and types as a pipeline writes them, and their arrow types. Text is not parsed here.

use std::sync::Arc;

use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use jiff::tz::TimeZone;
use serde_json::Value;
use windrow_common::error;

use super::{
    faults::{Faults, duplicate},
    time::{Ambiguous, Zone},
};

/// The name of windrow's zone in arrow types: all instants are in UTC.
const UTC: &str = "UTC";

/// Every declared column; `ordered` when the order is the user's.
#[derive(Clone, Debug)]
pub(in crate::source) struct Declared {
    pub(in crate::source) columns: Vec<Column>,
    pub(in crate::source) ordered: bool,
}

/// A column's name, its type, and how its text is read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::source) struct Column {
    pub(in crate::source) name: String,
    pub(in crate::source) kind: Kind,
}

/// The types there are.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::source) enum Kind {
    String,
    Int64,
    Int32,
    Float64,
    Bool,
    Date,
    /// Microseconds in UTC; `zone` is the one of values written without.
    Timestamp {
        zone: Option<Zone>,
    },
    /// Precision up to 38, scale from 0 to the precision.
    Decimal {
        precision: u8,
        scale: i8,
    },
    /// The text's bytes.
    Binary,
    /// No field's: the row's own text, as it stands in the file. It is behind all others.
    Line,
}

/// How types are written, for messages.
const GRAMMAR: &str = "string, int, int32, float, bool, date, timestamp, decimal(p,s), binary";

impl Kind {
    pub(in crate::source) fn data_type(&self) -> DataType {
        match self {
            Self::String | Self::Line => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Float64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp { .. } => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Binary => DataType::Binary,
        }
    }

    /// Its name in messages.
    pub(in crate::source) fn name(&self) -> String {
        match self {
            Self::String => "string".to_owned(),
            Self::Int64 => "int".to_owned(),
            Self::Int32 => "int32".to_owned(),
            Self::Float64 => "float".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Timestamp { .. } => "timestamp".to_owned(),
            Self::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            Self::Binary => "binary".to_owned(),
            Self::Line => "line".to_owned(),
        }
    }

    fn parse(text: &str, zone: Option<&Zone>) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        Some(match text.as_str() {
            "string" | "text" => Self::String,
            "int" | "int64" => Self::Int64,
            "int32" => Self::Int32,
            "float" | "float64" => Self::Float64,
            "bool" => Self::Bool,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp { zone: zone.cloned() },
            "binary" => Self::Binary,
            other => return Self::parse_decimal(other),
        })
    }

    fn parse_decimal(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("decimal")?.trim().strip_prefix('(')?.strip_suffix(')')?;
        let (precision, scale) = inner.split_once(',')?;
        let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        let valid = (1..=38).contains(&precision) && 0 <= scale && scale.unsigned_abs() <= precision;
        valid.then_some(Self::Decimal { precision, scale })
    }
}

impl Column {
    pub(in crate::source) fn text(name: &str) -> Self {
        Self { name: name.to_owned(), kind: Kind::String }
    }
}

/// The arrow schema of some columns; all may be null.
pub(in crate::source) fn schema_of(columns: &[Column]) -> SchemaRef {
    let fields = columns.iter().map(|column| Field::new(&column.name, column.kind.data_type(), true));
    Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()))
}

impl Declared {
    /// Reads `{id: int, at: {type: timestamp, timezone: Europe/Paris}}` or a list of such entries.
    pub(in crate::source) fn parse(
        schema: &Value,
        zone: Option<&Zone>,
        ambiguous: Option<Ambiguous>,
        faults: &mut Faults,
    ) -> Self {
        let entries: Vec<(&String, &Value)> = match schema {
            Value::Object(map) => map.iter().collect(),
            Value::Array(list) if list.iter().all(|entry| entry.as_object().is_some_and(|map| map.len() == 1)) => {
                list.iter().filter_map(Value::as_object).flatten().collect()
            }
            _ => {
                let message = "a schema is a map of columns to types, or a list of one-entry maps";
                faults.add("schema", error::BAD_VALUE, message);
                Vec::new()
            }
        };
        if entries.is_empty() {
            faults.add("schema", error::BAD_VALUE, "a schema has at least one column");
        }
        if let Some(twice) = duplicate(entries.iter().map(|(name, _)| name.as_str())) {
            faults.add(format!("schema.{twice}"), error::DUPLICATE_KEY, format!("{twice:?} is declared twice"));
        }
        let columns = entries.iter().filter_map(|(name, value)| {
            let path = format!("schema.{name}");
            let kind = match kind_of(value, zone, ambiguous) {
                Ok(kind) => kind,
                Err(message) => {
                    faults.add(path, error::BAD_VALUE, message);
                    return None;
                }
            };
            Some(Column { name: (*name).clone(), kind })
        });
        Self { columns: columns.collect(), ordered: schema.is_array() }
    }

    pub(in crate::source) fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }
}

fn kind_of(value: &Value, zone: Option<&Zone>, ambiguous: Option<Ambiguous>) -> Result<Kind, String> {
    let parse =
        |text: &str, zone| Kind::parse(text, zone).ok_or_else(|| format!("{text:?} is no type; types are {GRAMMAR}"));
    match value {
        Value::String(text) => parse(text, zone),
        Value::Object(map) => {
            if let Some(key) = map.keys().find(|key| !matches!(key.as_str(), "type" | "timezone")) {
                return Err(format!("unknown key {key:?}; a type has `type` and, for a timestamp, `timezone`"));
            }
            let text = map.get("type").and_then(Value::as_str).ok_or("`type` is missing")?;
            match (map.get("timezone"), text) {
                (None, text) => parse(text, zone),
                (Some(Value::String(name)), "timestamp") => {
                    let zone =
                        TimeZone::get(name).map_err(|_| format!("{name:?} is no time zone this machine knows"))?;
                    parse(text, Some(&Zone { zone, ambiguous }))
                }
                (Some(_), "timestamp") => Err("`timezone` is the name of a zone".to_owned()),
                (Some(_), _) => Err("only a timestamp has a `timezone`".to_owned()),
            }
        }
        _ => Err(format!("a type is a text; types are {GRAMMAR}")),
    }
}

//! The values of one column under construction.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef,
    builder::{
        ArrayBuilder, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
        Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder,
        Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
    },
};
use windrow_common::error::{self, ErrorCode};

use super::{
    array::Lists,
    form::{Form, Special},
    numeric::Numeric,
    text, time,
};

/// Why a row cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub code: ErrorCode,
    pub reason: String,
}

/// What is wrong with a value's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// They are not what the type sends.
    Damaged,
    /// They are a value that [`Special`] speaks of.
    Special(&'static str),
    /// They are a value that does not fit, and why.
    Unfit(String),
}

impl Flaw {
    pub(super) fn of(wrong: Wrong) -> Self {
        let (code, reason) = match wrong {
            Wrong::Damaged => (error::SOURCE_CORRUPT, "the bytes are not those of its type".to_owned()),
            Wrong::Special(what) => (error::VALUE_MALFORMED, format!("{what} has no equal in the column's type")),
            Wrong::Unfit(reason) => (error::VALUE_MALFORMED, reason),
        };
        Self { code, reason }
    }
}

/// Values under construction, by how they are read.
pub(super) enum Values {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, (u8, i8)),
    Decimal256(Decimal256Builder, (u8, i8)),
    Text(StringBuilder, Form),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    List(Lists),
}

/// Appends what was read, or null where that is declared; in any case one value.
macro_rules! append {
    ($builder:expr, $read:expr, $special:expr) => {
        match $read {
            Ok(value) => {
                $builder.append_value(value);
                Ok(())
            }
            Err(wrong) => {
                $builder.append_null();
                accepted(wrong, $special)
            }
        }
    };
}

impl Values {
    pub(super) fn new(form: &Form) -> Self {
        let typed = form.data_type();
        match form {
            Form::Bool => Self::Bool(BooleanBuilder::new()),
            Form::Int16 => Self::Int16(Int16Builder::new()),
            Form::Int32 => Self::Int32(Int32Builder::new()),
            Form::Int64 => Self::Int64(Int64Builder::new()),
            Form::Oid => Self::Oid(Int64Builder::new()),
            Form::Float32 => Self::Float32(Float32Builder::new()),
            Form::Float64 => Self::Float64(Float64Builder::new()),
            Form::Decimal { precision: precision @ ..=38, scale } => {
                Self::Decimal128(Decimal128Builder::new().with_data_type(typed), (*precision, *scale))
            }
            Form::Decimal { precision, scale } => {
                Self::Decimal256(Decimal256Builder::new().with_data_type(typed), (*precision, *scale))
            }
            Form::NumericText
            | Form::Text
            | Form::Jsonb
            | Form::Interval
            | Form::Uuid
            | Form::Inet
            | Form::MacAddress => Self::Text(StringBuilder::new(), form.clone()),
            Form::Bytes => Self::Bytes(BinaryBuilder::new()),
            Form::Date => Self::Date(Date32Builder::new()),
            Form::Time => Self::Time(Time64MicrosecondBuilder::new()),
            Form::Timestamp { .. } => Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(typed)),
            Form::List(item) => Self::List(Lists::new(item)),
        }
    }

    /// Appends one value in any case: after a flaw its row is taken out again.
    pub(super) fn append(&mut self, bytes: Option<&[u8]>, special: Special) -> Result<(), Flaw> {
        let Some(bytes) = bytes else {
            self.append_null();
            return Ok(());
        };
        match self {
            Self::Bool(builder) => append!(builder, boolean(bytes), special),
            Self::Int16(builder) => append!(builder, fixed(bytes).map(i16::from_be_bytes), special),
            Self::Int32(builder) => append!(builder, fixed(bytes).map(i32::from_be_bytes), special),
            Self::Int64(builder) => append!(builder, fixed(bytes).map(i64::from_be_bytes), special),
            Self::Oid(builder) => append!(builder, fixed(bytes).map(u32::from_be_bytes).map(i64::from), special),
            Self::Float32(builder) => append!(builder, fixed(bytes).map(f32::from_be_bytes), special),
            Self::Float64(builder) => append!(builder, fixed(bytes).map(f64::from_be_bytes), special),
            Self::Decimal128(builder, (precision, scale)) => {
                append!(builder, Numeric::read(bytes).and_then(|read| read.decimal128(*precision, *scale)), special)
            }
            Self::Decimal256(builder, (precision, scale)) => {
                append!(builder, Numeric::read(bytes).and_then(|read| read.decimal256(*precision, *scale)), special)
            }
            Self::Text(builder, form) => match form {
                Form::Text => append!(builder, utf8(bytes), special),
                Form::Jsonb => append!(builder, jsonb(bytes), special),
                Form::NumericText => append!(builder, numeric_text(bytes), special),
                Form::Interval => append!(builder, time::interval(bytes), special),
                Form::Uuid => append!(builder, text::uuid(bytes), special),
                Form::Inet => append!(builder, text::inet(bytes), special),
                _ => append!(builder, text::mac_address(bytes), special),
            },
            Self::Bytes(builder) => {
                builder.append_value(bytes);
                Ok(())
            }
            Self::Date(builder) => append!(builder, time::date(bytes), special),
            Self::Time(builder) => append!(builder, time::time(bytes), special),
            Self::Timestamp(builder) => append!(builder, time::timestamp(bytes), special),
            Self::List(lists) => lists.append(bytes, special),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bool(builder) => builder.len(),
            Self::Int16(builder) => builder.len(),
            Self::Int32(builder) => builder.len(),
            Self::Int64(builder) | Self::Oid(builder) => builder.len(),
            Self::Float32(builder) => builder.len(),
            Self::Float64(builder) => builder.len(),
            Self::Decimal128(builder, _) => builder.len(),
            Self::Decimal256(builder, _) => builder.len(),
            Self::Text(builder, _) => builder.len(),
            Self::Bytes(builder) => builder.len(),
            Self::Date(builder) => builder.len(),
            Self::Time(builder) => builder.len(),
            Self::Timestamp(builder) => builder.len(),
            Self::List(lists) => lists.len(),
        }
    }

    /// What was appended; the next value begins a new array.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) | Self::Oid(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal128(builder, _) => Arc::new(builder.finish()),
            Self::Decimal256(builder, _) => Arc::new(builder.finish()),
            Self::Text(builder, _) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::List(lists) => lists.finish(),
        }
    }

    fn append_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) | Self::Oid(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal128(builder, _) => builder.append_null(),
            Self::Decimal256(builder, _) => builder.append_null(),
            Self::Text(builder, _) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::List(lists) => lists.append_null(),
        }
    }
}

/// One value as text, for people who look at a row that was rejected.
pub(super) fn shown(form: &Form, bytes: &[u8]) -> String {
    let mut values = Values::new(form);
    let array = values.append(Some(bytes), Special::Reject).map(|()| values.finish());
    let text = array.ok().filter(|array| array.is_valid(0));
    text.and_then(|array| arrow::util::display::array_value_to_string(&array, 0).ok())
        .unwrap_or_else(|| format!("\\x{}", hex::encode(bytes)))
}

/// Whether a value that is wrong may be null instead.
fn accepted(wrong: Wrong, special: Special) -> Result<(), Flaw> {
    match (&wrong, special) {
        (Wrong::Special(_), Special::Null) => Ok(()),
        _ => Err(Flaw::of(wrong)),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Wrong> {
    bytes.try_into().map_err(|_| Wrong::Damaged)
}

fn boolean(bytes: &[u8]) -> Result<bool, Wrong> {
    match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        _ => Err(Wrong::Damaged),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Wrong> {
    // A database whose encoding is SQL_ASCII holds whatever was put in.
    std::str::from_utf8(bytes).map_err(|cause| Wrong::Unfit(format!("the text is no UTF-8: {cause}")))
}

fn jsonb(bytes: &[u8]) -> Result<&str, Wrong> {
    match bytes {
        [1, text @ ..] => utf8(text),
        _ => Err(Wrong::Damaged),
    }
}

fn numeric_text(bytes: &[u8]) -> Result<String, Wrong> {
    match Numeric::read(bytes) {
        Ok(read) => Ok(read.text()),
        // As text they are no special values.
        Err(Wrong::Special(name)) => Ok(name.to_owned()),
        Err(wrong) => Err(wrong),
    }
}

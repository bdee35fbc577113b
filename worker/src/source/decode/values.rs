//! From text to arrow arrays, column by column, for the rows asked for. A value that does not fit its column's type
//! becomes a flaw of its row, never a null.

use std::{str, sync::Arc};

use arrow_array::{
    ArrayRef, ArrowPrimitiveType,
    builder::{BinaryBuilder, BooleanBuilder, PrimitiveBuilder, StringBuilder},
    types::{Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use windrow_common::error;

use super::{
    rows::{Flaw, Rows},
    time::{TimestampParser, parse_date},
    types::{Column, Kind},
};

/// The texts that mean null.
#[derive(Clone, Debug)]
pub(in crate::source) struct Nulls {
    texts: Vec<String>,
    /// Whether the empty text is null in a text column.
    empty_text: bool,
    /// Whether it is null in any other column.
    empty_value: bool,
}

/// The first flaw of each flawed row, as (index among the rows asked for, flaw).
pub(in crate::source) type Flaws = Vec<(usize, Flaw)>;

impl Nulls {
    /// CSV has no other way to write null than the empty field; declared texts replace it in text columns.
    pub(in crate::source) fn csv(declared: Option<&[String]>) -> Self {
        let texts = declared.unwrap_or_default().to_vec();
        let empty_text = declared.is_none_or(|texts| texts.iter().any(String::is_empty));
        Self { texts, empty_text, empty_value: true }
    }

    /// Only what is declared.
    pub(in crate::source) fn declared(declared: Option<&[String]>) -> Self {
        let texts = declared.unwrap_or_default().to_vec();
        let empty = texts.iter().any(String::is_empty);
        Self { texts, empty_text: empty, empty_value: empty }
    }

    pub(in crate::source) fn is_null(&self, text: &str, kind: &Kind) -> bool {
        if text.is_empty() {
            return if *kind == Kind::String { self.empty_text } else { self.empty_value };
        }
        self.texts.iter().any(|null| null == text)
    }
}

/// The values of one column.
pub(in crate::source) struct ColumnText<'a, R> {
    pub(in crate::source) rows: &'a R,
    /// The rows asked for.
    pub(in crate::source) picked: &'a [usize],
    pub(in crate::source) index: usize,
    pub(in crate::source) column: &'a Column,
    pub(in crate::source) nulls: &'a Nulls,
}

impl<R: Rows> ColumnText<'_, R> {
    /// The column's array, as long as there are rows asked for; flawed values are null in it.
    pub(in crate::source) fn build(&self, flaws: &mut Flaws) -> ArrayRef {
        match &self.column.kind {
            Kind::String => self.strings(),
            Kind::Binary => self.binaries(),
            Kind::Line => self.lines(flaws),
            Kind::Bool => self.bools(flaws),
            Kind::Int64 => self.primitives::<Int64Type>(flaws, |text| text.parse().ok()),
            Kind::Int32 => self.primitives::<Int32Type>(flaws, |text| text.parse().ok()),
            Kind::Float64 => self.primitives::<Float64Type>(flaws, |text| text.parse().ok()),
            Kind::Date => self.primitives::<Date32Type>(flaws, parse_date),
            Kind::Timestamp { zone } => {
                let mut parser = TimestampParser::new(zone.as_ref());
                let mut builder = self.builder::<TimestampMicrosecondType>();
                self.each(flaws, |text| match text {
                    None => {
                        builder.append_null();
                        Ok(())
                    }
                    Some(text) => parser
                        .parse(text)
                        .map(|value| builder.append_value(value))
                        .inspect_err(|_| builder.append_null()),
                });
                Arc::new(builder.finish())
            }
            Kind::Decimal { precision, scale } => {
                self.primitives::<Decimal128Type>(flaws, |text| parse_decimal(text, *precision, scale.unsigned_abs()))
            }
        }
    }

    /// The rows' own texts, which are never null.
    fn lines(&self, flaws: &mut Flaws) -> ArrayRef {
        let mut builder = StringBuilder::new();
        for (at, row) in self.picked.iter().enumerate() {
            match str::from_utf8(self.rows.raw(*row)) {
                Ok(text) => builder.append_value(text),
                Err(_) => {
                    builder.append_null();
                    flaws.push((at, Flaw { code: error::ROW_MALFORMED, reason: "it is no UTF-8 text".to_owned() }));
                }
            }
        }
        Arc::new(builder.finish())
    }

    /// Hands every value to `take`, null as `None`, and turns its refusals into flaws.
    fn each(&self, flaws: &mut Flaws, mut take: impl FnMut(Option<&str>) -> Result<(), String>) {
        for (at, row) in self.picked.iter().enumerate() {
            let text = self.rows.field(*row, self.index);
            let text = text.filter(|text| !self.nulls.is_null(text, &self.column.kind));
            if let Err(reason) = take(text) {
                let reason = format!("column {:?}: {reason}", self.column.name);
                flaws.push((at, Flaw { code: error::VALUE_MALFORMED, reason }));
            }
        }
    }

    fn builder<T: ArrowPrimitiveType>(&self) -> PrimitiveBuilder<T> {
        PrimitiveBuilder::with_capacity(self.picked.len()).with_data_type(self.column.kind.data_type())
    }

    fn primitives<T: ArrowPrimitiveType>(
        &self,
        flaws: &mut Flaws,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> ArrayRef {
        let mut builder = self.builder::<T>();
        self.each(flaws, |text| {
            let value = text.map(&parse);
            builder.append_option(value.flatten());
            if value == Some(None) { Err(self.misfit(text)) } else { Ok(()) }
        });
        Arc::new(builder.finish())
    }

    fn strings(&self) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(self.picked.len(), self.picked.len() * 8);
        self.each(&mut Flaws::new(), |text| {
            builder.append_option(text);
            Ok(())
        });
        Arc::new(builder.finish())
    }

    fn binaries(&self) -> ArrayRef {
        let mut builder = BinaryBuilder::with_capacity(self.picked.len(), self.picked.len() * 8);
        self.each(&mut Flaws::new(), |text| {
            builder.append_option(text);
            Ok(())
        });
        Arc::new(builder.finish())
    }

    fn bools(&self, flaws: &mut Flaws) -> ArrayRef {
        let mut builder = BooleanBuilder::with_capacity(self.picked.len());
        self.each(flaws, |text| {
            let value = text.map(parse_bool);
            builder.append_option(value.flatten());
            if value == Some(None) { Err(self.misfit(text)) } else { Ok(()) }
        });
        Arc::new(builder.finish())
    }

    fn misfit(&self, text: Option<&str>) -> String {
        let shown: String = text.unwrap_or_default().chars().take(100).collect();
        format!("{shown:?} is no {}", self.column.kind.name())
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if is("true") || is("t") || is("yes") => Some(true),
        _ if is("false") || is("f") || is("no") => Some(false),
        _ => None,
    }
}

/// A plain decimal number, scaled. More digits than the type keeps are refused, unless they are zeros.
fn parse_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let kept = fraction.trim_end_matches('0');
    let missing = u32::from(scale).checked_sub(u32::try_from(kept.len()).ok()?)?;
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(kept.bytes()) {
        let digit = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let value = value.checked_mul(10_i128.checked_pow(missing)?)?;
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_decimal_keeps_every_digit_or_is_refused() {
        let cases: &[(&str, Option<i128>)] = &[
            ("12.34", Some(1234)),
            ("-0.5", Some(-50)),
            ("+7", Some(700)),
            (".25", Some(25)),
            ("1.2300", Some(123)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("1.234", None),
            ("1e2", None),
            ("", None),
            (".", None),
            ("-", None),
            ("1,5", None),
            ("NaN", None),
        ];
        for (text, value) in cases {
            assert_eq!(parse_decimal(text, 5, 2), *value, "{text:?}");
        }
        assert_eq!(parse_decimal(&"9".repeat(38), 38, 0), Some(10_i128.pow(38) - 1));
        assert_eq!(parse_decimal(&"9".repeat(60), 38, 0), None);
    }

    #[test]
    fn an_empty_csv_field_is_null_unless_it_may_be_a_text() {
        let nulls = Nulls::csv(None);
        assert!(nulls.is_null("", &Kind::String) && nulls.is_null("", &Kind::Int64));
        let nulls = Nulls::csv(Some(&["NA".to_owned()]));
        assert!(!nulls.is_null("", &Kind::String) && nulls.is_null("", &Kind::Int64));
        assert!(nulls.is_null("NA", &Kind::String) && !nulls.is_null("N", &Kind::String));
        let nulls = Nulls::declared(None);
        assert!(!nulls.is_null("", &Kind::String) && !nulls.is_null("", &Kind::Int64));
    }
}

//! The columns of files nobody declared: the header's names, and the narrowest types all of the first rows fit. When
//! in doubt a column stays text, for text loses nothing.

use jiff::Timestamp;

use super::{
    rows::Rows,
    time::parse_date,
    types::{Column, Kind},
    values::Nulls,
};

/// Rows that are looked at.
pub(super) const SAMPLE_ROWS: usize = 10_000;
/// Whole numbers past this are not exact as floats.
const EXACT_IN_FLOAT: i64 = 1 << 53;

/// What may still be said of one column.
#[derive(Clone, Copy, Debug)]
struct Guess {
    seen: bool,
    int: bool,
    float: bool,
    /// All whole numbers so far are exact as floats.
    exact: bool,
    timestamp: bool,
    date: bool,
    bool: bool,
}

/// The guesses for all columns of a file.
pub(super) struct Guesses {
    names: Vec<String>,
    guesses: Vec<Guess>,
}

impl Guesses {
    pub(super) fn new(names: Vec<String>) -> Self {
        let open = Guess { seen: false, int: true, float: true, exact: true, timestamp: true, date: true, bool: true };
        Self { guesses: vec![open; names.len()], names }
    }

    /// Takes a batch into account; rows that are none say nothing.
    pub(super) fn look(&mut self, rows: &impl Rows, nulls: &Nulls) {
        for row in (0..rows.len()).filter(|row| rows.flaw(*row).is_none()) {
            for (column, guess) in self.guesses.iter_mut().enumerate() {
                // An empty field may be null in any type, and is text in none but text.
                let text = rows.field(row, column).filter(|text| !nulls.is_null(text, &Kind::Int64));
                if let Some(text) = text {
                    guess.look(text);
                }
            }
        }
    }

    pub(super) fn columns(self) -> Vec<Column> {
        let kinds = self.guesses.into_iter().map(Guess::kind);
        self.names.into_iter().zip(kinds).map(|(name, kind)| Column { name, kind }).collect()
    }
}

impl Guess {
    fn look(&mut self, text: &str) {
        self.seen = true;
        let number = number(text);
        self.int &= matches!(number, Some(Number::Whole(_)));
        self.float &= number.is_some();
        if let Some(Number::Whole(value)) = number {
            self.exact &= value.unsigned_abs() <= EXACT_IN_FLOAT.unsigned_abs();
        }
        self.timestamp = self.timestamp && is_rfc3339(text);
        self.date = self.date && parse_date(text).is_some();
        self.bool &= text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false");
    }

    fn kind(self) -> Kind {
        match self {
            Self { seen: false, .. } => Kind::String,
            Self { int: true, .. } => Kind::Int64,
            Self { float: true, exact: true, .. } => Kind::Float64,
            Self { timestamp: true, .. } => Kind::Timestamp { zone: None },
            Self { date: true, .. } => Kind::Date,
            Self { bool: true, .. } => Kind::Bool,
            _ => Kind::String,
        }
    }
}

enum Number {
    Whole(i64),
    Fraction,
}

/// A number written as numbers are: `007` and `+1` are rather codes, `NaN` and `inf` rather words.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let padded = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    if padded || !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Number::Whole);
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    let value: f64 = text.parse().ok()?;
    (plain && value.is_finite()).then_some(Number::Fraction)
}

fn is_rfc3339(text: &str) -> bool {
    // jiff would also take a date and a time without their separators, which may as well be a code.
    let shaped = text.len() >= 17 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    shaped && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kind_of(texts: &[&str]) -> Kind {
        let mut guesses = Guesses::new(vec!["x".to_owned()]);
        for text in texts {
            guesses.guesses[0].look(text);
        }
        guesses.columns().remove(0).kind
    }

    #[test]
    fn a_column_gets_the_narrowest_type_that_loses_nothing() {
        let timestamp = Kind::Timestamp { zone: None };
        let cases: &[(&[&str], Kind)] = &[
            (&["1", "-2"], Kind::Int64),
            (&["1", "2.5"], Kind::Float64),
            (&["1e5"], Kind::Float64),
            (&["9007199254740993", "0.5"], Kind::String),
            (&["99999999999999999999"], Kind::String),
            (&["007"], Kind::String),
            (&["+1"], Kind::String),
            (&["NaN"], Kind::String),
            (&["2013-01-01T10:00:00Z", "2013-01-01 10:00:00+02:00"], timestamp),
            (&["2013-01-01T10:00:00"], Kind::String),
            (&["2013-01-01"], Kind::Date),
            (&["2013-01-01", "2013-01-01T10:00:00Z"], Kind::String),
            (&["true", "FALSE"], Kind::Bool),
            (&["true", "1"], Kind::String),
            (&["t"], Kind::String),
            (&[], Kind::String),
        ];
        for (texts, kind) in cases {
            assert_eq!(kind_of(texts), *kind, "{texts:?}");
        }
    }
}

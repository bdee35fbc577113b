//! What a column becomes on its way from a source to a sink, and what of it is lost: for plans, before anything runs. Pure.
//!
//! A source says what its own types lose when they become arrow ([`Origin`]), a sink what arrow's lose when they become
//! its own ([`Stored`]). Both compare what they really read and write, so a plan cannot tell another story than a run.

use arrow_schema::{DataType, TimeUnit};
use serde::Serialize;

/// A column as its source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub column: String,
    /// Its type in the source's own words.
    pub kind: String,
    pub losses: Vec<Loss>,
}

/// A column as its sink has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its type in the sink's own words.
    pub kind: String,
    /// What becomes of the table for it.
    pub change: Option<TableChange>,
    pub losses: Vec<Loss>,
}

/// What a table that is there becomes for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableChange {
    /// It gets the column.
    Added,
    /// The column gets the type of the rows.
    Changed,
    /// The table does not get it: its values are discarded.
    LeftOut,
    /// The column keeps its type: values that do not fit are discarded.
    Kept,
}

/// What a mapping loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    NumberAsText,
    DocumentAsText,
    LabelsAsText,
    RangeAsText,
    IntervalAsText,
    TypeAsText,
    DomainRules,
    Subscripts,
    LocalTime,
    SpecialValues,
    Nanoseconds,
    ZoneName,
    Unsigned,
    Rounded,
    FixedLength,
    Untyped,
    TextInJson,
    WideNumber,
    DocumentOrder,
    Padding,
}

impl Loss {
    pub const ALL: [Self; 20] = [
        Self::NumberAsText,
        Self::DocumentAsText,
        Self::LabelsAsText,
        Self::RangeAsText,
        Self::IntervalAsText,
        Self::TypeAsText,
        Self::DomainRules,
        Self::Subscripts,
        Self::LocalTime,
        Self::SpecialValues,
        Self::Nanoseconds,
        Self::ZoneName,
        Self::Unsigned,
        Self::Rounded,
        Self::FixedLength,
        Self::Untyped,
        Self::TextInJson,
        Self::WideNumber,
        Self::DocumentOrder,
        Self::Padding,
    ];

    /// What is lost, in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::NumberAsText => "a number of any size becomes text, which neither adds up nor sorts as a number",
            Self::DocumentAsText => "a JSON document becomes text, into which no query looks",
            Self::LabelsAsText => "a label becomes text: the list of labels and their order are not kept",
            Self::RangeAsText => "a range becomes text: its bounds are not kept apart",
            Self::IntervalAsText => "an interval becomes text (ISO 8601), which cannot be added to a time",
            Self::TypeAsText => {
                "a value of a type of its own becomes text: the type's rules and operators are not kept"
            }
            Self::DomainRules => "the domain's name and checks are not kept",
            Self::Subscripts => "where an array begins to count is not kept",
            Self::LocalTime => "a local time becomes an instant: what the clock showed is kept by its zone alone",
            Self::SpecialValues => "NaN, infinity, years before 1 or after 9999 and the time 24:00 become null",
            Self::Nanoseconds => "what is finer than a microsecond is cut off",
            Self::ZoneName => "the instant stays, the zone it was written in becomes UTC",
            Self::Unsigned => {
                "an unsigned number becomes a wider signed one: nothing keeps it from being negative later"
            }
            Self::Rounded => "numbers are rounded to about seven digits",
            Self::FixedLength => "that all values have one length is not kept",
            Self::Untyped => "the format has no types: readers guess that this is no text",
            Self::TextInJson => "JSON has no such type: values are written as text",
            Self::WideNumber => "readers that take every number of JSON for a float round those past 2^53",
            Self::DocumentOrder => "the order of keys, doubled keys and blanks of a JSON document are not kept",
            Self::Padding => "blanks at the end are filled up or cut to the column's length",
        }
    }
}

/// What values of `rows` lose when they become `stored`, which is how a sink holds them.
pub fn losses(rows: &DataType, stored: &DataType) -> Vec<Loss> {
    let mut found = Vec::new();
    compare(rows, stored, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn compare(rows: &DataType, stored: &DataType, found: &mut Vec<Loss>) {
    use DataType::*;
    if let (Timestamp(TimeUnit::Nanosecond, _), Timestamp(TimeUnit::Microsecond, _)) = (rows, stored) {
        found.push(Loss::Nanoseconds);
    }
    match (rows, stored) {
        (Timestamp(_, Some(from)), Timestamp(_, Some(to))) if from != to && !is_utc(from) => found.push(Loss::ZoneName),
        (from, to) if from.is_unsigned_integer() && !to.is_unsigned_integer() => found.push(Loss::Unsigned),
        (Float64, Float32) => found.push(Loss::Rounded),
        (FixedSizeBinary(_), Binary | LargeBinary | BinaryView) => found.push(Loss::FixedLength),
        (Dictionary(_, values), to) => compare(values, to, found),
        (RunEndEncoded(_, values), to) => compare(values.data_type(), to, found),
        (FixedSizeList(from, _), List(to)) => {
            found.push(Loss::FixedLength);
            compare(from.data_type(), to.data_type(), found);
        }
        (List(from) | LargeList(from) | ListView(from) | LargeListView(from) | Map(from, _), List(to) | Map(to, _)) => {
            compare(from.data_type(), to.data_type(), found);
        }
        (Struct(from), Struct(to)) => {
            from.iter().zip(to).for_each(|(from, to)| compare(from.data_type(), to.data_type(), found));
        }
        _ => {}
    }
}

fn is_utc(zone: &str) -> bool {
    ["UTC", "Etc/UTC", "Z", "+00:00", "-00:00"].contains(&zone)
}

/// What a column of `stored` loses in lines of JSON.
pub fn losses_in_json(stored: &DataType) -> Vec<Loss> {
    let mut found = Vec::new();
    walk(stored, &mut |kind| match kind {
        DataType::Int64 | DataType::UInt64 => found.push(Loss::WideNumber),
        kind if kind.is_decimal() => found.push(Loss::WideNumber),
        kind if kind.is_temporal() => found.push(Loss::TextInJson),
        _ => {}
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// What a column of `stored` loses where everything is text.
pub fn losses_in_text(stored: &DataType) -> Vec<Loss> {
    match stored {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Vec::new(),
        _ => vec![Loss::Untyped],
    }
}

fn walk(kind: &DataType, visit: &mut impl FnMut(&DataType)) {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => walk(item.data_type(), visit),
        DataType::Struct(fields) => fields.iter().for_each(|field| walk(field.data_type(), visit)),
        other => visit(other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use DataType::*;
    use arrow_schema::Field;

    use super::*;

    /// The page lists what the code may say, and says it in the same words.
    #[test]
    fn every_loss_stands_in_the_documentation() {
        let page = include_str!("../../docs/schema.md");
        for loss in Loss::ALL {
            let name = serde_json::to_string(&loss).unwrap_or_default();
            let line = format!("| `{}` | {} |", name.trim_matches('"'), loss.text());
            assert!(page.contains(&line), "docs/schema.md lacks: {line}");
        }
    }

    #[test]
    fn a_loss_is_found_wherever_it_hides() {
        let zoned = |unit, zone: &str| Timestamp(unit, Some(zone.into()));
        let utc = || zoned(TimeUnit::Microsecond, "UTC");
        let list = |kind| List(Arc::new(Field::new("item", kind, true)));
        for (from, to, wanted) in [
            (Int32, Int64, vec![]),
            (LargeUtf8, Utf8, vec![]),
            (zoned(TimeUnit::Millisecond, "+00:00"), utc(), vec![]),
            (zoned(TimeUnit::Nanosecond, "Europe/Paris"), utc(), vec![Loss::Nanoseconds, Loss::ZoneName]),
            (UInt64, Decimal128(20, 0), vec![Loss::Unsigned]),
            (Float64, Float32, vec![Loss::Rounded]),
            (Dictionary(Box::new(Int8), Box::new(UInt8)), Int16, vec![Loss::Unsigned]),
            (list(UInt8), list(Int16), vec![Loss::Unsigned]),
            (
                Struct(vec![Field::new("id", FixedSizeBinary(16), true)].into()),
                Struct(vec![Field::new("id", Binary, true)].into()),
                vec![Loss::FixedLength],
            ),
        ] {
            assert_eq!(losses(&from, &to), wanted, "{from} to {to}");
        }
        assert_eq!(losses_in_json(&list(Decimal128(20, 0))), [Loss::WideNumber]);
        assert_eq!(losses_in_json(&Date32), [Loss::TextInJson]);
        assert_eq!(losses_in_json(&Utf8), []);
        assert_eq!(losses_in_text(&Utf8), []);
        assert_eq!(losses_in_text(&Int64), [Loss::Untyped]);
    }
}

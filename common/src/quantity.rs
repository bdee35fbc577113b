//! Durations and sizes as people write them: `5m`, `256MiB`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A length of time: `500ms`, `30s`, `5m`, `2h`, `7d` (of 24 hours).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct Pause(pub Duration);

/// A number of bytes: `512MiB`, `1GB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct ByteSize(pub u64);

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no {what}")]
pub struct InvalidQuantity {
    value: String,
    what: &'static str,
}

/// A size may be written as a bare number, and a duration may not.
#[derive(Deserialize)]
#[serde(untagged, expecting = "it is no quantity: write a whole number and its unit, such as 30s or 64MiB")]
enum Written {
    Number(u64),
    Text(String),
}

const PAUSES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The largest unit that divides the amount.
fn written(amount: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().filter(|(_, factor)| amount.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor);
    match fitting {
        Some((unit, factor)) if amount > 0 => format!("{}{unit}", amount / factor),
        _ => format!("{amount}{}", units.first().map_or("", |(unit, _)| unit)),
    }
}

impl FromStr for Pause {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid =
            InvalidQuantity { value: text.to_owned(), what: "duration: write a number and one of ms, s, m, h, d" };
        scaled(text, &PAUSES).map(|ms| Self(Duration::from_millis(ms))).ok_or(invalid)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = InvalidQuantity {
            value: text.to_owned(),
            what: "size: write a number and one of B, KiB, MiB, GiB, TiB, KB, MB, GB",
        };
        scaled(text, &SIZES).map(Self).ok_or(invalid)
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX), &PAUSES))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.0, &SIZES))
    }
}

impl TryFrom<Written> for Pause {
    type Error = InvalidQuantity;

    fn try_from(written: Written) -> Result<Self, InvalidQuantity> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Pause> for String {
    fn from(pause: Pause) -> String {
        pause.to_string()
    }
}

impl TryFrom<Written> for ByteSize {
    type Error = InvalidQuantity;

    fn try_from(written: Written) -> Result<Self, InvalidQuantity> {
        match written {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> String {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantities_survive_being_written_and_read() {
        for text in ["0ms", "500ms", "30s", "5m", "2h", "7d", "90s"] {
            assert_eq!(text.parse::<Pause>().unwrap().to_string(), text);
        }
        for (text, bytes) in [("1KiB", 1024), ("256MiB", 256 << 20), ("3GB", 3_000_000_000), ("17", 17)] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes));
            assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>().unwrap(), ByteSize(bytes));
        }
    }

    #[test]
    fn a_number_without_a_unit_is_no_duration() {
        for bad in ["5", "", "m", "1.5h", "5 minutes"] {
            assert!(bad.parse::<Pause>().is_err(), "{bad:?}");
        }
    }
}

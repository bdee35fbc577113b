//! What a load that replaces everything has to look like before it does. An empty or shrunken source is not the truth
//! until somebody says so.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::count::{counted, either, grouped};

/// How many rows a load may bring, and how many more or fewer than are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Fewest rows. Left out, a load without rows does not replace one that has some; 0 allows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rows: Option<u64>,
    /// Most change of the number of rows, up or down, as a part of the rows published before: `30%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub max_row_change: Option<Percent>,
}

/// A part of a number: `30%`, `0.5%`, `250%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent {
    /// Hundredths of a percent.
    pub hundredths: u32,
}

/// Why a text is no percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no percentage: write 30%, or 0.5%, with at most two decimals")]
pub struct InvalidPercent(String);

/// Why a load is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it has {}, and `min_rows` is {}", counted(*loaded, "row"), grouped(*least))]
    TooFew { loaded: u64, least: u64 },
    #[error("it has no rows where {} {} published", grouped(*published), either(*published, "is", "are"))]
    Empty { published: u64 },
    #[error("it has {} where {} {} published, a change of more than {most}", counted(*loaded, "row"), grouped(*published), either(*published, "is", "are"))]
    Changed { loaded: u64, published: u64, most: Percent },
}

impl Guard {
    /// Whether so many rows may replace those published; `None` is published where nobody can tell how many.
    pub fn judge(&self, published: Option<u64>, loaded: u64) -> Result<(), Refused> {
        let published = published.unwrap_or(0);
        match self.min_rows {
            Some(least) if loaded < least => return Err(Refused::TooFew { loaded, least }),
            None if loaded == 0 && published > 0 => return Err(Refused::Empty { published }),
            _ => {}
        }
        match self.max_row_change {
            Some(most) if published > 0 && most.is_less_than(loaded.abs_diff(published), published) => {
                Err(Refused::Changed { loaded, published, most })
            }
            _ => Ok(()),
        }
    }

    /// Whether nobody set anything.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Percent {
    /// Whether `part` of `whole` is more.
    pub fn is_less_than(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 10_000 > u128::from(whole) * u128::from(self.hundredths)
    }
}

impl FromStr for Percent {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        let invalid = || InvalidPercent(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(invalid)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || decimals.len() > 2 || number.ends_with('.') || !digits(whole) || !digits(decimals) {
            return Err(invalid());
        }
        let hundredths = format!("{whole}{decimals:0<2}").parse().map_err(|_| invalid())?;
        Ok(Self { hundredths })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.hundredths / 100, self.hundredths % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            _ if rest.is_multiple_of(10) => write!(f, "{whole}.{}%", rest / 10),
            _ => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

impl TryFrom<String> for Percent {
    type Error = InvalidPercent;

    fn try_from(text: String) -> Result<Self, InvalidPercent> {
        text.parse()
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> String {
        percent.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn guard(min_rows: Option<u64>, most: Option<&str>) -> Guard {
        Guard { min_rows, max_row_change: most.map(|most| most.parse().unwrap()) }
    }

    #[test]
    fn percentages_are_read_as_they_are_written() {
        for text in ["0%", "30%", "0.5%", "0.25%", "250%", "12.05%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
        assert_eq!("30 %".parse::<Percent>().unwrap().hundredths, 3_000);
        for bad in ["30", "", "%", "-1%", "1.%", ".5%", "0.125%", "1e3%", "99999999999%", "١%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_word_a_load_may_change_but_not_vanish() {
        let usual = guard(None, None);
        assert!(usual.is_usual());
        assert_eq!(usual.judge(Some(1_000), 1), Ok(()));
        assert_eq!(usual.judge(Some(1_000), 0), Err(Refused::Empty { published: 1_000 }));
        assert_eq!(usual.judge(Some(0), 0), Ok(()));
        assert_eq!(usual.judge(None, 0), Ok(()));
        assert_eq!(guard(Some(0), None).judge(Some(1_000), 0), Ok(()), "it was said to be right");
    }

    #[test]
    fn too_few_rows_are_refused_on_the_first_load_too() {
        let guard = guard(Some(10), None);
        assert_eq!(guard.judge(None, 9), Err(Refused::TooFew { loaded: 9, least: 10 }));
        assert_eq!(guard.judge(Some(5), 10), Ok(()));
    }

    #[test]
    fn a_change_is_measured_both_ways_and_exactly() {
        let guard = guard(Some(0), Some("30%"));
        for (published, loaded, passes) in
            [(100, 70, true), (100, 69, false), (100, 130, true), (100, 131, false), (100, 0, false), (3, 2, false)]
        {
            assert_eq!(guard.judge(Some(published), loaded).is_ok(), passes, "{published} -> {loaded}");
        }
        assert_eq!(guard.judge(Some(0), 1_000_000), Ok(()), "the first load has nothing to be held against");
        assert!(guard.judge(Some(u64::MAX), 1).is_err());
        let none = self::guard(None, Some("0%"));
        assert!(none.judge(Some(5), 5).is_ok() && none.judge(Some(5), 6).is_err());
    }
}

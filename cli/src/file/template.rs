//! Path templates, as far as the file is concerned: how finely `{window.start:%Y-%m-%d}` cuts time.

use windrow_common::pipeline::Every;

/// A unit of the calendar a path can split by, finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

/// A placeholder and the finest unit in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    /// `{window.start:%H}`.
    pub(crate) placeholder: &'a str,
    pub(crate) unit: Unit,
}

/// The part of a path that names places. Only an address begins with `/`; its query is a condition, which may be as
/// fine as it likes.
pub(crate) fn places(path: &str) -> &str {
    match path.split_once('?') {
        Some((places, _)) if path.starts_with('/') => places,
        _ => path,
    }
}

/// The finest split of the path.
pub(crate) fn finest(path: &str) -> Option<Split<'_>> {
    placeholders(path)
        .filter_map(|placeholder| {
            let unit = placeholder.split('%').skip(1).filter_map(unit_of).min()?;
            Some(Split { placeholder, unit })
        })
        .min_by_key(|split| split.unit)
}

fn placeholders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices("{window.").filter_map(|(start, _)| {
        let end = path[start..].find('}')?;
        Some(&path[start..=start + end])
    })
}

/// The unit of a strftime directive, given what follows its `%`.
fn unit_of(directive: &str) -> Option<Unit> {
    match directive.trim_start_matches(['-', '_', '0', '^', '#']).chars().next()? {
        'S' | 'T' | 's' | 'f' | 'N' | 'c' | 'X' | 'r' => Some(Unit::Second),
        'M' | 'R' => Some(Unit::Minute),
        'H' | 'I' | 'k' | 'l' => Some(Unit::Hour),
        'd' | 'e' | 'j' | 'F' | 'D' | 'x' => Some(Unit::Day),
        'm' | 'b' | 'B' | 'h' => Some(Unit::Month),
        'Y' | 'y' | 'G' | 'g' | 'C' => Some(Unit::Year),
        _ => None,
    }
}

impl Unit {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// As a window length, where one exists.
    pub(crate) fn window(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
            Self::Month => "1mo",
            Self::Year => "12mo",
        }
    }

    /// Whether a window of that length always reaches past one such unit.
    pub(crate) fn is_narrower_than(self, every: Every) -> bool {
        const DAY: u64 = 86_400;
        let seconds = match every {
            Every::Elapsed(length) => length.as_secs(),
            Every::Days(days) => u64::from(days) * DAY,
            Every::Months(months) => match self {
                Self::Month => return months > 1,
                Self::Year => return months > 12,
                _ => return true,
            },
        };
        seconds
            > match self {
                Self::Second => 1,
                Self::Minute => 60,
                Self::Hour => 3_600,
                Self::Day => DAY,
                Self::Month => 31 * DAY,
                Self::Year => 366 * DAY,
            }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_finest_placeholder_decides() {
        for (path, unit) in [
            ("data/flights.csv", None),
            ("date={window.start:%Y-%m-%d}/hour={window.start:%H}", Some(Unit::Hour)),
            ("{window.start:%F}/part", Some(Unit::Day)),
            ("y={window.start:%Y}/m={window.start:%m}", Some(Unit::Month)),
            ("{window.start:%Y%m%dT%H%M}", Some(Unit::Minute)),
            ("{window.start:%-H}", Some(Unit::Hour)),
            ("{window.start}", None),
            ("{window.start:%H", None),
        ] {
            assert_eq!(finest(path).map(|split| split.unit), unit, "{path}");
        }
        let path = "date={window.start:%F}/hour={window.start:%H}";
        assert_eq!(finest(path).unwrap().placeholder, "{window.start:%H}");
    }

    #[test]
    fn the_query_of_an_address_names_no_place_and_a_glob_is_no_query() {
        assert_eq!(places("/v1/{window.start:%Y}?since={window.start:%T}"), "/v1/{window.start:%Y}");
        assert_eq!(places("part-?/{window.start:%H}"), "part-?/{window.start:%H}");
    }

    #[test]
    fn a_window_as_long_as_the_unit_is_not_too_wide() {
        for (unit, every, wider) in [
            (Unit::Hour, "1h", false),
            (Unit::Hour, "61m", true),
            (Unit::Hour, "6h", true),
            (Unit::Day, "1d", false),
            (Unit::Day, "24h", false),
            (Unit::Day, "2d", true),
            (Unit::Day, "1mo", true),
            (Unit::Month, "1mo", false),
            (Unit::Month, "3mo", true),
            (Unit::Year, "12mo", false),
        ] {
            assert_eq!(unit.is_narrower_than(every.parse().unwrap()), wider, "{unit:?} {every}");
        }
    }
}

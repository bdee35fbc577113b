//! What a file's statistics say about the cursor: a stretch that surely holds every row's value. Pure.

use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::Value;
use windrow_common::window::Window;

/// Microseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: i64,
    pub(crate) max: i64,
}

/// Other writers cut timestamps in statistics to milliseconds, also the upper ones.
const CUT_MICROSECONDS: i64 = 999;

const DAY_MICROSECONDS: i64 = 86_400_000_000;

impl Bounds {
    /// The bounds of the top-level column `cursor` in Delta's statistics; `None` when they do not tell.
    pub(crate) fn in_stats(stats: &str, cursor: &str) -> Option<Self> {
        let stats: Value = serde_json::from_str(stats).ok()?;
        let text = |kind: &str| stats.get(kind)?.get(cursor)?.as_str().map(str::to_owned);
        let (min, _) = instant(&text("minValues")?)?;
        let (max, width) = instant(&text("maxValues")?)?;
        Some(Self { min, max: max.checked_add(width)? })
    }

    /// The bounds of a file all of whose rows have the same value, written as a date or a time.
    pub(crate) fn of_value(text: &str) -> Option<Self> {
        let (min, width) = instant(text)?;
        Some(Self { min, max: min.checked_add(width)? })
    }

    /// Whether a row of the file may lie in the window.
    pub(crate) fn touch(&self, window: &Window) -> bool {
        self.min < window.end() && window.start() <= self.max
    }
}

/// Whether statistics say that every row has a value of the top-level column.
pub(crate) fn never_null(stats: &str, column: &str) -> bool {
    let stats: Option<Value> = serde_json::from_str(stats).ok();
    stats.is_some_and(|stats| stats.get("nullCount").and_then(|counts| counts.get(column)?.as_u64()) == Some(0))
}

/// A date or time as statistics write it, and how far the value it stands for may lie behind it.
fn instant(text: &str) -> Option<(i64, i64)> {
    if text.len() == 10 {
        let midnight = text.parse::<civil::Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        return Some((midnight.as_microsecond(), DAY_MICROSECONDS - 1));
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some((instant.as_microsecond(), CUT_MICROSECONDS));
    }
    let local: civil::DateTime = text.parse().ok()?;
    let instant = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some((instant.as_microsecond(), CUT_MICROSECONDS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use windrow_common::window::Axis;

    use super::*;

    #[test]
    fn statistics_bound_the_cursor_in_every_writers_form() {
        let cases = [
            ("2013-01-01T00:00:01.000Z", 1_356_998_401_000_000),
            ("2013-01-01T01:00:01.000+01:00", 1_356_998_401_000_000),
            ("2013-01-01T00:00:01.000000", 1_356_998_401_000_000),
            ("2013-01-01 00:00:01", 1_356_998_401_000_000),
        ];
        for (text, min) in cases {
            let stats = format!(r#"{{"minValues":{{"at":"{text}"}},"maxValues":{{"at":"{text}"}}}}"#);
            assert_eq!(Bounds::in_stats(&stats, "at"), Some(Bounds { min, max: min + 999 }), "{text}");
        }
        assert_eq!(Bounds::in_stats(r#"{"numRecords":3}"#, "at"), None);
        assert_eq!(Bounds::in_stats("broken", "at"), None);
    }

    #[test]
    fn an_upper_bound_cut_to_milliseconds_still_reaches_its_row() {
        let bounds = Bounds { min: 0, max: 1_000 + CUT_MICROSECONDS };
        assert!(bounds.touch(&Window::new(Axis::Time, 1_500, 2_500).unwrap()));
        assert!(!bounds.touch(&Window::new(Axis::Time, 2_000, 2_500).unwrap()));
    }
}

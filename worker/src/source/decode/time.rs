//! Instants from text. A time without a zone is an error unless one is declared, and a local time that a change of
//! clocks makes ambiguous is one unless a policy says which instant is meant.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use schemars::JsonSchema;
use serde::Deserialize;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Which of two instants an ambiguous local time means. A local time that was skipped is moved by the length of the
/// gap, back or forth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::source) enum Ambiguous {
    Earlier,
    Later,
}

/// The zone of times written without one.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::source) struct Zone {
    pub(in crate::source) zone: TimeZone,
    pub(in crate::source) ambiguous: Option<Ambiguous>,
}

impl Zone {
    /// Microseconds of a local time.
    fn resolve(&self, local: DateTime) -> Result<i64, String> {
        let candidates = self.zone.to_ambiguous_timestamp(local);
        let instant = match self.ambiguous {
            Some(Ambiguous::Earlier) => candidates.earlier(),
            Some(Ambiguous::Later) => candidates.later(),
            None if candidates.is_ambiguous() => {
                let name = self.zone.iana_name().unwrap_or("its zone");
                return Err(format!(
                    "{local} is skipped or stands twice in {name}; `ambiguous: earlier` or `later` would decide it"
                ));
            }
            None => candidates.compatible(),
        };
        instant.map(micros).map_err(|cause| cause.to_string())
    }

    /// Microseconds UTC of local microseconds since 1970-01-01T00:00:00. What no calendar reaches keeps its number: in
    /// any zone it lies outside every window.
    pub(in crate::source) fn of_local_micros(&self, local: i64) -> Result<i64, String> {
        match Timestamp::from_microsecond(local) {
            Ok(instant) => self.resolve(instant.to_zoned(TimeZone::UTC).datetime()),
            Err(_) => Ok(local),
        }
    }

    /// The first instant of a day given in days since 1970-01-01; of one no calendar reaches, midnight UTC.
    pub(in crate::source) fn start_of_day(&self, days: i32) -> i64 {
        let epoch = DateTime::from_parts(Date::constant(1970, 1, 1), jiff::civil::Time::midnight());
        let span = jiff::Span::new().try_days(i64::from(days));
        let start = span.and_then(|span| epoch.checked_add(span)).and_then(|midnight| {
            // A midnight that was skipped is followed by the day's first instant; one that stands twice, led by it.
            self.zone.to_ambiguous_timestamp(midnight).compatible()
        });
        start.map_or(days_to_micros(days), micros)
    }
}

/// Days since 1970-01-01 as the microseconds of midnight UTC, or the last there are: files hold days of any year.
pub(in crate::source) fn days_to_micros(days: i32) -> i64 {
    i64::from(days).saturating_mul(MICROS_PER_DAY)
}

/// Whole microseconds at or before an instant.
fn micros(instant: Timestamp) -> i64 {
    // The range of jiff's instants lies well within 64 bits of microseconds.
    i64::try_from(instant.as_nanosecond().div_euclid(1_000)).unwrap_or(i64::MAX)
}

/// Reads timestamps; it remembers the last one, because neighbours are often equal.
#[derive(Debug)]
pub(in crate::source) struct TimestampParser<'a> {
    zone: Option<&'a Zone>,
    last_text: String,
    last: i64,
}

impl<'a> TimestampParser<'a> {
    pub(in crate::source) fn new(zone: Option<&'a Zone>) -> Self {
        Self { zone, last_text: String::new(), last: 0 }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub(in crate::source) fn parse(&mut self, text: &str) -> Result<i64, String> {
        if text == self.last_text && !text.is_empty() {
            return Ok(self.last);
        }
        let value = parse_timestamp(text, self.zone)?;
        self.last_text.clear();
        self.last_text.push_str(text);
        self.last = value;
        Ok(value)
    }
}

/// RFC 3339 (a space may stand for the `T`, seconds may be left out), or the same without an offset where a zone is
/// declared.
pub(in crate::source) fn parse_timestamp(text: &str, zone: Option<&Zone>) -> Result<i64, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(micros(instant));
    }
    match (text.parse::<DateTime>(), zone) {
        (Ok(local), Some(zone)) => zone.resolve(local),
        (Ok(_), None) => Err(format!("{text:?} has no time zone and none is declared; `timezone` would declare it")),
        (Err(_), _) => Err(format!("{text:?} is no timestamp")),
    }
}

/// `2013-01-31` as days since 1970-01-01.
pub(in crate::source) fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date: Date = text.parse().ok()?;
    let days = (date - Date::constant(1970, 1, 1)).get_days();
    Some(days)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paris() -> Zone {
        Zone { zone: TimeZone::get("Europe/Paris").unwrap(), ambiguous: None }
    }

    #[test]
    fn days_of_any_year_keep_their_order() {
        let days = [i32::MIN, -5_000_000, -719_163, 0, 15_706, 2_932_896, 5_000_000, 106_751_992, i32::MAX];
        for of_day in [&days_to_micros as &dyn Fn(i32) -> i64, &|day| paris().start_of_day(day)] {
            let micros: Vec<i64> = days.iter().map(|day| of_day(*day)).collect();
            assert!(micros.is_sorted(), "{micros:?}");
        }
        assert_eq!(paris().start_of_day(0), -3_600_000_000);
    }

    #[test]
    fn an_instant_no_calendar_reaches_is_placed_and_not_refused() {
        assert_eq!(paris().of_local_micros(i64::MAX), Ok(i64::MAX));
        assert_eq!(paris().of_local_micros(0), Ok(-3_600_000_000));
        // 02:30 on 31 March 2024 was skipped.
        assert!(paris().of_local_micros(1_711_852_200_000_000).is_err());
    }
}

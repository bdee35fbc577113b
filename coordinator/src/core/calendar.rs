//! How time is cut: from a pipeline's `window` block to the instants where its windows meet. Zones and daylight saving
//! are resolved here and nowhere else; behind this file a window is two integers.

use std::time::Duration;

use jiff::{Span, Timestamp, civil::DateTime, tz::TimeZone};
use windrow_common::{
    pipeline::{Every, WindowSpec},
    task::Seams,
    window::{Axis, Window},
};

/// A day of 24 hours, in microseconds.
const DAY: i64 = 86_400_000_000;

/// A month on an average over 400 years, in microseconds.
const MONTH: i64 = 2_629_746_000_000;

/// The windows of a pipeline: window `k` is `[bound(k), bound(k + 1))`.
#[derive(Clone, Debug)]
pub struct Tiling {
    every: Every,
    start: DateTime,
    zone: TimeZone,
    /// The first window's start, microseconds UTC.
    origin: i64,
    /// The last window's end.
    end: Option<i64>,
    lag: Duration,
}

/// Why a `window` block makes no windows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BadTiling {
    #[error("no time zone is called {0:?}")]
    UnknownZone(String),
    #[error("{0} is out of the range of times")]
    OutOfRange(DateTime),
    #[error("window.end is not after window.start")]
    EndsBeforeStart,
    #[error("no window of {0} ends within the range of times")]
    TooLong(Every),
}

impl Tiling {
    pub fn new(spec: &WindowSpec) -> Result<Self, BadTiling> {
        let zone = TimeZone::get(&spec.timezone).map_err(|_| BadTiling::UnknownZone(spec.timezone.clone()))?;
        let instant = |civil: DateTime| micros(&zone, civil).ok_or(BadTiling::OutOfRange(civil));
        let origin = instant(spec.start)?;
        let end = spec.end.map(instant).transpose()?;
        if end.is_some_and(|end| end <= origin) {
            return Err(BadTiling::EndsBeforeStart);
        }
        let tiling = Self { every: spec.every, start: spec.start, zone, origin, end, lag: spec.lag.0 };
        match tiling.bound(1) {
            Some(_) => Ok(tiling),
            None => Err(BadTiling::TooLong(spec.every)),
        }
    }

    /// The first window's start.
    pub fn origin(&self) -> i64 {
        self.origin
    }

    /// The last window's end, if the pipeline has one.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// Where window `k` starts; `None` past the end of the pipeline or of time. A last window cut short by `end` has its
    /// end as the bound behind it.
    fn bound(&self, k: i64) -> Option<i64> {
        let at = self.endless_bound(k)?;
        match self.end {
            Some(end) if at >= end => (k > 0 && self.endless_bound(k - 1)? < end).then_some(end),
            _ => Some(at),
        }
    }

    /// [`Self::bound`] as if the pipeline had no end.
    fn endless_bound(&self, k: i64) -> Option<i64> {
        match self.every {
            Every::Elapsed(length) => {
                let step = i64::try_from(length.as_micros()).ok()?;
                k.checked_mul(step).and_then(|offset| self.origin.checked_add(offset))
            }
            Every::Days(days) => self.civil_bound(Span::new().try_days(k.checked_mul(days.into())?).ok()?),
            Every::Months(months) => self.civil_bound(Span::new().try_months(k.checked_mul(months.into())?).ok()?),
        }
    }

    fn civil_bound(&self, offset: Span) -> Option<i64> {
        micros(&self.zone, self.start.checked_add(offset).ok()?)
    }

    /// The number of the window that contains `at`, or that starts first behind it if `at` lies before all windows.
    fn index(&self, at: i64) -> i64 {
        // The calendar ends before the numbers do, and behind its end the estimate would be far off.
        let last = at.min(Timestamp::MAX.as_microsecond());
        let (step, at) = match self.every {
            Every::Elapsed(length) => (i64::try_from(length.as_micros()).unwrap_or(i64::MAX), at),
            Every::Days(days) => (i64::from(days).saturating_mul(DAY), last),
            Every::Months(months) => (i64::from(months).saturating_mul(MONTH), last),
        };
        // Behind the pipeline's end there is nothing to count, however long ago it ended.
        let at = self.end.map_or(at, |end| at.min(end));
        let mut k = at.saturating_sub(self.origin).max(0) / step.max(1);
        // The estimate is exact for elapsed time; calendar units differ from it by daylight saving and month lengths.
        while k > 0 && self.bound(k).is_none_or(|bound| bound > at) {
            k -= 1;
        }
        while self.bound(k + 1).is_some_and(|bound| bound <= at) {
            k += 1;
        }
        k
    }

    /// The greatest bound whose windows before it are all closed at `now`: their end lies `lag` in the past.
    pub fn closed_to(&self, now: Timestamp) -> i64 {
        let lag = i64::try_from(self.lag.as_micros()).unwrap_or(i64::MAX);
        let limit = now.as_microsecond().saturating_sub(lag);
        if limit < self.origin {
            return self.origin;
        }
        let k = self.index(limit);
        self.bound(k + 1).filter(|bound| *bound <= limit).or_else(|| self.bound(k)).unwrap_or(self.origin)
    }

    /// When the window that starts at `start` closes, as a wall-clock instant; `None` if no window starts there.
    pub fn closes(&self, start: i64) -> Option<Timestamp> {
        let window = self.windows(start, start.checked_add(1)?).into_iter().next()?;
        Timestamp::from_microsecond(window.end()).ok()?.checked_add(self.lag).ok()
    }

    /// The windows that overlap `[start, end)`, in order.
    pub fn windows(&self, start: i64, end: i64) -> Vec<Window> {
        self.windows_from(start).take_while(|window| window.start() < end).collect()
    }

    /// The windows from the one that contains `start` on, for ever or to the pipeline's end.
    pub fn windows_from(&self, start: i64) -> impl Iterator<Item = Window> + '_ {
        let first = self.index(start);
        (first..)
            .map_while(|k| Some((self.bound(k)?, self.bound(k + 1)?)))
            .filter_map(move |(from, to)| Window::new(Axis::Time, from, to).ok().filter(|window| window.end() > start))
    }

    /// The windows before `end`, newest first.
    pub fn windows_back_from(&self, end: i64) -> impl Iterator<Item = Window> + '_ {
        let last = self.index(end.saturating_sub(1));
        (0..=last).rev().filter_map(|k| Window::new(Axis::Time, self.bound(k)?, self.bound(k + 1)?).ok())
    }

    /// How many windows lie in `[start, end)`, both of them bounds.
    pub fn count(&self, start: i64, end: i64) -> u64 {
        let end = self.end.map_or(end, |own| own.min(end));
        if start >= end {
            return 0;
        }
        if self.skips_a_day(start, end) {
            return self.windows_from(start).take_while(|window| window.start() < end).count() as u64;
        }
        u64::try_from(self.index(end - 1) - self.index(start) + 1).unwrap_or(0)
    }

    /// Whether a whole day is missing from the zone's calendar, as where the date line was moved: its window is empty.
    fn skips_a_day(&self, start: i64, end: i64) -> bool {
        let (Every::Days(1), Ok(from)) = (self.every, Timestamp::from_microsecond(start)) else { return false };
        let changes = self.zone.following(from).take_while(|change| change.timestamp().as_microsecond() < end);
        let offsets = changes.map(|change| change.offset().seconds());
        let mut before = self.zone.to_offset(from).seconds();
        offsets.into_iter().any(|after| after - std::mem::replace(&mut before, after) >= 86_400)
    }

    /// Where the windows of a run meet.
    pub fn seams(&self, windows: &[Window]) -> Seams {
        match (self.every, windows) {
            (_, [] | [_]) => Seams::None,
            (Every::Elapsed(length), _) => Seams::Every(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)),
            (_, [_, rest @ ..]) => Seams::At(rest.iter().map(Window::start).collect()),
        }
    }
}

/// A civil time as an instant. In a gap it moves on by the gap's length; of two instants it takes the earlier.
fn micros(zone: &TimeZone, civil: DateTime) -> Option<i64> {
    zone.to_ambiguous_timestamp(civil).compatible().ok().map(|instant| instant.as_microsecond())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use windrow_common::quantity::Pause;

    use super::*;

    pub(crate) fn spec(every: &str, start: &str, end: Option<&str>, timezone: &str) -> WindowSpec {
        WindowSpec {
            every: every.parse().unwrap(),
            start: start.parse().unwrap(),
            end: end.map(|end| end.parse().unwrap()),
            timezone: timezone.to_owned(),
            lag: Pause::default(),
            lookback: 0,
            audit_after: None,
            per_task: 1_000,
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn hours(window: &Window) -> i64 {
        (window.end() - window.start()) / 3_600_000_000
    }

    /// Proves IL14.
    #[test]
    fn a_calendar_day_has_23_or_25_hours_when_the_clocks_change_and_24_hours_never_do() {
        let days = Tiling::new(&spec("1d", "2024-03-29T00:00", None, "Europe/Paris")).unwrap();
        let lengths: Vec<_> = days.windows_from(days.origin()).take(4).map(|window| hours(&window)).collect();
        assert_eq!(lengths, [24, 24, 23, 24]);
        let autumn = Tiling::new(&spec("1d", "2024-10-26T00:00", None, "Europe/Paris")).unwrap();
        let lengths: Vec<_> = autumn.windows_from(autumn.origin()).take(3).map(|window| hours(&window)).collect();
        assert_eq!(lengths, [24, 25, 24]);
        let elapsed = Tiling::new(&spec("24h", "2024-03-29T00:00", None, "Europe/Paris")).unwrap();
        assert!(elapsed.windows_from(elapsed.origin()).take(400).all(|window| hours(&window) == 24));
    }

    #[test]
    fn months_follow_the_calendar() {
        let months = Tiling::new(&spec("1mo", "2024-01-31T00:00", None, "UTC")).unwrap();
        let starts: Vec<_> = months
            .windows_from(months.origin())
            .take(4)
            .map(|window| window.instants().unwrap().0.to_string())
            .collect();
        assert_eq!(
            starts,
            ["2024-01-31T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-31T00:00:00Z", "2024-04-30T00:00:00Z"]
        );
    }

    #[test]
    fn a_day_that_a_zone_skipped_makes_no_empty_window() {
        // Samoa had no 30 December 2011.
        let days = Tiling::new(&spec("1d", "2011-12-28T00:00", None, "Pacific/Apia")).unwrap();
        let windows: Vec<_> = days.windows_from(days.origin()).take(4).collect();
        assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].start()), "{windows:?}");
        assert_eq!(days.count(windows[0].start(), windows[3].end()), 4);
    }

    #[test]
    fn windows_longer_than_all_time_are_refused_at_once() {
        for every in ["4294967295h", "4294967295d", "4294967295mo", "8000mo", "100000mo"] {
            let tiling = Tiling::new(&spec(every, "2024-01-01T00:00", None, "UTC"));
            let fits = every == "8000mo";
            assert_eq!(tiling.is_ok(), fits, "{every}");
            let refused = tiling.err().is_none_or(|cause| matches!(cause, BadTiling::TooLong(_)));
            assert!(refused, "{every}");
        }
    }

    #[test]
    fn behind_the_end_of_time_there_is_no_window_and_that_is_found_at_once() {
        for every in ["1d", "1mo"] {
            let tiling = Tiling::new(&spec(every, "2024-01-01T00:00", None, "UTC")).unwrap();
            assert_eq!(tiling.windows_from(i64::MAX - 1).count(), 0, "{every}");
            let last = tiling.windows_back_from(i64::MAX).next().unwrap();
            assert!(last.instants().is_some_and(|(start, _)| start.to_string().starts_with("9999-1")), "{last}");
        }
    }

    #[test]
    fn a_pipeline_that_ended_long_ago_is_closed_to_its_end() {
        let seconds = Tiling::new(&spec("1s", "2001-01-01T00:00", Some("2001-01-01T00:01"), "UTC")).unwrap();
        let now = "2025-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(Some(seconds.closed_to(now)), seconds.end());
        assert_eq!(seconds.count(seconds.origin(), seconds.closed_to(now)), 60);
    }

    #[test]
    fn a_window_is_closed_when_its_end_and_the_lag_have_passed() {
        let mut block = spec("1h", "2024-01-01T00:00", None, "UTC");
        block.lag = "5m".parse().unwrap();
        let tiling = Tiling::new(&block).unwrap();
        let closed = |now: &str| tiling.closed_to(now.parse().unwrap());
        assert_eq!(closed("2023-06-01T00:00:00Z"), tiling.origin());
        assert_eq!(closed("2024-01-01T01:04:59Z"), tiling.origin());
        assert_eq!(closed("2024-01-01T01:05:00Z"), at("2024-01-01T01:00:00Z"));
        assert_eq!(closed("2024-01-01T03:30:00Z"), at("2024-01-01T03:00:00Z"));
        assert_eq!(tiling.closes(tiling.origin()).unwrap().to_string(), "2024-01-01T01:05:00Z");
    }

    #[test]
    fn the_last_window_ends_where_the_pipeline_ends() {
        let tiling = Tiling::new(&spec("1h", "2024-01-01T00:00", Some("2024-01-01T02:30"), "UTC")).unwrap();
        let windows: Vec<_> = tiling.windows_from(tiling.origin()).collect();
        assert_eq!(windows.len(), 3);
        assert_eq!(windows[2].end(), at("2024-01-01T02:30:00Z"));
        assert_eq!(tiling.closed_to("2030-01-01T00:00:00Z".parse().unwrap()), at("2024-01-01T02:30:00Z"));
        assert_eq!(tiling.count(tiling.origin(), at("2024-01-01T02:30:00Z")), 3);
    }

    #[test]
    fn a_year_of_flights_has_8755_hourly_windows() {
        let tiling = Tiling::new(&spec("1h", "2013-01-01T10:00", Some("2014-01-01T05:00"), "UTC")).unwrap();
        assert_eq!(tiling.windows_from(tiling.origin()).count(), 8_755);
        assert_eq!(tiling.windows_back_from(tiling.end().unwrap()).count(), 8_755);
    }

    proptest! {
        /// Proves IL2. Every instant lies in exactly one window, in any zone and unit.
        #[test]
        fn windows_tile_time(
            every in prop::sample::select(vec!["15m", "1h", "7h", "24h", "1d", "3d", "1w", "1mo"]),
            zone in prop::sample::select(vec!["UTC", "America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Pacific/Apia"]),
            offset in 0i64..400 * 86_400,
        ) {
            let tiling = Tiling::new(&spec(every, "2011-02-27T02:30", None, zone)).unwrap();
            let point = tiling.origin() + offset * 1_000_000;
            let around = tiling.windows(point - 86_400_000_000, point + 40 * 86_400_000_000);
            prop_assert!(around.windows(2).all(|pair| pair[0].end() == pair[1].start()));
            prop_assert_eq!(around.iter().filter(|window| window.contains(point)).count(), 1);
            prop_assert_eq!(tiling.windows(point, point + 1).len(), 1);
            let (first, last) = (around.first().unwrap(), around.last().unwrap());
            prop_assert_eq!(tiling.count(first.start(), last.end()), around.len() as u64);
        }
    }
}

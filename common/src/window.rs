//! Windows: half-open stretches of a pipeline's cursor. Nothing here knows calendars; those resolve to instants when
//! a task is planned, and from then on a window is two integers.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a window's bounds count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Axis {
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time = 1,
    /// The version number of a full load.
    Version = 2,
}

/// `[start, end)` over a pipeline's cursor; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct Window {
    axis: Axis,
    start: i64,
    end: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("window is empty: start {start} is not before end {end}")]
pub struct EmptyWindow {
    start: i64,
    end: i64,
}

#[derive(Serialize, Deserialize)]
struct Bounds {
    axis: Axis,
    start: i64,
    end: i64,
}

impl Window {
    pub fn new(axis: Axis, start: i64, end: i64) -> Result<Self, EmptyWindow> {
        if start < end { Ok(Self { axis, start, end }) } else { Err(EmptyWindow { start, end }) }
    }

    /// The window of a full load's `version`.
    pub fn version(version: u32) -> Self {
        Self { axis: Axis::Version, start: version.into(), end: i64::from(version) + 1 }
    }

    pub fn axis(&self) -> Axis {
        self.axis
    }

    pub fn start(&self) -> i64 {
        self.start
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    /// Start and end as instants; `None` unless the axis is [`Axis::Time`].
    pub fn instants(&self) -> Option<(Timestamp, Timestamp)> {
        match self.axis {
            Axis::Time => {
                Some((Timestamp::from_microsecond(self.start).ok()?, Timestamp::from_microsecond(self.end).ok()?))
            }
            Axis::Version => None,
        }
    }

    pub fn contains(&self, point: i64) -> bool {
        self.start <= point && point < self.end
    }

    pub fn covers(&self, other: &Window) -> bool {
        self.axis == other.axis && self.start <= other.start && other.end <= self.end
    }

    pub fn overlaps(&self, other: &Window) -> bool {
        self.axis == other.axis && self.start < other.end && other.start < self.end
    }
}

/// `2013-01-01T10:00:00Z..2013-01-01T11:00:00Z`, or `v7`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.axis, self.instants()) {
            (_, Some((start, end))) => write!(f, "{start}..{end}"),
            (Axis::Version, None) if self.end == self.start + 1 => write!(f, "v{}", self.start),
            (_, None) => write!(f, "{}..{}", self.start, self.end),
        }
    }
}

impl TryFrom<Bounds> for Window {
    type Error = EmptyWindow;

    fn try_from(bounds: Bounds) -> Result<Self, EmptyWindow> {
        Self::new(bounds.axis, bounds.start, bounds.end)
    }
}

impl From<Window> for Bounds {
    fn from(window: Window) -> Self {
        Self { axis: window.axis, start: window.start, end: window.end }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_boundary_point_lies_in_exactly_one_of_two_adjacent_windows() {
        let left = Window::new(Axis::Time, 0, 10).unwrap();
        let right = Window::new(Axis::Time, 10, 20).unwrap();
        assert!(!left.contains(10) && right.contains(10));
        assert!(!left.overlaps(&right));
    }

    #[test]
    fn windows_of_different_axes_never_overlap() {
        let time = Window::new(Axis::Time, 0, 10).unwrap();
        let version = Window::new(Axis::Version, 0, 10).unwrap();
        assert!(!time.overlaps(&version) && !time.covers(&version));
    }

    #[test]
    fn an_empty_window_cannot_be_made_nor_read() {
        assert!(Window::new(Axis::Time, 5, 5).is_err());
        assert!(serde_json::from_str::<Window>(r#"{"axis":"time","start":5,"end":5}"#).is_err());
    }
}

//! What a data file's `tags` say about its rows: the stretch of the cursor they lie in, and the task that wrote them.

use windrow_common::window::{Axis, Window};

/// `<axis>:<start>..<end>`.
pub(super) const WINDOW: &str = "windrow.window";
/// The first 16 digits of the task's id.
pub(super) const TASK: &str = "windrow.task";

pub(super) fn write(window: &Window) -> String {
    let axis = match window.axis() {
        Axis::Time => "time",
        Axis::Version => "version",
    };
    format!("{axis}:{}..{}", window.start(), window.end())
}

/// `None` for what is no tag of ours.
pub(super) fn read(text: &str) -> Option<Window> {
    let (axis, bounds) = text.split_once(':')?;
    let axis = match axis {
        "time" => Axis::Time,
        "version" => Axis::Version,
        _ => return None,
    };
    let (start, end) = bounds.split_once("..")?;
    Window::new(axis, start.parse().ok()?, end.parse().ok()?).ok()
}

/// The task's digits in a staged file's name, `part-<task16>-...`.
pub(super) fn task_of(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    let digits = name.strip_prefix("part-")?.split('-').next()?;
    (digits.len() == 16).then_some(digits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_window_survives_its_tag() {
        for window in [Window::new(Axis::Time, -5, i64::MAX).unwrap(), Window::version(7)] {
            assert_eq!(read(&write(&window)), Some(window));
        }
        for foreign in ["", "time", "time:5..5", "day:1..2", "time:a..b", "time:1-2"] {
            assert_eq!(read(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn the_task_stands_in_the_name() {
        assert_eq!(task_of("day=1/part-0123456789abcdef-e1-t2-0-x.parquet"), Some("0123456789abcdef"));
        assert_eq!(task_of("part-00000-c000.snappy.parquet"), None);
    }
}

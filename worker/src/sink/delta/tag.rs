//! What a data file's `tags` say about its rows: the stretch of the cursor they lie in, the task that wrote them, and how they were put
//! in order.

use windrow_common::{
    compaction::Clustering,
    window::{Axis, Window},
};

/// `<axis>:<start>..<end>`.
pub(super) const WINDOW: &str = "windrow.window";
/// The first 16 digits of the task's id.
pub(super) const TASK: &str = "windrow.task";

/// As a pipeline says it, in JSON.
pub(super) const CLUSTERED: &str = "windrow.clustered";

pub(super) fn write_clustering(clustering: &Clustering) -> Option<String> {
    serde_json::to_string(clustering).ok()
}

/// `None` for what is no tag of ours, or of a later version.
pub(super) fn read_clustering(text: &str) -> Option<Clustering> {
    serde_json::from_str(text).ok()
}

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
    use windrow_common::compaction::Order;

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
    fn an_order_survives_its_tag() {
        let clustering = Clustering { columns: vec!["a".to_owned(), "b, c".to_owned()], order: Order::Zorder };
        let tag = write_clustering(&clustering).unwrap();
        assert_eq!(
            (tag.as_str(), read_clustering(&tag)),
            (r#"{"columns":["a","b, c"],"order":"zorder"}"#, Some(clustering))
        );
        assert_eq!(read_clustering("a, b"), None);
    }

    #[test]
    fn the_task_stands_in_the_name() {
        assert_eq!(task_of("day=1/part-0123456789abcdef-e1-t2-0-x.parquet"), Some("0123456789abcdef"));
        assert_eq!(task_of("part-00000-c000.snappy.parquet"), None);
    }
}

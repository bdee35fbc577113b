//! What windows wait for that a run leaves behind: their source was asked, and is not ready.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use windrow_common::{count::grouped, window::Window};
use windrow_proto::v1;

/// Reasons told per pipeline.
const REASONS: usize = 3;

/// Which windows wait and for what, and what to do.
pub fn render(path: &Path, tasks: &[v1::Task]) -> String {
    let mut text = String::new();
    let mut pipelines: BTreeMap<&str, Vec<&v1::Task>> = BTreeMap::new();
    for task in tasks {
        pipelines.entry(&task.pipeline).or_default().push(task);
    }
    for (pipeline, tasks) in &pipelines {
        let count: u64 = tasks.iter().map(|task| u64::from(task.windows)).sum();
        let wait = if count == 1 { "window waits for its source" } else { "windows wait for their source" };
        let _ = writeln!(text, "{pipeline}: {} {wait}", grouped(count));
        for task in tasks.iter().take(REASONS) {
            let window = task.window.and_then(|window| Window::try_from(window).ok());
            let window = window.map(|window| window.to_string()).unwrap_or_default();
            let _ = writeln!(text, "  {window}: {}", task.waiting_for);
        }
        if tasks.len() > REASONS {
            let _ = writeln!(text, "  and others: windrow get tasks {pipeline} --local {}", path.display());
        }
    }
    if !tasks.is_empty() {
        let path = path.display();
        let _ = writeln!(text, "\nrun again when it is ready, or leave windrow running:");
        let _ = writeln!(text, "  windrow run {path}\n  windrow dev {path}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pipeline: &str, hour: i64, windows: u32, waiting_for: &str) -> v1::Task {
        let start = hour * 3_600_000_000;
        let window = v1::Window { axis: v1::Axis::Time.into(), start, end: start + 3_600_000_000 };
        v1::Task {
            pipeline: pipeline.to_owned(),
            window: Some(window),
            windows,
            waiting_for: waiting_for.to_owned(),
            ..v1::Task::default()
        }
    }

    #[test]
    fn each_pipeline_says_how_many_wait_and_the_first_of_them_why() {
        let mut tasks = vec![task("visits", 1, 1, "process 7 writes")];
        tasks.extend((0..5).map(|hour| task("days", hour, 1, "no marker")));
        let said = render(Path::new("shop.yaml"), &tasks);
        assert!(said.contains("visits: 1 window waits for its source\n"), "{said}");
        assert!(said.contains("  1970-01-01T01:00:00Z..1970-01-01T02:00:00Z: process 7 writes\n"), "{said}");
        assert!(said.contains("days: 5 windows wait for their source\n"), "{said}");
        assert_eq!(said.matches("no marker").count(), REASONS, "{said}");
        assert!(said.contains("  and others: windrow get tasks days --local shop.yaml\n"), "{said}");
        assert!(said.ends_with("  windrow run shop.yaml\n  windrow dev shop.yaml\n"), "{said}");
        assert_eq!(render(Path::new("shop.yaml"), &[]), "");
    }
}

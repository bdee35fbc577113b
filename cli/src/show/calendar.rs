//! Windows on a calendar: a line per day, a mark per window.

use std::{collections::BTreeMap, fmt::Write};

use windrow_common::count::{counted, grouped};
use windrow_proto::v1;

use super::Style;

/// Most days drawn; a longer range is summed up only.
const MAX_DAYS: usize = 62;
/// Most windows named one by one.
const MAX_NAMED: usize = 12;

/// What a backfill would run: the calendar, then the windows by name.
pub fn render(pipeline: &str, found: &v1::PreviewBackfillResponse, style: Style) -> String {
    if let [load] = &found.windows[..]
        && load.window.is_some_and(|window| window.axis() == v1::Axis::Version)
    {
        return full_load(pipeline, load, style);
    }
    let mut text = format!("{} · {}\n", style.bold(pipeline), counted(found.windows.len(), "window"));
    let mut days: BTreeMap<String, Vec<&v1::PlannedWindow>> = BTreeMap::new();
    for window in &found.windows {
        let start = start(window);
        days.entry(start.get(..10).unwrap_or(&start).to_owned()).or_default().push(window);
    }
    if days.len() <= MAX_DAYS {
        for (day, windows) in &days {
            let marks: String = windows.iter().map(|window| mark(window)).collect();
            let _ = writeln!(text, "  {day}  {marks}");
        }
    }
    let _ = writeln!(
        text,
        "  ■ published {}   x failed {}   · missing {}   o open {}",
        grouped(found.published),
        grouped(found.failed),
        grouped(found.missing),
        grouped(found.open)
    );
    let chosen: Vec<&v1::PlannedWindow> = found.windows.iter().filter(|window| window.will_run).collect();
    let named: Vec<String> =
        chosen.iter().take(MAX_NAMED).map(|window| format!("{} ({})", start(window), window.why)).collect();
    let more = chosen.len().saturating_sub(MAX_NAMED);
    let _ = match chosen.len() {
        0 => writeln!(text, "nothing would run"),
        count => writeln!(
            text,
            "will run {}: {}{}",
            grouped(count as u64),
            named.join(", "),
            if more > 0 { format!(" and {} more (all with -o json)", grouped(more as u64)) } else { String::new() }
        ),
    };
    text
}

/// A full load has one window at a time: its next version, or the newest if that is not published.
fn full_load(pipeline: &str, load: &v1::PlannedWindow, style: Style) -> String {
    let version = load.window.map(|window| window.start).unwrap_or_default();
    let mut text = format!("{} · full load, version {version}: {}\n", style.bold(pipeline), load.why);
    text.push_str(match (load.will_run, load.state()) {
        (true, v1::WindowState::Due) => {
            "will run 1: the whole dataset is read again and replaces the version before in one step\n"
        }
        (true, _) => "will run 1: the whole dataset is read and switched in in one step\n",
        (false, v1::WindowState::Published) => {
            "nothing would run: the newest version is published; --reprocess all loads the dataset again\n"
        }
        (false, _) => "nothing would run\n",
    });
    text
}

fn mark(window: &v1::PlannedWindow) -> char {
    match window.state() {
        v1::WindowState::Published => '■',
        v1::WindowState::Quarantined => 'x',
        v1::WindowState::Missing | v1::WindowState::Due => '·',
        _ => 'o',
    }
}

fn start(window: &v1::PlannedWindow) -> String {
    crate::commands::range::bounds(window.window.as_ref()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(start: i64, state: v1::WindowState, will_run: bool, why: &str) -> v1::PreviewBackfillResponse {
        let window = Some(v1::Window { axis: v1::Axis::Version.into(), start, end: start + 1 });
        let planned = v1::PlannedWindow { window, state: state.into(), will_run, why: why.to_owned() };
        v1::PreviewBackfillResponse { windows: vec![planned], ..v1::PreviewBackfillResponse::default() }
    }

    #[test]
    fn the_preview_of_a_full_load_says_what_would_happen() {
        let told = |found| render("planes", &found, Style::plain());
        let next = told(preview(1, v1::WindowState::Due, true, "a new version"));
        assert!(
            next.contains("full load, version 1: a new version") && next.contains("replaces the version"),
            "{next}"
        );
        let done = told(preview(0, v1::WindowState::Published, false, "published"));
        assert!(done.contains("nothing would run") && done.contains("--reprocess all"), "{done}");
        let failed = told(preview(0, v1::WindowState::Quarantined, true, "failed before"));
        assert!(failed.contains("version 0: failed before\nwill run 1: the whole dataset"), "{failed}");
    }
}

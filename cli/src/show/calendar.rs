//! Windows on a calendar: a line per day, a mark per window.

use std::{collections::BTreeMap, fmt::Write};

use windrow_proto::v1;

use super::{Style, number::grouped};

/// Most days drawn; a longer range is summed up only.
const MAX_DAYS: usize = 62;
/// Most windows named one by one.
const MAX_NAMED: usize = 12;

/// What a backfill would run: the calendar, then the windows by name.
pub fn render(pipeline: &str, found: &v1::PreviewBackfillResponse, style: Style) -> String {
    let mut text = format!("{} · {} windows\n", style.bold(pipeline), grouped(found.windows.len() as u64));
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

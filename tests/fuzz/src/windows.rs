//! How time is cut. In any zone and unit, windows are half-open, tile time without gap or overlap, are the same whichever
//! way they are asked for, and a run of them falls apart into the same windows again.

use jiff::Timestamp;
use windrow_common::{
    id::TaskId,
    pipeline::WindowSpec,
    quantity::Pause,
    task::{Lane, Outage, Task, TaskState},
    window::Window,
};
use windrow_coordinator::core::calendar::Tiling;

use super::draw::Draw;

/// Zones with what makes cutting hard: days that were skipped or lived twice, shifts of half an hour, of a few seconds.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Manila",
    "America/Juneau",
    "Asia/Kathmandu",
    "Africa/Monrovia",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Etc/GMT+12",
];
const UNITS: [&str; 6] = ["s", "m", "h", "d", "w", "mo"];
/// Windows looked at from any point.
const LOOKED_AT: usize = 12;

/// The input as a way to cut time, and a place to look at.
pub fn check(data: &[u8]) {
    let mut draw = Draw::of(data);
    let Some(spec) = spec(&mut draw) else { return };
    let Ok(tiling) = Tiling::new(&spec) else { return };
    let point = match draw.byte() % 3 {
        0 => draw.number(),
        1 => tiling.origin().saturating_add(draw.number()),
        _ => tiling.end().unwrap_or(tiling.origin()).saturating_add(draw.number()),
    };
    let windows: Vec<Window> = tiling.windows_from(point).take(LOOKED_AT).collect();
    check_tiles(&tiling, point, &windows);
    check_ways(&tiling, &windows);
    check_closing(&tiling, &spec, point);
    check_run(&tiling, &windows);
}

fn spec(draw: &mut Draw<'_>) -> Option<WindowSpec> {
    let count = match draw.byte() % 4 {
        0 => 1,
        1 | 2 => u32::from(draw.byte()),
        _ => draw.number() as u32,
    };
    let every = format!("{count}{}", draw.pick(&UNITS)).parse().ok()?;
    let civil = |draw: &mut Draw<'_>| {
        let seconds = match draw.byte() % 3 {
            0 => draw.number() % 400_000_000_000,
            _ => 1_320_000_000 + draw.number() % 100_000_000,
        };
        let instant = Timestamp::from_second(seconds).ok()?;
        Some(instant.to_zoned(jiff::tz::TimeZone::UTC).datetime())
    };
    let start = civil(draw)?;
    let end = if draw.byte().is_multiple_of(3) { Some(civil(draw)?) } else { None };
    let lag = Pause(std::time::Duration::from_millis(draw.number().unsigned_abs()));
    Some(WindowSpec {
        every,
        start,
        end,
        timezone: draw.pick(&ZONES).to_owned(),
        lag,
        lookback: 0,
        audit_after: None,
        per_task: 1_000,
    })
}

fn check_tiles(tiling: &Tiling, point: i64, windows: &[Window]) {
    assert!(windows.windows(2).all(|pair| pair[0].end() == pair[1].start()), "{windows:?} do not meet");
    assert!(windows.iter().all(|window| window.end() > point), "{windows:?} do not begin at {point}");
    let Some(first) = windows.first() else { return };
    assert!(first.start() <= point || first.start() == tiling.origin(), "{first:?} is not the first from {point}");
    assert!(tiling.end().is_none_or(|end| windows.iter().all(|window| window.end() <= end)));
    let holding = tiling.windows(point, point.saturating_add(1)).len();
    assert_eq!(holding, usize::from(first.contains(point)), "{point} lies in {holding} windows");
    for window in windows {
        assert_eq!(tiling.windows_from(window.start()).next(), Some(*window));
        assert_eq!(tiling.windows_from(window.end() - 1).next(), Some(*window));
    }
}

/// The same windows backwards, and counted.
fn check_ways(tiling: &Tiling, windows: &[Window]) {
    let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return };
    let mut back: Vec<Window> = tiling.windows_back_from(last.end()).take(windows.len()).collect();
    back.reverse();
    assert_eq!(back, windows, "backwards");
    assert_eq!(tiling.count(first.start(), last.end()), windows.len() as u64, "of {windows:?}");
    assert_eq!(tiling.windows(first.start(), last.end()), windows);
}

/// Closed windows are those whose end lies `lag` in the past.
fn check_closing(tiling: &Tiling, spec: &WindowSpec, point: i64) {
    let Ok(now) = Timestamp::from_microsecond(point) else { return };
    let closed_to = tiling.closed_to(now);
    let limit = i128::from(point) - i128::try_from(spec.lag.0.as_micros()).unwrap_or(i128::MAX);
    if closed_to > tiling.origin() {
        assert!(i128::from(closed_to) <= limit, "{closed_to} is not closed at {limit}");
        let last = tiling.windows_back_from(closed_to).next();
        assert_eq!(last.map(|window| window.end()), Some(closed_to), "no window ends there");
    }
    if let Some(next) = tiling.windows_from(closed_to).next() {
        assert_eq!(next.start(), closed_to.max(tiling.origin()));
        assert!(i128::from(next.end()) > limit, "{next:?} is closed at {limit}");
    }
}

/// A task over a run of windows falls apart into them.
fn check_run(tiling: &Tiling, run: &[Window]) {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
    let window = Window::new(first.axis(), first.start(), last.end()).expect("a run is not empty");
    let pipeline = "flights".parse().expect("a name");
    let task = Task {
        id: TaskId::of(&pipeline, 0, &window, 0),
        pipeline,
        sink: "lake".parse().expect("a name"),
        shard: 0,
        part: None,
        window,
        seams: tiling.seams(run),
        revision: 0,
        lane: Lane::Live,
        created: Timestamp::UNIX_EPOCH,
        attempts: 0,
        errors: 0,
        lost_leases: 0,
        proof: None,
        loaded: None,
        declared: None,
        outage: Outage::default(),
        trace: None,
        state: TaskState::Pending { not_before: Timestamp::UNIX_EPOCH, last_failure: None },
    };
    assert_eq!(task.each_window(), run);
    assert_eq!(task.windows(), run.len());
}

//! Ranges of time as users write them: `--from 2013-02-01 --to 2013-03-01T12:00`, in the pipeline's zone, half-open.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::{Pipeline, WindowSpec},
    window::Window,
};
use windrow_proto::v1;

use super::{failure::Mistake, get::fetch_pipelines};
use crate::client::Admin;

/// The range between two times of a pipeline; `None` if neither is given.
pub async fn of(
    admin: &Admin,
    pipeline: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> anyhow::Result<Option<v1::Window>> {
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let window = windows_of(admin, pipeline).await?;
    let zone = TimeZone::get(&window.timezone)?;
    let start = match from {
        Some(from) => instant(from, &zone)?,
        None => zone.to_timestamp(window.start)?,
    };
    let end = match to {
        Some(to) => instant(to, &zone)?,
        None => match window.end {
            Some(end) => zone.to_timestamp(end)?,
            None => SystemClock::new().now(),
        },
    };
    if start >= end {
        return Err(Mistake::usage(format!(
            "--from {start} is not before --to {end}; the range is half-open, so --to is the first moment behind it"
        )));
    }
    Ok(Some(v1::Window { axis: v1::Axis::Time.into(), start: start.as_microsecond(), end: end.as_microsecond() }))
}

/// How a pipeline cuts time.
pub async fn windows_of(admin: &Admin, pipeline: &str) -> anyhow::Result<WindowSpec> {
    let found = fetch_pipelines(admin).await?;
    let found = found.iter().find(|known| known.name == pipeline).ok_or_else(|| Mistake::no_pipeline(pipeline))?;
    let spec: Pipeline = serde_json::from_slice(&found.spec)?;
    spec.window.ok_or_else(|| {
        Mistake::usage(format!(
            "{pipeline} has no windows of time, so no time can be given; see: windrow get windows {pipeline}"
        ))
    })
}

/// An instant (`2013-02-01T00:00:00Z`) or a civil time in the pipeline's zone (`2013-02-01`, `2013-02-01T10:00`).
pub fn instant(text: &str, zone: &TimeZone) -> anyhow::Result<Timestamp> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let civil: DateTime = text.parse().map_err(|_| {
        Mistake::usage(format!("{text:?} is no time: write 2013-02-01, 2013-02-01T10:00 or 2013-02-01T10:00:00Z"))
    })?;
    Ok(zone.to_timestamp(civil)?)
}

/// The window of a pipeline that holds a time.
pub async fn window_at(admin: &Admin, pipeline: &str, time: &str) -> anyhow::Result<v1::Window> {
    let zone = TimeZone::get(&windows_of(admin, pipeline).await?.timezone)?;
    let start = instant(time, &zone)?.as_microsecond();
    let moment = v1::Window { axis: v1::Axis::Time.into(), start, end: start.saturating_add(1) };
    let request = v1::ListWindowsRequest {
        pipeline: pipeline.to_owned(),
        range: Some(moment),
        page_size: 1,
        page_token: String::new(),
    };
    let found = admin.call(request, |mut client, request| async move { client.list_windows(request).await }).await?;
    let window = found.windows.first().and_then(|found| found.window).filter(|window| window.start <= start);
    window.ok_or_else(|| Mistake::usage(format!("{pipeline} has no window at {time}")))
}

/// A window's bounds as people read them.
pub fn bounds(window: Option<&v1::Window>) -> (String, String) {
    let window = window.and_then(|window| Window::try_from(*window).ok());
    match window.map(|window| (window.instants(), window)) {
        Some((Some((start, end)), _)) => (start.to_string(), end.to_string()),
        Some((None, window)) => (window.to_string(), String::new()),
        None => Default::default(),
    }
}

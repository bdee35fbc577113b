//! Which markers a commit has, and what they say. Pure: the same intent makes the same bytes.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask},
    manifest::Counts,
    pipeline::Pipeline,
    readiness::{Description, Publish},
    window::{Axis, Window},
};

use super::{
    DESCRIPTION,
    describe::{File, Told, describe},
};
use crate::{
    error::{Result, WorkerError},
    stage::joined,
    template::Template,
};

/// A marker that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// What a commit publishes of one window: a task, or what was cut off it with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) window: Window,
    /// `None` for a version that is shown again.
    pub(super) task: Option<&'a IntentTask>,
    pub(super) counts: Counts,
}

/// The pipeline's markers in a commit whose added files readers see as `shown`.
pub(super) fn plan(
    pipeline: &Pipeline,
    publish: &Publish,
    body: &IntentBody,
    shown: &[String],
) -> Result<Vec<Planned>> {
    let marker = template(pipeline, publish).map_err(|message| WorkerError::never(error::BAD_MARKER, message))?;
    let loads = loads(pipeline, body);
    let files: Vec<File<'_>> = body.add.iter().zip(shown).map(|(file, path)| File { path, file }).collect();
    let mut planned = Vec::new();
    let mut add = |path: String, loads: &[Load<'_>], files: &[&File<'_>]| -> Result<()> {
        let told = Told { pipeline, body, loads, files };
        planned.extend(objects(path, describe(&told)?, publish.manifest));
        Ok(())
    };
    if publish.partitions || (pipeline.window.is_some() && !marker.by_window()) {
        let name = publish.marker.rsplit('/').next().unwrap_or_default();
        for (folder, files) in partitions(body, &files) {
            let touched: Vec<Load<'_>> = loads.iter().filter(|load| touches(load, &files)).copied().collect();
            add(joined(&[folder, name]), if files.is_empty() { &loads } else { &touched }, &files)?;
        }
    }
    if marker.by_window() {
        for load in &loads {
            let path = marker.in_window(&load.window, |text| text)?;
            let files: Vec<&File<'_>> = files.iter().filter(|file| file.file.window.overlaps(&load.window)).collect();
            add(path, &[*load], &files)?;
        }
    } else if let (None, Some(last)) = (&pipeline.window, loads.last()) {
        // Of several loads that replace everything only the last one is seen.
        add(publish.marker.clone(), &[*last], &files.iter().collect::<Vec<_>>())?;
    }
    Ok(planned)
}

/// The marker's path, its times in the zone of the windows.
pub(super) fn template(pipeline: &Pipeline, publish: &Publish) -> Result<Template, String> {
    let zone = match pipeline.window.as_ref() {
        Some(window) => TimeZone::get(&window.timezone).map_err(|cause| cause.to_string())?,
        None => TimeZone::UTC,
    };
    Template::parse(&publish.marker, zone)
}

/// The description and the marker, or both in one.
fn objects(path: String, description: Vec<u8>, place: Description) -> Vec<Planned> {
    match place {
        Description::Inside => vec![Planned { path, body: description }],
        Description::Beside => {
            vec![
                Planned { path: format!("{path}{DESCRIPTION}"), body: description },
                Planned { path, body: Vec::new() },
            ]
        }
    }
}

/// What the commit publishes for the pipeline, a window each. Shards of a window are one.
fn loads<'a>(pipeline: &Pipeline, body: &'a IntentBody) -> Vec<Load<'a>> {
    if let Some(version) = body.shows {
        return vec![Load { window: Window::version(version), task: None, counts: Counts::default() }];
    }
    let mut loads: Vec<Load<'a>> = Vec::new();
    for task in body.tasks.iter().filter(|task| task.pipeline == pipeline.name) {
        match loads.iter_mut().find(|load| load.window == task.window) {
            Some(load) => load.counts += task.manifest.counts,
            None => loads.push(Load { window: task.window, task: Some(task), counts: task.manifest.counts }),
        }
    }
    loads
}

/// The folders the commit changes, each with the files it puts there. One from which files only go has none left of these windows.
fn partitions<'a>(body: &'a IntentBody, files: &'a [File<'a>]) -> BTreeMap<&'a str, Vec<&'a File<'a>>> {
    let mut folders: BTreeMap<&str, Vec<&File<'_>>> = BTreeMap::new();
    for path in &body.remove {
        folders.entry(folder(path)).or_default();
    }
    for file in files {
        folders.entry(folder(file.path)).or_default().push(file);
    }
    folders.remove("");
    folders
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether rows of the load are among the files; those of a version are in all of them.
fn touches(load: &Load<'_>, files: &[&File<'_>]) -> bool {
    load.window.axis() == Axis::Version || files.iter().any(|file| file.file.window.overlaps(&load.window))
}

//! Events in the form of CloudEvents 1.0, structured as JSON. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};
use windrow_common::{error, id::PipelineName, intent::IntentBody, manifest::Counts, window::Window};

use crate::error::{Result, WorkerError};

/// Something that happened to a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// The same however often it is told: one for each window and revision.
    pub(crate) id: String,
    kind: &'static str,
    pub(crate) subject: String,
    pub(crate) pipeline: PipelineName,
    data: Value,
}

/// What a commit says to those who are told of a pipeline's windows, in the order they are published. `late_of` is the pipeline it
/// loads beside, if what it loads came late to that one's windows.
pub(crate) fn events(body: &IntentBody, pipeline: &PipelineName, late_of: Option<&PipelineName>) -> Vec<Event> {
    let mut windows: Vec<(Window, Event, Counts)> = Vec::new();
    for task in body.tasks.iter().filter(|task| task.pipeline == *pipeline) {
        // Shards are published with the task that stands for their window, which is the first of them.
        if let Some((_, _, counts)) = windows.iter_mut().find(|(window, ..)| *window == task.window) {
            *counts += task.manifest.counts;
            continue;
        }
        let kind = match (late_of, task.revision) {
            (Some(_), _) => "windrow.window.late",
            (None, 0) => "windrow.window.published",
            (None, _) => "windrow.window.revised",
        };
        let mut event = Event {
            id: task.task.to_string(),
            kind,
            subject: task.window.to_string(),
            pipeline: pipeline.clone(),
            data: json!({ "pipeline": pipeline, "revision": task.revision, "seq": body.seq }),
        };
        if let Some(of) = late_of {
            event.data["late_of"] = json!(of);
        }
        if let Some(declared) = &task.declared {
            event.data["declared"] = json!(declared);
        }
        windows.push((task.window, event, task.manifest.counts));
    }
    windows.into_iter().map(|(window, event, counts)| event.with(&window, &counts)).collect()
}

impl Event {
    fn with(mut self, window: &Window, counts: &Counts) -> Self {
        let data = &mut self.data;
        match window.instants() {
            Some((start, end)) => {
                data["start"] = start.to_string().into();
                data["end"] = end.to_string().into();
            }
            None => data["version"] = window.start().into(),
        }
        data["rows_read"] = counts.rows_read.into();
        data["rows_written"] = counts.rows_written.into();
        data["rows_rejected"] = counts.rows_rejected.into();
        self
    }

    /// What is sent.
    pub(super) fn body(&self, now: Timestamp) -> Result<Vec<u8>> {
        let event = json!({
            "specversion": "1.0",
            "id": self.id,
            "type": self.kind,
            "source": format!("/windrow/pipelines/{}", self.pipeline),
            "subject": self.subject,
            "time": now.to_string(),
            "datacontenttype": "application/json",
            "data": self.data,
        });
        serde_json::to_vec(&event)
            .map_err(|cause| WorkerError::never(error::INTERNAL, "an event cannot be written as JSON").because(cause))
    }
}

//! Guards: a load that replaces everything is held against what is published before its commit is worked out. One that is
//! refused leaves everything as it is.

use std::collections::BTreeMap;

use windrow_common::{
    error,
    guard::{Guard, Refused},
    id::TaskId,
    intent::IntentTask,
    manifest::{Manifest, WriteMode},
};
use windrow_proto::{
    convert::{Malformed, task_id},
    v1,
};

use super::prepare::Blamed;
use crate::{error::WorkerError, sink::Sink};

/// The guards of the tasks that have one.
pub(super) fn guards(tasks: &[v1::SealedTask]) -> Result<BTreeMap<TaskId, Guard>, Malformed> {
    let guarded = tasks.iter().filter_map(|sealed| Some((sealed, sealed.guard?)));
    guarded.map(|(sealed, guard)| Ok((task_id(&sealed.task)?, guard.into()))).collect()
}

/// Fails with the first task whose rows may not replace those before it, in the order the tasks are to be published.
pub(super) async fn check(
    sink: &dyn Sink,
    guards: &BTreeMap<TaskId, Guard>,
    tasks: &[(IntentTask, Manifest)],
) -> Result<(), Blamed> {
    if guards.is_empty() {
        return Ok(());
    }
    let mut published = sink.rows().await?;
    for (task, manifest) in tasks {
        let loaded: u64 = manifest.files.iter().map(|file| file.rows).sum();
        if let Some(guard) = guards.get(&task.task) {
            guard
                .judge(published, loaded)
                .map_err(|refused| Blamed { task: Some(task.task), cause: error(task, refused) })?;
        }
        published = match manifest.write {
            WriteMode::ReplaceAll => Some(loaded),
            WriteMode::Append => published.map(|rows| rows + loaded),
            // What else its window or its keys held nobody has counted.
            WriteMode::ReplaceWindow | WriteMode::Upsert => None,
        };
    }
    Ok(())
}

fn error(task: &IntentTask, refused: Refused) -> WorkerError {
    let pipeline = &task.pipeline;
    WorkerError::never(error::GUARDED, format!("the load is not published, and what was there stays: {refused}"))
        .at(format!("pipeline {pipeline}, {}", task.window))
        .fix(format!(
            "look at the source; if it is right: windrow backfill create {pipeline} --reprocess missing+failed --accept"
        ))
}

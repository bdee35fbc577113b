//! Whether the window's input is complete, by what the pipeline requires. What is not is no error: the window waits. What other
//! pipelines have published the coordinator knows: it gives the task out when that is so.

use windrow_common::{
    error,
    readiness::{Condition, Require},
    window::Window,
};

use crate::{
    error::{Result, WorkerError},
    source::Source,
};

pub(super) async fn check(source: &dyn Source, require: &Require, window: &Window) -> Result<()> {
    for condition in require.all.iter().filter(|condition| is_of_the_source(condition)) {
        if let Some(missing) = source.lacks(condition, window).await? {
            return Err(not_ready(window, &missing));
        }
    }
    let mut missing = Vec::new();
    for condition in require.any.iter().filter(|condition| is_of_the_source(condition)) {
        match source.lacks(condition, window).await? {
            Some(reason) => missing.push(reason),
            None => return Ok(()),
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(not_ready(window, &missing.join(", and "))),
    }
}

/// Whether the source has to tell before it is read.
fn is_of_the_source(condition: &Condition) -> bool {
    matches!(condition, Condition::Marker(_) | Condition::NextPartition(_))
}

/// Holds what was read against what the source counts now.
pub(super) async fn check_count(source: &dyn Source, window: &Window, read: u64) -> Result<()> {
    match source.count(window).await? {
        Some(counted) if counted == read => Ok(()),
        Some(counted) => Err(not_ready(window, &format!("{read} rows were read, and its source counts {counted} now"))),
        None => Err(WorkerError::never(error::CONTRADICTION, "this source cannot count the rows of a window")
            .fix("remove `count` from `readiness.require`")),
    }
}

fn not_ready(window: &Window, missing: &str) -> WorkerError {
    WorkerError::not_ready(error::NOT_READY, format!("the input of {window} is not complete: {missing}")).fix(
        "nothing needs to be done if it is still being written; else write the marker, or correct `readiness.require`",
    )
}

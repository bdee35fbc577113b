//! Whether the window's input is complete, by what the pipeline requires. What is not is no error: the window waits. The coordinator
//! gives a task out when somebody has [looked](crate::look); that may be long ago, so what the source tells is asked once more.

use windrow_common::{
    count::{counted, either, grouped},
    error,
    readiness::{Condition, Require},
    window::Window,
};

use crate::{
    error::{Result, WorkerError},
    source::Source,
};

pub(super) async fn check(source: &dyn Source, require: &Require, window: &Window) -> Result<()> {
    for condition in require.all.iter().filter(|condition| condition.is_about_objects()) {
        if let Some(missing) = lacks(source, condition, window).await? {
            return Err(not_ready(window, &missing));
        }
    }
    // Where something else may have let it go, the source's word is not the last one.
    if !require.any.iter().all(Condition::is_about_objects) {
        return Ok(());
    }
    let mut missing = Vec::new();
    for condition in &require.any {
        match lacks(source, condition, window).await? {
            Some(reason) => missing.push(reason),
            None => return Ok(()),
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(not_ready(window, &missing.join(", and "))),
    }
}

async fn lacks(source: &dyn Source, condition: &Condition, window: &Window) -> Result<Option<String>> {
    let told = source.told(condition, std::slice::from_ref(window)).await?;
    Ok((told.holds != [true]).then_some(told.missing))
}

/// Holds what was read against what the source counts now.
pub(super) async fn check_count(source: &dyn Source, window: &Window, read: u64) -> Result<()> {
    match source.count(window).await? {
        Some(found) if found == read => Ok(()),
        Some(found) => {
            let (rows, were) = (counted(read, "row"), either(read, "was", "were"));
            Err(not_ready(window, &format!("{rows} {were} read, and its source counts {} now", grouped(found))))
        }
        None => Err(WorkerError::never(error::CONTRADICTION, "this source cannot count the rows of a window")
            .fix("remove `count` from `readiness.require`")),
    }
}

fn not_ready(window: &Window, missing: &str) -> WorkerError {
    WorkerError::not_ready(error::NOT_READY, format!("the input of {window} is not complete: {missing}")).fix(
        "nothing needs to be done if it is still being written; else write the marker, or correct `readiness.require`",
    )
}

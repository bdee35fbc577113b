//! Windows and the tasks over them.

use std::collections::BTreeSet;

use super::{Violation, holds};
use crate::{task::Task, window::Window};

/// INV-2: windows in order tile their axis, without gap or overlap.
pub fn windows_tile(windows: &[Window]) -> Result<(), Violation> {
    windows.windows(2).try_for_each(|pair| match pair {
        [left, right] => holds("INV-2", left.axis() == right.axis() && left.end() == right.start(), || {
            format!("{left} is followed by {right}")
        }),
        _ => Ok(()),
    })
}

/// INV-2: no point lies in two of the windows, whatever their order.
pub fn windows_are_disjoint(windows: &[Window]) -> Result<(), Violation> {
    let mut sorted = windows.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).try_for_each(|pair| match pair {
        [left, right] => holds("INV-2", !left.overlaps(right), || format!("{left} overlaps {right}")),
        _ => Ok(()),
    })
}

/// INV-3: no window of a pipeline's shard is in two tasks of one revision.
pub fn one_task_per_window<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for task in tasks {
        for window in task.each_window() {
            let first = seen.insert((&task.pipeline, task.shard, task.revision, window));
            holds("INV-3", first, || format!("window {window} of {} has two tasks", task.pipeline))?;
        }
    }
    Ok(())
}

//! How many files a commit adds: what people are told a pipeline has written. What was staged tells less of it, for small files are merged
//! on their way and rows of a database stay in none.

use std::collections::BTreeMap;

use windrow_common::{id::TaskId, intent::IntentBody};

use crate::{sink::Sink, stage::StagedName};

/// How many of the files are named for each of the tasks that are published. One of many tasks' rows is named for the first of them.
pub(super) fn files(sink: &dyn Sink, body: &IntentBody) -> BTreeMap<TaskId, u64> {
    let mut files: BTreeMap<TaskId, u64> = body.tasks.iter().map(|task| (task.task, 0)).collect();
    let added = body.add.iter().filter(|_| sink.keeps_files());
    for name in added.filter_map(|file| StagedName::parse(&file.path)) {
        if let Some((_, count)) = files.iter_mut().find(|(task, _)| task.short() == name.task16) {
            *count += 1;
        }
    }
    files
}

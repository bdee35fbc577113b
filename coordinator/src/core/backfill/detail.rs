//! Where the spans inside attempts go: a trace shows its attempts whole while they are few.

use windrow_common::{
    pipeline::{Detail, WindowSpec},
    task::{Lane, Task},
};

use super::Backfill;
use crate::core::table::{PipelineEntry, Table};

/// Most tasks of a backfill whose attempts are shown whole in its trace. An attempt has up to eight spans, and pages that
/// show traces get slow past some two thousand.
const MOST_WHOLE: u64 = 250;

/// Whether what happens inside attempts at the task goes to traces of their own.
pub fn is_apart(table: &Table, entry: &PipelineEntry, task: &Task) -> bool {
    match (entry.spec().telemetry.detail, &task.lane) {
        (Detail::Linked, _) => true,
        (Detail::Inline, _) | (Detail::Auto, Lane::Live | Lane::Recount | Lane::Compact | Lane::Compare) => false,
        (Detail::Auto, Lane::Backfill(id)) => {
            table.backfill(id).is_some_and(|found| tasks(entry, &found.value) > MOST_WHOLE)
        }
    }
}

/// How many tasks the backfill's windows make, if none is split.
fn tasks(entry: &PipelineEntry, backfill: &Backfill) -> u64 {
    let per_task = entry.spec().window.as_ref().map_or(1, WindowSpec::run);
    backfill.windows.div_ceil(per_task.into())
}

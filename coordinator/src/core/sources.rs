//! What all who read from one place may ask of it together: so many tasks at a time, and so many rows a second. The first
//! is counted in the table, so it holds whoever leads; the rows wait in one queue in the leader's memory, which every
//! worker asks before it lets rows through.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use windrow_common::{
    id::{PipelineName, SourceId},
    pipeline::SourceLimits,
    task::{Lane, Task, TaskPhase},
};

use super::{
    shards,
    table::{PipelineEntry, Table},
};

/// The limits of a place: the strictest of those that the pipelines which read there name.
pub fn limits(table: &Table, source: SourceId) -> SourceLimits {
    let there = table.pipelines().flat_map(|(_, entry)| places(entry)).filter(|(place, _)| *place == source);
    there.fold(SourceLimits::default(), |all, (_, limits)| all.and(limits))
}

/// Where tasks of a lane read.
pub fn read_by(entry: &PipelineEntry, lane: &Lane) -> SourceId {
    match lane {
        Lane::Compare => entry.keys,
        Lane::Live | Lane::Backfill(_) | Lane::Recount | Lane::Compact => entry.source,
    }
}

/// How many tasks read there.
pub fn reading(table: &Table, source: SourceId) -> usize {
    let of = |(name, entry): (&PipelineName, &PipelineEntry)| {
        let comparing = table.count(name, &Lane::Compare, TaskPhase::Claimed);
        let rows = if entry.source == source { table.count_all(name, TaskPhase::Claimed) - comparing } else { 0 };
        rows + if entry.keys == source { comparing } else { 0 }
    };
    let whole: usize = table.pipelines().map(of).sum();
    let reads_there = |task: &Task| table.pipeline(&task.pipeline).is_some_and(|entry| entry.source == source);
    whole + shards::count_claimed(table, reads_there)
}

/// Where a pipeline reads, and what it says may be asked there.
fn places(entry: &PipelineEntry) -> impl Iterator<Item = (SourceId, SourceLimits)> {
    let keys = entry.spec().deletes.as_ref().and_then(|deletes| deletes.from.as_ref());
    let rows = (entry.source, entry.spec().source.from.limits);
    std::iter::once(rows).chain(keys.map(|from| (entry.keys, from.limits)))
}

/// How many more tasks may read from each place that limits them.
pub(super) fn room(table: &Table) -> BTreeMap<SourceId, usize> {
    let all = table.pipelines().flat_map(|(_, entry)| places(entry));
    let mut room = BTreeMap::new();
    for (source, _) in all.filter(|(_, limits)| limits.connections.is_some()) {
        room.entry(source).or_insert_with(|| {
            let most = limits(table, source).connections.map_or(usize::MAX, |most| most.get() as usize);
            most.saturating_sub(reading(table, source))
        });
    }
    room
}

/// The rows of the places that limit them, each place one queue. A new leader starts with empty ones, and whoever was told
/// to wait does so still.
#[derive(Clone, Debug, Default)]
pub struct Queues(BTreeMap<SourceId, Duration>);

impl Queues {
    /// How long to wait before so many rows may go through. They have been let through at the end of that wait, so that
    /// whoever counts from any moment on never counts more than the rate.
    pub fn turn(&mut self, source: SourceId, rows: u64, rate: NonZeroU32, now: Duration) -> Duration {
        // A queue that has run empty is none.
        self.0.retain(|_, end| *end > now);
        let end = self.0.entry(source).or_insert(now);
        let takes = u128::from(rows) * 1_000_000_000 / u128::from(rate.get());
        *end += Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        *end - now
    }
}

//! Which sealed tasks a sink's next intent is made of.

use std::collections::BTreeSet;

use windrow_common::{
    id::{PipelineName, SinkId},
    task::{Lane, Task},
};

use super::{
    gather::{self, When},
    lifecycle, shards,
    table::{Table, Versioned},
};

/// Most different pipelines, and most backfills, one intent may publish for; keeps T9 within one transaction.
const MAX_PIPELINES: usize = 10;

/// The oldest seals first, as many as one intent and its finalizing transaction can take. Shards go with the task they were
/// cut off, all or none.
///
/// Groups of files that were rewritten go by themselves, when the oldest seal is one of theirs: so no group is put off for longer
/// than the commit of what was sealed before it, and windows that were sealed meanwhile are put off by one commit that moves no
/// data. So does a comparison of keys, alone.
///
/// Windows that [gather](gather) are as if they were not sealed yet, so they hold up nobody.
pub(super) fn choose<'a>(
    table: &'a Table,
    sink: &SinkId,
    (most, knows): (usize, Knows),
    when: When,
) -> Vec<&'a Versioned<Task>> {
    let oldest = |task: Option<&Versioned<Task>>| task.map_or(i64::MAX, |task| task.revision);
    let gathering = gather::gathering(table, sink, most, when);
    let goes = |task: &&Versioned<Task>| !gathering.contains_key(&&task.value.pipeline);
    let window = oldest(table.sealed(sink).find(goes));
    let comparison = table.sealed_comparisons(sink).next().filter(|_| knows.comparisons);
    if oldest(comparison) < window {
        return comparison.into_iter().collect();
    }
    if knows.groups && oldest(table.sealed_groups(sink).next()) < window {
        return table.sealed_groups(sink).take(most).collect();
    }
    let mut pipelines: BTreeSet<&PipelineName> = BTreeSet::new();
    let mut lanes: BTreeSet<&Lane> = BTreeSet::new();
    let mut chosen = Vec::new();
    for entry in table.sealed(sink).filter(goes) {
        let alone = lifecycle::goes_alone(table, &entry.value);
        if alone && !chosen.is_empty() {
            break;
        }
        let Some(all) = shards::published_with(table, entry) else { continue };
        let first = chosen.first().map(|first: &&Versioned<Task>| &first.value.pipeline);
        if first.is_some_and(|first| are_apart(table, first, &entry.value.pipeline)) {
            break;
        }
        pipelines.insert(&entry.value.pipeline);
        lanes.insert(&entry.value.lane);
        let full = !chosen.is_empty() && chosen.len() + all.len() > most;
        if full || pipelines.len() > MAX_PIPELINES || lanes.len() > MAX_PIPELINES {
            break;
        }
        chosen.extend(all);
        if alone {
            break;
        }
    }
    chosen
}

/// What beside windows a committer knows how to commit.
#[derive(Clone, Copy)]
pub(super) struct Knows {
    pub(super) groups: bool,
    pub(super) comparisons: bool,
}

/// Whether two pipelines' tasks take separate intents: a committer sets the markers of one pipeline at a time.
fn are_apart(table: &Table, one: &PipelineName, other: &PipelineName) -> bool {
    let has_markers =
        |name: &PipelineName| table.pipeline(name).is_some_and(|entry| entry.spec().readiness.publish.is_some());
    one != other && (has_markers(one) || has_markers(other))
}

//! Full loads whose source is proven to be what is loaded: no row moves, and the version is published from its claim.
//!
//! A proof says what the source held when the rows were read. It is kept with the commit that published them, and counts as
//! long as the sink has made no other one since: after a rollback, or a load of somebody else, readers see other rows. That
//! readers do see them the sink itself is asked by the worker, before it says a word here.

use windrow_common::{
    intent::Seq,
    manifest::Digest,
    pipeline::{Pattern, Unchanged},
    task::Task,
};

use super::{
    lifecycle::{self, HeldClaim, Now, Refused},
    recount, rollback,
    table::{Change, Coverage, Key, PipelineEntry, Record, Table},
};

/// Most separate stretches of versions that are remembered as unchanged; the oldest are forgotten.
const MAX_STRETCHES: usize = 300;

/// What the rows readers see were loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The digest of what the source was proven to hold.
    pub proof: Digest,
    /// The commit that published them. When the sink has gone on since, readers may see others.
    pub seq: Seq,
    pub rows: u64,
}

/// Whether a pipeline leaves out loads that would change nothing.
fn skips(entry: &PipelineEntry) -> bool {
    entry.spec().pattern == Pattern::Full && entry.spec().unchanged == Unchanged::Skip
}

/// Whether an attempt at the task is to prove what its source holds.
pub fn is_proven(entry: &PipelineEntry, task: &Task, now: Now) -> bool {
    skips(entry) && task.shard == 0 || recount::is_asked_for(entry, task, now)
}

/// What readers see of the pipeline, if that is known, and if it may stand for what the task is to load: whoever accepts
/// what comes wants it loaded.
pub fn loaded(table: &Table, task: &Task) -> Option<Loaded> {
    let entry = table.pipeline(&task.pipeline).filter(|entry| skips(entry))?;
    let accepted = task.lane.backfill().and_then(|id| table.backfill(id)).is_some_and(|found| found.value.accept);
    if accepted || task.shard > 0 || table.recovery().is_some() {
        return None;
    }
    let sink = table.sink(&entry.sink)?;
    let newest = sink
        .head
        .as_ref()
        .is_some_and(|head| Some(head.value.seq) == entry.coverage.value.loaded.map(|loaded| loaded.seq));
    let still = sink.intent.is_none() && rollback::open(table, &entry.sink).is_none();
    entry.coverage.value.loaded.filter(|_| newest && still)
}

/// An attempt has found its source to be what was loaded by the commit `seq`, and the sink to show that. Publishes the task's
/// version without a commit; `None` if it has to be loaded after all.
pub fn publish(
    table: &Table,
    epoch: i64,
    claim: &HeldClaim,
    (proof, seq): (Digest, u64),
) -> Result<Option<Change>, Refused> {
    let entry = table.task(&claim.task).ok_or(Refused::Gone(claim.task))?;
    lifecycle::holder(entry, epoch, &claim.token)?;
    let task = &entry.value;
    let same = loaded(table, task).is_some_and(|loaded| (loaded.proof, loaded.seq) == (proof, seq));
    let (true, None) = (same, table.shards_of(&task.id).next()) else { return Ok(None) };
    let Some((pipeline, sink)) = table.pipeline(&task.pipeline).zip(table.sink(&task.sink)) else { return Ok(None) };
    let coverage = with_unchanged(&pipeline.coverage.value, task);
    let key = Key::Task(task.pipeline.clone(), task.id);
    let mut change = Change {
        expect: vec![
            (key.clone(), Some(entry.revision)),
            (Key::Head(task.sink.clone()), sink.head.as_ref().map(|head| head.revision)),
            (Key::Intent(task.sink.clone()), None),
        ],
        put: Vec::new(),
        delete: vec![key],
    };
    change = change.and(Change::replace(Record::Coverage(task.pipeline.clone(), coverage), pipeline.coverage.revision));
    if let Some(backfill) = task.lane.backfill().and_then(|id| table.backfill(id)) {
        let mut next = backfill.value.clone();
        next.published += task.windows() as u64;
        change = change.and(Change::replace(Record::Backfill(next), backfill.revision));
    }
    Ok(Some(change))
}

fn with_unchanged(coverage: &Coverage, task: &Task) -> Coverage {
    let mut next = coverage.clone();
    next.published.insert(task.window.start(), task.window.end());
    next.unchanged.insert(task.window.start(), task.window.end());
    while next.unchanged.len() > MAX_STRETCHES {
        let Some((start, end)) = next.unchanged.iter().next() else { break };
        next.unchanged.remove(start, end);
    }
    next
}

/// What is known once a full load is published by the commit `seq`: nothing, unless it was proven. A version that is loaded
/// again has rows of its own.
pub(super) fn now_loaded(coverage: &mut Coverage, task: &Task, loaded: Option<Loaded>) {
    coverage.loaded = loaded;
    coverage.unchanged.remove(task.window.start(), task.window.end());
}

//! Closed windows: published ones whose pipeline says that they stay as they are. Every way to load a window again asks here
//! (backfills, looking back, recounts); what is noted with each commit shows that none was taken.

use windrow_common::{
    closed::Declared,
    id::PipelineName,
    intent::Seq,
    manifest::{Counts, Digest},
    task::Task,
    window::{Axis, Window},
};

use super::{
    ready::{self, Ready},
    revised::Revisions,
    table::{Coverage, PipelineEntry, Table},
};

/// Most windows of a pipeline of which it is kept who declared them complete; the oldest are forgotten.
const MOST_DECLARED: usize = 20;

/// A window that was published because somebody said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredWindow {
    pub window: Window,
    pub declared: Declared,
}

/// How far a range is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed<'a> {
    /// Why something of it may change yet; `None` if nothing can.
    pub open: Option<&'static str>,
    /// The highest revision of a window in it; `None` where that is not known.
    pub revision: Option<u32>,
    /// The sink's newest commit. Its digest is made of all before it.
    pub head: (Seq, Option<Digest>),
    pub declared: Vec<&'a DeclaredWindow>,
}

/// Whether a pipeline's windows stay as they are once they are published.
pub fn closes(entry: &PipelineEntry) -> bool {
    entry.tiling.is_some() && (entry.spec().readiness.late.closes() || is_beside(entry).is_some())
}

/// The pipeline whose windows this one loads beside, if it does nothing else.
pub fn is_beside(entry: &PipelineEntry) -> Option<&PipelineName> {
    entry.spec().beside.as_ref().map(|beside| &beside.of)
}

/// The pipeline that loads what came late to another one's windows.
pub fn beside<'a>(table: &'a Table, of: &PipelineName) -> Option<&'a PipelineEntry> {
    table.pipelines().map(|(_, entry)| entry).find(|entry| is_beside(entry) == Some(of))
}

/// How far a range is closed that was found to be ready or not.
pub fn closed<'a>(table: &Table, entry: &'a PipelineEntry, ready: &Ready<'_>) -> Closed<'a> {
    let range = &ready.range;
    let open = match (closes(entry), ready.first.is_some()) {
        (_, true) => Some("not all of it is published"),
        (false, false) => Some("the pipeline says that windows may be loaded again: `readiness.late`"),
        (true, false) if ready::first_moving(table, entry, range).is_some() => {
            Some("something of it is being loaded again")
        }
        (true, false) => None,
    };
    let head = table.sink(&entry.sink).and_then(|sink| sink.head.as_ref());
    let declared = entry.coverage.value.declared.iter().filter(|found| found.window.overlaps(range));
    Closed {
        open,
        revision: revision(entry, range),
        head: head.map_or((0, None), |head| (head.value.seq, head.value.digest)),
        declared: declared.collect(),
    }
}

/// The highest revision within a range; `None` where it is not known.
pub fn revision(entry: &PipelineEntry, range: &Window) -> Option<u32> {
    known(&entry.coverage.value, entry.cursor.value.revision).map(|known| known.highest(range.start(), range.end()))
}

/// Where no window was ever given another revision, none has one.
fn known(coverage: &Coverage, last_given: u32) -> Option<Revisions> {
    coverage.revisions.clone().or_else(|| (last_given == 0).then(Revisions::default))
}

/// A task is published: its windows are covered, in its revision.
pub(super) fn now_published(coverage: &mut Coverage, entry: &PipelineEntry, task: &Task, gained: Counts) {
    let window = &task.window;
    coverage.published.insert(window.start(), window.end());
    coverage.totals += gained;
    note(coverage, entry, window, task.revision);
    if task.shard == 0 {
        coverage.declared.retain(|known| !known.window.overlaps(window));
        let declared = task.declared.as_deref().cloned();
        coverage.declared.extend(declared.map(|declared| DeclaredWindow { window: *window, declared }));
        let over = coverage.declared.len().saturating_sub(MOST_DECLARED);
        coverage.declared.drain(..over);
    }
}

/// Notes the revision of a published stretch. Versions of full loads are windows of their own.
pub(super) fn note(coverage: &mut Coverage, entry: &PipelineEntry, window: &Window, revision: u32) {
    if window.axis() == Axis::Time {
        let known = known(coverage, entry.cursor.value.revision);
        coverage.revisions = known.and_then(|known| known.note((window.start(), window.end()), revision));
    }
}

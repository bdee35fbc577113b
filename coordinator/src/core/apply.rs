//! Taking pipelines into the ledger: created, changed or found unchanged, all in one transaction.

use std::collections::BTreeMap;

use windrow_common::{
    id::{PipelineName, SinkId},
    pipeline::Pipeline,
    window::Axis,
};

use super::{
    calendar::{BadTiling, Tiling},
    coverage::IntervalSet,
    plan,
    revised::Revisions,
    table::{Change, Coverage, Cursor, PipelineEntry, PipelineState, Record, Table},
};

/// Most pipelines of one request: three records each have to fit one transaction.
pub const MAX_PIPELINES: usize = 40;

/// What applying does to a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Created,
    Updated,
    Unchanged,
}

/// Why pipelines cannot be applied.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BadPipeline {
    #[error("{0} pipelines at once are too many, the limit is {MAX_PIPELINES}")]
    TooMany(usize),
    #[error("pipeline {name}: {cause}")]
    Window { name: PipelineName, cause: BadTiling },
    #[error("pipeline {name} has published windows, so its {what} cannot change any more")]
    Frozen { name: PipelineName, what: &'static str },
    #[error("pipeline {name} compares keys, so it would delete the rows that {other} writes to the same table")]
    Shared { name: PipelineName, other: PipelineName },
}

/// The change that applies `pipelines`, and what it does to each. Without an entry for a pipeline nothing of it is kept.
pub fn apply(table: &Table, pipelines: &[Pipeline]) -> Result<(Change, Vec<Applied>), BadPipeline> {
    if pipelines.len() > MAX_PIPELINES {
        return Err(BadPipeline::TooMany(pipelines.len()));
    }
    check_shared(table, pipelines)?;
    let mut whole = Change::default();
    let mut applied = Vec::with_capacity(pipelines.len());
    for pipeline in pipelines {
        let (change, outcome) = match table.pipeline(&pipeline.name) {
            None => (create(pipeline)?, Applied::Created),
            Some(entry) if entry.spec() == pipeline => (Change::default(), Applied::Unchanged),
            Some(entry) => (update(entry, pipeline)?, Applied::Updated),
        };
        whole = whole.and(change);
        applied.push(outcome);
    }
    Ok((whole, applied))
}

/// Of a table whose keys are compared with those of one source, every row is of that source.
fn check_shared(table: &Table, pipelines: &[Pipeline]) -> Result<(), BadPipeline> {
    let stays = |name: &PipelineName| pipelines.iter().all(|pipeline| pipeline.name != *name);
    let known = table.pipelines().filter(|(name, _)| stays(name)).map(|(_, entry)| (entry.sink.clone(), entry.spec()));
    let mut lanes: BTreeMap<SinkId, Vec<&Pipeline>> = BTreeMap::new();
    for (sink, pipeline) in known.chain(pipelines.iter().map(|pipeline| (pipeline.sink.id(), pipeline))) {
        lanes.entry(sink).or_default().push(pipeline);
    }
    for lane in lanes.values() {
        let Some(one) = lane.iter().find(|pipeline| pipeline.deletes.is_some()) else { continue };
        if let Some(other) = lane.iter().find(|other| other.name != one.name) {
            return Err(BadPipeline::Shared { name: one.name.clone(), other: other.name.clone() });
        }
    }
    Ok(())
}

fn create(pipeline: &Pipeline) -> Result<Change, BadPipeline> {
    let name = &pipeline.name;
    let (axis, cursor) = start(pipeline)?;
    let coverage = Coverage {
        axis,
        published: IntervalSet::new(),
        totals: Default::default(),
        loaded: None,
        unchanged: IntervalSet::new(),
        revisions: Some(Revisions::default()),
        declared: Vec::new(),
    };
    let state = PipelineState { pipeline: pipeline.clone(), paused: None };
    Ok(Change::create(Record::Pipeline(state))
        .and(Change::create(Record::Cursor(name.clone(), cursor)))
        .and(Change::create(Record::Coverage(name.clone(), coverage))))
}

/// A pipeline keeps its timeline: what was published stays published, so where windows lie and where they are written
/// to is fixed once there is something to lose.
fn update(entry: &PipelineEntry, pipeline: &Pipeline) -> Result<Change, BadPipeline> {
    let frozen = |what| BadPipeline::Frozen { name: pipeline.name.clone(), what };
    let untouched = entry.coverage.value.published.is_empty() && entry.cursor.value == start(entry.spec())?.1;
    let state = PipelineState { pipeline: pipeline.clone(), paused: entry.state.value.paused.clone() };
    let change = Change::replace(Record::Pipeline(state), entry.state.revision);
    let (before, after) = (entry.spec(), pipeline);
    if before.pattern != after.pattern {
        return Err(frozen("pattern"));
    }
    let (axis, cursor) = start(pipeline)?;
    if untouched {
        let name = pipeline.name.clone();
        let coverage = Coverage { axis, ..entry.coverage.value.clone() };
        return Ok(change
            .and(Change::replace(Record::Cursor(name.clone(), cursor), entry.cursor.revision))
            .and(Change::replace(Record::Coverage(name, coverage), entry.coverage.revision)));
    }
    if entry.sink != pipeline.sink.id() {
        return Err(frozen("sink"));
    }
    let grid = |pipeline: &Pipeline| {
        pipeline.window.as_ref().map(|window| (window.every, window.start, window.timezone.clone()))
    };
    if grid(before) != grid(after) {
        return Err(frozen("window grid (every, start, timezone)"));
    }
    if cuts_a_window(entry, pipeline) {
        return Err(frozen("window end, which has cut a window short,"));
    }
    Ok(change)
}

/// Whether the next window to plan would, with its new end, start before the cursor: a shortened last window grew again.
fn cuts_a_window(entry: &PipelineEntry, pipeline: &Pipeline) -> bool {
    let tiling = pipeline.window.as_ref().and_then(|window| Tiling::new(window).ok());
    let cursor = entry.cursor.value.next;
    tiling.is_some_and(|tiling| tiling.windows_from(cursor).next().is_some_and(|window| window.start() < cursor))
}

fn start(pipeline: &Pipeline) -> Result<(Axis, Cursor), BadPipeline> {
    let Some(window) = &pipeline.window else { return Ok((Axis::Version, plan::first_cursor(Axis::Version, 0))) };
    let name = pipeline.name.clone();
    let tiling = Tiling::new(window).map_err(|cause| BadPipeline::Window { name, cause })?;
    Ok((Axis::Time, plan::first_cursor(Axis::Time, tiling.origin())))
}

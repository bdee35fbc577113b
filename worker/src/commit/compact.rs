//! Which files of a table are worth rewriting: what the sink finds, each group's list written down under its digest.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use windrow_common::{compaction::FileLayout, error};
use windrow_proto::v1;

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sink::regroup::{Packing, put_group},
};

/// Lists written at a time.
const LISTS_AT_A_TIME: usize = 8;

pub(super) async fn plan(
    connectors: &Connectors,
    asked: &v1::PlanCompaction,
    now: Timestamp,
) -> Result<(FileLayout, Vec<v1::FileGroup>)> {
    let pipeline = read_pipeline(&asked.pipeline)?;
    checked_sink(&asked.sink, &pipeline)?;
    let Some(compaction) = pipeline.compaction.as_deref() else {
        return Err(WorkerError::later(error::VERSION_SKEW, "the pipeline does not say how files are compacted"));
    };
    let age = i64::try_from(compaction.max_age.0.as_millis()).unwrap_or(i64::MAX);
    let rule = Packing {
        target: compaction.target_size.0,
        small_below: compaction.small_below(),
        min_files: compaction.min_files as usize,
        stale_before: now.as_millisecond().saturating_sub(age),
        windows_are_replaced: asked.windows_are_replaced,
    };
    let sink = connectors.sink(&pipeline)?;
    let found = sink.small_files(&rule).await?;
    let storage = sink.storage();
    let told = stream::iter(found.groups).map(|group| async move { put_group(storage, &group).await });
    let groups = told.buffered(LISTS_AT_A_TIME).map_ok(|group| (&group).into()).try_collect().await?;
    Ok((found.layout, groups))
}

//! Which files of a table are worth rewriting: what the sink finds, each group's list written down under its digest.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use windrow_common::{
    compaction::{Compaction, FileLayout},
    error,
    manifest::Digest,
};
use windrow_proto::v1;

use super::checked_sink;
use crate::{
    error::{Result, WorkerError},
    open::{Connectors, read_pipeline},
    sink::{
        self,
        regroup::{MajorRule, Packing, get_group, not_clustered, put_group},
    },
    storage::Storage,
};

/// Lists read or written at a time.
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
    let major = major(compaction, asked.major);
    if major.is_some() && !sink::find(&pipeline.sink).is_some_and(|kind| kind.capabilities.clustering) {
        return Err(not_clustered());
    }
    let sink = connectors.sink(&pipeline)?;
    let storage = sink.storage();
    let age = i64::try_from(compaction.max_age.0.as_millis()).unwrap_or(i64::MAX);
    let rule = Packing {
        target: compaction.target_size.0,
        small_below: compaction.small_below(),
        min_files: compaction.min_files as usize,
        stale_before: now.as_millisecond().saturating_sub(age),
        windows_are_replaced: asked.windows_are_replaced,
        busy: files_of(storage, &asked.open).await?,
        major,
    };
    let found = sink.small_files(&rule).await?;
    let told = stream::iter(found.groups).map(|group| async move { put_group(storage, &group).await });
    let groups = told.buffered(LISTS_AT_A_TIME).map_ok(|group| (&group).into()).try_collect().await?;
    Ok((found.layout, groups))
}

/// The rule of major rewrites, if there are any.
fn major(compaction: &Compaction, asked: bool) -> Option<MajorRule> {
    let clustering = match &compaction.cluster_by {
        None if asked => Default::default(),
        declared => declared.clone()?,
    };
    Some(MajorRule { clustering, asked, most: compaction.clustered_together() })
}

/// The files of groups that are open. One whose list is gone will not be rewritten.
async fn files_of(storage: &Storage, groups: &[Vec<u8>]) -> Result<BTreeSet<String>> {
    let digest = |bytes: &Vec<u8>| Some(Digest(bytes.as_slice().try_into().ok()?));
    stream::iter(groups.iter().filter_map(digest).collect::<Vec<_>>())
        .map(|digest| async move {
            match get_group(storage, &digest).await {
                Ok(group) => Ok(group.members().map(|member| member.path.clone()).collect::<Vec<_>>()),
                Err(cause) if cause.code() == error::GROUP_GONE => Ok(Vec::new()),
                Err(cause) => Err(cause),
            }
        })
        .buffer_unordered(LISTS_AT_A_TIME)
        .try_fold(BTreeSet::new(), |mut all, paths| async move {
            all.extend(paths);
            Ok(all)
        })
        .await
}

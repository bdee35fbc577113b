//! Cleaning takes away files that the sink's own records say were removed longer ago than they are kept, and the part of its
//! log that nobody needs. Its order is that of sweeps: first it lists, then it asks what lives and what is pinned, then it looks
//! at the table once more. Nothing goes because it is not known, and nothing that was not old enough when it was listed.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{failpoint, id::SinkId, pin::Version};

use crate::{
    error::Result,
    sink::{
        Sink,
        cleaning::{Object, Stale},
    },
    storage::sink_error,
    sweep::Kept,
};

/// Most files one cleaning takes away; the next one goes on.
const MOST_FILES: usize = 100_000;
const DELETES_AT_A_TIME: usize = 16;

/// What may be taken away, as it was when it was listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub files: Vec<Candidate>,
    /// Of the log.
    pub log: BTreeSet<String>,
}

/// A file that may be taken away, and is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub object: Object,
    /// The version of the table that does without it, if that is known.
    pub removed_by: Option<u64>,
}

/// What a cleaning did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub files: Vec<Object>,
    pub log: Vec<Object>,
    /// Versions before this one are not whole any more, but for pinned ones.
    pub whole_from: Option<u64>,
    /// What each pin holds back: files and bytes.
    pub held: Vec<(Version, u64, u64)>,
}

/// The stale files that are there, with what the store says of them.
pub async fn list(sink: &dyn Sink, stale: Stale) -> Result<List> {
    let Stale { files, log, .. } = stale;
    if files.is_empty() {
        return Ok(List { files: Vec::new(), log });
    }
    let found = sink.storage().objects().list(None).map_err(|cause| sink_error(cause, "")).try_filter_map(|object| {
        let path = object.location.to_string();
        let removed_by = files.get(&path).filter(|_| !is_a_record(&path)).copied();
        let candidate =
            removed_by.map(|removed_by| Candidate { object: Object { path, bytes: object.size }, removed_by });
        std::future::ready(Ok(candidate))
    });
    Ok(List { files: found.take(MOST_FILES).try_collect().await?, log })
}

/// Logs, manifests and intents are no files of a table, whatever a table says.
fn is_a_record(path: &str) -> bool {
    path.starts_with("_delta_log/") || path.starts_with("_windrow/")
}

/// Takes away of the list what nothing needs, files first, then the log's part. `kept` must have been found out after it was made.
pub async fn take_away((sink, id): (&dyn Sink, &SinkId), list: &List, kept: &Kept, only_look: bool) -> Result<Report> {
    let doomed: Vec<&Candidate> = list.files.iter().filter(|one| !kept.contains(&one.object.path)).collect();
    let mut log = sink.expired(&kept.pins()).await?;
    log.retain(|object| list.log.contains(&object.path));
    let report = Report {
        files: doomed.iter().map(|one| one.object.clone()).collect(),
        whole_from: doomed.iter().filter_map(|one| one.removed_by).max(),
        held: kept.held_back(&list.files),
        log,
    };
    if !only_look {
        delete((sink, id), &report.files).await?;
        delete((sink, id), &report.log).await?;
    }
    Ok(report)
}

/// A part after the other, so that whoever dies has deleted some.
async fn delete((sink, id): (&dyn Sink, &SinkId), objects: &[Object]) -> Result<()> {
    for (number, part) in objects.chunks(DELETES_AT_A_TIME).enumerate() {
        if number > 0 {
            failpoint::reach(failpoint::Point::Sweeping, id.as_str()).await?;
        }
        stream::iter(part.iter().map(Ok))
            .try_for_each_concurrent(DELETES_AT_A_TIME, |object| sink.storage().delete(&object.path))
            .await?;
    }
    Ok(())
}

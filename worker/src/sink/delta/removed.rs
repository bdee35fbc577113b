//! What the table's log says was removed from it, and when. Tombstones in a checkpoint are kept for a while only, and some have
//! no time; the commits the log still has say more: which version it was, and the store's own time of it.

use std::{collections::HashMap, time::Duration};

use deltalake_core::{
    DeltaTable,
    kernel::Remove,
    table::{config::TablePropertiesExt, state::DeltaTableState},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use windrow_common::error;

use super::{
    DeltaSink,
    expired::{Kind, LogObject},
    log::broken,
};
use crate::{
    error::{Result, WorkerError},
    sink::cleaning::Cleaning,
    storage::Storage,
};

/// Commits read at a time.
const READ_AHEAD: usize = 16;
/// Most files that are known to be removed; what is past it is found when these are gone.
const MOST: usize = 2_000_000;

/// A file that was part of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removal {
    /// Milliseconds since 1970, the later of what the log and the store say; absent where neither does.
    pub(super) at: Option<i64>,
    /// The first version without it, where the log still says so.
    pub(super) version: Option<u64>,
}

/// Removed files by path. Some of them may be part of the table again.
pub(super) type Removals = HashMap<String, Removal>;

impl Removal {
    /// Whether it was removed before that time. One whose time nobody knows was not.
    pub(super) fn is_before(&self, time: i64) -> bool {
        self.at.is_some_and(|at| at <= time)
    }
}

impl DeltaSink {
    /// How long files stay after they were removed: as the pipeline says, and never shorter than the table's own property.
    pub(super) fn keep(&self, state: &DeltaTableState) -> Duration {
        let table = state.table_config();
        let usual = table.deleted_file_retention_duration();
        let told = table.deleted_file_retention_duration;
        self.params.cleaning.map_or(usual, |cleaning| told.unwrap_or_default().max(cleaning.keep.0))
    }

    /// How long the log stays: long enough to tell for how long files were removed.
    pub(super) fn keep_log(&self, state: &DeltaTableState) -> Duration {
        let table = state.table_config();
        let usual = table.log_retention_duration();
        let told = table.log_retention_duration;
        let log = self.params.cleaning.map_or(usual, |Cleaning { log, .. }| told.unwrap_or_default().max(log.0));
        log.max(self.keep(state))
    }

    /// Whether tombstones tell of everything that is still to be kept.
    pub(super) fn tombstones_suffice(&self, state: &DeltaTableState) -> bool {
        self.keep(state) <= state.table_config().deleted_file_retention_duration()
    }

    /// By the newest checkpoint and the commits after it.
    pub(super) async fn tombstones(&self, loaded: &DeltaTable) -> Result<Removals> {
        let (state, log_store) = (loaded.snapshot().map_err(broken)?, loaded.log_store());
        let mut removals = Removals::new();
        let mut tombstones = state.all_tombstones(&log_store);
        while let Some(tombstone) = tombstones.next().await {
            let tombstone = tombstone.map_err(broken)?;
            // What is absent is read as 0.
            let at = tombstone.deletion_timestamp().filter(|at| *at > 0);
            note(&mut removals, tombstone.path().into_owned(), Removal { at, version: None })?;
        }
        Ok(removals)
    }

    /// By all that the log has.
    pub(super) async fn removals(&self, loaded: &DeltaTable, log: &[LogObject]) -> Result<Removals> {
        let mut removals = self.tombstones(loaded).await?;
        let newest = loaded.snapshot().map_err(broken)?.version();
        let of_commit = |object: &&LogObject| object.kind == Kind::Commit && object.version <= newest;
        let mut commits: Vec<LogObject> = log.iter().filter(of_commit).cloned().collect();
        commits.sort_unstable_by_key(|commit| commit.version);
        let storage = self.storage.clone();
        let mut read = stream::iter(commits)
            .map(move |commit| {
                let storage = storage.clone();
                async move { Ok::<_, WorkerError>((commit.version, commit.at, removed(&storage, &commit).await?)) }
            })
            .buffered(READ_AHEAD);
        while let Some((version, written, removed)) = read.try_next().await? {
            for (path, at) in removed {
                let at = at.filter(|at| *at > 0).map_or(written, |at| at.max(written));
                note(&mut removals, path, Removal { at: Some(at), version: Some(version) })?;
            }
        }
        Ok(removals)
    }
}

fn note(removals: &mut Removals, path: String, removal: Removal) -> Result<()> {
    removals.insert(path, removal);
    match removals.len() > MOST {
        true => {
            Err(WorkerError::never(error::INPUT_TOO_LARGE, format!("the log tells of more than {MOST} removed files"))
                .fix("write a checkpoint, and have the table keep removed files for a shorter time"))
        }
        false => Ok(()),
    }
}

#[derive(Deserialize)]
struct Line {
    remove: Option<Remove>,
}

/// The files one commit removes, and when it says so. A commit that is gone by now tells nothing.
async fn removed(storage: &Storage, commit: &LogObject) -> Result<Vec<(String, Option<i64>)>> {
    let text = storage.get(&commit.path).await?.unwrap_or_default();
    let mut removed = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let line: Line = serde_json::from_slice(line).map_err(|cause| broken(cause).at(commit.path.clone()))?;
        removed.extend(line.remove.map(|remove| (remove.path, remove.deletion_timestamp)));
    }
    Ok(removed)
}

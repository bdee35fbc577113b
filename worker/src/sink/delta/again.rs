//! Going back to a version: one commit takes the present files out of the table and adds again those its load added, as
//! Delta's own restore does. They have to be where they were, and it has to be certain that they stay: a sweep that is late
//! may take away what the table did not refer to when it looked.

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt;
use windrow_common::{
    error,
    intent::{Committed, IntentBody},
    manifest::{StagedFile, WriteMode},
    marker::Markers,
};

use super::{
    DeltaSink, checkpoint, layout,
    log::broken,
    prepare::{check_removals, schema_of},
    table::Table,
    types,
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Again, Sink,
        versions::{self, Version},
    },
    stage::manifest,
};

/// How long before the table would give a removed file up it counts as given up: more than clocks differ.
const MARGIN: Duration = Duration::from_secs(3_600);

impl DeltaSink {
    /// Files of the table, files it has given up not longer ago than it keeps such, and files of the versions that are kept.
    /// All of them as they will be after `ahead`.
    pub(super) async fn referred_to(&self, newest: Option<Committed>, ahead: Duration) -> Result<BTreeSet<String>> {
        let Some(loaded) = self.log.open(None).await? else { return Ok(BTreeSet::new()) };
        let (state, log_store) = (loaded.snapshot().map_err(broken)?, loaded.log_store());
        let mut paths: BTreeSet<String> = state.log_data().iter().map(|file| file.path().into_owned()).collect();
        let since = self.now() + ahead.as_millis() as i64 - checkpoint::removed_retention(state).as_millis() as i64;
        let mut tombstones = state.all_tombstones(&log_store);
        while let Some(tombstone) = tombstones.next().await {
            let tombstone = tombstone.map_err(broken)?;
            if tombstone.deletion_timestamp().is_none_or(|at| at > since) {
                paths.insert(tombstone.path().into_owned());
            }
        }
        if self.write == WriteMode::ReplaceAll && self.params.expose.keep_versions > 1 {
            let kept = versions::walk(&self.storage, newest, self.params.expose.keep_versions as usize).await?;
            paths.extend(kept.iter().flat_map(loaded_files).map(|file| file.path.clone()));
        }
        Ok(paths)
    }

    pub(super) async fn why_gone(&self, versions: &[Version]) -> Result<Vec<Option<String>>> {
        let kept = self.referred_to(self.probe().await?, MARGIN).await?;
        let mut answers = Vec::with_capacity(versions.len());
        for version in versions {
            answers.push(self.why_one_is_gone(version, &kept).await?);
        }
        Ok(answers)
    }

    async fn why_one_is_gone(&self, version: &Version, kept: &BTreeSet<String>) -> Result<Option<String>> {
        if version.load.is_none() {
            return Ok(Some("is not kept: the record of its load is gone".to_owned()));
        }
        if loaded_files(version).iter().any(|file| !kept.contains(&file.path)) {
            return Ok(Some("is not kept any more: its files may be taken away at any time".to_owned()));
        }
        match manifest::verify_files(&self.storage, loaded_files(version)).await {
            Ok(()) => Ok(None),
            Err(cause) if cause.code() == error::STAGED_FILE_BAD => {
                Ok(Some("is not kept: its files were vacuumed away".to_owned()))
            }
            Err(cause) => Err(cause),
        }
    }

    pub(super) async fn work_out_again(&self, version: &Version, again: Again) -> Result<IntentBody> {
        let table = self.newest().await?.ok_or_else(|| {
            WorkerError::never(error::SINK_ROLLED_BACK, "there is no table any more").at(self.storage.url().to_string())
        })?;
        let files = loaded_files(version);
        let schema = version.load.as_ref().map(|load| schema_of(&load.schema)).transpose()?;
        layout::check_partitioning(&table, &self.params)?;
        if schema.as_ref().is_some_and(|schema| !types::fits(schema, &table.schema)) {
            return Err(WorkerError::never(
                error::SINK_SCHEMA,
                "the columns of that version do not fit the table any more",
            )
            .at(self.storage.url().to_string())
            .fix("read it as an older version of the table, or load it again from the source"));
        }
        let named: BTreeSet<&String> = files.iter().map(|file| &file.path).collect();
        let mut remove: Vec<String> = table.files.keys().filter(|path| !named.contains(path)).cloned().collect();
        remove.sort_unstable();
        check_removals(table.files.keys(), &table)?;
        let add = files.iter().filter(|file| !table.files.contains_key(&file.path)).cloned().collect();
        Ok(IntentBody {
            sink: self.id.clone(),
            seq: again.seq,
            previous: again.previous,
            previous_aborted: again.previous_aborted,
            tasks: Vec::new(),
            schema: serde_json::to_value(table.schema.as_ref()).map_err(|cause| {
                WorkerError::never(error::INTERNAL, "a schema cannot be written as JSON").because(cause)
            })?,
            add,
            remove,
            dead_letters: Vec::new(),
            change: None,
            shows: Some(version.number),
            markers: Markers::default(),
        })
    }

    /// Whether the files a rollback adds again are certain to stay; looked at once more before they are committed.
    pub(super) async fn stay(&self, table: &Table, body: &IntentBody) -> Result<bool> {
        let kept = self.referred_to(self.committed(table)?, MARGIN).await?;
        if body.add.iter().any(|file| !kept.contains(&file.path)) {
            return Ok(false);
        }
        match manifest::verify_files(&self.storage, &body.add).await {
            Ok(()) => Ok(true),
            Err(cause) if cause.code() == error::STAGED_FILE_BAD => Ok(false),
            Err(cause) => Err(cause),
        }
    }
}

/// What its load added; a rollback to it may have added less, where the table had some of it.
fn loaded_files(version: &Version) -> &[StagedFile] {
    version.load.as_ref().map_or(&[], |load| &load.add)
}

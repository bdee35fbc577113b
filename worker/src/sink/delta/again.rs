//! Going back to a version: one commit takes the present files out of the table and adds again those its load added, as
//! Delta's own restore does. They have to be where they were, and it has to be certain that they stay: a sweep that is late
//! may take away what the table did not refer to when it looked.

use std::{collections::BTreeSet, time::Duration};

use windrow_common::{
    error,
    intent::{Committed, IntentBody},
    manifest::{StagedFile, WriteMode},
    marker::Markers,
};

use super::{
    DeltaSink, clean, expired, layout,
    log::broken,
    prepare::{check_removals, schema_of},
    table::Table,
    types,
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Again, Sink,
        cleaning::margin,
        versions::{self, Version},
    },
    stage::manifest,
};

/// At which time it is looked what is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Now,
    /// Later by more than clocks differ: what is not given up then is certain to stay.
    Certain,
}

impl DeltaSink {
    /// Files of the table, files it has given up not longer ago than it keeps such, and files of the versions that are kept.
    pub(super) async fn referred_to(&self, newest: Option<Committed>, ahead: Ahead) -> Result<BTreeSet<String>> {
        let Some(loaded) = self.log.open(None).await? else { return Ok(BTreeSet::new()) };
        let state = loaded.snapshot().map_err(broken)?;
        let mut paths: BTreeSet<String> = clean::active(&loaded)?.into_keys().collect();
        let keep = self.keep(state);
        let sooner = if ahead == Ahead::Certain { margin(keep) } else { Duration::ZERO };
        let before = self.now() + sooner.as_millis() as i64 - keep.as_millis() as i64;
        let removals = match self.tombstones_suffice(state) {
            true => self.tombstones(&loaded).await?,
            false => self.removals(&loaded, &expired::list(&self.storage).await?).await?,
        };
        paths.extend(removals.into_iter().filter(|(_, removal)| !removal.is_before(before)).map(|(path, _)| path));
        if self.write == WriteMode::ReplaceAll && self.params.expose.keep_versions > 1 {
            let kept = versions::walk(&self.storage, newest, self.params.expose.keep_versions as usize).await?;
            paths.extend(kept.iter().flat_map(loaded_files).map(|file| file.path.clone()));
        }
        Ok(paths)
    }

    pub(super) async fn why_gone(&self, versions: &[Version]) -> Result<Vec<Option<String>>> {
        let kept = self.referred_to(self.probe().await?, Ahead::Certain).await?;
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
        let kept = self.referred_to(self.committed(table)?, Ahead::Certain).await?;
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

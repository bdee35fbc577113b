//! Sink `files`: a folder of Parquet, CSV, JSON-lines or text files with a log of commits beside them.
//!
//! ```text
//! _windrow/log/<seq>.json     one commit each, created if absent: the truth about what is published
//! _windrow/stage/...          staged files, named after their attempt
//! _windrow/kept/...           files of versions that can be gone back to
//! a=1/part-<task>-<n>.parquet what plain readers of the folder see: copies made once the log has the commit
//! ```
//!
//! Readers of the log see whole commits. Readers of the folder see each file whole and every file once, but may see a
//! commit while its files are still being copied: for them delivery is idempotent, not atomic.

use std::{collections::BTreeSet, sync::Arc};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use windrow_common::{
    intent::{Committed, IntentBody},
    manifest::{Digest, StagedFile, WriteMode},
    pin,
    pipeline::{Pipeline, SinkSpec},
    schema::OnChange,
};

use super::{
    Again, Applied, Capabilities, Next, Sink, SinkKind,
    cleaning::Whole,
    expose::Expose,
    policy::{Policy, SchemaChanges},
    versions::Version,
};
use crate::{
    error::Result,
    mapping::Stored,
    source::ParamError,
    stage::{FileFormat, Layout},
    storage::Storage,
};

mod again;
mod commit;
mod entry;
mod log;
mod params;
mod pins;
mod prepare;
mod publish;
mod schema;
mod state;

#[cfg(test)]
mod tests;

pub const KIND: SinkKind = SinkKind {
    kind: "files",
    formats: &["parquet", "csv", "json", "text"],
    connections: Storage::CONNECTIONS,
    staging: &[],
    capabilities: Capabilities {
        writes: &[WriteMode::Append, WriteMode::ReplaceWindow, WriteMode::ReplaceAll],
        partitions: true,
        compaction: false,
        compares: false,
        delivery: "idempotent",
    },
    schema_changes,
    lifecycle,
    build,
    schema: || schemars::schema_for!(params::Params),
};

fn schema_changes(spec: &SinkSpec) -> SchemaChanges {
    use OnChange::{DiscardRow, DiscardValue, Freeze};
    let why = "files that are there keep their columns and their types";
    let changes = SchemaChanges::of_files(spec.write, why);
    match (spec.format.as_str(), spec.write) {
        // Readers of a folder of CSV take the first file's columns for all of them.
        ("csv", WriteMode::Append | WriteMode::ReplaceWindow) => {
            SchemaChanges { new_column: &[Freeze, DiscardRow, DiscardValue], ..changes }
        }
        // Lines have one column.
        ("text", _) => SchemaChanges { new_column: &[Freeze], type_change: &[Freeze], usual: Freeze, ..changes },
        _ => changes,
    }
}

fn lifecycle(pipeline: &Pipeline) -> Vec<String> {
    let kept = params::settings(pipeline).map_or(1, |(settings, _)| settings.keep_versions);
    let full = pipeline.sink.write == WriteMode::ReplaceAll;
    let kept = full.then(|| Expose { keep_versions: kept }.in_words());
    kept.into_iter()
        .chain(["removed files go at once, for readers of the folder must not see them".to_owned()])
        .collect()
}

/// Where files are staged, relative to the sink's root.
const STAGE_FOLDER: &str = "_windrow/stage";

/// Where files of versions that are not shown any more are kept, relative to the sink's root.
const KEPT_FOLDER: &str = "_windrow/kept";

/// A folder of files.
struct FilesSink {
    storage: Storage,
    log: log::Log,
    settings: Settings,
}

/// What the pipeline says about the files.
#[derive(Clone, Debug)]
struct Settings {
    format: FileFormat,
    partition_by: Vec<String>,
    target_bytes: u64,
    cursor: Option<String>,
    /// Versions of a full load that are kept, the shown one among them.
    keep_versions: u32,
    policy: Policy,
}

fn build(pipeline: &Pipeline) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let (settings, path) = params::settings(pipeline)?;
    let storage = Storage::open(&pipeline.sink.to, &path, true).map_err(|error| vec![error])?;
    Ok(Arc::new(FilesSink::new(storage, settings)))
}

/// The pipeline's sink over a store of the caller's own, rooted at the folder.
///
/// # Errors
/// What is wrong with the parameters.
pub fn over(pipeline: &Pipeline, storage: Storage) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let (settings, _) = params::settings(pipeline)?;
    Ok(Arc::new(FilesSink::new(storage, settings)))
}

impl Settings {
    /// Whether files outlive the version they were loaded for.
    fn keeps(&self) -> bool {
        self.keep_versions > 1
    }

    fn is_parquet(&self) -> bool {
        matches!(self.format, FileFormat::Parquet { .. })
    }
}

impl FilesSink {
    fn new(storage: Storage, settings: Settings) -> Self {
        let log = log::Log::new(storage.clone());
        Self { storage, log, settings }
    }
}

#[async_trait]
impl Sink for FilesSink {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    async fn layout(&self, schema: SchemaRef) -> Result<Layout> {
        self.storage.check_conditional_writes().await?;
        let state = self.log.refresh().await?;
        schema::layout(&schema, state.schema.as_ref(), &self.settings)
    }

    async fn stored(&self, schema: SchemaRef) -> Result<Vec<Result<Stored>>> {
        let state = self.log.refresh().await?;
        Ok(schema::stored(&schema, state.schema.as_ref(), &self.settings))
    }

    async fn probe(&self) -> Result<Option<Committed>> {
        Ok(self.log.refresh().await?.committed())
    }

    async fn rows(&self) -> Result<Option<u64>> {
        Ok(Some(self.log.refresh().await?.files.values().map(|file| file.rows).sum()))
    }

    async fn prepare(&self, next: Next) -> Result<IntentBody> {
        prepare::prepare(self, next).await
    }

    async fn commit(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        commit::commit(&self.log, self.settings.keeps(), body, digest).await
    }

    async fn abort(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        commit::abort(&self.log, self.settings.keeps(), body, digest).await
    }

    fn shown_as(&self, files: &[StagedFile]) -> Vec<String> {
        entry::published(files).into_iter().map(|file| file.path).collect()
    }

    async fn gone(&self, versions: &[Version]) -> Result<Vec<Option<String>>> {
        again::gone(self, versions).await
    }

    async fn show_again(&self, version: &Version, again: Again) -> Result<IntentBody> {
        again::show(self, version, again).await
    }

    async fn referenced(&self) -> Result<BTreeSet<String>> {
        let state = self.log.refresh().await?;
        let mut paths: BTreeSet<String> = state.files.keys().chain(&state.dead_letters).cloned().collect();
        // Staged files of the newest commit are kept until the next one, for those who still verify them.
        if let Some(newest) = self.log.entry(state.seq).await? {
            paths.extend(newest.add.into_iter().map(|file| file.staged));
        }
        paths.extend(again::kept(self, &state).await?);
        Ok(paths)
    }

    async fn needed(&self, version: pin::Version) -> Result<BTreeSet<String>> {
        pins::needed(self, version).await
    }

    async fn whole(&self, wanted: pin::Wanted, held: &[pin::Version]) -> Result<Whole> {
        pins::whole(self, wanted, held).await
    }
}

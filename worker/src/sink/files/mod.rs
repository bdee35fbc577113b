//! Sink `files`: a folder of Parquet, CSV, JSON-lines or text files with a log of commits beside them.
//!
//! ```text
//! _windrow/log/<seq>.json     one commit each, created if absent: the truth about what is published
//! _windrow/stage/...          staged files, named after their attempt
//! _windrow/kept/...           files of versions that can be gone back to
//! _windrow/aside/...          files that small ones were rewritten to; no other place shows them
//! _windrow/files/<seq>.list   from the first of these on: which files there are, and which others they stand for
//! a=1/part-<task>-<n>.parquet what plain readers of the folder see: copies made once the log has the commit
//! ```
//!
//! Readers of the log see whole commits. Readers of the folder see each file whole and every file once, but may see a
//! commit while its files are still being copied: for them delivery is idempotent, not atomic. They see no rewritten files, but
//! those these were made of, for as long as they are there.
//!
//! With `pattern: compact` the folder is one that others fill: `folder` finds their files.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use windrow_common::{
    clock::{Clock, SystemClock},
    id::SinkId,
    intent::{Committed, IntentBody},
    manifest::{Digest, StagedFile, WriteMode},
    pin,
    pipeline::{Pipeline, SinkSpec},
    schema::OnChange,
};

use self::{entry::Committer, folder::Others};
use super::{
    Again, Applied, Capabilities, Next, Sink, SinkKind,
    cleaning::{Cleaning, Extent, Stale, Whole, played_ms},
    expose::Expose,
    policy::{Policy, SchemaChanges},
    regroup::{Group, Packed, Packing, Rewritten, Working},
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
mod clean;
mod commit;
mod compact;
mod entry;
mod folder;
mod list;
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
        compaction: true,
        clustering: false,
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
    let Ok((settings, _)) = params::settings(pipeline) else { return Vec::new() };
    let loads = settings.others.is_none();
    let full = pipeline.sink.write == WriteMode::ReplaceAll;
    let kept = full.then(|| Expose { keep_versions: settings.keep_versions }.in_words());
    let at_once = loads.then(|| "removed files go at once, for readers of the folder must not see them".to_owned());
    let rewritten = pipeline.compaction.is_some().then(|| match settings.cleaning {
        Some(Cleaning { keep, .. }) => format!("files that were rewritten stay {keep}: read by the list of files"),
        None if loads => "files that were rewritten stay until `windrow clean` takes them away".to_owned(),
        None => "files that were rewritten stay: they are others'".to_owned(),
    });
    kept.into_iter().chain(at_once).chain(rewritten).collect()
}

/// Where files are staged, relative to the sink's root.
const STAGE_FOLDER: &str = "_windrow/stage";

/// Where files of versions that are not shown any more are kept, relative to the sink's root.
const KEPT_FOLDER: &str = "_windrow/kept";

/// Where rewritten files are, relative to the sink's root.
const ASIDE_FOLDER: &str = "_windrow/aside";

/// The part of a folder that tells partitions, be it where readers look, where files are staged or aside.
fn partition_folder(folder: &str) -> &str {
    let own = [STAGE_FOLDER, ASIDE_FOLDER].into_iter().find_map(|place| folder.strip_prefix(place));
    own.unwrap_or(folder).trim_start_matches('/')
}

/// A folder of files.
struct FilesSink {
    storage: Storage,
    log: log::Log,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// How much later than it is a test has this sink believe it is, in milliseconds.
    later: i64,
}

/// What the pipeline says about the files.
#[derive(Clone, Debug)]
struct Settings {
    id: SinkId,
    format: FileFormat,
    partition_by: Vec<String>,
    target_bytes: u64,
    cursor: Option<String>,
    /// Whether no file holds two windows: whoever reads one by its marker must not see its rows move when another is loaded again.
    apart: bool,
    /// Versions of a full load that are kept, the shown one among them.
    keep_versions: u32,
    policy: Policy,
    /// Said of a folder that others fill.
    others: Option<Others>,
    cleaning: Option<Cleaning>,
}

fn build(pipeline: &Pipeline) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let (settings, path) = params::settings(pipeline)?;
    let storage = Storage::open(&pipeline.sink.to, &path, true).map_err(|error| vec![error])?;
    Ok(Arc::new(FilesSink::new(storage, settings)))
}

/// The pipeline's sink over a store of the caller's own, rooted at the folder, and by the caller's clock.
///
/// # Errors
/// What is wrong with the parameters.
pub fn over(pipeline: &Pipeline, storage: Storage, clock: Arc<dyn Clock>) -> Result<Arc<dyn Sink>, Vec<ParamError>> {
    let (settings, _) = params::settings(pipeline)?;
    Ok(Arc::new(FilesSink { clock, ..FilesSink::new(storage, settings) }))
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
        // Somebody may read all `*.json` in all folders below it.
        let storage = match (settings.others, &settings.format) {
            (Some(_), FileFormat::JsonLines) => storage.with_records("record"),
            _ => storage,
        };
        let log = log::Log::new(storage.clone());
        Self { storage, log, settings, clock: Arc::new(SystemClock::new()), later: played_ms() }
    }

    /// Milliseconds since 1970.
    fn now(&self) -> i64 {
        self.clock.now().as_millisecond().saturating_add(self.later)
    }

    fn committer(&self) -> Committer<'_> {
        Committer { cursor: self.settings.cursor.as_deref(), now: self.now() }
    }

    /// How long files stay that others stand for.
    fn keep(&self) -> Duration {
        self.settings.cleaning.unwrap_or_default().keep.0
    }

    fn keep_ms(&self) -> i64 {
        i64::try_from(self.keep().as_millis()).unwrap_or(i64::MAX)
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
        commit::commit(self, body, digest).await
    }

    async fn abort(&self, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        commit::abort(self, body, digest).await
    }

    async fn small_files(&self, rule: &Packing) -> Result<Packed> {
        compact::worth_rewriting(self, rule).await
    }

    async fn rewrite(&self, group: &Group, working: Working<'_>) -> Result<Rewritten> {
        self.storage.check_conditional_writes().await?;
        compact::rewrite(self, group, working).await
    }

    async fn replace_files(&self, next: Next) -> Result<IntentBody> {
        compact::replace_files(self, next).await
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
        paths.extend(clean::still_read(self, &state).await?);
        Ok(paths)
    }

    async fn stale(&self, extent: Extent) -> Result<Stale> {
        clean::stale(self, extent).await
    }

    async fn needed(&self, version: pin::Version) -> Result<BTreeSet<String>> {
        pins::needed(self, version).await
    }

    async fn whole(&self, wanted: pin::Wanted, held: &[pin::Version]) -> Result<Whole> {
        pins::whole(self, wanted, held).await
    }
}

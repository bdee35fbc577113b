//! Sinks: where rows become visible. A connector is one file or folder here and one line in [`SINKS`]. Workers never
//! write a table: they stage files no reader sees, and the sink's committer makes them visible, one intent at a time.
//! A sink may not know the coordinator, sessions or Flight.

use std::collections::BTreeSet;

use arrow_schema::{FieldRef, SchemaRef};
use async_trait::async_trait;
use windrow_common::{
    claim::Token,
    error,
    id::TaskId,
    intent::{Committed, IntentBody, IntentTask, Seq},
    manifest::{Digest, Manifest, StagedFile, WriteMode},
    pipeline::{Pipeline, SinkSpec},
};

use self::versions::Version;
use crate::{
    error::{Result, WorkerError},
    mapping::{Stored, losses},
    source::{Built, ParamError},
    stage::{self, Attempt, BatchStream, Layout},
    storage::Storage,
};

mod change;
pub mod delta;
mod expose;
pub mod files;
mod policy;
pub mod postgres;
pub mod versions;

pub use policy::SchemaChanges;

/// A sink opened for one physical target.
///
/// Any error of `prepare`, `commit` and `abort` means "unknown" to the caller: it probes before it does anything else,
/// deletes nothing and changes no intent.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Where staged files, manifests, intents and data lie.
    fn storage(&self) -> &Storage;

    /// How rows of `schema` are staged: the file format, the table's column types, partitioning, target size.
    /// Fails with `SINK_UNSUPPORTED_TYPE` or `SINK_SCHEMA` before anything is written, and with `SINK_UNCONDITIONAL`
    /// where the store cannot fence commits.
    async fn layout(&self, schema: SchemaRef) -> Result<Layout>;

    /// What each column becomes here, one by one: for plans. A column without a form does not hide the next.
    async fn stored(&self, schema: SchemaRef) -> Result<Vec<Result<Stored>>> {
        let layout = self.layout(schema.clone()).await?;
        let stored = |field: &FieldRef| {
            let kind =
                layout.schema.field_with_name(field.name()).map_or(field.data_type(), |column| column.data_type());
            Ok(Stored { kind: kind.to_string(), change: None, losses: losses(field.data_type(), kind) })
        };
        Ok(schema.fields().iter().map(stored).collect())
    }

    /// Puts rows where no reader sees them, as [`stage`](stage::stage) does: the same for every sink that keeps files.
    async fn stage(&self, layout: &Layout, attempt: &Attempt, rows: BatchStream) -> Result<Vec<StagedFile>> {
        stage::stage(self.storage(), layout, attempt, rows).await
    }

    /// The newest commit windrow made here, or `None` before the first.
    async fn probe(&self) -> Result<Option<Committed>>;

    /// How many rows readers see; `None` where nobody can tell. Guards are held against it.
    async fn rows(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Works out the next commit completely: merges small staged files, finds the files replaced windows stand in,
    /// rewrites those that hold other windows too. Writes invisible files only. The caller has seen to it that every
    /// staged file is there.
    async fn prepare(&self, next: Next) -> Result<IntentBody>;

    /// For each of these versions why it cannot be shown again; `None` where it can. What is shown is not asked for.
    async fn gone(&self, versions: &[Version]) -> Result<Vec<Option<String>>> {
        Ok(vec![Some("is not kept: this sink keeps no versions".to_owned()); versions.len()])
    }

    /// Works out the commit that shows a version again, as completely as [`Self::prepare`] does, and writes invisible files
    /// only. Fails with `VERSION_GONE` when what it needs is not there.
    async fn show_again(&self, version: &Version, _again: Again) -> Result<IntentBody> {
        Err(WorkerError::never(error::NO_VERSIONS, format!("this sink cannot show v{} again", version.number)))
    }

    /// Applies an intent by compare-and-set on the sink's seq, following [`windrow_common::intent::judge`]. Repeating it
    /// changes nothing.
    async fn commit(&self, body: &IntentBody, digest: &Digest) -> Result<Applied>;

    /// Spends the intent's seq on an empty commit that records the abort.
    async fn abort(&self, body: &IntentBody, digest: &Digest) -> Result<Applied>;

    /// The paths under which readers of the folder see files of an intent, one by one.
    fn shown_as(&self, files: &[StagedFile]) -> Vec<String> {
        files.iter().map(|file| file.path.clone()).collect()
    }

    /// Paths, relative to the root, of all files the table refers to, removed but retained ones included: what a sweep
    /// must keep besides what the ledger holds.
    async fn referenced(&self) -> Result<BTreeSet<String>>;
}

/// What the next intent is made of.
pub struct Next {
    pub seq: Seq,
    pub previous: Option<Digest>,
    pub previous_aborted: bool,
    /// In the order they are to be published.
    pub tasks: Vec<(IntentTask, Manifest)>,
}

/// What the commit of a rollback is made of, beside its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    pub seq: Seq,
    pub previous: Option<Digest>,
    pub previous_aborted: bool,
    /// What files that have to be made for it are named by, in a task's and its token's place.
    pub id: TaskId,
    pub token: Token,
}

/// How applying an intent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The sink holds the intent's effect, by this call or an earlier one. `version` is the table's, for people.
    Committed { version: u64 },
    /// The sink holds the intent's abort.
    Aborted { version: u64 },
    /// The sink has gone on past this seq.
    Stale,
    /// Somebody else changed what the intent rests on; only an abort can follow.
    Refused(Refusal),
    /// The sink does not take these rows, for this reason, and never will; only an abort can follow.
    Unfit(String),
}

/// Why the sink cannot take an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A file to be removed is not part of the table any more.
    Conflict,
    /// The schema of the table has changed incompatibly.
    Schema,
    /// Two histories, or a sink that was rolled back: an operator has to look.
    Halt,
}

/// What a sink can do; a pipeline that asks for more is refused before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub writes: &'static [WriteMode],
    pub partitions: bool,
    /// How delivery is to be worded: `atomic`, `idempotent` or `at-least-once`.
    pub delivery: &'static str,
}

/// A sink connector.
pub struct SinkKind {
    pub kind: &'static str,
    /// The values of `format` it serves.
    pub formats: &'static [&'static str],
    pub connections: &'static [&'static str],
    /// Connection types it stages in; empty for sinks whose own place holds files.
    pub staging: &'static [&'static str],
    pub capabilities: Capabilities,
    /// The policies on changing columns it can follow for what a pipeline writes.
    pub schema_changes: fn(&SinkSpec) -> SchemaChanges,
    /// Opens it. The pipeline tells the cursor column, by which rows of a replaced window are found.
    pub build: fn(&Pipeline) -> Built<dyn Sink>,
    /// JSON Schema (draft-07) of its parameters beside `to`, `format`, `write` and `staging`.
    pub schema: fn() -> schemars::Schema,
}

/// Every sink there is.
pub const SINKS: &[SinkKind] = &[delta::KIND, files::KIND, postgres::KIND];

/// The connector that serves a sink's format.
pub fn find(spec: &SinkSpec) -> Option<&'static SinkKind> {
    SINKS.iter().find(|kind| kind.formats.contains(&spec.format.as_str()))
}

/// What serde could not make of a sink's parameters.
fn undecoded(cause: serde_path_to_error::Error<serde_json::Error>) -> ParamError {
    let path = cause.path().to_string();
    let message = cause.into_inner().to_string();
    let (code, fix) = if message.starts_with("unknown field") {
        (error::UNKNOWN_KEY, "remove it or correct its name")
    } else if message.starts_with("missing field") {
        (error::MISSING_KEY, "add it")
    } else {
        (error::BAD_VALUE, "correct the value")
    };
    ParamError { path: if path == "." { String::new() } else { path }, code, message, fix: Some(fix.to_owned()) }
}

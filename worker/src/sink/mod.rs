//! Sinks: where rows become visible. A connector is one file or folder here and one line in [`SINKS`]. Workers never
//! write a table: they stage files no reader sees, and the sink's committer makes them visible, one intent at a time.
//! A sink may not know the coordinator, sessions or Flight.

use std::collections::BTreeSet;

use arrow_schema::{FieldRef, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use windrow_common::{
    claim::Token,
    error,
    id::TaskId,
    intent::{Committed, IntentBody, IntentTask, Seq},
    manifest::{Digest, Manifest, StagedFile, WriteMode},
    pin,
    pipeline::{Pipeline, SinkSpec},
    quantity::ByteSize,
};

use self::{
    cleaning::{Extent, Object, Stale, Vacuumed, Whole},
    regroup::{Group, Packed, Packing, Rewritten, Working},
    versions::Version,
};
use crate::{
    error::{Result, WorkerError},
    mapping::{Stored, losses},
    source::{Built, ParamError},
    stage::{self, Attempt, BatchStream, Layout},
    storage::Storage,
    verbatim::Verbatim,
};

mod change;
pub mod cleaning;
pub mod delta;
mod expose;
pub mod files;
mod policy;
pub mod postgres;
pub mod regroup;
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

    /// Why rows cannot come as their source wrote them, in words; `None` if they can, in which case [`Self::layout`] takes
    /// [`Verbatim::schema`].
    async fn verbatim(&self, _rows: &Verbatim) -> Result<Option<String>> {
        Ok(Some("the sink takes values alone".to_owned()))
    }

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

    /// Whether readers see what windrow's commit `seq` left, so many rows, and nothing of anybody else's. What a sink cannot see
    /// its page says.
    async fn shows(&self, seq: Seq, rows: u64) -> Result<bool> {
        let applied = self.probe().await?.is_some_and(|newest| newest.is_of(seq));
        Ok(applied && self.rows().await?.is_none_or(|found| found == rows))
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

    /// Which of the table's files are worth rewriting, as far as windrow may rewrite them.
    async fn small_files(&self, _rule: &Packing) -> Result<Packed> {
        Err(not_compacted())
    }
    /// Writes the rows of a group's files into others, most often fewer, that nobody sees. Fails with
    /// `GROUP_GONE` where a file is not part of the table any more, and with `GROUP_DIFFERS` where rows would be lost or doubled.
    async fn rewrite(&self, _group: &Group, _working: Working<'_>) -> Result<Rewritten> {
        Err(not_compacted())
    }
    /// Works out the commit by which rewritten files take the place of those they were made of, which their manifests name as
    /// inputs. Where one of these is not part of the table any more it fails, and says whose it was.
    async fn replace_files(&self, _next: Next) -> Result<IntentBody> {
        Err(not_compacted())
    }
    /// Notes which rows there are: of those that come later [`Self::compare`] takes no notice.
    async fn note(&self) -> Result<Note> {
        Err(not_compared())
    }
    /// Stages the keys of rows that were there when it was noted and are not among the `keys` of the source, each with what tells
    /// that nobody has touched the row since. Fails with `TOO_MANY_DELETED` where that are more than may go.
    async fn compare(&self, _noted: Noted, _attempt: &Attempt, _keys: (SchemaRef, BatchStream)) -> Result<Deletions> {
        Err(not_compared())
    }
    /// Works out the commit that deletes what a comparison found: the only task there is.
    async fn delete(&self, _next: Next) -> Result<IntentBody> {
        Err(not_compared())
    }
    /// Applies an intent by compare-and-set on the sink's seq, following [`windrow_common::intent::judge`]. Repeating it
    /// changes nothing.
    async fn commit(&self, body: &IntentBody, digest: &Digest) -> Result<Applied>;

    /// Spends the intent's seq on an empty commit that records the abort.
    async fn abort(&self, body: &IntentBody, digest: &Digest) -> Result<Applied>;

    /// Whether rows stay in the files that a commit adds.
    fn keeps_files(&self) -> bool {
        true
    }

    /// The paths under which readers of the folder see files of an intent, one by one.
    fn shown_as(&self, files: &[StagedFile]) -> Vec<String> {
        files.iter().map(|file| file.path.clone()).collect()
    }

    /// Paths, relative to the root, of all files the table refers to, removed but retained ones included: what a sweep
    /// must keep besides what the ledger holds.
    async fn referenced(&self) -> Result<BTreeSet<String>>;

    /// What the table's own records say was removed from it longer ago than it is kept. Some of it may be needed all the
    /// same, by what is referred to then and by pinned versions.
    async fn stale(&self, _extent: Extent) -> Result<Stale> {
        Ok(Stale::default())
    }

    /// Objects of the table's log that neither readers of newer versions nor of these need.
    async fn expired(&self, _pins: &[pin::Version]) -> Result<Vec<Object>> {
        Ok(Vec::new())
    }

    /// The files of a pinned version. Fails with `PIN_BROKEN` if they cannot be told any more.
    async fn needed(&self, _version: pin::Version) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }

    /// The version, if all it needs is there, and is certain to stay whatever cleaning was decided on before. `pins` are
    /// held already. Fails with `PIN_GONE` where it is not.
    async fn whole(&self, _wanted: pin::Wanted, _pins: &[pin::Version]) -> Result<Whole> {
        Err(WorkerError::never(error::NOTHING_TO_PIN, "this sink keeps no older versions that could be pinned"))
    }

    /// What is done for its readers besides commits, such as a database's vacuum. Takes a bounded time, and holds up no commit.
    async fn maintain(&self, _extent: Extent) -> Result<Vec<Vacuumed>> {
        Ok(Vec::new())
    }
}

fn not_compacted() -> WorkerError {
    WorkerError::never(error::COMPACTION_UNSUPPORTED, "this sink has no files that could be rewritten")
        .fix("remove `compaction` from the pipeline, or write a Delta table or a folder of files")
}

fn not_compared() -> WorkerError {
    WorkerError::never(error::SINK_UNSUPPORTED, "this sink cannot tell rows by keys, so none can be found to be gone")
        .fix("remove `deletes` from the pipeline, or write to PostgreSQL with `write: upsert`")
}

/// Which rows a sink had at a moment, in numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Rows with this number or a later one came afterwards.
    pub since: u64,
    /// Whose numbers they are.
    pub server: i64,
}

/// What a comparison of keys goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// What [`Sink::note`] said.
    pub note: Note,
    /// Whether all that is found may go, however much it is.
    pub accept: bool,
}

/// Keys to be deleted, staged.
#[derive(Clone, Debug, PartialEq)]
pub struct Deletions {
    pub schema: SchemaRef,
    pub files: Vec<StagedFile>,
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
    /// Whether its files can be rewritten as fewer ones.
    pub compaction: bool,
    /// Whether rows can be put in order across its files.
    pub clustering: bool,
    /// Whether rows can be found in it whose keys are gone at the source.
    pub compares: bool,
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
    /// What becomes of older versions, in words, for plans.
    pub lifecycle: fn(&Pipeline) -> Vec<String>,
    /// Opens it. The pipeline tells the cursor column, by which rows of a replaced window are found.
    pub build: fn(&Pipeline) -> Built<dyn Sink>,
    /// JSON Schema (draft-07) of its parameters beside `to`, `format`, `write` and `staging`.
    pub schema: fn() -> schemars::Schema,
}

/// Every sink there is.
pub const SINKS: &[SinkKind] = &[delta::KIND, files::KIND, postgres::KIND];

/// The size a file is to reach where nothing is said.
pub(in crate::sink) const TARGET_FILE_SIZE: ByteSize = ByteSize(128 << 20);

/// The size files of a sink with these parameters are to reach, in its table or where its rows are staged.
pub fn target_file_size(params: &Map<String, Value>) -> ByteSize {
    let said = params.get("target_file_size").and_then(|said| serde_json::from_value(said.clone()).ok());
    said.unwrap_or(TARGET_FILE_SIZE)
}

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

//! Sources: where rows come from. A connector is one file or folder here and one line in [`SOURCES`]; its parameters
//! are decoded there and known nowhere else. A source may not know tasks, sinks or the coordinator.

use std::{any::Any, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, SchemaRef};
use async_trait::async_trait;
use futures::stream::BoxStream;
use windrow_common::{
    error,
    manifest::Input,
    pipeline::{Pattern, SourceSpec},
    readiness::Condition,
    window::Window,
};

use crate::{
    connection::ConnectionKind,
    error::{Result, WorkerError},
    mapping::Origin,
    verbatim::Verbatim,
};

mod decode;
pub mod delta;
pub mod http;
pub mod object_store;
mod parquet;
pub(crate) mod pin;
pub mod postgres;
pub mod synthetic;

/// A source opened for one pipeline.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The schema of the rows: declared, or inferred from the input the first time and then pinned by the sink's table.
    async fn schema(&self) -> Result<SchemaRef>;

    /// The same columns in the source's own words, and what of them the rows do not keep: for plans.
    async fn origins(&self) -> Result<Vec<Origin>> {
        let plain = |field: &FieldRef| Origin {
            column: field.name().clone(),
            kind: field.data_type().to_string(),
            losses: Vec::new(),
        };
        Ok(self.schema().await?.fields().iter().map(plain).collect())
    }

    /// Finds what a window's rows are read from and pins it (by ETag, size and time, or version), so that all attempts'
    /// reads see the same input or fail with `SOURCE_CHANGED`. An absent partition is [`crate::error::Outcome::NotReady`].
    /// Slices are independent: they may be read in any order and in parallel.
    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>>;

    /// What the source holds of resolved slices, as text that is the same as long as they hold the same rows and another one
    /// when a row has come, gone or changed. `None` where nothing proves that. What is read afterwards is what was proven, or the
    /// next proof is another.
    async fn prove(&self, _slices: &[Slice], _window: &Window) -> Result<Option<String>> {
        Ok(None)
    }

    /// The same of each window of a run, in their order. A source that cannot tell what is whose says the same of all.
    async fn prove_each(&self, slices: &[Slice], windows: &[Window]) -> Result<Option<Vec<String>>> {
        let Some(first) = windows.first() else { return Ok(None) };
        let state = self.prove(slices, first).await?;
        Ok(state.map(|state| vec![state; windows.len()]))
    }

    /// For which windows a condition holds: asked of sources alone that can tell, for all windows that wait, and for one before it is
    /// resolved. What it costs must not grow with the windows where that can be had.
    async fn told(&self, condition: &Condition, _windows: &[Window]) -> Result<Told> {
        let message = format!("this source cannot tell whether {condition:?} holds");
        Err(WorkerError::never(error::CONTRADICTION, message).fix("remove it from `readiness.require`"))
    }

    /// How many rows of the window the source itself counts now; `None` where it cannot.
    async fn count(&self, _window: &Window) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The rows of the slice that lie in the window, and what had to be rejected. With a cursor column, rows outside
    /// `[start, end)` are left out here. Memory is bounded by a few batches whatever the input's size.
    async fn read(&self, slice: &Slice, window: &Window) -> Result<RowStream>;

    /// The rows as the source itself writes them, or in words why it cannot leave them so.
    async fn verbatim(&self) -> Result<Result<Verbatim, String>> {
        Ok(Err("the source has rows of values alone".to_owned()))
    }

    /// As [`Self::read`], the rows left as they are, in batches of [`Verbatim::schema`].
    async fn read_verbatim(&self, slice: &Slice, _window: &Window) -> Result<RowStream> {
        Err(WorkerError::never(error::NOT_VERBATIM, "the source has rows of values alone").at(&slice.input.name))
    }

    /// Cuts a slice into shards that are read from one moment of the source, by whoever comes: together they are what the slice is
    /// then. The first is read here, and as long as a clone of it lives, the others can be read elsewhere by their
    /// [`Slice::part`]. None if that is not worth it, or not to be had.
    async fn cut(&self, _slice: &Slice, _window: &Window) -> Result<Vec<Slice>> {
        Ok(Vec::new())
    }

    /// The slice of a shard that was cut elsewhere. Fails with `SNAPSHOT_LOST` here or when it is read, if whoever cut does not
    /// keep the moment open any more.
    async fn shard(&self, part: &str) -> Result<Slice> {
        Err(WorkerError::never(error::VERSION_SKEW, "the source knows nothing of shards").at(part))
    }

    /// How far what is written here has come, in text: whoever reads a later moment sees what anybody has read by now. Of sources
    /// alone whose keys can be told.
    async fn written(&self) -> Result<String> {
        Err(keys_unknown())
    }

    /// The same source of these columns of all its rows, not before what was [`written`](Self::written), perhaps elsewhere.
    fn keys(&self, _columns: &[String], _written: &str) -> Result<Arc<dyn Source>> {
        Err(keys_unknown())
    }

    /// Whether a run of windows has to be resolved and read window by window, because the window decides what is read
    /// rather than which of its rows are taken.
    fn by_window(&self) -> bool {
        false
    }
}

fn keys_unknown() -> WorkerError {
    WorkerError::never(error::KEYS_UNKNOWN, "the source cannot tell which keys it has")
        .fix("remove `deletes` from the pipeline, or read from a PostgreSQL database")
}

/// For which windows a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// For each window that was asked about.
    pub holds: Vec<bool>,
    /// What is missing for the others, in words.
    pub missing: String,
}

/// A pinned part of a source.
#[derive(Clone, Debug)]
pub struct Slice {
    pub input: Input,
    /// Which part of it, if it was cut, in a form of the source's own.
    pub part: Option<String>,
    /// What the source keeps open from resolving to reading, in a form of its own.
    pub open: Option<Arc<dyn Any + Send + Sync>>,
}

impl From<Input> for Slice {
    fn from(input: Input) -> Self {
        Self { input, part: None, open: None }
    }
}

/// Batches of one schema, interleaved with rejects.
pub type RowStream = BoxStream<'static, Result<Chunk>>;

/// What a source yields.
#[derive(Clone, Debug)]
pub enum Chunk {
    Rows(RecordBatch),
    Rejected(Vec<Reject>),
}

/// Input that could not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The object it stands in.
    pub input: String,
    /// Line (from 1) for text formats, row otherwise; 0 where only the object is known.
    pub position: u64,
    /// An error code of the catalogue.
    pub code: &'static str,
    pub reason: String,
    /// The raw text as far as it can be shown, at most [`MAX_REJECT_BYTES`].
    pub raw: String,
}

impl Reject {
    /// The memory it takes.
    pub fn size(&self) -> usize {
        std::mem::size_of::<Self>() + self.input.len() + self.reason.len() + self.raw.len()
    }
}

/// Most bytes of a rejected row that are kept.
pub const MAX_REJECT_BYTES: usize = 16 * 1024;

/// A source connector.
pub struct SourceKind {
    /// Its name in errors and documents.
    pub kind: &'static str,
    /// The connection types it serves.
    pub connections: &'static [&'static str],
    /// The values of `format` that choose it where several connectors serve a connection; none for the one that serves
    /// all others.
    pub formats: &'static [&'static str],
    /// Those of them that no other connector serves, with their parameters.
    pub brings: &'static [ConnectionKind],
    pub build: fn(&SourceSpec) -> Built<dyn Source>,
    /// Whether it can tell that a condition holds; why not, if it cannot.
    pub tells: fn(&SourceSpec, &Condition) -> Result<(), String>,
    /// What [`Source::by_window`] will say, told from the parameters alone: nothing is opened and no secret resolved.
    pub by_window: fn(&SourceSpec) -> bool,
    /// Whether [`Source::prove`] has proofs of what pipelines of a pattern read.
    pub proves: fn(&SourceSpec, Pattern) -> bool,
    /// Whether it can tell which keys it has, by [`Source::keys`].
    pub keys: bool,
    /// JSON Schema (draft-07) of its parameters beside `from` and `cursor`.
    pub schema: fn() -> schemars::Schema,
}

/// Of sources that know of no conditions.
/// Databases count, and tell nothing else.
fn tells_count(spec: &SourceSpec, condition: &Condition) -> Result<(), String> {
    match condition {
        Condition::Count(_) => Ok(()),
        other => tells_nothing(spec, other),
    }
}

fn tells_nothing(_: &SourceSpec, _: &Condition) -> Result<(), String> {
    Err("only files in folders and buckets can say that a window's input is complete".to_owned())
}

/// An opened connector, or everything that is wrong with its parameters.
pub type Built<T> = Result<Arc<T>, Vec<ParamError>>;

/// What is wrong with a connector's parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// `format.delimiter`, relative to the block the parameters stand in; `connection.root` for the connection's own.
    pub path: String,
    pub code: windrow_common::error::ErrorCode,
    pub message: String,
    pub fix: Option<String>,
}

/// Every source there is.
pub const SOURCES: &[SourceKind] = &[object_store::KIND, delta::KIND, http::KIND, postgres::KIND, synthetic::KIND];

/// The connector that reads what the block describes.
pub fn find(spec: &SourceSpec) -> Option<&'static SourceKind> {
    choose(SOURCES, spec, |kind| (kind.connections, kind.formats))
}

/// The one of some connectors that reads what the block describes; `serves` tells a connector's connections and formats.
pub fn choose<'k, K>(
    kinds: &'k [K],
    spec: &SourceSpec,
    serves: impl Fn(&K) -> (&'static [&'static str], &'static [&'static str]),
) -> Option<&'k K> {
    let format = spec.params.get("format");
    let format = format.and_then(|format| format.as_str().or_else(|| format.get("type")?.as_str()));
    let named = |formats: &[&str]| format.is_some_and(|format| formats.contains(&format));
    let serving = || kinds.iter().filter(|kind| serves(kind).0.contains(&spec.from.kind.as_str()));
    serving().find(|kind| named(serves(kind).1)).or_else(|| serving().find(|kind| serves(kind).1.is_empty()))
}

//! The shape of a pipeline file as types. The JSON Schema, the known keys and the decoding all come from here; what
//! the connectors' own parameters are is theirs to say.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use windrow_common::{
    compaction::Compaction,
    guard::{Guard, Percent},
    manifest::WriteMode,
    pipeline::{Limits, Pattern, Retries, SourceLimits, Telemetry, TransformStep, Unchanged, WindowSpec},
    quantity::{ByteSize, Pause},
    readiness::Readiness,
    schema::SchemaPolicy,
};

/// A windrow pipeline file.
#[derive(Debug, JsonSchema)]
#[schemars(title = "windrow pipeline file", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its schema; the file is decoded block by block to find all errors at once")]
pub(crate) struct FileBlock {
    /// Version of the file's shape.
    #[schemars(range(min = 1, max = 1))]
    pub(crate) version: u32,
    /// The places data is read from and written to, by name.
    #[serde(default)]
    pub(crate) connections: BTreeMap<String, ConnectionBlock>,
    /// Settings of all pipelines that do not set them themselves.
    #[serde(default)]
    pub(crate) defaults: DefaultsBlock,
    /// The pipelines, by name.
    #[serde(default)]
    pub(crate) pipelines: BTreeMap<String, PipelineBlock>,
}

/// A place data is read from or written to.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ConnectionBlock {
    /// Which connectors serve it.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What all that read from it together may ask of it.
    #[serde(default)]
    pub(crate) limits: SourceLimits,
    #[serde(flatten)]
    pub(crate) params: Map<String, Value>,
}

/// Settings of all pipelines that do not set them themselves.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its schema")]
pub(crate) struct DefaultsBlock {
    /// IANA name of the zone windows are cut in.
    #[serde(default)]
    pub(crate) timezone: Option<String>,
    #[serde(default)]
    pub(crate) retries: Option<Retries>,
    #[serde(default)]
    pub(crate) limits: Option<Limits>,
    #[serde(default)]
    pub(crate) telemetry: Option<Telemetry>,
    #[serde(default)]
    pub(crate) schema: Option<SchemaPolicy>,
}

/// One movement of data.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its schema")]
pub(crate) struct PipelineBlock {
    pub(crate) pattern: Pattern,
    /// Where the rows come from; `pattern: compact` has none.
    #[serde(default)]
    pub(crate) source: Option<SourceBlock>,
    /// How time is cut into windows; for the incremental pattern.
    #[serde(default)]
    pub(crate) window: Option<WindowSpec>,
    /// The steps between source and sink, in order.
    #[serde(default)]
    pub(crate) transform: Vec<TransformStep>,
    pub(crate) sink: SinkBlock,
    /// What a window waits for before it is read.
    #[serde(default)]
    pub(crate) readiness: Option<Readiness>,
    /// What a load that replaces everything has to look like.
    #[serde(default)]
    pub(crate) guard: Option<Guard>,
    /// What becomes of a full load whose source is proven to be what is loaded.
    #[serde(default)]
    pub(crate) unchanged: Unchanged,
    /// What becomes of rows whose columns are not the table's.
    #[serde(default)]
    pub(crate) schema: Option<SchemaPolicy>,
    /// How the table's small files are rewritten; left out, they are not.
    #[serde(default)]
    pub(crate) compaction: Option<Compaction>,
    /// How rows that are deleted at the source without a word are found; left out, they are not.
    #[serde(default)]
    pub(crate) deletes: Option<DeletesBlock>,
    #[serde(default)]
    pub(crate) retries: Option<Retries>,
    #[serde(default)]
    pub(crate) limits: Option<Limits>,
    #[serde(default)]
    pub(crate) telemetry: Option<Telemetry>,
}

/// How rows that are deleted at the source without a word are found: keys are compared, and rows go whose keys are gone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletesBlock {
    /// How long after one comparison the next one is due.
    #[schemars(with = "String")]
    pub(crate) every: Pause,
    /// Name of the connection keys are read from, such as that of a standby. Default: where rows are read.
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// Most rows one comparison may delete, as a part of the table's: `10%`, which is the default.
    #[serde(default = "usual_part")]
    #[schemars(with = "String")]
    pub(crate) max_deleted: Percent,
}

fn usual_part() -> Percent {
    Percent { hundredths: 1_000 }
}

/// Where and what to read.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SourceBlock {
    /// Name of the connection to read from.
    pub(crate) from: String,
    /// The column that tells which window a row belongs to.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    /// Instead of `table`: patterns of `schema.table`. Each table they mean becomes a pipeline, and the sink's `path` or
    /// `table` says by `{schema}` and `{table}` where it goes.
    #[serde(default)]
    #[expect(dead_code, reason = "read for its schema: entries with it are taken apart before")]
    pub(crate) tables: Option<Patterns>,
    /// Of those, patterns of tables that are left out.
    #[serde(default)]
    #[expect(dead_code, reason = "read for its schema")]
    pub(crate) except: Option<Patterns>,
    #[serde(flatten)]
    pub(crate) params: Map<String, Value>,
}

/// A pattern or a list of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read for its schema")]
pub(crate) enum Patterns {
    One(String),
    Some(Vec<String>),
}

/// Windows that are sealed are committed together: as soon as they have the size, or the first of them has waited so long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatherBlock {
    /// How long a window that is sealed waits at most: from `1s` to `10m`.
    #[schemars(with = "String")]
    pub(crate) wait: Pause,
    /// As soon as so many bytes are sealed, they are committed. Default: the sink's `target_file_size`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(crate) size: Option<ByteSize>,
}

/// Where and how to write.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct SinkBlock {
    /// Name of the connection to write to.
    pub(crate) to: String,
    /// What the rows are written as.
    pub(crate) format: String,
    /// What happens to the rows that are there. Default: `replace_window` for incremental, `replace_all` for full.
    #[serde(default)]
    pub(crate) write: Option<WriteMode>,
    /// With `write: upsert`: columns that are the same in all rows of a key.
    #[serde(default)]
    pub(crate) key: Vec<String>,
    /// With `write: upsert`: columns by which a row is newer, compared one after the other. Default: the cursor.
    #[serde(default)]
    pub(crate) order: Vec<String>,
    /// With `write: upsert`: a condition in SQL; rows it holds for delete their key.
    #[serde(default)]
    pub(crate) deleted: Option<String>,
    /// Name of the connection rows wait in until they are committed: object storage, for sinks that keep no files.
    #[serde(default)]
    pub(crate) staging: Option<String>,
    /// How long windows that are sealed wait for more of them; left out, they are committed at once.
    #[serde(default)]
    #[schemars(with = "Option<GatherBlock>")]
    #[expect(dead_code, reason = "read for its schema: the block is decoded by itself")]
    pub(crate) gather: Option<Value>,
    #[serde(flatten)]
    pub(crate) params: Map<String, Value>,
}

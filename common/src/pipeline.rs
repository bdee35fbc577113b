//! The pipeline as windrow runs it: checked, with its connections in place and every default filled in.
//!
//! What a connector's parameters mean is known to the connector alone; here they stay a JSON object. Secrets stay
//! references (`${env:NAME}`, `${file:/path}`) and are resolved by the worker that needs them.

mod sink;

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::sink::SinkSpec;
use crate::{
    closed::Beside,
    compaction::Compaction,
    deletes::Deletes,
    guard::Guard,
    id::{PipelineName, SourceId},
    quantity::{ByteSize, Pause},
    readiness::Readiness,
    schema::SchemaPolicy,
};

/// A declared movement of data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    pub name: PipelineName,
    pub pattern: Pattern,
    pub source: SourceSpec,
    /// Present if and only if the pattern moves windows of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
    /// The steps between source and sink, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transform: Vec<TransformStep>,
    pub sink: SinkSpec,
    /// What a window waits for before it is read.
    #[serde(default, skip_serializing_if = "Readiness::is_usual")]
    pub readiness: Box<Readiness>,
    /// What a load that replaces everything has to look like.
    #[serde(default, skip_serializing_if = "Guard::is_usual")]
    pub guard: Guard,
    /// What becomes of a full load whose source is proven to be what is loaded.
    #[serde(default, skip_serializing_if = "Unchanged::is_usual")]
    pub unchanged: Unchanged,
    /// What becomes of rows whose columns are not the table's.
    #[serde(default, skip_serializing_if = "SchemaPolicy::is_usual")]
    pub schema: SchemaPolicy,
    /// How the table's small files are rewritten; left out, they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Box<Compaction>>,
    /// How rows that are deleted at the source are found; left out, they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletes: Option<Box<Deletes>>,
    #[serde(default)]
    pub retries: Retries,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Telemetry::is_usual")]
    pub telemetry: Telemetry,
    /// Absent unless it loads what came late to another pipeline's windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Box<Beside>>,
}

/// What kind of movement a pipeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// The whole dataset each time, switched in atomically.
    Full,
    /// Only what is new, in bounded windows of time.
    Incremental,
    /// Nothing is loaded: the small files of a table that others write become few large ones.
    Compact,
}

/// What becomes of a full load whose source is proven to be what it was when the rows that readers see were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unchanged {
    /// It is loaded all the same, and nothing has to be proven.
    #[default]
    Load,
    /// No row moves, and the version is recorded as unchanged.
    Skip,
}

impl Unchanged {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// A place data is read from or written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The name it has in the pipeline file.
    pub name: String,
    /// `local`, `s3`, `synthetic`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// What may be asked of it as a source.
    #[serde(default, skip_serializing_if = "SourceLimits::is_none")]
    pub limits: SourceLimits,
    #[serde(flatten)]
    pub params: Map<String, Value>,
}

/// What all that read from a place together may ask of it, over all pipelines and workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceLimits {
    /// Most tasks that read from it at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<NonZeroU32>,
    /// Most rows a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_s: Option<NonZeroU32>,
}

impl SourceLimits {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Both at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |one: Option<NonZeroU32>, two: Option<NonZeroU32>| one.into_iter().chain(two).min();
        Self {
            connections: least(self.connections, other.connections),
            rows_per_s: least(self.rows_per_s, other.rows_per_s),
        }
    }
}

/// Where and what to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    pub from: Connection,
    /// The column that tells which window a row belongs to. Without it, the window decides which objects are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    #[serde(flatten)]
    pub params: Map<String, Value>,
}

impl SourceSpec {
    /// The place this reads from: the same for every pipeline that reads there, whatever else its connection says.
    pub fn id(&self) -> SourceId {
        let address = ["root", "url"].iter().find_map(|key| self.from.params.get(*key).and_then(Value::as_str));
        // A connection without an address is a place of its own.
        let (sort, place) = address.map_or(("name", self.from.name.as_str()), |place| ("at", place));
        let text = format!("{}\0{sort}\0{}", self.from.kind, place.trim_end_matches('/'));
        SourceId::of(text.as_bytes())
    }
}

/// How time is cut into windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Length of a window. `1h`, `24h` are elapsed time; `1d`, `1w`, `1mo` are calendar units in `timezone`.
    #[schemars(with = "String")]
    pub every: Every,
    /// Where the first window starts, in `timezone`: `2013-01-01` or `2013-01-01T10:00`.
    #[schemars(with = "String")]
    pub start: jiff::civil::DateTime,
    /// Where the last window ends; without it the pipeline goes on with time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub end: Option<jiff::civil::DateTime>,
    /// IANA name of the zone `start`, `end` and calendar units are in.
    #[serde(default = "utc")]
    pub timezone: String,
    /// How long after its end a window is taken for complete.
    #[serde(default)]
    #[schemars(with = "String")]
    pub lag: Pause,
    /// How many windows before the newest closed one are loaded again with it, for rows that came late.
    #[serde(default)]
    pub lookback: u32,
    /// How long after its end a published window is counted again in the source, and loaded again if it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub audit_after: Option<Pause>,
    /// Most adjacent windows one task may take at once when catching up or backfilling.
    #[serde(default = "default_per_task")]
    pub per_task: u32,
}

impl WindowSpec {
    /// Most windows a task may take, and most that are loaded again with a newer one. A round of planning holds the
    /// windows of a hundred tasks in memory, and a task's record the places where they meet.
    pub const MAX_RUN: u32 = 10_000;

    /// How many windows a task takes.
    pub fn run(&self) -> u32 {
        self.per_task.clamp(1, Self::MAX_RUN)
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn default_per_task() -> u32 {
    1_000
}

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Every {
    /// So much time, whatever the calendar says.
    Elapsed(Duration),
    /// So many calendar days, of 23, 24 or 25 hours.
    Days(u32),
    /// So many calendar months.
    Months(u32),
}

/// Why a text is no window length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no window length: write a number and one of s, m, h (elapsed time), d, w, mo (calendar)")]
pub struct InvalidEvery(String);

impl FromStr for Every {
    type Err = InvalidEvery;

    fn from_str(text: &str) -> Result<Self, InvalidEvery> {
        let invalid = || InvalidEvery(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let count: u32 = text[..digits].parse().map_err(|_| invalid())?;
        if count == 0 {
            return Err(invalid());
        }
        let seconds = |unit: u64| Self::Elapsed(Duration::from_secs(u64::from(count) * unit));
        match &text[digits..] {
            "s" => Ok(seconds(1)),
            "m" => Ok(seconds(60)),
            "h" => Ok(seconds(3_600)),
            "d" => Ok(Self::Days(count)),
            "w" => count.checked_mul(7).map(Self::Days).ok_or_else(invalid),
            "mo" => Ok(Self::Months(count)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elapsed(length) => {
                let seconds = length.as_secs();
                match seconds {
                    _ if seconds.is_multiple_of(3_600) => write!(f, "{}h", seconds / 3_600),
                    _ if seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
                    _ => write!(f, "{seconds}s"),
                }
            }
            Self::Days(days) => write!(f, "{days}d"),
            Self::Months(months) => write!(f, "{months}mo"),
        }
    }
}

impl TryFrom<String> for Every {
    type Error = InvalidEvery;

    fn try_from(text: String) -> Result<Self, InvalidEvery> {
        text.parse()
    }
}

impl From<Every> for String {
    fn from(every: Every) -> String {
        every.to_string()
    }
}

/// One step between source and sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TransformStep {
    /// A SELECT over the table `input`.
    Sql(String),
}

/// How often and how patiently a task is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Errors after which a task is quarantined.
    pub attempts: u32,
    /// Lost leases after which a task is quarantined: an input that kills its worker looks like one.
    pub lost_leases: u32,
    /// The pause after the first error; it doubles with each further one.
    #[schemars(with = "String")]
    pub backoff: Pause,
    /// The longest pause.
    #[schemars(with = "String")]
    pub max_backoff: Pause,
    /// How long a source or a sink that cannot be reached is tried again before its tasks are quarantined: attempts and
    /// the pauses between them together.
    #[schemars(with = "String")]
    pub outage: Pause,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            lost_leases: 3,
            backoff: Pause(Duration::from_secs(1)),
            max_backoff: Pause(Duration::from_secs(300)),
            outage: Pause(Duration::from_secs(24 * 3_600)),
        }
    }
}

/// What a pipeline may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most tasks of the pipeline at a time, over all workers.
    pub concurrency: u32,
    /// Most memory a task's transform may take before it spills or refuses.
    #[schemars(with = "String")]
    pub memory: ByteSize,
    /// Share of a window's rows that may go to the dead letters; past it the window is quarantined.
    pub max_rejected: f64,
    /// How long one attempt may take.
    #[schemars(with = "String")]
    pub deadline: Pause,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 8,
            memory: ByteSize(256 << 20),
            max_rejected: 0.0,
            deadline: Pause(Duration::from_secs(6 * 3_600)),
        }
    }
}

/// What a pipeline tells of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where the spans inside an attempt go.
    pub detail: Detail,
}

/// Where the spans inside an attempt go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// `inline` for backfills of at most 250 tasks and for everything scheduled, else `linked`.
    #[default]
    Auto,
    /// In the trace of the backfill.
    Inline,
    /// In a trace of their own per attempt, linked both ways.
    Linked,
}

impl Telemetry {
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_is_a_calendar_day_and_twenty_four_hours_are_not() {
        assert_eq!("1d".parse::<Every>().unwrap(), Every::Days(1));
        assert_eq!("24h".parse::<Every>().unwrap(), Every::Elapsed(Duration::from_secs(86_400)));
        assert_eq!("2w".parse::<Every>().unwrap(), Every::Days(14));
        for bad in ["", "0h", "h", "1.5h", "1 h", "1y", "-1h"] {
            assert!(bad.parse::<Every>().is_err(), "{bad:?}");
        }
        for text in ["90s", "15m", "1h", "24h", "1d", "3mo"] {
            assert_eq!(text.parse::<Every>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn pipelines_that_read_one_address_share_what_may_be_asked_of_it() {
        let source =
            |from: Value| -> SourceSpec { serde_json::from_value(serde_json::json!({ "from": from })).unwrap() };
        let shop = |limits: Value| {
            source(serde_json::json!({
                "name": "shop", "type": "postgres", "url": "${env:SHOP}", "limits": limits,
            }))
        };
        let (tight, wide) = (
            shop(serde_json::json!({ "connections": 2 })),
            shop(serde_json::json!({ "connections": 5, "rows_per_s": 7 })),
        );
        assert_eq!(tight.id(), wide.id());
        let both = tight.from.limits.and(wide.from.limits);
        assert_eq!((both.connections.unwrap().get(), both.rows_per_s.unwrap().get()), (2, 7));
        assert!(!tight.from.params.contains_key("limits"), "they are no parameter of the connector");
        let made_up = |name: &str| source(serde_json::json!({ "name": name, "type": "synthetic" }));
        assert_ne!(made_up("a").id(), made_up("b").id());
        let plain = serde_json::to_value(made_up("a").from).unwrap();
        assert_eq!(
            plain,
            serde_json::json!({ "name": "a", "type": "synthetic" }),
            "nothing new where nothing is limited"
        );
    }
}

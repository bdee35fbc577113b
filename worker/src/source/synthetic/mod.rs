//! Source `synthetic`: rows made of a seed and their position alone, so that a reader can recompute every one of them.
//! For tests, tours and measurements.

use std::sync::Arc;

use arrow_array::{
    Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, builder::StringBuilder,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;
use windrow_common::{
    error::{self, ErrorCode},
    manifest::Input,
    pipeline::SourceSpec,
    window::{Axis, Window},
};

use super::{Chunk, ParamError, RowStream, Slice, Source, SourceKind, tells_nothing};
use crate::{
    connection,
    error::{Result, WorkerError},
};

mod value;

pub const KIND: SourceKind = SourceKind {
    kind: "synthetic",
    connections: &["synthetic"],
    formats: &[],
    brings: &[connection::kind::<Connection>("synthetic")],
    build,
    tells: tells_nothing,
    by_window: |_| false,
    proves: |_, _| false,
    keys: false,
    schema: || schema_for!(Params),
};

/// Rows made up by rule, for tests and benchmarks.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Connection {}

const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 8 << 20;
const MICROS_PER_SECOND: i128 = 1_000_000;
const MAX_PAYLOAD: usize = 64 * 1024;
/// The columns: row number, cursor, 32 hexadecimal digits, letters, a number in [0, 1).
const COLUMNS: [&str; 5] = ["id", "ts", "hash", "payload", "value"];

/// The parameters; exactly one of the two row counts is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Rows of every window, evenly spread over it.
    #[serde(default)]
    rows_per_window: Option<u32>,
    /// Rows of every second of the time axis, whatever the windows.
    #[serde(default)]
    rows_per_second: Option<u32>,
    /// Another seed gives other rows.
    #[serde(default)]
    seed: u64,
    /// Letters in `payload`.
    #[serde(default = "default_payload")]
    payload_bytes: usize,
}

fn default_payload() -> usize {
    32
}

/// How many rows there are, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Density {
    PerWindow(i64),
    PerSecond(i64),
}

/// A source of made-up rows.
#[derive(Clone, Debug)]
struct Synthetic {
    density: Density,
    seed: u64,
    payload_bytes: usize,
    schema: SchemaRef,
}

fn build(spec: &SourceSpec) -> Result<Arc<dyn Source>, Vec<ParamError>> {
    let fault = |path: &str, code: ErrorCode, message: String| {
        vec![ParamError { path: path.to_owned(), code, message, fix: None }]
    };
    let params: Params = serde_path_to_error::deserialize(Value::Object(spec.params.clone())).map_err(|cause| {
        let message = cause.inner().to_string();
        let code = if message.starts_with("unknown field") { error::UNKNOWN_KEY } else { error::BAD_VALUE };
        fault(&cause.path().to_string(), code, message)
    })?;
    if spec.cursor.as_deref().is_some_and(|cursor| cursor != "ts") {
        return Err(fault("cursor", error::CURSOR_MISSING, "the cursor of made-up rows is `ts`".to_owned()));
    }
    if params.payload_bytes > MAX_PAYLOAD {
        return Err(fault("payload_bytes", error::BAD_VALUE, format!("at most {MAX_PAYLOAD}")));
    }
    let density = match (params.rows_per_window, params.rows_per_second) {
        (Some(rows), None) => Density::PerWindow(rows.into()),
        (None, Some(rows)) => Density::PerSecond(rows.into()),
        _ => {
            let message = "give either `rows_per_window` or `rows_per_second`".to_owned();
            return Err(fault("rows_per_window", error::CONTRADICTION, message));
        }
    };
    let schema = schema();
    Ok(Arc::new(Synthetic { density, seed: params.seed, payload_bytes: params.payload_bytes, schema }))
}

fn schema() -> SchemaRef {
    let types = [
        DataType::Int64,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Utf8,
        DataType::Utf8,
        DataType::Float64,
    ];
    let fields = COLUMNS.iter().zip(types).map(|(name, data_type)| Field::new(*name, data_type, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl Source for Synthetic {
    async fn schema(&self) -> Result<SchemaRef> {
        Ok(self.schema.clone())
    }

    async fn resolve(&self, window: &Window) -> Result<Vec<Slice>> {
        self.ids(window)?;
        let version = format!("{:?} seed {} payload {}", self.density, self.seed, self.payload_bytes);
        Ok(vec![Input { name: format!("synthetic/{window}"), bytes: 0, version: Some(version), into: None }.into()])
    }

    async fn read(&self, _: &Slice, window: &Window) -> Result<RowStream> {
        let ids = self.ids(window)?;
        let (source, window) = (self.clone(), *window);
        // Long payloads make for batches of fewer rows, so that memory stays bounded.
        let rows = BATCH_ROWS.min(BATCH_BYTES / self.payload_bytes.max(1));
        let batches = stream::iter(ids.clone().step_by(rows)).map(move |first| {
            let last = first.saturating_add(rows as i64).min(ids.end);
            source.batch(first..last, &window).map(Chunk::Rows)
        });
        Ok(batches.boxed())
    }

    /// So many rows per window are that of each window, not of a run of them.
    fn by_window(&self) -> bool {
        matches!(self.density, Density::PerWindow(_))
    }
}

impl Synthetic {
    /// The numbers of a window's rows. Adjacent windows have adjacent numbers on the time axis by seconds; by windows,
    /// and in full loads, they count from 0.
    fn ids(&self, window: &Window) -> Result<std::ops::Range<i64>> {
        match (self.density, window.axis()) {
            (Density::PerWindow(rows), _) => Ok(0..rows),
            (Density::PerSecond(rows), Axis::Time) => {
                // The row `id` stands at the microsecond floor(id / rows s), so the first at or after `at` is the
                // ceiling of at * rows / 1 s.
                let first = |at: i64| {
                    let scaled = i128::from(at) * i128::from(rows);
                    let id = -(-scaled).div_euclid(MICROS_PER_SECOND);
                    i64::try_from(id).unwrap_or(i64::MAX)
                };
                Ok(first(window.start())..first(window.end()))
            }
            (Density::PerSecond(_), Axis::Version) => {
                Err(WorkerError::never(error::CONTRADICTION, "a full load has no seconds to make rows for")
                    .fix("give `rows_per_window`"))
            }
        }
    }

    /// The instant of a row in microseconds.
    fn at(&self, id: i64, window: &Window) -> i64 {
        let micros = match (self.density, window.axis()) {
            (Density::PerSecond(rows), _) => (i128::from(id) * MICROS_PER_SECOND).div_euclid(i128::from(rows.max(1))),
            (Density::PerWindow(rows), Axis::Time) => {
                let length = i128::from(window.end()) - i128::from(window.start());
                i128::from(window.start()) + i128::from(id) * length / i128::from(rows.max(1))
            }
            (Density::PerWindow(_), Axis::Version) => i128::from(id) * MICROS_PER_SECOND,
        };
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    fn batch(&self, ids: std::ops::Range<i64>, window: &Window) -> Result<RecordBatch> {
        let instants: Vec<i64> = ids.clone().map(|id| self.at(id, window)).collect();
        // Row numbers repeat from window to window by windows; the instant does not.
        let position = |id: i64, at: i64| match (self.density, window.axis()) {
            (Density::PerWindow(_), Axis::Time) => value::mix(at as u64 ^ (id as u64).rotate_left(32)),
            _ => id as u64,
        };
        let keys: Vec<u64> = ids.clone().zip(&instants).map(|(id, at)| position(id, *at)).collect();
        let mut hashes = StringBuilder::with_capacity(keys.len(), keys.len() * 32);
        let mut payloads = StringBuilder::with_capacity(keys.len(), keys.len() * self.payload_bytes);
        let mut text = String::new();
        for key in &keys {
            hashes.append_value(value::hash(self.seed, *key));
            value::payload(self.seed, *key, self.payload_bytes, &mut text);
            payloads.append_value(&text);
        }
        let hashes: StringArray = hashes.finish();
        let payloads: StringArray = payloads.finish();
        let values: Float64Array = keys.iter().map(|key| Some(value::fraction(self.seed, *key))).collect();
        let columns: Vec<arrow_array::ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids)),
            Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC")),
            Arc::new(hashes),
            Arc::new(payloads),
            Arc::new(values),
        ];
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|cause| WorkerError::never(error::INTERNAL, "a made-up batch is no batch").because(cause))
    }
}

#[cfg(test)]
mod tests;

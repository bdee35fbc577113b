//! What the worker counts, and the spans of its attempts and commits. It may depend on nothing else of the worker.

use std::collections::HashMap;

use opentelemetry::{KeyValue, global, metrics::Counter};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use windrow_common::{id::PipelineName, manifest::Counts};

/// The worker's instruments, on whichever meter provider is global when they are made. The exporter adds `_total`.
#[derive(Clone)]
pub struct Metrics {
    rows: Counter<u64>,
    bytes: Counter<u64>,
    fenced_writes: Counter<u64>,
    attempts: Counter<u64>,
    commit_retries: Counter<u64>,
}

/// How an attempt ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    Sealed,
    /// Its seal or failure was refused: the claim had passed on.
    Fenced,
    Failed,
    NotReady,
    /// Revoked or lapsed while it ran.
    Cancelled,
    /// No coordinator answered in all the time it waited.
    Unanswered,
}

impl Metrics {
    pub fn new() -> Self {
        let meter = global::meter("windrow");
        let counter = |name, what| meter.u64_counter(name).with_description(what).build();
        Self {
            rows: counter("windrow_rows", "rows of sealed attempts by direction: read, written, rejected"),
            bytes: counter("windrow_bytes", "bytes of sealed attempts by direction: written"),
            fenced_writes: counter("windrow_fenced_writes", "seals refused because the claim had passed on"),
            attempts: counter("windrow_attempts", "attempts by how they ended"),
            commit_retries: counter("windrow_commit_retries", "commits whose outcome was unknown"),
        }
    }

    /// Counts what a sealed attempt moved.
    pub fn moved(&self, pipeline: &str, counts: &Counts) {
        let direction = |direction: &'static str| [pipeline_label(pipeline), KeyValue::new("direction", direction)];
        self.rows.add(counts.rows_read, &direction("read"));
        self.rows.add(counts.rows_written, &direction("written"));
        self.rows.add(counts.rows_rejected, &direction("rejected"));
        self.bytes.add(counts.bytes_written, &direction("written"));
    }

    pub fn attempt(&self, pipeline: &str, result: AttemptResult) {
        self.attempts.add(1, &[pipeline_label(pipeline), KeyValue::new("result", result.label())]);
        if result == AttemptResult::Fenced {
            self.fenced_writes.add(1, &[pipeline_label(pipeline)]);
        }
    }

    pub fn commit_unknown(&self, pipeline: &PipelineName) {
        self.commit_retries.add(1, &[pipeline_label(pipeline.as_str())]);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl AttemptResult {
    fn label(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
            Self::NotReady => "not_ready",
            Self::Cancelled => "cancelled",
            Self::Unanswered => "unanswered",
        }
    }
}

fn pipeline_label(pipeline: &str) -> KeyValue {
    KeyValue::new("pipeline", pipeline.to_owned())
}

/// Hangs a span under the request that made the task, by its W3C `traceparent`.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&carrier));
    if let Err(error) = span.set_parent(parent) {
        // Without an exporter there is no layer, and no parent is missed.
        tracing::trace!(%error, "a span stays without its parent");
    }
}

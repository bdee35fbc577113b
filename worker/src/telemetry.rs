//! What the worker counts, and the spans of its attempts and commits. It may depend on nothing else of the worker.

use std::{collections::HashMap, time::Duration};

use opentelemetry::{
    Context, KeyValue, global,
    metrics::{Counter, Gauge},
    trace::{Status, TraceContextExt},
};
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
    working: Counter<f64>,
    listing: Counter<f64>,
    commit_retries: Counter<u64>,
    cleaned_files: Counter<u64>,
    cleaned_bytes: Counter<u64>,
    vacuums: Counter<u64>,
    dead_rows: Gauge<u64>,
    events: Counter<u64>,
}

/// The key W3C trace context travels under.
const TRACEPARENT: &str = "traceparent";

/// How an attempt ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    Sealed,
    /// What the source was proven to hold was all there was to tell.
    Compared,
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
        let metrics = Self {
            rows: counter("windrow_rows", "rows of sealed attempts by direction: read, written, rejected"),
            bytes: counter("windrow_bytes", "bytes of sealed attempts by direction: written"),
            fenced_writes: counter("windrow_fenced_writes", "seals refused because the claim had passed on"),
            attempts: counter("windrow_attempts", "attempts by how they ended"),
            working: meter
                .f64_counter("windrow_attempt_seconds")
                .with_description("time from claim to seal or failure, over all attempts")
                .build(),
            listing: meter
                .f64_counter("windrow_listing_seconds")
                .with_description("time of it that went into finding out what there is to read")
                .build(),
            commit_retries: counter("windrow_commit_retries", "commits whose outcome was unknown"),
            events: counter("windrow_events", "events by whether their receiver took them: sent, failed"),
            cleaned_files: counter("windrow_cleaned_files", "files and entries of logs that cleaning took away"),
            cleaned_bytes: counter("windrow_cleaned_bytes", "bytes that cleaning took away"),
            vacuums: counter("windrow_vacuums", "vacuums of a database's tables"),
            dead_rows: meter
                .u64_gauge("windrow_dead_rows")
                .with_description("dead rows of a database's table before and after it was looked at")
                .build(),
        };
        // What appears only with the first event cannot be told from what is not measured.
        metrics.events.add(0, &[]);
        metrics
    }

    /// Counts what a sink was cleaned of.
    pub fn cleaned(&self, sink: &str, files: u64, bytes: u64) {
        let sink = [KeyValue::new("sink", sink.to_owned())];
        self.cleaned_files.add(files, &sink);
        self.cleaned_bytes.add(bytes, &sink);
    }

    /// Measures a table of a database that was vacuumed, or was not.
    pub fn dead_rows(&self, sink: &str, table: &str, (before, after): (u64, u64), vacuumed: bool) {
        let sink = KeyValue::new("sink", sink.to_owned());
        let when =
            |when: &'static str| [sink.clone(), KeyValue::new("table", table.to_owned()), KeyValue::new("when", when)];
        self.dead_rows.record(before, &when("before"));
        self.dead_rows.record(after, &when("after"));
        if vacuumed {
            self.vacuums.add(1, &[sink]);
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

    /// How long an attempt took, and how long of that it took to find out what there is to read: with many small files, most of it.
    pub fn took(&self, pipeline: &str, whole: Duration, listing: Duration) {
        self.working.add(whole.as_secs_f64(), &[pipeline_label(pipeline)]);
        self.listing.add(listing.as_secs_f64(), &[pipeline_label(pipeline)]);
    }

    pub fn event(&self, pipeline: &PipelineName, sent: bool) {
        let result = KeyValue::new("result", if sent { "sent" } else { "failed" });
        self.events.add(1, &[pipeline_label(pipeline.as_str()), result]);
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
            Self::Compared => "compared",
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

/// Hangs a span under the one a W3C `traceparent` names; without one it begins a trace.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    if let Err(error) = span.set_parent(context(traceparent)) {
        // Without an exporter there is no layer, and no parent is missed.
        tracing::trace!(%error, "a span stays without its parent");
    }
}

/// Links a span to others it has to do with.
pub fn link<'a>(span: &Span, traceparents: impl IntoIterator<Item = &'a str>) {
    for traceparent in traceparents {
        span.add_link(context(traceparent).span().span_context().clone());
    }
}

/// Where the spans inside an attempt go: under its own, or, `apart`, under one that begins a trace; the two are linked
/// both ways. An attempt nobody collects has no such trace either.
pub fn inside(attempt: &Span, apart: bool, name: &str) -> Span {
    let context = attempt.context();
    let own = context.span().span_context().clone();
    if !apart || !own.is_sampled() {
        return attempt.clone();
    }
    let detail =
        tracing::info_span!(parent: None, "attempt", otel.name = format!("attempt {name}"), windrow.pipeline = name);
    detail.add_link(own);
    attempt.add_link(detail.context().span().span_context().clone());
    detail
}

/// How an attempt ended, on its span.
pub fn ended(attempt: &Span, result: AttemptResult) {
    attempt.set_attribute("windrow.result", result.label());
    if !matches!(result, AttemptResult::Sealed | AttemptResult::Compared | AttemptResult::NotReady) {
        attempt.set_status(Status::error(result.label()));
    }
}

/// Why something failed, on the present span: the code, as the page in docs/errors is called.
pub fn failed(code: &str) {
    Span::current().set_attribute("error.type", code.to_owned());
}

/// The present span as a `traceparent`, for those who go on from it; `None` where no trace is collected.
pub fn here() -> Option<String> {
    traceparent(&Span::current())
}

/// A span as a `traceparent`.
pub fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut carrier));
    carrier.remove(TRACEPARENT)
}

fn context(traceparent: &str) -> Context {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    // Not out of the current context: what makes no sense must lead nowhere.
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &carrier))
}

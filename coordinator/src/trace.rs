//! Traces across requests, tasks and commits. Whoever makes tasks leaves the context of a short span in them, and every
//! attempt is a child of it; so no span stays open for hours, and one backfill is one trace. What is done for many tasks
//! at once is in the trace of the first and links the others.
//!
//! Contexts travel as W3C `traceparent`s. Without an exporter no spans are made, and callers' contexts are passed through.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tonic::{codegen::http, metadata::MetadataMap};
use tracing::{Span, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use windrow_common::{
    intent::Seq,
    manifest::Counts,
    task::{Task, TaskState},
};

/// The key W3C trace context travels under.
const TRACEPARENT: &str = "traceparent";
/// Longer ones are none: version, trace, span and flags take 55 bytes.
const MAX_TRACEPARENT_BYTES: usize = 64;
/// The users' side of the API.
const SERVICE: &str = "windrow.v1.AdminService";
const MAX_METHOD_BYTES: usize = 40;

/// The span of a user's request, a child of the caller's. Questions that come without a trace begin none: whoever watches
/// asks them many times a minute. Watching has none at all: it goes on when a span of it would have ended.
pub(crate) fn of_request(request: &http::Request<()>) -> Span {
    let path = request.uri().path();
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE)?.strip_prefix('/'));
    let named = |method: &&str| method.len() <= MAX_METHOD_BYTES && method.bytes().all(|b| b.is_ascii_alphabetic());
    let Some(method) = method.filter(named) else { return Span::none() };
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &Headers(request.headers()))
    });
    let asks = ["List", "Get", "Preview"].iter().any(|verb| method.starts_with(verb));
    if method.starts_with("Watch") || asks && !caller.span().span_context().is_valid() {
        return Span::none();
    }
    let span = info_span!(
        parent: None,
        "request",
        otel.name = format!("{SERVICE}/{method}"),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = SERVICE,
        rpc.method = method,
    );
    adopt(&span, caller);
    span
}

/// Makes the short span that publishes a backfill's tasks, in the request's; what the tasks carry. Without tracing it is the
/// caller's own, passed through.
pub(crate) fn publish(caller: &MetadataMap, pipeline: &str, backfill: &str) -> Option<String> {
    let span = info_span!(
        "publish",
        otel.name = format!("publish {pipeline}"),
        otel.kind = "producer",
        windrow.pipeline = pipeline,
        windrow.backfill.id = backfill,
    );
    traceparent(&span).or_else(|| short(caller.get(TRACEPARENT)?.to_str().ok()?.to_owned()))
}

/// Makes the short span that a rollback's commit is done for, in the request's; what its record carries.
pub(crate) fn roll_back(caller: &MetadataMap, pipeline: &str, request: &str) -> Option<String> {
    let span = info_span!(
        "roll_back",
        otel.name = format!("roll back {pipeline}"),
        otel.kind = "producer",
        windrow.pipeline = pipeline,
        windrow.request.id = request,
    );
    traceparent(&span).or_else(|| short(caller.get(TRACEPARENT)?.to_str().ok()?.to_owned()))
}

/// What a request came to, on its span.
pub(crate) fn created(backfill: &str, windows: u64) {
    let span = Span::current();
    span.set_attribute("windrow.backfill.id", backfill.to_owned());
    span.set_attribute("windrow.windows", i64::try_from(windows).unwrap_or(i64::MAX));
}

/// Begins the trace of a task nobody asked for but time; what it carries.
pub(crate) fn publish_due(task: &Task) -> Option<String> {
    let span = info_span!(
        parent: None,
        "publish",
        otel.name = format!("publish {}", task.pipeline),
        otel.kind = "producer",
        windrow.pipeline = task.pipeline.as_str(),
        windrow.task.id = %task.id,
        windrow.window.start = field::Empty,
        windrow.window.end = field::Empty,
    );
    record_window(&span, task);
    traceparent(&span)
}

/// What something that is done for many tasks at once belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins {
    /// The trace it is in; one of its own if there is none.
    pub(crate) parent: Option<String>,
    pub(crate) links: Vec<String>,
}

/// The span of a transaction that gives tasks to workers.
pub(crate) fn claim(tasks: usize, origins: &Origins) -> Span {
    let span = info_span!(parent: None, "claim", otel.kind = "internal", windrow.tasks = tasks);
    if let Some(parent) = &origins.parent {
        adopt(&span, context(parent));
    }
    for link in &origins.links {
        span.add_link(context(link).span().span_context().clone());
    }
    span
}

/// What is known of the end of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    /// What the span is below.
    pub(crate) parent: Option<&'a str>,
    pub(crate) attempt: Option<&'a str>,
    pub(crate) commit: Option<&'a str>,
    pub(crate) seq: Seq,
}

/// The span of the transaction that publishes a task's windows, which ends the task. It tells what the attempt came to.
pub(crate) fn settle(task: &Task, ending: Ending<'_>) -> Span {
    let TaskState::Sealed { manifest, since, .. } = &task.state else { return Span::none() };
    let Counts { rows_read, rows_written, rows_rejected, bytes_written, files, values_discarded, rows_deleted } =
        manifest.counts;
    let span = info_span!(
        parent: None,
        "settle",
        otel.name = format!("settle {}", task.pipeline),
        otel.kind = "internal",
        windrow.pipeline = task.pipeline.as_str(),
        windrow.task.id = %task.id,
        windrow.window.start = field::Empty,
        windrow.window.end = field::Empty,
        windrow.windows = task.windows(),
        windrow.attempts = task.attempts,
        windrow.sealed = %since,
        windrow.sink = task.sink.as_str(),
        windrow.seq = ending.seq,
        windrow.rows.read = rows_read,
        windrow.rows.written = rows_written,
        windrow.rows.rejected = rows_rejected,
        windrow.bytes.written = bytes_written,
        windrow.files = files,
        windrow.values.discarded = values_discarded,
        windrow.rows.deleted = rows_deleted,
    );
    record_window(&span, task);
    if let Some(parent) = ending.parent {
        adopt(&span, context(parent));
    }
    for link in ending.attempt.into_iter().chain(ending.commit) {
        span.add_link(context(link).span().span_context().clone());
    }
    span
}

/// A span's context as a `traceparent`; `None` where no trace is collected.
pub(crate) fn traceparent(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier(None);
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut carrier));
    carrier.0
}

/// A `traceparent` a peer sent, if it can be one.
pub(crate) fn short(traceparent: String) -> Option<String> {
    (1..=MAX_TRACEPARENT_BYTES).contains(&traceparent.len()).then_some(traceparent)
}

fn record_window(span: &Span, task: &Task) {
    match task.window.instants() {
        Some((start, end)) => {
            span.record("windrow.window.start", field::display(start));
            span.record("windrow.window.end", field::display(end));
        }
        None => {
            span.record("windrow.window.start", task.window.start());
            span.record("windrow.window.end", task.window.end());
        }
    }
}

/// The context a `traceparent` names; an empty one if it makes no sense.
fn context(traceparent: &str) -> Context {
    struct Parent<'a>(&'a str);
    impl Extractor for Parent<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == TRACEPARENT).then_some(self.0)
        }

        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }
    // Not out of the current context: what makes no sense must lead nowhere.
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &Parent(traceparent)))
}

fn adopt(span: &Span, parent: Context) {
    if let Err(error) = span.set_parent(parent) {
        // Without an exporter there is no layer, and no parent is missed.
        tracing::trace!(%error, "a span stays without its parent");
    }
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Carrier(Option<String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_tracing_the_callers_context_is_passed_through_if_it_can_be_one() {
        let mut metadata = MetadataMap::new();
        assert_eq!(publish(&metadata, "flights", "b"), None);
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        metadata.insert(TRACEPARENT, caller.parse().unwrap());
        assert_eq!(publish(&metadata, "flights", "b").as_deref(), Some(caller));
        metadata.insert(TRACEPARENT, "0".repeat(1_000).parse().unwrap());
        assert_eq!(publish(&metadata, "flights", "b"), None);
    }
}

//! The trace goes with the call: W3C `traceparent` in gRPC headers, by the propagator the process has set. Rows have a
//! span on either side; dead letters, which come beside them, have none.

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
};
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap, MetadataValue};
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use windrow_common::ticket::Ticket;

use super::service::Part;

const SERVICE: &str = "arrow.flight.protocol.FlightService";

/// A put within this process.
pub(super) fn staging(part: Part) -> Span {
    match part {
        Part::Rows | Part::Keys(_) => info_span!("stage"),
        Part::DeadLetters => Span::none(),
    }
}

/// A put to another worker.
pub(super) fn sending(part: Part) -> Span {
    match part {
        Part::Rows | Part::Keys(_) => info_span!(
            "put",
            otel.name = format!("{SERVICE}/DoPut"),
            otel.kind = "client",
            rpc.system = "grpc",
            rpc.service = SERVICE,
            rpc.method = "DoPut",
        ),
        Part::DeadLetters => Span::none(),
    }
}

/// A put from another worker.
pub(super) fn receiving(part: Part, ticket: &Ticket, headers: &MetadataMap) -> Span {
    match part {
        Part::Rows | Part::Keys(_) => called("DoPut", ticket, headers),
        Part::DeadLetters => Span::none(),
    }
}

/// The end of another worker's puts: its manifest is written.
pub(super) fn finishing(ticket: &Ticket, headers: &MetadataMap) -> Span {
    called("DoAction", ticket, headers)
}

fn called(method: &'static str, ticket: &Ticket, headers: &MetadataMap) -> Span {
    let span = info_span!(
        parent: None,
        "flight",
        otel.name = format!("{SERVICE}/{method}"),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = SERVICE,
        rpc.method = method,
        windrow.pipeline = ticket.pipeline.as_str(),
        windrow.task.id = %ticket.task,
        windrow.attempt = ticket.attempt,
        windrow.fence = %ticket.token,
    );
    adopt(&span, headers);
    span
}

/// Writes the current span's context into a call's headers.
pub(super) fn inject(headers: &mut MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Headers(headers)));
}

/// Makes the caller's span the parent of `span`.
fn adopt(span: &Span, headers: &MetadataMap) {
    let context = global::get_text_map_propagator(|propagator| propagator.extract(&ReadHeaders(headers)));
    // Fails only where no trace is collected.
    let _ = span.set_parent(context);
}

struct Headers<'a>(&'a mut MetadataMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}

struct ReadHeaders<'a>(&'a MetadataMap);

impl Extractor for ReadHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let ascii = |key| match key {
            KeyRef::Ascii(key) => Some(key.as_str()),
            KeyRef::Binary(_) => None,
        };
        self.0.keys().filter_map(ascii).collect()
    }
}

//! Traces across requests: whoever makes tasks leaves the context of a short span in them, and every attempt is a child
//! of it. So no span stays open for hours, and one backfill is one trace.

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tonic::metadata::{KeyRef, MetadataMap};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The key W3C trace context travels under.
const TRACEPARENT: &str = "traceparent";

/// Makes the span that publishes a backfill's tasks, as a child of the caller's, and returns its `traceparent`: what the
/// tasks carry. Without tracing it is the caller's own, passed through.
pub(super) fn publish(metadata: &MetadataMap, pipeline: &str) -> Option<String> {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(metadata)));
    let span = tracing::info_span!(
        "publish",
        otel.name = format!("publish {pipeline}"),
        otel.kind = "producer",
        windrow.pipeline = pipeline
    );
    if let Err(error) = span.set_parent(parent) {
        tracing::debug!(%error, "the span stands alone");
    }
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return metadata.get(TRACEPARENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    }
    let mut carrier = Carrier(None);
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut carrier));
    carrier.0
}

struct Headers<'a>(&'a MetadataMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        let names = self.0.keys().filter_map(|key| match key {
            KeyRef::Ascii(name) => Some(name.as_str()),
            KeyRef::Binary(_) => None,
        });
        names.collect()
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
    fn without_tracing_the_callers_context_is_passed_through() {
        let mut metadata = MetadataMap::new();
        assert_eq!(publish(&metadata, "flights"), None);
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        metadata.insert(TRACEPARENT, caller.parse().unwrap());
        assert_eq!(publish(&metadata, "flights").as_deref(), Some(caller));
    }
}

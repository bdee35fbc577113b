//! The trace goes with the call: W3C `traceparent` in gRPC headers, by the propagator the process has set.

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
};
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Writes the current span's context into a call's headers.
pub(super) fn inject(headers: &mut MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Headers(headers)));
}

/// Makes the caller's span the parent of `span`.
pub(super) fn adopt(span: &Span, headers: &MetadataMap) {
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

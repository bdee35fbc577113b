//! A command's part in traces: it goes on with the trace its caller names in the environment, hands its own to the
//! coordinator, and shows people where to look.

use std::{
    collections::HashMap,
    env,
    io::{self, Write},
};

use opentelemetry::{Context, global, propagation::Injector, trace::TraceContextExt};
use tonic::metadata::{MetadataKey, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// How callers hand their trace to a command, and the keys of the same in a request.
const FROM_CALLER: [(&str, &str); 2] = [("TRACEPARENT", "traceparent"), ("TRACESTATE", "tracestate")];
/// Where traces are looked at: an address with `{trace_id}` in it.
const URL: &str = "WINDROW_TRACE_URL";
const PLACEHOLDER: &str = "{trace_id}";

/// The span of a command; it continues the trace the environment names in `TRACEPARENT`.
pub fn command_span(verb: &str) -> Span {
    let span = tracing::info_span!("windrow", otel.name = format!("windrow {verb}"), otel.kind = "client");
    let carrier = from_caller();
    if carrier.contains_key(FROM_CALLER[0].1) {
        let context = global::get_text_map_propagator(|propagator| propagator.extract(&carrier));
        if let Err(error) = span.set_parent(context) {
            tracing::trace!(%error, "the command's span stands alone");
        }
    }
    span
}

/// Hands the trace of the present span to whoever gets the request; without one of our own, the caller's.
pub(crate) fn hand_on(request: &mut MetadataMap) {
    let context: Context = Span::current().context();
    let mut metadata = Metadata(request);
    match context.span().span_context().is_valid() {
        true => global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut metadata)),
        false => from_caller().into_iter().for_each(|(key, value)| metadata.set(&key, value)),
    }
}

/// Tells a person where the trace of what was made can be found, if one is kept.
pub(crate) fn show(traceparent: &str) -> io::Result<()> {
    let Some(id) = trace_id(traceparent) else { return Ok(()) };
    match env::var(URL).ok().filter(|template| !template.is_empty()) {
        Some(template) => writeln!(io::stderr(), "trace {id}  {}", url(&template, id)),
        None => writeln!(io::stderr(), "trace {id}"),
    }
}

/// The id of the trace a `traceparent` names; `None` if it names none.
pub(crate) fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The address of a trace. A template without the placeholder ends where the id begins.
fn url(template: &str, id: &str) -> String {
    match template.contains(PLACEHOLDER) {
        true => template.replace(PLACEHOLDER, id),
        false => format!("{}/{id}", template.trim_end_matches('/')),
    }
}

fn from_caller() -> HashMap<String, String> {
    let value = |(name, key): &(&str, &str)| Some(((*key).to_owned(), env::var(name).ok()?));
    FROM_CALLER.iter().filter_map(value).collect()
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_found_by_the_template() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), Some(id));
        for none in ["", "00", "00-0af7-b7ad6b7169203331-01", "nonsense-with-dashes"] {
            assert_eq!(trace_id(none), None, "{none:?}");
        }
        assert_eq!(url("http://jaeger/trace/{trace_id}?x=1", id), format!("http://jaeger/trace/{id}?x=1"));
        assert_eq!(url("http://jaeger/trace/", id), format!("http://jaeger/trace/{id}"));
    }
}

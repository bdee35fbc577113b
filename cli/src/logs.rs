//! Logs as lines of JSON that say which trace they belong to.

use std::fmt;

use opentelemetry::{Context, trace::TraceContextExt};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, Writer},
    },
    registry::LookupSpan,
};

/// JSON as usual, and before it `trace_id` and `span_id` where a span is active.
pub(crate) struct Traced(pub(crate) Format<Json>);

impl<S, N> FormatEvent<S, N> for Traced
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let present = Context::current();
        let span = present.span().span_context().clone();
        match line.strip_prefix('{').filter(|_| span.is_valid()) {
            Some(rest) => {
                write!(writer, r#"{{"trace_id":"{}","span_id":"{}",{rest}"#, span.trace_id(), span.span_id())
            }
            None => writer.write_str(&line),
        }
    }
}

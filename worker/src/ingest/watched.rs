//! A stream whose work happens inside a span, whoever polls it.

use futures::{StreamExt, stream};
use tracing::Span;

use crate::stage::BatchStream;

pub(super) fn watched(mut rows: BatchStream, span: Span) -> BatchStream {
    stream::poll_fn(move |context| {
        let _entered = span.enter();
        rows.poll_next_unpin(context)
    })
    .boxed()
}

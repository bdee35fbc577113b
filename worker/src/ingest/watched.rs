//! A stream whose work happens inside a span, whoever polls it. The span ends with the stream, not with whoever holds it:
//! what sends rows to another worker may let go of them after the attempt.

use std::task::Poll;

use futures::{StreamExt, stream};
use tracing::Span;

use crate::stage::BatchStream;

pub(super) fn watched(mut rows: BatchStream, span: Span) -> BatchStream {
    let mut span = Some(span);
    stream::poll_fn(move |context| {
        let next = match &span {
            Some(span) => span.in_scope(|| rows.poll_next_unpin(context)),
            None => rows.poll_next_unpin(context),
        };
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            span = None;
        }
        next
    })
    .boxed()
}

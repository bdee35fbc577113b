//! What the readers of text formats have in common: bytes in, batches of rows out.

use super::{bytes::Content, rows::Rows};
use crate::error::Result;

/// Bytes after which no further row is parsed with those before.
pub(super) const PARSE_BYTES: usize = 8 << 20;
/// Bytes asked for at a time.
pub(super) const READ: usize = 128 * 1024;

/// Reads rows in batches; memory is bounded by a batch and one line.
pub(super) trait RowReader {
    type Rows<'a>: Rows
    where
        Self: 'a;

    /// The next rows, at most `max` of them; `None` at the end.
    fn next(&mut self, content: &mut Content, max: usize) -> Result<Option<Self::Rows<'_>>>;
}

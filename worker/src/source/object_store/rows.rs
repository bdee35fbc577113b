//! What the text formats have in common: batches of rows whose fields are text, with their place in the file.

use windrow_common::error::ErrorCode;

use super::bytes::Content;
use crate::error::Result;

/// Most rows of a batch that leaves the source.
pub(super) const BATCH_ROWS: usize = 8_192;
/// Rows that are parsed together: few enough for their text to stay in the processor's cache while one column after
/// the other is read from it, which was measured to be 1.4 times as fast as parsing whole batches.
pub(super) const PARSE_ROWS: usize = 1_024;
/// Bytes after which no further row is parsed with those before.
pub(super) const PARSE_BYTES: usize = 8 << 20;
/// Bytes asked for at a time.
pub(super) const READ: usize = 128 * 1024;

/// Rows whose fields are text.
pub(super) trait Rows {
    fn len(&self) -> usize;

    /// Why a row has no usable fields; its fields must not be asked for then.
    fn flaw(&self, row: usize) -> Option<Flaw>;

    /// The text of a field; `None` where the format itself says null.
    fn field(&self, row: usize, column: usize) -> Option<&str>;

    /// The line the row begins at, from 1.
    fn line(&self, row: usize) -> u64;

    /// The row's bytes as they stand in the file, without its line end.
    fn raw(&self, row: usize) -> &[u8];
}

impl<R: Rows> Rows for &R {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn flaw(&self, row: usize) -> Option<Flaw> {
        (**self).flaw(row)
    }

    fn field(&self, row: usize, column: usize) -> Option<&str> {
        (**self).field(row, column)
    }

    fn line(&self, row: usize) -> u64 {
        (**self).line(row)
    }

    fn raw(&self, row: usize) -> &[u8] {
        (**self).raw(row)
    }
}

/// What is wrong with a row or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) code: ErrorCode,
    pub(super) reason: String,
}

/// Reads rows in batches; memory is bounded by a batch and one line.
pub(super) trait RowReader {
    type Rows<'a>: Rows
    where
        Self: 'a;

    /// The next rows, at most `max` of them; `None` at the end.
    fn next(&mut self, content: &mut Content, max: usize) -> Result<Option<Self::Rows<'_>>>;
}

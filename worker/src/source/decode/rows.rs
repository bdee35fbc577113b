//! What the text formats have in common: batches of rows whose fields are text, with their place in the input.

use windrow_common::error::ErrorCode;

/// Most rows of a batch that leaves the source.
pub(in crate::source) const BATCH_ROWS: usize = 8_192;
/// Rows that are parsed together: few enough for their text to stay in the processor's cache while one column after
/// the other is read from it, which was measured to be 1.4 times as fast as parsing whole batches.
pub(in crate::source) const PARSE_ROWS: usize = 1_024;

/// Rows whose fields are text.
pub(in crate::source) trait Rows {
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
pub(in crate::source) struct Flaw {
    pub(in crate::source) code: ErrorCode,
    pub(in crate::source) reason: String,
}

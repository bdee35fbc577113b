//! Where a binary COPY's head, its rows and its end lie. Rows may begin and end anywhere in the chunks.

use super::decoder::StreamError;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of what else the head holds.
const HEAD: usize = SIGNATURE.len() + 8;
/// Flags that change the meaning of what follows.
const CRITICAL: u32 = 0xffff_0000;

/// A head that says nothing but that rows follow, and what stands behind the last of them.
pub const PLAIN_HEAD: [u8; HEAD] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub const END: [u8; 2] = (-1_i16).to_be_bytes();

/// Where a field of a row lies in its bytes; `None` for null.
pub(super) type Field = Option<(usize, usize)>;

/// What is done with rows.
pub(super) trait Taker {
    /// Whether it takes no further row for now.
    fn is_full(&self) -> bool;

    fn take(&mut self, row: &[u8], fields: &[Field]);
}

/// Cuts a stream into its rows.
pub(super) struct Cutter {
    columns: usize,
    /// Most bytes of a row.
    row_bytes: usize,
    at: At,
    /// The beginning of a row whose rest is still to come.
    pending: Vec<u8>,
    /// Of the row under way.
    fields: Vec<Field>,
}

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Row,
    End,
}

impl Cutter {
    pub(super) fn new(columns: usize, row_bytes: usize) -> Self {
        Self { columns, row_bytes, at: At::Head, pending: Vec::new(), fields: Vec::with_capacity(columns) }
    }

    /// Gives rows from the front of `chunk`; what is left of it when the taker is full, stays.
    pub(super) fn feed(&mut self, chunk: &mut &[u8], taker: &mut impl Taker) -> Result<(), StreamError> {
        if self.pending.is_empty() {
            let used = self.cut(chunk, taker)?;
            *chunk = &chunk[used..];
            if !taker.is_full() {
                self.pending.extend_from_slice(chunk);
                *chunk = &[];
            }
        } else {
            self.pending.extend_from_slice(chunk);
            *chunk = &[];
            let pending = std::mem::take(&mut self.pending);
            let used = self.cut(&pending, taker)?;
            self.pending = pending;
            self.pending.drain(..used);
        }
        match self.pending.len() > self.row_bytes && !taker.is_full() {
            true => Err(StreamError::TooLong(self.row_bytes)),
            false => Ok(()),
        }
    }

    /// Fails unless the stream has come to its end: one that broke off is never taken for a whole one.
    pub(super) fn finish(&self) -> Result<(), StreamError> {
        match self.at == At::End && self.pending.is_empty() {
            true => Ok(()),
            false => Err(StreamError::Cut),
        }
    }

    /// Gives whole rows until the taker is full; how many bytes they had.
    fn cut(&mut self, bytes: &[u8], taker: &mut impl Taker) -> Result<usize, StreamError> {
        let mut used = 0;
        while !taker.is_full() {
            let rest = &bytes[used..];
            let taken = match self.at {
                At::Head => self.head(rest)?,
                At::Row => self.row(rest, taker)?,
                At::End if rest.is_empty() => None,
                At::End => return Err(StreamError::AfterEnd),
            };
            let Some(taken) = taken else { break };
            used += taken;
        }
        Ok(used)
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, StreamError> {
        if !bytes.starts_with(&SIGNATURE[..SIGNATURE.len().min(bytes.len())]) {
            return Err(StreamError::Head);
        }
        let Some(head) = bytes.get(..HEAD) else { return Ok(None) };
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if word(SIGNATURE.len()) & CRITICAL != 0 {
            return Err(StreamError::Head);
        }
        let length = usize::try_from(word(SIGNATURE.len() + 4)).unwrap_or(usize::MAX);
        let length = HEAD.checked_add(length).filter(|length| *length <= self.row_bytes);
        let length = length.ok_or(StreamError::Head)?;
        if bytes.len() < length {
            return Ok(None);
        }
        self.at = At::Row;
        Ok(Some(length))
    }

    /// One row, if it is there as a whole.
    fn row(&mut self, bytes: &[u8], taker: &mut impl Taker) -> Result<Option<usize>, StreamError> {
        let Some(count) = bytes.first_chunk::<2>() else { return Ok(None) };
        let mut at = 2;
        match i16::from_be_bytes(*count) {
            -1 => {
                self.at = At::End;
                return Ok(Some(at));
            }
            count if usize::try_from(count) == Ok(self.columns) => {}
            count => {
                let found = usize::try_from(count).unwrap_or_default();
                return Err(StreamError::Fields { expected: self.columns, found });
            }
        }
        self.fields.clear();
        for _ in 0..self.columns {
            let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
            at += 4;
            let length = i32::from_be_bytes(*length);
            if length == -1 {
                self.fields.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| StreamError::Length)?;
            let end = at + length;
            if end > self.row_bytes {
                return Err(StreamError::TooLong(self.row_bytes));
            }
            if end > bytes.len() {
                return Ok(None);
            }
            self.fields.push(Some((at, end)));
            at = end;
        }
        taker.take(&bytes[..at], &self.fields);
        Ok(Some(at))
    }
}

//! Lines: bytes to one text per line. A line ends with `\n`; everything before it, a `\r` too, is its content.

use std::{ops::Range, str};

use windrow_common::{count::counted, error};

use super::{
    bytes::Content,
    reader::{PARSE_BYTES, READ, RowReader},
    rows::{Flaw, Rows},
};
use crate::error::{Result, WorkerError};

/// Reads lines in batches.
pub(super) struct LineReader {
    max_line: usize,
    /// Whether lines of nothing but white space are left out.
    skip_blank: bool,
    /// Where in the batch's bytes the next line begins.
    at: usize,
    /// Up to where the bytes after `at` are known to hold no line end.
    searched: usize,
    line: u64,
    ended: bool,
    batch: Lines,
}

/// The lines of a batch.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    lines: Vec<(Range<usize>, u64)>,
}

impl LineReader {
    pub(super) fn new(max_line: usize, skip_blank: bool) -> Self {
        Self { max_line, skip_blank, at: 0, searched: 0, line: 1, ended: false, batch: Lines::default() }
    }

    fn fill(&mut self, content: &mut Content, max: usize) -> Result<()> {
        self.batch.bytes.drain(..self.at);
        self.searched -= self.at;
        self.at = 0;
        self.batch.lines.clear();
        while self.batch.lines.len() < max && self.at < PARSE_BYTES {
            match self.batch.bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
                Some(found) => self.push(self.searched + found, 1),
                None if !self.ended => self.read_more(content)?,
                None if self.at < self.batch.bytes.len() => self.push(self.batch.bytes.len(), 0),
                None => break,
            }
        }
        Ok(())
    }

    /// Keeps the line up to `end`, behind which its line end has `terminator` bytes.
    fn push(&mut self, end: usize, terminator: usize) {
        let blank = self.batch.bytes[self.at..end].trim_ascii().is_empty();
        if !(self.skip_blank && blank) {
            self.batch.lines.push((self.at..end, self.line));
        }
        self.line += 1;
        self.at = end + terminator;
        self.searched = self.at;
    }

    fn read_more(&mut self, content: &mut Content) -> Result<()> {
        let old = self.batch.bytes.len();
        self.searched = old;
        if old - self.at > self.max_line {
            return Err(WorkerError::never(
                error::INPUT_TOO_LARGE,
                format!("a line is longer than {}", counted(self.max_line, "byte")),
            )
            .at(format!("{} line {}", content.name(), self.line))
            .fix("raise `limits.line`, or check that the file is text"));
        }
        self.batch.bytes.resize(old + READ, 0);
        let count = content.read(&mut self.batch.bytes[old..])?;
        self.batch.bytes.truncate(old + count);
        self.ended = count == 0;
        Ok(())
    }
}

impl RowReader for LineReader {
    type Rows<'a> = &'a Lines;

    fn next(&mut self, content: &mut Content, max: usize) -> Result<Option<&Lines>> {
        self.fill(content, max)?;
        Ok((!self.batch.lines.is_empty()).then_some(&self.batch))
    }
}

impl Lines {
    fn text(&self, row: usize) -> Option<&str> {
        str::from_utf8(self.raw(row)).ok()
    }
}

/// Lines as rows of one column.
impl Rows for Lines {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn flaw(&self, row: usize) -> Option<Flaw> {
        let flaw = Flaw { code: error::ROW_MALFORMED, reason: "it is no UTF-8 text".to_owned() };
        self.text(row).is_none().then_some(flaw)
    }

    fn field(&self, row: usize, _: usize) -> Option<&str> {
        self.text(row)
    }

    fn line(&self, row: usize) -> u64 {
        self.lines[row].1
    }

    fn raw(&self, row: usize) -> &[u8] {
        &self.bytes[self.lines[row].0.clone()]
    }
}

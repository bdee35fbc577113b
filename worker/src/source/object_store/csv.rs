//! CSV: bytes to records. Fields stay text here; a record that has not the right number of fields, is no UTF-8 or
//! ends inside a quote is told apart, with its line and its raw text.

use std::str;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use windrow_common::{count::counted, error};

use super::{
    bytes::Content,
    format::Csv,
    reader::{PARSE_BYTES, READ, RowReader},
    rows::{Flaw, Rows},
};
use crate::error::{Result, WorkerError};

/// Most fields of a record.
const MAX_FIELDS: usize = 20_000;
/// A byte order mark and what comes after it: alone it would be taken for the end.
const BYTE_ORDER_MARK: usize = 4;
const NO_UTF8: &str = "it is no UTF-8 text";

/// Reads records in batches.
pub(super) struct CsvReader {
    reader: Reader,
    csv: Csv,
    max_record: usize,
    /// Where in the batch's raw bytes the next record begins.
    at: usize,
    /// Whether there are bytes enough for the parser to find a byte order mark: it looks for one in the first it gets.
    begun: bool,
    ended: bool,
    batch: CsvRows,
}

/// The records of a batch.
#[derive(Default)]
pub(super) struct CsvRows {
    /// The fields' text, unquoted, one record after the other.
    text: String,
    /// Where fields end, counted from their record's text.
    ends: Vec<usize>,
    records: Vec<Record>,
    /// The records' bytes, and what was read beyond them.
    raw: Vec<u8>,
    /// The place in the file of each column asked for.
    order: Vec<usize>,
    /// How many fields a record has; any number while this is `None`.
    fields: Option<usize>,
}

#[derive(Clone, Copy)]
struct Record {
    text: usize,
    /// Index of its first field's end.
    first: usize,
    fields: usize,
    raw: (usize, usize),
    line: u64,
    broken: Option<&'static str>,
}

impl CsvReader {
    /// A reader of files with any number of columns; [`Self::bind`] says which are wanted.
    pub(super) fn new(csv: Csv, max_record: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(csv.delimiter).quoting(csv.quote.is_some());
        builder.quote(csv.quote.unwrap_or(b'"')).escape(csv.escape).double_quote(csv.escape.is_none());
        Self { reader: builder.build(), csv, max_record, at: 0, begun: false, ended: false, batch: CsvRows::default() }
    }

    /// The names in the first record; `None` if there is no record.
    pub(super) fn header(&mut self, content: &mut Content) -> Result<Option<Vec<String>>> {
        let Some(rows) = self.next(content, 1)? else { return Ok(None) };
        if rows.records.iter().any(|record| record.broken.is_some()) {
            return Err(WorkerError::never(error::SCHEMA_MISMATCH, "the header is no UTF-8 text").at(content.name()));
        }
        Ok(Some((0..rows.width(0)).map(|field| rows.text_of(0, field).to_owned()).collect()))
    }

    /// From now on records have `fields` fields, and column `i` is the `order[i]`th of them.
    pub(super) fn bind(&mut self, fields: usize, order: Vec<usize>) {
        self.batch.fields = Some(fields);
        self.batch.order = order;
    }

    /// Forgets the batch before; keeps what was read beyond it.
    fn recycle(&mut self) {
        self.batch.raw.drain(..self.at);
        self.at = 0;
        self.batch.records.clear();
    }

    fn fill(&mut self, content: &mut Content, max: usize) -> Result<()> {
        self.recycle();
        let mut text = std::mem::take(&mut self.batch.text).into_bytes();
        text.clear();
        let (mut text_len, mut ends_len) = (0, 0);
        let mut record = self.begin(text_len, ends_len);
        while self.batch.records.len() < max && (self.at > record.raw.0 || self.at < PARSE_BYTES) {
            if self.at == self.batch.raw.len() && !self.ended {
                self.read_more(content)?;
            }
            let input = &self.batch.raw[self.at..];
            // Unquoting never makes text longer, so this much is enough, whatever the input holds.
            text.resize(text_len + input.len() + 1, 0);
            self.batch.ends.resize(self.batch.ends.len().max(ends_len + 64), 0);
            let (result, taken, written, fields) =
                self.reader.read_record(input, &mut text[text_len..], &mut self.batch.ends[ends_len..]);
            self.at += taken;
            text_len += written;
            ends_len += fields;
            record.fields += fields;
            match result {
                ReadRecordResult::Record => {
                    self.push(record);
                    record = self.begin(text_len, ends_len);
                }
                ReadRecordResult::End => break,
                ReadRecordResult::InputEmpty | ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    self.check_size(&record, content)?;
                }
            }
        }
        text.truncate(text_len);
        self.batch.text = self.batch.checked(text);
        Ok(())
    }

    fn begin(&self, text: usize, first: usize) -> Record {
        let line = self.reader.line();
        Record { text, first, fields: 0, raw: (self.at, self.at), line, broken: None }
    }

    /// Keeps a complete record, with the bounds of its own bytes: line ends before it are the last record's, or
    /// blank lines.
    fn push(&mut self, mut record: Record) {
        let bytes = &self.batch.raw[record.raw.0..self.at];
        let is_line_end = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        let before = bytes.iter().take_while(is_line_end).count();
        let after = bytes[before..].iter().rev().take_while(is_line_end).count();
        record.line += bytes[..before].iter().filter(|byte| **byte == b'\n').count() as u64;
        record.raw = (record.raw.0 + before, self.at - after);
        if self.ended && self.at == self.batch.raw.len() && ends_in_quotes(&bytes[before..], &self.csv) {
            record.broken = Some("a quote is opened and never closed");
        }
        self.batch.records.push(record);
    }

    fn read_more(&mut self, content: &mut Content) -> Result<()> {
        loop {
            let old = self.batch.raw.len();
            self.batch.raw.resize(old + READ, 0);
            let count = content.read(&mut self.batch.raw[old..])?;
            self.batch.raw.truncate(old + count);
            self.ended = count == 0;
            self.begun |= self.ended || self.batch.raw.len() >= BYTE_ORDER_MARK;
            if self.begun {
                return Ok(());
            }
        }
    }

    fn check_size(&self, record: &Record, content: &Content) -> Result<()> {
        let what = if self.at - record.raw.0 > self.max_record {
            format!("a record is longer than {}", counted(self.max_record, "byte"))
        } else if record.fields > MAX_FIELDS {
            format!("a record has more than {MAX_FIELDS} fields")
        } else {
            return Ok(());
        };
        Err(WorkerError::never(error::INPUT_TOO_LARGE, what)
            .at(format!("{} line {}", content.name(), record.line))
            .fix("look for a quote that is never closed, or raise `limits.line`"))
    }
}

impl RowReader for CsvReader {
    type Rows<'a> = &'a CsvRows;

    fn next(&mut self, content: &mut Content, max: usize) -> Result<Option<&CsvRows>> {
        self.fill(content, max)?;
        Ok((!self.batch.records.is_empty()).then_some(&self.batch))
    }
}

impl CsvRows {
    /// How many fields a record has.
    pub(super) fn width(&self, row: usize) -> usize {
        self.records[row].fields
    }

    /// The text of a record's field by its place in the file.
    pub(super) fn text_of(&self, row: usize, field: usize) -> &str {
        let record = &self.records[row];
        let end = self.ends[record.first + field];
        let start = if field == 0 { 0 } else { self.ends[record.first + field - 1] };
        // Fields begin and end at ASCII characters, so at the bounds of characters.
        self.text.get(record.text + start..record.text + end).unwrap_or_default()
    }

    /// The batch's text; records that are no UTF-8 are marked and blanked.
    fn checked(&mut self, text: Vec<u8>) -> String {
        let invalid = match String::from_utf8(text) {
            Ok(text) => return text,
            Err(invalid) => invalid,
        };
        let mut text = invalid.into_bytes();
        for record in &mut self.records {
            let last = self.ends[record.first..record.first + record.fields].last();
            let bytes = &mut text[record.text..record.text + last.copied().unwrap_or(0)];
            if str::from_utf8(bytes).is_err() {
                bytes.fill(b'?');
                record.broken = Some(NO_UTF8);
            }
        }
        String::from_utf8(text).unwrap_or_else(|_| {
            // Cannot be, for the text is the records' and nothing else; if it were, no field could be trusted.
            self.records.iter_mut().for_each(|record| record.broken = Some(NO_UTF8));
            String::new()
        })
    }
}

impl Rows for CsvRows {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn flaw(&self, row: usize) -> Option<Flaw> {
        let record = &self.records[row];
        let reason = match (record.broken, self.fields) {
            (Some(broken), _) => broken.to_owned(),
            (None, Some(wanted)) if wanted != record.fields => {
                format!("it has {} fields, not {wanted}", record.fields)
            }
            (None, _) => return None,
        };
        Some(Flaw { code: error::ROW_MALFORMED, reason })
    }

    fn field(&self, row: usize, column: usize) -> Option<&str> {
        Some(self.text_of(row, self.order[column]))
    }

    fn line(&self, row: usize) -> u64 {
        self.records[row].line
    }

    fn raw(&self, row: usize) -> &[u8] {
        let (start, end) = self.records[row].raw;
        &self.raw[start..end]
    }
}

/// Whether a record's bytes end inside a quoted field.
fn ends_in_quotes(bytes: &[u8], csv: &Csv) -> bool {
    #[derive(PartialEq)]
    enum At {
        FieldStart,
        Plain,
        Quoted,
        Escaped,
        /// After a quote inside quotes: the end, or one half of a doubled one.
        Closing,
    }
    let Some(quote) = csv.quote else { return false };
    let mut at = At::FieldStart;
    for byte in bytes {
        at = match at {
            At::Quoted if Some(*byte) == csv.escape => At::Escaped,
            At::Quoted if *byte == quote => At::Closing,
            At::Quoted | At::Escaped => At::Quoted,
            At::Closing if *byte == quote && csv.escape.is_none() => At::Quoted,
            At::FieldStart if *byte == quote => At::Quoted,
            _ if *byte == csv.delimiter => At::FieldStart,
            _ => At::Plain,
        };
    }
    matches!(at, At::Quoted | At::Escaped)
}

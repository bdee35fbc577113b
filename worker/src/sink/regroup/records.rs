//! Where records of text end: lines, and records of CSV, in which a quoted field may hold line ends. Pure: bytes in as they come,
//! records out as they are written; nothing is unquoted or parsed, so no value can change.

use windrow_common::error;

use crate::error::{Result, WorkerError};

/// Longest record that is read. It is held in memory whole.
const MOST_BYTES: usize = 16 << 20;
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts the bytes of one file into records.
pub(super) struct Records {
    /// The character between fields of CSV; without it every line is a record.
    delimiter: Option<u8>,
    place: Place,
    /// Fields of the record before its last one.
    delimiters: usize,
    /// What is known of a record whose end has not come.
    pending: Vec<u8>,
    /// Records seen, the one being read included.
    number: u64,
}

/// A record without its line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) fields: usize,
    /// From 1.
    pub(super) number: u64,
}

/// Within a record of CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote within quotes: a second one is a character of the field, anything else ends it.
    QuoteInQuoted,
    /// Behind a carriage return outside of quotes, which only a line end may follow.
    Return,
}

impl Records {
    pub(super) fn new(delimiter: Option<u8>) -> Self {
        Self { delimiter, place: Place::FieldStart, delimiters: 0, pending: Vec::new(), number: 1 }
    }

    /// Takes the next bytes, and gives the records that end in them.
    pub(super) fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        while let Some(end) = self.end_in(bytes)? {
            let (record, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.pending.is_empty() {
                self.give(record, each)?;
            } else {
                self.keep(record)?;
                let whole = std::mem::take(&mut self.pending);
                self.give(&whole, each)?;
            }
            bytes = rest;
        }
        self.keep(bytes)
    }

    /// Gives a last record that no line end follows.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        if self.place == Place::Quoted {
            return Err(self.flaw("ends within quotes"));
        }
        match std::mem::take(&mut self.pending) {
            rest if rest.is_empty() => Ok(()),
            rest => self.give(&rest, each),
        }
    }

    fn give(&mut self, bytes: &[u8], each: &mut impl FnMut(Record<'_>) -> Result<()>) -> Result<()> {
        let bytes = if self.delimiter.is_some() { bytes.strip_suffix(b"\r").unwrap_or(bytes) } else { bytes };
        each(Record { bytes, fields: self.delimiters + 1, number: self.number })?;
        self.number += 1;
        self.delimiters = 0;
        self.place = Place::FieldStart;
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        if self.pending.len() + bytes.len() > MOST_BYTES {
            let message = format!("record {} is longer than {MOST_BYTES} bytes", self.number);
            return Err(WorkerError::never(error::INPUT_TOO_LARGE, message)
                .fix("check that the file is text of the format the pipeline says"));
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Where in these bytes the line end is that ends the record.
    fn end_in(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(delimiter) = self.delimiter else { return Ok(bytes.iter().position(|byte| *byte == b'\n')) };
        for (at, byte) in bytes.iter().enumerate() {
            self.place = match (self.place, *byte) {
                (Place::Quoted, b'"') => Place::QuoteInQuoted,
                (Place::Quoted, _) => Place::Quoted,
                (_, b'\n') => return Ok(Some(at)),
                (Place::Return, _) => return Err(self.flaw("has a carriage return that no line end follows")),
                (_, b'\r') => Place::Return,
                (Place::FieldStart | Place::QuoteInQuoted, b'"') => Place::Quoted,
                (_, byte) if byte == delimiter => {
                    self.delimiters += 1;
                    Place::FieldStart
                }
                // A byte order mark is no part of the first field.
                (Place::FieldStart, byte) if self.at_beginning() && BYTE_ORDER_MARK.contains(&byte) => {
                    Place::FieldStart
                }
                _ => Place::Plain,
            };
        }
        Ok(None)
    }

    fn at_beginning(&self) -> bool {
        self.number == 1 && self.delimiters == 0
    }

    fn flaw(&self, what: &str) -> WorkerError {
        WorkerError::never(error::ROW_MALFORMED, format!("record {} of CSV {what}", self.number))
            .fix("correct the file, or take it out of the folder; nothing was changed")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn records(delimiter: Option<u8>, parts: &[&[u8]]) -> Result<Vec<(String, usize)>> {
        let mut reader = Records::new(delimiter);
        let mut found = Vec::new();
        let mut each = |record: Record<'_>| {
            found.push((String::from_utf8_lossy(record.bytes).into_owned(), record.fields));
            Ok(())
        };
        for part in parts {
            reader.feed(part, &mut each)?;
        }
        reader.finish(&mut each)?;
        Ok(found)
    }

    fn owned(found: &[(&str, usize)]) -> Vec<(String, usize)> {
        found.iter().map(|(text, fields)| ((*text).to_owned(), *fields)).collect()
    }

    #[test]
    fn records_end_at_line_ends_that_no_quotes_hold() {
        let comma = Some(b',');
        let cases: [(&str, &[(&str, usize)]); 7] = [
            ("a,b\n1,2\n", &[("a,b", 2), ("1,2", 2)]),
            ("a,b\r\n1,2", &[("a,b", 2), ("1,2", 2)]),
            ("a,\"b\nc\"\n", &[("a,\"b\nc\"", 2)]),
            ("\"a\"\"\n,\",b\n", &[("\"a\"\"\n,\",b", 2)]),
            // A quote in the middle of a field is a character of it.
            ("5\" pipe,b\nc,d\n", &[("5\" pipe,b", 2), ("c,d", 2)]),
            ("\u{feff}\"a\nb\",c\n", &[("\u{feff}\"a\nb\",c", 2)]),
            ("a\n\nb\n", &[("a", 1), ("", 1), ("b", 1)]),
        ];
        for (text, expected) in cases {
            assert_eq!(records(comma, &[text.as_bytes()]).unwrap(), owned(expected), "{text:?}");
        }
        assert_eq!(records(None, &[b"a\"\nb\r\n"]).unwrap(), owned(&[("a\"", 1), ("b\r", 1)]));
    }

    #[test]
    fn what_is_no_csv_is_told_with_its_record() {
        for text in ["a,b\n\"c,d\n", "a,b\nc\rd,e\n"] {
            let cause = records(Some(b','), &[text.as_bytes()]).unwrap_err();
            assert_eq!(cause.code(), error::ROW_MALFORMED);
            assert!(cause.to_string().contains("record 2"), "{cause}");
        }
    }

    #[test]
    fn a_record_without_an_end_is_not_read_into_memory() {
        let part = vec![b'x'; 1 << 20];
        let cause = records(None, &vec![part.as_slice(); 17]).unwrap_err();
        assert_eq!(cause.code(), error::INPUT_TOO_LARGE);
    }

    proptest! {
        /// It does not matter in which parts a file arrives, and no byte of a record is lost.
        #[test]
        fn records_are_the_same_in_any_parts(text in "[a,\"\n]{0,40}", cut in 0_usize..40) {
            let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
            let whole = records(Some(b','), &[text.as_bytes()]).ok();
            prop_assert_eq!(records(Some(b','), &[head, tail]).ok(), whole.clone());
            if let Some(whole) = whole {
                let again = whole.iter().map(|(record, _)| record.as_str()).collect::<Vec<_>>().join("\n");
                prop_assert_eq!(again.as_str(), text.strip_suffix('\n').unwrap_or(&text));
            }
        }
    }
}

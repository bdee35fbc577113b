//! A page: the body of an answer, its records as rows, and what it says of the pages after it.

use bytes::Bytes;
use serde_json::value::RawValue;
use windrow_common::error;

use super::{
    course::{By, Found, Paging},
    pointer::Pointer,
};
use crate::{
    error::{Result, WorkerError},
    source::decode::{
        emit::Emitter,
        json::Objects,
        rows::{Flaw, PARSE_ROWS, Rows},
        table::Table,
    },
};

/// Turns the records of one page after the other into rows.
pub(super) struct Decoder {
    records: Pointer,
    paging: Paging,
    table: Table,
    objects: Objects,
    out: Emitter,
    /// Records of the pages before.
    before: u64,
}

impl Decoder {
    pub(super) fn new(records: Pointer, paging: Paging, table: Table, columns: Objects, out: Emitter) -> Self {
        Self { records, paging, table, objects: columns, out, before: 0 }
    }

    /// Sends the records of a page that lie in the window. `link` is the address of the next that its header tells. The
    /// decoder comes back for the next page.
    pub(super) fn take(mut self, body: &Bytes, link: Option<String>) -> Result<(Self, Found)> {
        if body.is_empty() {
            return Ok((self, Found::default()));
        }
        let answer: &RawValue = serde_json::from_slice(body)
            .map_err(|cause| WorkerError::never(error::SOURCE_CORRUPT, "the answer is no JSON").because(cause))?;
        let list = self.list(answer)?;
        let records: Vec<&RawValue> = serde_json::from_str(list)
            .map_err(|cause| WorkerError::never(error::SOURCE_CORRUPT, "the records are no list").because(cause))?;
        for some in records.chunks(PARSE_ROWS) {
            self.objects.clear();
            some.iter().for_each(|record| self.objects.push(record.get().as_bytes()));
            let rows = Records { records: some, objects: &self.objects, before: self.before };
            self.table.take(&rows, &mut self.out)?;
            self.before += some.len() as u64;
        }
        let found = Found {
            records: records.len() as u64,
            digest: *blake3::hash(list.as_bytes()).as_bytes(),
            next: next(&self.paging.by, answer, link)?,
            more: self.paging.more.as_ref().map(|pointer| value(answer, pointer, "more")).transpose()?,
            total: self.paging.total.as_ref().map(|pointer| value(answer, pointer, "total")).transpose()?,
        };
        Ok((self, found))
    }

    /// Sends what is still held back.
    pub(super) fn finish(self) -> Result<()> {
        self.out.finish()
    }

    /// The text of the list of records. A null is an empty list; that none is there means another answer than agreed.
    fn list<'a>(&self, answer: &'a RawValue) -> Result<&'a str> {
        let pointer = self.records.text();
        let agreed = |message: String| {
            WorkerError::never(error::SCHEMA_MISMATCH, message).fix(
                "correct `records`, the JSON pointer to the list of records: \"/data\", or \"\" for the answer itself",
            )
        };
        let found =
            self.records.find(answer).ok_or_else(|| agreed(format!("the answer has nothing at {pointer:?}")))?;
        match found.get().as_bytes().first() {
            Some(b'[') => Ok(found.get()),
            Some(b'n') => Ok("[]"),
            _ => Err(agreed(format!("what the answer has at {pointer:?} is no list"))),
        }
    }
}

/// The token or address of the next page; texts, and numbers by their digits.
fn next(by: &By, answer: &RawValue, link: Option<String>) -> Result<Option<String>> {
    let pointer = match by {
        By::Cursor { at, .. } | By::Link { at: Some(at) } => at,
        By::Link { at: None } => return Ok(link),
        By::One | By::Page { .. } | By::Offset { .. } => return Ok(None),
    };
    let Some(found) = pointer.find(answer).map(RawValue::get) else { return Ok(None) };
    match found.as_bytes().first() {
        // `false` stands for none, too.
        Some(b'n' | b'f') => Ok(None),
        Some(b'"') => serde_json::from_str(found).map(Some).map_err(|cause| {
            WorkerError::never(error::SOURCE_CORRUPT, "the token of the next page is no text").because(cause)
        }),
        Some(b'-' | b'0'..=b'9') => Ok(Some(found.to_owned())),
        _ => Err(WorkerError::never(
            error::SCHEMA_MISMATCH,
            format!("what stands at {:?} names no next page", pointer.text()),
        )
        .fix("correct `pages.at`")),
    }
}

/// What an answer says at a pointer that was declared, so it has to.
fn value<T: serde::de::DeserializeOwned>(answer: &RawValue, pointer: &Pointer, key: &str) -> Result<T> {
    let found = pointer.find(answer).and_then(|found| serde_json::from_str(found.get()).ok());
    found.ok_or_else(|| {
        let message = format!("the answer does not say `pages.{key}` at {:?}", pointer.text());
        WorkerError::never(error::SCHEMA_MISMATCH, message).fix(format!("correct `pages.{key}`, or remove it"))
    })
}

/// The records of a page as rows.
struct Records<'a> {
    records: &'a [&'a RawValue],
    objects: &'a Objects,
    before: u64,
}

impl Rows for Records<'_> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn flaw(&self, row: usize) -> Option<Flaw> {
        self.objects.flaw(row)
    }

    fn field(&self, row: usize, column: usize) -> Option<&str> {
        self.objects.field(row, column)
    }

    /// Records have no lines: their number, over all pages.
    fn line(&self, row: usize) -> u64 {
        self.before + row as u64 + 1
    }

    fn raw(&self, row: usize) -> &[u8] {
        self.records[row].get().as_bytes()
    }
}

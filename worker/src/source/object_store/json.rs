//! JSON lines: each line one object.

use std::{collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{
    bytes::Content,
    lines::{LineReader, Lines},
    reader::RowReader,
    rows::{Flaw, Rows},
};
use crate::{error::Result, source::decode::json::Objects};

/// Reads objects in batches.
pub(super) struct JsonReader {
    lines: LineReader,
    objects: Objects,
}

/// The objects of a batch, by the lines they stand in.
pub(super) struct JsonRows<'a> {
    lines: &'a Lines,
    objects: &'a Objects,
}

impl JsonReader {
    /// A reader of the columns named, in that order.
    pub(super) fn new<'a>(columns: impl Iterator<Item = &'a str>, strict: bool, max_line: usize) -> Self {
        Self { lines: LineReader::new(max_line, true), objects: Objects::new(columns, strict) }
    }
}

impl RowReader for JsonReader {
    type Rows<'a> = JsonRows<'a>;

    fn next(&mut self, content: &mut Content, max: usize) -> Result<Option<JsonRows<'_>>> {
        let Some(lines) = self.lines.next(content, max)? else { return Ok(None) };
        self.objects.clear();
        for row in 0..lines.len() {
            self.objects.push(lines.raw(row));
        }
        Ok(Some(JsonRows { lines, objects: &self.objects }))
    }
}

impl Rows for JsonRows<'_> {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn flaw(&self, row: usize) -> Option<Flaw> {
        self.objects.flaw(row)
    }

    fn field(&self, row: usize, column: usize) -> Option<&str> {
        self.objects.field(row, column)
    }

    fn line(&self, row: usize) -> u64 {
        self.lines.line(row)
    }

    fn raw(&self, row: usize) -> &[u8] {
        self.lines.raw(row)
    }
}

/// The keys of the first objects in the order they are met.
pub(super) fn keys(content: &mut Content, rows: usize, max_line: usize) -> Result<Vec<String>> {
    let mut lines = LineReader::new(max_line, true);
    let mut keys = KeyList::default();
    let mut left = rows;
    while left > 0
        && let Some(lines) = lines.next(content, left)?
    {
        left -= lines.len();
        for row in 0..lines.len() {
            // A line that is no object is rejected when it is read; it names no column.
            let _ = (&mut keys).deserialize(&mut serde_json::Deserializer::from_slice(lines.raw(row)));
        }
    }
    Ok(keys.names)
}

#[derive(Default)]
struct KeyList {
    names: Vec<String>,
    known: HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for &mut KeyList {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut KeyList {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if self.known.insert(key.clone()) {
                self.names.push(key);
            }
        }
        Ok(())
    }
}

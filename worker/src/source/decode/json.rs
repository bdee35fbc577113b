//! JSON objects: the values of one object as text. Numbers keep their digits as they are written, strings are unescaped;
//! an object or a list inside a row is text by its JSON.

use std::{borrow::Cow, collections::HashMap, fmt, ops::Range, str};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use windrow_common::error;

use super::rows::Flaw;

/// The objects taken apart so far, until they are cleared.
pub(in crate::source) struct Objects {
    keys: Keys,
    fields: Fields,
}

/// What to make of keys and values.
struct Keys {
    columns: HashMap<String, usize>,
    /// Whether a key that is no column spoils its row.
    strict: bool,
}

/// The fields of a batch's objects, one object after the other.
#[derive(Default)]
struct Fields {
    width: usize,
    text: String,
    fields: Vec<Option<Range<usize>>>,
    /// The columns the object at hand has named so far; a null leaves no other trace.
    named: Vec<bool>,
    flaws: Vec<Option<Flaw>>,
}

impl Objects {
    /// Objects of the columns named, in that order.
    pub(in crate::source) fn new<'a>(columns: impl Iterator<Item = &'a str>, strict: bool) -> Self {
        let columns: HashMap<String, usize> = columns.enumerate().map(|(i, name)| (name.to_owned(), i)).collect();
        let fields = Fields { width: columns.len(), ..Fields::default() };
        Self { keys: Keys { columns, strict }, fields }
    }

    pub(in crate::source) fn clear(&mut self) {
        self.fields.clear();
    }

    /// Takes one more apart; text that is no object is one with a flaw.
    pub(in crate::source) fn push(&mut self, text: &[u8]) {
        self.fields.push(text, &self.keys);
    }

    pub(in crate::source) fn len(&self) -> usize {
        self.fields.flaws.len()
    }

    pub(in crate::source) fn flaw(&self, row: usize) -> Option<Flaw> {
        self.fields.flaws[row].clone()
    }

    pub(in crate::source) fn field(&self, row: usize, column: usize) -> Option<&str> {
        let range = self.fields.fields[row * self.fields.width + column].clone()?;
        self.fields.text.get(range)
    }
}

impl Fields {
    fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.flaws.clear();
    }

    fn push(&mut self, line: &[u8], keys: &Keys) {
        let first = self.fields.len();
        self.fields.resize(first + self.width, None);
        self.named.clear();
        self.named.resize(self.width, false);
        let flaw = match str::from_utf8(line) {
            Err(_) => Some("it is no UTF-8 text".to_owned()),
            Ok(line) => {
                let mut json = serde_json::Deserializer::from_str(line);
                let mut object = Object { keys, fields: self, first, flaw: None };
                match (&mut object).deserialize(&mut json).and_then(|()| json.end()) {
                    Err(cause) => Some(format!("it is no JSON object: {cause}")),
                    Ok(()) => {
                        let flaw = object.flaw;
                        self.flaws.push(flaw);
                        return;
                    }
                }
            }
        };
        self.flaws.push(flaw.map(|reason| Flaw { code: error::ROW_MALFORMED, reason }));
    }
}

/// Takes one object apart.
struct Object<'a> {
    keys: &'a Keys,
    fields: &'a mut Fields,
    first: usize,
    flaw: Option<Flaw>,
}

impl Object<'_> {
    fn take(&mut self, key: &str, value: &str) -> Result<(), serde_json::Error> {
        let Some(column) = self.keys.columns.get(key) else {
            if self.keys.strict {
                self.spoil(format!("the key {key:?} is no column"));
            }
            return Ok(());
        };
        if std::mem::replace(&mut self.fields.named[*column], true) {
            self.spoil(format!("the key {key:?} stands twice"));
            return Ok(());
        }
        let start = self.fields.text.len();
        match value.as_bytes().first() {
            Some(b'n') => return Ok(()),
            Some(b'"') => self.fields.text.push_str(&serde_json::from_str::<Cow<'_, str>>(value)?),
            _ => self.fields.text.push_str(value),
        }
        self.fields.fields[self.first + column] = Some(start..self.fields.text.len());
        Ok(())
    }

    /// Keeps the first flaw found.
    fn spoil(&mut self, reason: String) {
        self.flaw.get_or_insert(Flaw { code: error::ROW_MALFORMED, reason });
    }
}

impl<'de> DeserializeSeed<'de> for &mut Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let value: &RawValue = map.next_value()?;
            self.take(&key, value.get()).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

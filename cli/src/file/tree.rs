//! A YAML document as a tree whose every key and value knows where it stands. It knows YAML, and nothing of pipelines.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::diagnostic::Span;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the file's order; a key given twice stands here twice.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) node: Node,
}

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Why a text is no YAML, and where.
#[derive(Debug)]
pub(crate) struct NotYaml {
    pub(crate) span: Span,
    pub(crate) message: String,
}

/// Reads one YAML document. An empty one is null. Depth, size and the work aliases make are bounded by the parser's
/// budget.
pub(crate) fn parse(file: usize, text: &str) -> Result<Node, NotYaml> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        NotYaml { span: Span::at(file, location), message: without_place(&error.to_string()) }
    })?;
    Ok(raw.located(file))
}

impl Node {
    /// The entries of a map; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// What a person calls such a value.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a block of keys",
        }
    }

    /// Where the part at the end of `path` stands, or the last part on the way that exists. A block of keys is best
    /// shown by its own key.
    pub(crate) fn place(&self, path: &[Step]) -> Option<Span> {
        let (step, rest) = path.split_first()?;
        let (key_span, node) = match step {
            Step::Key(key) => self.entry(key).map(|entry| (entry.key_span, &entry.node))?,
            Step::Index(index) => match &self.value {
                Value::List(items) => items.get(*index).map(|item| (item.span, item))?,
                _ => return None,
            },
        };
        let own = if node.is_map() || node.value == Value::Null { key_span } else { node.span };
        Some(node.place(rest).unwrap_or(own))
    }

    /// The bare value. Of a key given twice the first counts.
    pub(crate) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => entries.iter().rev().map(|entry| (entry.key.clone(), entry.node.json())).collect(),
        }
    }

    /// This map with what `defaults` has and it lacks, at its first level.
    pub(crate) fn over(mut self, defaults: &Node) -> Node {
        if let Value::Map(entries) = &mut self.value {
            let missing: Vec<Entry> = defaults
                .entries()
                .iter()
                .filter(|default| !entries.iter().any(|entry| entry.key == default.key))
                .cloned()
                .collect();
            entries.extend(missing);
        }
        self
    }
}

impl Span {
    fn at(file: usize, location: Location) -> Self {
        let clamp = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            file,
            line: clamp(location.line()),
            column: clamp(location.column()),
            length: clamp(location.span().len()).max(1),
        }
    }
}

/// The parser's message ends with the place, which is shown otherwise.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let end = line.rfind(" at line ").unwrap_or(line.len());
    line[..end].trim_end_matches([',', ':', '.']).to_owned()
}

/// A value as the parser hands it over, its parts in the parser's own wrapper for places.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

trait Locate {
    fn located(self, file: usize) -> Node;
}

impl Locate for Spanned<Raw> {
    fn located(self, file: usize) -> Node {
        let span = Span::at(file, self.referenced);
        let value = match self.value {
            Raw::Scalar(value) => value,
            Raw::List(items) => Value::List(items.into_iter().map(|item| item.located(file)).collect()),
            Raw::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_span: Span::at(file, key.referenced),
                        key: key.value,
                        node: value.located(file),
                    })
                    .collect(),
            ),
        };
        Node { span, value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Bool(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Number(number.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Raw, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("an infinite number or NaN has no use here"))?;
        Ok(Raw::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(line: u32, column: u32, length: u32) -> Span {
        Span { file: 0, line, column, length }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let tree = parse(0, "a: 1\nb: { c: \"x y\", d: [10, é1] }\ne:\n  f: plain text # comment\n").unwrap();
        assert_eq!(tree.entry("a").unwrap().key_span, at(1, 1, 1));
        assert_eq!(tree.get("a").unwrap().span, at(1, 4, 1));
        let b = tree.get("b").unwrap();
        assert_eq!(b.get("c").unwrap().span, at(2, 9, 5));
        assert_eq!(b.place(&[Step::Key("d".into()), Step::Index(1)]), Some(at(2, 24, 2)));
        assert_eq!(tree.place(&[Step::Key("e".into()), Step::Key("f".into())]), Some(at(4, 6, 10)));
        assert_eq!(tree.place(&[Step::Key("e".into())]), Some(at(3, 1, 1)));
    }

    #[test]
    fn only_what_yaml_1_2_calls_so_is_a_boolean_or_a_number() {
        let tree = parse(0, "[no, on, true, 007, 1_000, 1h, 2024-01-01, 5, -5, 1.5, ~, '5']").unwrap();
        let Value::List(items) = &tree.value else { unreachable!() };
        let kinds: Vec<_> = items.iter().map(Node::kind).collect();
        let (text, number) = ("a text", "a number");
        assert_eq!(kinds, [text, text, "a boolean", text, text, text, text, number, number, number, "nothing", text]);
    }

    #[test]
    fn a_key_given_twice_stays_twice_and_the_first_counts() {
        let tree = parse(0, "a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(tree.entries().len(), 3);
        assert_eq!(tree.json(), serde_json::json!({ "a": 1, "b": 2 }));
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved() {
        let tree = parse(0, "a: &x { k: 1, l: 2 }\nb: *x\nc: { <<: *x, l: 3 }\n").unwrap();
        assert_eq!(tree.json()["b"], serde_json::json!({ "k": 1, "l": 2 }));
        assert_eq!(tree.json()["c"], serde_json::json!({ "k": 1, "l": 3 }));
    }

    #[test]
    fn broken_yaml_is_refused_at_its_place() {
        for (text, line) in [("a: [1, 2\nb: 3\n", 2), ("a:\n  b: 1\n c: 2\n", 3), ("a: *nowhere\n", 1)] {
            let error = parse(0, text).unwrap_err();
            assert_eq!(error.span.line, line, "{text:?}: {}", error.message);
            assert!(!error.message.contains("line"), "{}", error.message);
        }
        assert_eq!(parse(0, "").unwrap().value, Value::Null);
    }
}

//! From a block of the tree to a typed value, with all that is wrong in the block instead of the first thing only.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use serde_path_to_error::{Path, Segment};
use windrow_common::error;

use super::{
    diagnostic::{Findings, Span},
    suggest,
    tree::{Node, Step},
    words::in_plain_words,
};

/// The keys a block may and must have.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) known: Vec<String>,
    pub(crate) required: Vec<String>,
    /// Whether other keys are errors.
    pub(crate) closed: bool,
}

impl Shape {
    pub(crate) fn of<T: JsonSchema>() -> Self {
        Self::read(&SchemaGenerator::default().into_root_schema_for::<T>())
    }

    pub(crate) fn read(schema: &Schema) -> Self {
        let texts = |key: &str| -> Vec<String> {
            let list = schema.get(key).and_then(Json::as_array).into_iter().flatten();
            list.filter_map(Json::as_str).map(str::to_owned).collect()
        };
        let known = schema.get("properties").and_then(Json::as_object);
        Self {
            known: known.into_iter().flat_map(|properties| properties.keys().cloned()).collect(),
            required: texts("required"),
            closed: schema.get("additionalProperties") == Some(&Json::Bool(false)),
        }
    }

    /// Reports keys given twice, keys not known and keys missing. `block` is what the block is called, `at` its key.
    pub(crate) fn check(&self, node: &Node, at: Span, block: &str, findings: &mut Findings) {
        check_unique(node, findings);
        if self.closed {
            for entry in node.entries().iter().filter(|entry| !self.known.contains(&entry.key)) {
                let found =
                    findings.error(error::UNKNOWN_KEY, entry.key_span, format!("{:?} is no key of {block}", entry.key));
                found.fix(self.advice(&entry.key));
            }
        }
        for missing in self.required.iter().filter(|key| node.entry(key).is_none()) {
            findings
                .error(error::MISSING_KEY, at, format!("{block} has no `{missing}`"))
                .fix(format!("add `{missing}: ...`"));
        }
    }

    fn advice(&self, key: &str) -> String {
        match suggest::nearest(key, self.known.iter().map(String::as_str)) {
            Some(known) => format!("write `{known}`"),
            None => format!("known here: {}", self.known.join(", ")),
        }
    }
}

/// Reports keys given twice, at their second place.
pub(crate) fn check_unique(node: &Node, findings: &mut Findings) {
    for (index, entry) in node.entries().iter().enumerate() {
        if let Some(first) = node.entries()[..index].iter().find(|earlier| earlier.key == entry.key) {
            findings
                .error(
                    error::DUPLICATE_KEY,
                    entry.key_span,
                    format!("`{}` is given twice, first in line {}", entry.key, first.key_span.line),
                )
                .fix("keep one of the two");
        }
    }
}

/// Whether the value is a block of keys; reports it if not.
pub(crate) fn is_block(node: &Node, at: Span, block: &str, findings: &mut Findings) -> bool {
    if !node.is_map() {
        findings
            .error(error::BAD_VALUE, at, format!("{block} is {}, not a block of keys", node.kind()))
            .fix("write its keys in braces, `{ key: value }`, or below it");
    }
    node.is_map()
}

/// Decodes a block whose keys `T`'s schema names. `None` if anything in it is wrong; all of it is reported.
pub(crate) fn block<T>(node: &Node, at: Span, name: &str, findings: &mut Findings) -> Option<T>
where
    T: DeserializeOwned + JsonSchema,
{
    let before = findings.errors();
    if !is_block(node, at, name, findings) {
        return None;
    }
    let shape = Shape::of::<T>();
    shape.check(node, at, name, findings);
    let mut json = node.json();
    if let (true, Some(map)) = (shape.closed, json.as_object_mut()) {
        map.retain(|key, _| shape.known.contains(key));
    }
    let value = values(json, |json| serde_path_to_error::deserialize(json), node, findings);
    if value.is_none() && findings.errors() == before {
        findings.error(error::BAD_VALUE, at, format!("{name} cannot be read"));
    }
    value.filter(|_| findings.errors() == before)
}

/// Decodes `json` again and again without the keys that were wrong, until nothing more is found.
pub(crate) fn values<T>(
    mut json: Json,
    decode: impl Fn(Json) -> Result<T, serde_path_to_error::Error<serde_json::Error>>,
    node: &Node,
    findings: &mut Findings,
) -> Option<T> {
    loop {
        let failure = match decode(json.clone()) {
            Ok(value) => return Some(value),
            Err(failure) => failure,
        };
        let path = steps(failure.path());
        let Some(Step::Key(key)) = path.first() else { return None };
        // A required key that was taken out fails here for the second time, with nowhere to point at.
        json.as_object_mut().and_then(|map| map.remove(key))?;
        let span = node.place(&path).unwrap_or(node.span);
        report(&failure.inner().to_string(), &path, span, findings);
    }
}

/// Decodes a single value that stands under `key`.
pub(crate) fn value<T: DeserializeOwned>(node: &Node, key: &str, findings: &mut Findings) -> Option<T> {
    match serde_json::from_value(node.json()) {
        Ok(value) => Some(value),
        Err(failure) => {
            report(&failure.to_string(), &[Step::Key(key.to_owned())], node.span, findings);
            None
        }
    }
}

fn report(message: &str, path: &[Step], span: Span, findings: &mut Findings) {
    let (message, fix) = in_plain_words(message);
    findings.error(error::BAD_VALUE, span, format!("`{}`: {message}", shown(path))).fix = fix;
}

fn shown(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { variant } => Some(Step::Key(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

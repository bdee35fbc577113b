//! JSON pointers (RFC 6901): where something stands in an answer.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

/// A checked pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    parts: Vec<String>,
}

impl Pointer {
    /// Reads `/data/items`; the empty text is the answer itself.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect(),
            None if text.is_empty() => Vec::new(),
            None => return Err(format!("{text:?} is no JSON pointer; one is empty or begins with `/`: /data/items")),
        };
        Ok(Self { text: text.to_owned(), parts })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands there, if anything does.
    pub(super) fn find<'a>(&self, json: &'a RawValue) -> Option<&'a RawValue> {
        self.parts.iter().try_fold(json, |value, part| member(value, part))
    }
}

/// A member of an object or a list; of a key that stands twice the last.
fn member<'a>(value: &'a RawValue, part: &str) -> Option<&'a RawValue> {
    match value.get().as_bytes().first()? {
        b'{' => serde_json::from_str::<HashMap<Cow<'a, str>, &'a RawValue>>(value.get()).ok()?.remove(part),
        b'[' => serde_json::from_str::<Vec<&'a RawValue>>(value.get()).ok()?.get(part.parse::<usize>().ok()?).copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pointer_leads_into_objects_and_lists() {
        let json: &RawValue = serde_json::from_str(r#" {"a": [{"b/c": 1.50}, {"": "x"}], "~": null} "#).unwrap();
        let found = |text: &str| Pointer::parse(text).unwrap().find(json).map(|value| value.get().to_owned());
        assert_eq!(found("/a/0/b~1c").as_deref(), Some("1.50"));
        assert_eq!(found("/a/1/").as_deref(), Some("\"x\""));
        assert_eq!(found("/~0").as_deref(), Some("null"));
        assert!(found("").unwrap().starts_with('{'));
        for nowhere in ["/b", "/a/2", "/a/x", "/a/0/b~1c/d", "/a/-1"] {
            assert_eq!(found(nowhere), None, "{nowhere}");
        }
        assert!(Pointer::parse("data").is_err());
    }
}

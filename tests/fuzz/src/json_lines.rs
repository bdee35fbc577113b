//! JSON lines from elsewhere: every line becomes a row or a reject, and no sound line is rejected.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{draw::Draw, rows::Object};

/// The first bytes choose columns and parts; the rest is the file.
pub fn check(data: &[u8]) {
    let mut draw = Draw::of(data);
    let columns = draw.byte();
    let part = usize::from(draw.byte()) + 1;
    let meeting = draw.number();
    let content = draw.rest();
    let object = Object { name: "input.jsonl", content, params: params(columns) };
    let all = object.read_all(usize::MAX);
    if let Ok(all) = &all {
        let lines = content.split(|byte| *byte == b'\n');
        let lines: Vec<(u64, &[u8])> = (1..).zip(lines).filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
        assert_eq!(all.rows() + all.rejects.len(), lines.len(), "rows and rejects of so many lines: {all:?}");
        let rejected: BTreeSet<u64> = all.rejects.iter().map(|reject| reject.position).collect();
        assert_eq!(rejected.len(), all.rejects.len(), "a line is rejected twice: {all:?}");
        for (number, line) in lines {
            let is_object = serde_json::from_slice::<Map<String, Value>>(line).is_ok();
            let sound = columns % 4 == 1 && is_object && !has_key_twice(line);
            assert!(!sound || !rejected.contains(&number), "line {number} is sound: {all:?}");
            assert!(is_object || rejected.contains(&number) || is_deep_or_large(line), "line {number} is no object");
        }
    }
    object.check_ways(&all, part, meeting);
}

/// Inferred, text, or declared with a cursor.
fn params(columns: u8) -> Value {
    let mut params = json!({ "format": "json" });
    match columns % 4 {
        0 => {}
        1 => params["schema"] = json!({ "a": "string", "b": "string" }),
        2 => {
            params["schema"] = json!([{ "at": "timestamp" }, { "id": "int" }, { "price": "decimal(9,2)" }]);
            params["cursor"] = json!("at");
            params["cursor_timezone"] = json!("America/New_York");
        }
        _ => {
            params["schema"] = json!({ "at": "int", "ok": "bool", "raw": "binary", "share": "float" });
            params["cursor"] = json!("at");
        }
    }
    params
}

/// Whether an object has a key twice, in any of its layers: the reader minds it in the outermost one.
fn has_key_twice(line: &[u8]) -> bool {
    struct Unique;
    impl<'de> serde::de::DeserializeSeed<'de> for Unique {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_map(self)
        }
    }
    impl<'de> serde::de::Visitor<'de> for Unique {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = BTreeSet::new();
            while let Some((key, serde::de::IgnoredAny)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                if !seen.insert(key) {
                    return Err(serde::de::Error::custom("twice"));
                }
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_slice(line);
    serde::de::DeserializeSeed::deserialize(Unique, &mut json).is_err()
}

/// What a tree of values refuses and a text of JSON may hold: deep nesting, numbers no float can be, halves of characters.
fn is_deep_or_large(line: &[u8]) -> bool {
    let nests = line.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
    let escapes = line.windows(2).any(|pair| pair == b"\\u");
    nests || escapes || line.iter().any(|byte| matches!(byte, b'e' | b'E')) || line.len() > 300
}

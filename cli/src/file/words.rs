//! What decoders say, for somebody who wrote YAML: they speak of JSON and Rust. Pure.

/// Their words and ours.
const WORDS: [(&str, &str); 12] = [
    ("invalid type: sequence", "invalid type: a list"),
    ("invalid type: map", "invalid type: a block of keys"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected a block of keys"),
    ("expected a string", "expected a text"),
    ("expected a boolean", "expected true or false"),
    ("expected a nonzero u32", "expected a whole number above 0"),
    ("expected a nonzero u64", "expected a whole number above 0"),
    ("expected u32", "expected a whole number"),
    ("expected u64", "expected a whole number"),
    ("expected f64", "expected a number"),
    ("unknown variant ", "unknown word "),
];

/// A decoder's message as message and fix.
pub(crate) fn in_plain_words(message: &str) -> (String, Option<String>) {
    let message = WORDS.iter().fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
    if let Some((message, fix)) = message.split_once(": write ") {
        return (message.to_owned(), Some(format!("write {fix}")));
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return (format!("it has no `{key}`"), Some(format!("add `{key}: ...`")));
    }
    // The names of blocks are those of types of ours.
    let message = match message.split_once(", expected struct ") {
        Some((found, _)) => format!("{found}, expected a block of keys"),
        None => message.replace("unknown field ", "unknown key "),
    };
    let fix = message.rsplit_once(", expected ").and_then(|(_, expected)| fix(expected));
    (message, fix)
}

/// What to write where something else was expected.
fn fix(expected: &str) -> Option<String> {
    let fix = match expected {
        "a text" => "put it in quotes",
        "a list" => "write a list: [..]",
        "a block of keys" => "write its keys in braces, `{ key: value }`, or below it",
        "true or false" => "write true or false",
        "a whole number above 0" => "write a whole number, 1 or more",
        "a whole number" => "write a whole number, 0 or more",
        "a number" => "write a number",
        words if words.starts_with('`') || words.starts_with("one of `") => return Some(format!("write {words}")),
        _ => return None,
    };
    Some(fix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wrote_yaml_is_told_what_to_write() {
        let cases = [
            (
                "unknown variant `nightly`, expected `asynchronous` or `inline`",
                "unknown word `nightly`, expected `asynchronous` or `inline`",
                "write `asynchronous` or `inline`",
            ),
            (
                "unknown field `notify`, expected one of `marker`, `folder`",
                "unknown key `notify`, expected one of `marker`, `folder`",
                "write one of `marker`, `folder`",
            ),
            ("missing field `secret`", "it has no `secret`", "add `secret: ...`"),
            (
                "invalid type: string \"22:00\", expected struct OffHours",
                "invalid type: string \"22:00\", expected a block of keys",
                "write its keys in braces, `{ key: value }`, or below it",
            ),
            (
                "invalid value: integer `0`, expected a nonzero u32",
                "invalid value: integer `0`, expected a whole number above 0",
                "write a whole number, 1 or more",
            ),
            (
                "invalid type: string \"maybe\", expected a boolean",
                "invalid type: string \"maybe\", expected true or false",
                "write true or false",
            ),
            ("\"1x\" is no duration: write a number", "\"1x\" is no duration", "write a number"),
        ];
        for (theirs, message, fix) in cases {
            assert_eq!(in_plain_words(theirs), (message.to_owned(), Some(fix.to_owned())));
        }
        assert_eq!(in_plain_words("something else"), ("something else".to_owned(), None));
    }
}

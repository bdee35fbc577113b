//! Names and texts as parts of a statement. Pure.

/// A name in quotes, so that it is taken as it stands, whatever characters it has.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name within a schema.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// A text in quotes. Backslashes mean themselves only where `standard_conforming_strings` is on, which every session of
/// ours sees to.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_and_no_text_ends_its_own_quotes() {
        assert_eq!(identifier("plain"), "\"plain\"");
        assert_eq!(identifier("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
        assert_eq!(qualified("My Schema", "t"), "\"My Schema\".\"t\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}

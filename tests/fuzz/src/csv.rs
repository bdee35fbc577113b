//! CSV from elsewhere: every record becomes a row or a reject with its line, however the file arrives.

use serde_json::{Value, json};

use super::{draw::Draw, rows::Object};

/// How a file is written, as its pipeline says.
#[derive(Clone, Copy)]
struct Dialect {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    header: bool,
}

const DIALECTS: [Dialect; 5] = [
    Dialect { delimiter: b',', quote: Some(b'"'), escape: None, header: true },
    Dialect { delimiter: b',', quote: Some(b'"'), escape: None, header: false },
    Dialect { delimiter: b';', quote: Some(b'\''), escape: Some(b'\\'), header: true },
    Dialect { delimiter: b'\t', quote: None, escape: None, header: false },
    Dialect { delimiter: b'|', quote: Some(b'"'), escape: Some(b'\\'), header: false },
];

/// The first bytes choose dialect, columns and parts; the rest is the file.
pub fn check(data: &[u8]) {
    let mut draw = Draw::of(data);
    let dialect = draw.pick(&DIALECTS);
    let columns = draw.byte();
    let part = usize::from(draw.byte()) + 1;
    let meeting = draw.number();
    let content = draw.rest();
    let object = Object { name: "input.csv", content, params: params(dialect, columns) };
    let all = object.read_all(usize::MAX);
    if let Ok(all) = &all {
        let records = count(content, dialect) - usize::from(dialect.header);
        assert_eq!(all.rows() + all.rejects.len(), records, "rows and rejects of so many records: {all:?}");
        let mut lines = all.rejects.iter().map(|reject| reject.position);
        let last = 1 + content.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(lines.all(|line| (1..=last).contains(&line)), "a reject stands behind line {last}");
    }
    object.check_ways(&all, part, meeting);
}

/// Inferred, text, or declared with a cursor.
fn params(dialect: Dialect, columns: u8) -> Value {
    let character = |byte: Option<u8>| byte.map(|byte| char::from(byte).to_string());
    let mut params = json!({ "format": {
        "type": "csv",
        "delimiter": character(Some(dialect.delimiter)),
        "quote": character(dialect.quote).unwrap_or_default(),
        "header": dialect.header,
    } });
    if let Some(escape) = character(dialect.escape) {
        params["format"]["escape"] = json!(escape);
    }
    match columns % 4 {
        0 => {}
        1 => params["as_text"] = json!(true),
        2 => {
            params["schema"] = json!([{ "at": "timestamp" }, { "id": "int" }, { "price": "decimal(9,2)" }]);
            params["cursor"] = json!("at");
            params["timezone"] = json!("Europe/Paris");
        }
        _ => {
            params["schema"] = json!([{ "day": "date" }, { "ok": "bool" }, { "share": "float" }, { "note": "string" }]);
            params["cursor"] = json!("day");
            params["format"]["nulls"] = json!(["NA", ""]);
        }
    }
    params
}

/// How many records a file has: lines that are not empty, but for those inside quotes. Written without a look at the
/// reader, which is held against it.
fn count(content: &[u8], dialect: Dialect) -> usize {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Between,
        FieldStart,
        Field,
        Quoted,
        Escaped,
        QuoteInQuotes,
    }
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut records = 0;
    let mut at = At::Between;
    for byte in content.iter().copied() {
        let quote = dialect.quote == Some(byte);
        at = match at {
            At::Escaped => At::Quoted,
            At::Quoted if dialect.escape == Some(byte) => At::Escaped,
            At::Quoted if quote => At::QuoteInQuotes,
            At::Quoted => At::Quoted,
            At::QuoteInQuotes if quote && dialect.escape.is_none() => At::Quoted,
            At::Between if matches!(byte, b'\n' | b'\r') => At::Between,
            _ if matches!(byte, b'\n' | b'\r') => {
                records += 1;
                At::Between
            }
            At::Between | At::FieldStart if quote => At::Quoted,
            _ if byte == dialect.delimiter => At::FieldStart,
            _ => At::Field,
        };
    }
    records + usize::from(at != At::Between)
}

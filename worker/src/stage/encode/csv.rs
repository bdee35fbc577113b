//! CSV as RFC 4180 has it, with one addition: null is nothing at all and an empty text is `""`, so that the two differ.

use std::io::Write;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, Schema};

const TEXT: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

pub(super) fn write_header(out: &mut Vec<u8>, schema: &Schema, delimiter: u8) {
    for (index, field) in schema.fields().iter().enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        write_field(out, field.name(), delimiter);
    }
    out.push(b'\n');
}

pub(super) fn write_rows(out: &mut Vec<u8>, batch: &RecordBatch, delimiter: u8) -> Result<(), ArrowError> {
    let formatters =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &TEXT)).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        for (index, (column, formatter)) in batch.columns().iter().zip(&formatters).enumerate() {
            if index > 0 {
                out.push(delimiter);
            }
            if column.is_null(row) {
                continue;
            }
            text.clear();
            formatter.value(row).write(&mut text)?;
            write_field(out, &text, delimiter);
        }
        out.push(b'\n');
    }
    Ok(())
}

fn write_field(out: &mut Vec<u8>, text: &str, delimiter: u8) {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\r' | b'\n');
    let at_edge = |c: char| c == ' ' || c == '\t';
    if !text.is_empty() && !text.bytes().any(special) && !text.starts_with(at_edge) && !text.ends_with(at_edge) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    // Writing to a vector does not fail.
    let _ = write!(out, "\"{}\"", text.replace('"', "\"\""));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn null_and_the_empty_text_differ_and_special_characters_are_quoted() {
        let texts = StringArray::from(vec![Some("a,b"), None, Some(""), Some("say \"hi\"\n"), Some(" x"), Some("x y")]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("t", Arc::new(texts.clone()) as ArrayRef, true),
            ("u,v", Arc::new(texts), true),
        ])
        .unwrap();
        let mut out = Vec::new();
        write_header(&mut out, &batch.schema(), b',');
        write_rows(&mut out, &batch.slice(0, 4), b',').unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "t,\"u,v\"\n\"a,b\",\"a,b\"\n,\n\"\",\"\"\n\"say \"\"hi\"\"\n\",\"say \"\"hi\"\"\n\"\n"
        );
    }
}

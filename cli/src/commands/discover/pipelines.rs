//! A pipeline file for the tables of a database: text that people are to read and change. Pure.

use std::{collections::BTreeSet, fmt::Write};

use windrow_common::count::counted;
use windrow_worker::postgres::Listed;

use super::Format;
use crate::file::{is_plain, name_of_table, relation};

/// The names of the connections in the file.
pub(super) const DATABASE: &str = "database";
const LAKE: &str = "lake";

/// Where tables are read and written.
pub(super) struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) to: &'a str,
    pub(super) format: Format,
}

/// The columns by which a table could be read in windows: instants the database stamps or is given.
pub(super) fn cursors(table: &Listed) -> Vec<&str> {
    let times = table.columns.iter().filter(|column| column.data_type == "timestamp with time zone");
    times.map(|column| column.name.as_str()).collect()
}

/// The file. Tables that may not be read stand in it as comments.
pub(super) fn render(place: &str, found: &[Listed], target: &Target<'_>) -> String {
    let lake = if target.to.starts_with("s3://") { "s3" } else { "local" };
    let mut text = format!(
        "# {} of {place}. `windrow plan` shows what becomes of their columns, `windrow run` loads them.\n\
         version: 1\n\
         connections:\n  \
           {DATABASE}: {{ type: postgres, url: {} }}\n  \
           {LAKE}: {{ type: {lake}, root: {} }}\n\
         pipelines:\n",
        counted(found.len(), "table"),
        quoted(target.url),
        quoted(target.to)
    );
    let mut names = BTreeSet::new();
    for table in found {
        pipeline(&mut text, table, &name_of_table(table, &mut names), target.format);
    }
    text
}

fn pipeline(text: &mut String, table: &Listed, name: &str, format: Format) {
    let relation = relation(table);
    if !table.readable {
        let _ = writeln!(text, "  # {name}: the user may not read {relation}");
        return;
    }
    let _ = writeln!(text, "  {name}:");
    if let cursors @ [_, ..] = &cursors(table)[..] {
        let _ = writeln!(
            text,
            "    # in windows instead: pattern: incremental, source.cursor: {}, window: {{ every: 1d, start: .. }}",
            cursors.join(" or ")
        );
    }
    let extra = extra(table, format);
    let _ = writeln!(
        text,
        "    pattern: full\n    source: {{ from: {DATABASE}, table: {}{extra} }}\n    sink: {{ to: {LAKE}, format: {}, path: {name} }}",
        quoted(&relation),
        word(format)
    );
}

/// What a table's types need said for the format.
fn extra(table: &Listed, format: Format) -> String {
    let times = table.columns.iter().filter(|column| column.data_type == "time without time zone");
    let columns: Vec<_> = times.map(|column| format!("{}: text", quoted(&column.name))).collect();
    match format {
        Format::Delta if !columns.is_empty() => format!(", schema: {{ {} }}", columns.join(", ")),
        _ => String::new(),
    }
}

fn word(format: Format) -> &'static str {
    match format {
        Format::Delta => "delta",
        Format::Parquet => "parquet",
        Format::Json => "json",
        Format::Csv => "csv",
    }
}

/// Text within `{ .. }` of YAML.
fn quoted(text: &str) -> String {
    match text.split('.').all(is_plain) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use windrow_worker::postgres::ListedColumn;

    use super::*;

    fn table(schema: &str, name: &str, columns: &[(&str, &str)]) -> Listed {
        let column = |(name, data_type): &(&str, &str)| ListedColumn {
            name: (*name).to_owned(),
            data_type: (*data_type).to_owned(),
        };
        Listed {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: "table".to_owned(),
            rows: None,
            bytes: 0,
            key: Vec::new(),
            columns: columns.iter().map(column).collect(),
            readable: true,
        }
    }

    #[test]
    fn a_file_says_what_each_table_needs() {
        let hidden = Listed { readable: false, ..table("public", "salaries", &[]) };
        let found = [
            table("public", "visits", &[("at", "timestamp with time zone")]),
            table("sales", "Daily Sums", &[("opens", "time without time zone")]),
            table("sales", "daily-sums", &[]),
            hidden,
        ];
        let target = Target { url: "${env:URL}", to: "./lake", format: Format::Delta };
        let expected = r#"# 4 tables of db:5432/shop. `windrow plan` shows what becomes of their columns, `windrow run` loads them.
version: 1
connections:
  database: { type: postgres, url: "${env:URL}" }
  lake: { type: local, root: "./lake" }
pipelines:
  visits:
    # in windows instead: pattern: incremental, source.cursor: at, window: { every: 1d, start: .. }
    pattern: full
    source: { from: database, table: public.visits }
    sink: { to: lake, format: delta, path: visits }
  sales.Daily-Sums:
    pattern: full
    source: { from: database, table: "sales.\"Daily Sums\"", schema: { opens: text } }
    sink: { to: lake, format: delta, path: sales.Daily-Sums }
  sales.daily-sums-2:
    pattern: full
    source: { from: database, table: "sales.\"daily-sums\"" }
    sink: { to: lake, format: delta, path: sales.daily-sums-2 }
  # salaries: the user may not read public.salaries
"#;
        assert_eq!(render("db:5432/shop", &found, &target), expected);
    }
}

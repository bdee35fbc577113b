//! Entries that mean many tables.

use windrow_common::error;
use windrow_worker::{error::WorkerError, postgres::Listed};

use super::{Loaded, Options, file, found, options, parse};
use crate::file::{Connectors, Lister};

const FILE: &str = "\
version: 1
connections:
  shop: { type: postgres, url: \"postgres://reader@db/shop\" }
  lake: { type: local, root: /lake }
pipelines:
  shop:
    pattern: full
    source: { from: shop, tables: [\"public.*\", \"sales.*\"], except: \"*_log\" }
    sink: { to: lake, format: delta, path: \"raw/{schema}/{table}\" }
  other:
    pattern: full
    source: { from: shop, table: public.other }
    sink: { to: lake, format: delta, path: other }
";

fn table(schema: &str, name: &str, readable: bool) -> Listed {
    Listed {
        schema: schema.to_owned(),
        name: name.to_owned(),
        kind: "table".to_owned(),
        rows: None,
        bytes: 0,
        key: Vec::new(),
        columns: Vec::new(),
        readable,
    }
}

fn load(text: &str, list: Option<Lister>) -> Loaded {
    parse(vec![file("p.yaml", text)], &Options { connectors: Connectors::unopened(), list, ..options() })
}

/// A database with these tables, whatever it is asked for.
fn with(tables: Vec<Listed>) -> Option<Lister> {
    Some(Box::new(move |_, _, _| Ok(tables.clone())))
}

#[test]
fn each_table_becomes_a_pipeline_with_a_place_of_its_own() {
    let asked: Lister = Box::new(|connection, only, except| {
        assert_eq!(
            (connection.name.as_str(), only, except),
            ("shop", &["public.*".into(), "sales.*".into()][..], &["*_log".into()][..])
        );
        Ok(vec![table("public", "users", true), table("sales", "Order Lines", true)])
    });
    let loaded = load(FILE, Some(asked));
    assert_eq!(found(&loaded), Vec::<String>::new());
    let text = |value: Option<&serde_json::Value>| value.and_then(|value| value.as_str()).unwrap_or("?").to_owned();
    let all: Vec<_> = loaded
        .pipelines
        .iter()
        .map(|one| (one.name.to_string(), text(one.source.params.get("table")), text(one.sink.params.get("path"))))
        .collect();
    let expected = [
        ("shop.users", "public.users", "raw/public/users"),
        ("shop.sales.Order-Lines", "sales.\"Order Lines\"", "raw/sales/Order-Lines"),
        ("other", "public.other", "other"),
    ];
    assert_eq!(all, expected.map(|(name, table, path)| (name.to_owned(), table.to_owned(), path.to_owned())));
}

#[test]
fn without_a_database_to_ask_the_rest_of_the_entry_is_checked() {
    assert_eq!(found(&load(FILE, None)), Vec::<String>::new());
    let wrong = FILE.replace("format: delta, path: \"raw", "format: delta, pth: x, path: \"raw");
    assert_eq!(found(&load(&wrong, None)), ["error WR-P003 9:38"]);
}

#[test]
fn what_may_not_be_read_is_left_out_and_said() {
    let loaded = load(FILE, with(vec![table("public", "users", true), table("public", "salaries", false)]));
    assert_eq!(found(&loaded), ["warning WR-S011 8:35"]);
    assert!(!loaded.failed());
    assert_eq!(loaded.pipelines.len(), 2);
}

#[test]
fn what_makes_no_sense_is_said_at_its_place() {
    let cases: [(&str, &str, Option<Lister>, &[&str]); 8] = [
        ("raw/{schema}/{table}", "raw", with(vec![]), &["error WR-P009 9:44"]),
        ("tables: [", "table: public.users, tables: [", with(vec![]), &["error WR-P009 8:27"]),
        ("tables: [\"public.*\", \"sales.*\"]", "tables: 7", with(vec![]), &["error WR-P006 8:35"]),
        ("tables: [\"public.*\", \"sales.*\"], ", "", with(vec![]), &["error WR-P003 8:27"]),
        ("from: shop, tables", "from: lake, tables", with(vec![]), &["error WR-P009 8:35"]),
        ("shop:", "shop:", with(vec![]), &["error WR-S001 8:35"]),
        ("other:\n", "shop.users:\n", with(vec![table("public", "users", true)]), &["error WR-P004 10:3"]),
        (
            "shop:",
            "shop:",
            Some(Box::new(|_, _, _| Err(WorkerError::later(error::SOURCE_UNREADABLE, "it is away")))),
            &["error WR-S002 8:35"],
        ),
    ];
    for (from, to, list, expected) in cases {
        assert!(FILE.contains(from), "{from}");
        let loaded = load(&FILE.replacen(from, to, 1), list);
        assert_eq!(found(&loaded), expected, "{from:?} -> {to:?}: {:?}", loaded.diagnostics);
    }
}

//! Parameters, layouts and statements, without a database.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use windrow_common::{
    error,
    window::{Axis, Window},
};

use super::{
    layout::{Layout, of_columns},
    params::{Config, What, decode},
    select::{self, Values},
};
use crate::postgres::{Class, Column, Type, copy::Form};

fn config(params: Value, cursor: Option<&str>) -> Config {
    decode(params.as_object().unwrap(), cursor).unwrap()
}

fn faults(params: Value, cursor: Option<&str>) -> Vec<(String, &'static str)> {
    let faults = decode(params.as_object().unwrap(), cursor).unwrap_err();
    faults.into_iter().map(|fault| (fault.path, fault.code.code)).collect()
}

fn column(name: &str, oid: u32, nullable: bool) -> Column {
    let data_type = Type { oid, name: format!("type {oid}"), modifier: -1, class: Class::Base, domain: None };
    Column { name: name.to_owned(), data_type, nullable, generated: false, identity: false, key: None, readable: true }
}

fn visits(cursor: u32) -> Vec<Column> {
    vec![column("id", 20, false), column("at", cursor, true), column("price", 1700, true), column("where", 600, true)]
}

fn hour() -> Window {
    // 2024-03-31T00:30Z to 01:30Z: clocks in Paris go from 2 to 3.
    Window::new(Axis::Time, 1_711_845_000_000_000, 1_711_848_600_000_000).unwrap()
}

fn layout(config: &Config, cursor: u32) -> Layout {
    of_columns(visits(cursor), config).unwrap()
}

#[test]
fn names_are_taken_as_they_stand() {
    let of = |text: &str| match config(json!({ "table": text }), None).what {
        What::Table { schema, name } => (schema, name),
        What::Query(_) => unreachable!(),
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(of("visits"), pair("public", "visits"));
    assert_eq!(of("Shop.Visits"), pair("Shop", "Visits"));
    assert_eq!(of("\"my.schema\".\"a \"\"b\"\"\""), pair("my.schema", "a \"b\""));
    for wrong in ["", "a.b.c", "a.", ".b", "\"a", "\"\".b", "a b\"c"] {
        assert_eq!(faults(json!({ "table": wrong }), None), [("table".to_owned(), "WR-P006")], "{wrong:?}");
    }
}

#[test]
fn faults_are_told_together_and_by_their_place() {
    let told = faults(
        json!({ "table": "t", "query": "SELECT 1", "timezone": "Mars/Olympus", "schema": { "a": "decimal(99,1)" }, "columns": ["b"] }),
        Some("at"),
    );
    let paths: Vec<_> = told.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["query", "timezone", "schema.a", "columns", "columns"]);
    assert_eq!(faults(json!({}), None), [("table".to_owned(), "WR-P005")]);
    assert_eq!(faults(json!({ "tabel": "t" }), None)[0].1, "WR-P003");
}

#[test]
fn a_window_is_half_open_and_typed_and_the_cursor_stays_bare_for_its_index() {
    let config = config(json!({ "table": "shop.visits", "columns": ["id", "at"] }), Some("at"));
    let statement = select::copy((&layout(&config, 1184), Values::Decoded), &config, &hour(), None).unwrap();
    assert_eq!(
        statement,
        "COPY (SELECT \"id\" AS \"id\", \"at\" AS \"at\" FROM \"shop\".\"visits\" WHERE \
         \"at\" >= TIMESTAMPTZ '2024-03-31 00:30:00.000000+00' AND \"at\" < TIMESTAMPTZ '2024-03-31 01:30:00.000000+00') \
         TO STDOUT (FORMAT BINARY)"
    );
    let micros = select::predicate(&layout(&config, 20), &config, &hour()).unwrap();
    assert_eq!(micros, "\"at\" >= 1711845000000000::bigint AND \"at\" < 1711848600000000::bigint");
}

#[test]
fn a_cursor_without_a_zone_needs_one_declared_and_is_read_as_an_instant() {
    let bare = config(json!({ "table": "visits" }), Some("at"));
    let refused = select::copy((&layout(&bare, 1114), Values::Decoded), &bare, &hour(), None).unwrap_err();
    assert_eq!(refused.code(), error::CURSOR_MISSING);
    let zoned = config(json!({ "table": "visits", "cursor_timezone": "Europe/Paris" }), Some("at"));
    let layout = layout(&zoned, 1114);
    assert_eq!(layout.column("at").unwrap().form, Form::Timestamp { utc: true });
    let predicate = select::predicate(&layout, &zoned, &hour()).unwrap();
    assert_eq!(
        predicate,
        "(\"at\" AT TIME ZONE 'Europe/Paris') >= TIMESTAMPTZ '2024-03-31 00:30:00.000000+00' AND \
         (\"at\" AT TIME ZONE 'Europe/Paris') < TIMESTAMPTZ '2024-03-31 01:30:00.000000+00' AND \
         \"at\" >= TIMESTAMP '2024-03-29 00:30:00.000000' AND \"at\" < TIMESTAMP '2024-04-02 01:30:00.000000'"
    );
    let text = select::predicate(&of_columns(visits(25), &bare).unwrap(), &bare, &hour()).unwrap_err();
    assert!(text.to_string().contains("type 25"), "{text}");
}

#[test]
fn what_has_no_form_is_cast_to_text_and_a_query_cannot_end_the_statement() {
    let config = config(
        json!({ "query": "SELECT * FROM t -- all\n;", "schema": { "price": "decimal(12,2)", "id": "text" } }),
        None,
    );
    let layout = layout(&config, 1184);
    let statement = select::copy((&layout, Values::Decoded), &config, &Window::version(1), None).unwrap();
    assert_eq!(
        statement,
        "COPY (SELECT \"id\"::pg_catalog.text AS \"id\", \"at\" AS \"at\", \"price\" AS \"price\", \
         \"where\"::pg_catalog.text AS \"where\" FROM (SELECT * FROM t -- all\n) AS windrow_query) TO STDOUT (FORMAT BINARY)"
    );
    assert_eq!(layout.column("price").unwrap().form, Form::Decimal { precision: 12, scale: 2 });
}

#[test]
fn rows_without_a_cursor_are_counted_where_there_can_be_any() {
    let of = |params: Value, nullable: bool| {
        let config = config(params, Some("at"));
        let layout = of_columns(vec![column("at", 1184, nullable)], &config).unwrap();
        (
            select::count_null_cursors(&layout, &config, 10),
            select::copy((&layout, Values::Decoded), &config, &hour(), None).unwrap(),
        )
    };
    let (count, copy) = of(json!({ "table": "v" }), true);
    assert!(count.unwrap().contains("\"at\" IS NULL LIMIT 10") && !copy.contains("IS NULL"));
    assert_eq!(of(json!({ "table": "v" }), false).0, None);
    let (count, copy) = of(json!({ "table": "v", "null_cursor": "reject" }), true);
    assert!(count.is_none() && copy.contains("OR \"at\" IS NULL)"));
    let (count, copy) = of(json!({ "table": "v", "null_cursor": "ignore" }), true);
    assert!(count.is_none() && !copy.contains("IS NULL"));
}

#[test]
fn two_columns_of_one_name_and_columns_that_are_not_there_are_refused() {
    let twice = config(json!({ "query": "SELECT 1 AS a, 2 AS a" }), None);
    assert!(of_columns(vec![column("a", 20, true), column("a", 20, true)], &twice).is_err());
    for params in [json!({ "table": "t", "columns": ["nope"] }), json!({ "table": "t", "schema": { "nope": "text" } })]
    {
        let config = config(params, None);
        assert_eq!(of_columns(visits(1184), &config).unwrap_err().code(), error::SCHEMA_MISMATCH);
    }
    let wrong = config(json!({ "table": "t", "schema": { "id": "decimal(3,1)" } }), None);
    assert!(of_columns(visits(1184), &wrong).unwrap_err().to_string().contains("no numeric"));
}

/// Rows are left as they are unless somebody looks at values, and in the types that are read.
#[test]
fn what_looks_at_values_is_told_before_anything_is_read() {
    use crate::verbatim::ExactType;
    let exact = |name: &str| ExactType {
        name: name.to_owned(),
        sql: name.to_owned(),
        modifier: -1,
        definition: "built in".to_owned(),
    };
    let of = |params: Value, cursor: Option<&str>| {
        let config = config(params, cursor);
        let layout = layout(&config, 1114);
        let known =
            layout.columns.iter().map(|chosen| (chosen.column.name.clone(), Ok(exact(&chosen.column.data_type.name))));
        super::verbatim::of(&layout.columns, known.collect(), &config)
    };
    let types = |params: Value, cursor| {
        let columns = of(params, cursor).unwrap();
        columns.into_iter().map(|column| column.kind.name).collect::<Vec<_>>()
    };
    assert_eq!(types(json!({ "table": "t" }), None), ["type 20", "type 1114", "type 1700", "type 600"]);
    // A zone makes instants of local times, and the server makes them.
    let zoned = json!({ "table": "t", "cursor_timezone": "Europe/Paris" });
    assert_eq!(types(zoned, Some("at"))[1], "timestamp with time zone");
    for (params, why) in [
        (json!({ "schema": { "id": "text" } }), "`schema`"),
        (json!({ "special_values": "null" }), "`special_values: null`"),
        (json!({ "special_values": "reject" }), "`special_values: reject`"),
        (json!({ "null_cursor": "reject", "cursor_timezone": "UTC" }), "`null_cursor: reject`"),
    ] {
        let mut params = params;
        params["table"] = json!("t");
        let said = of(params, Some("at")).unwrap_err();
        assert!(said.starts_with(why), "{said}");
    }
    let config = config(json!({ "table": "t" }), None);
    let layout = layout(&config, 1184);
    let unknown = super::verbatim::of(&layout.columns, Default::default(), &config).unwrap_err();
    assert!(unknown.contains("\"id\" is of type type 20"), "{unknown}");
}

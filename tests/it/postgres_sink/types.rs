//! Which types rows get in a database, and what a table that is there takes.

use super::Shop;

const INPUT: &str = "b,i,f,s,d,t,id,doc
true,1,1.5,one,2024-02-29,2024-02-29T12:34:56.123456Z,6f2f1c1e-6f0b-4a59-9f0e-1b0f2c3d4e5f,\"{\"\"a\"\": [1, 2]}\"
,,,,,,,
false,-9007199254740993,-0.1,\"it's, \"\"quoted\"\" \u{e9}\",0001-01-01,1969-12-31T23:59:59.999999Z,00000000-0000-0000-0000-000000000000,null
";

fn declare(shop: &Shop, pattern: &str, more: &str) {
    std::fs::write(shop.path().join("in.csv"), INPUT).unwrap();
    shop.declare(&format!(
        "  rows:
    pattern: {pattern}
    source:
      from: here
      path: in.csv
      schema: {{ b: bool, i: int, f: float, s: string, d: date, t: timestamp, id: string, doc: string }}
    sink: {{ to: shop, format: postgres, table: rows, staging: staging{more} }}
    retries: {{ attempts: 1 }}
"
    ));
}

const SHOWN: &str = "SELECT b, i, f, s, d, t AT TIME ZONE 'UTC', id, doc FROM rows ORDER BY i NULLS LAST";
const WANTED: &str = "f|-9007199254740993|-0.1|it's, \"quoted\" \u{e9}|0001-01-01|1969-12-31 23:59:59.999999|00000000-0000-0000-0000-000000000000|null
t|1|1.5|one|2024-02-29|2024-02-29 12:34:56.123456|6f2f1c1e-6f0b-4a59-9f0e-1b0f2c3d4e5f|{\"a\": [1, 2]}
|||||||";

/// Rows come as they were, in the types of the rows or in those that are declared.
#[test]
fn values_of_every_type_are_what_they_were() {
    let Some(shop) = Shop::open("values_of_every_type_are_what_they_were") else { return };
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = 'rows'::regclass AND attnum > 0";
    declare(&shop, "full", "");
    shop.run().unwrap();
    assert_eq!(shop.psql(SHOWN), WANTED);
    assert_eq!(shop.psql(types), "boolean,bigint,double precision,text,date,timestamp with time zone,text,text");
    declare(&shop, "full", ", types: { i: \"numeric(20)\", s: varchar(40), id: uuid, doc: jsonb }");
    shop.load_changed("rows", "declared").unwrap();
    assert_eq!(shop.psql(SHOWN), WANTED);
    assert_eq!(
        shop.psql(types),
        "boolean,numeric(20,0),double precision,character varying(40),date,timestamp with time zone,uuid,jsonb"
    );
    // What does not fit is refused, and what is shown stays.
    declare(&shop, "full", ", types: { s: varchar(3) }");
    let said = shop.load_changed("rows", "short").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("character varying(3)"), "{said}");
    assert_eq!(shop.psql(SHOWN), WANTED);
}

/// A table that is there keeps its types: values are cast to them without loss, or refused.
#[test]
fn a_table_that_is_there_keeps_its_types() {
    let Some(shop) = Shop::open("a_table_that_is_there_keeps_its_types") else { return };
    shop.psql(
        "CREATE DOMAIN word AS varchar(40); CREATE TABLE rows (made int GENERATED ALWAYS AS IDENTITY, b boolean, \
         i numeric(18, 1), f real, s word, d date, t timestamptz, id uuid, doc jsonb, more text DEFAULT 'x')",
    );
    declare(&shop, "full", ", write: append");
    shop.run().unwrap();
    assert_eq!(
        shop.psql("SELECT i, f, s, id, more FROM rows WHERE i = 1"),
        "1.0|1.5|one|6f2f1c1e-6f0b-4a59-9f0e-1b0f2c3d4e5f|x"
    );
    assert_eq!(shop.psql("SELECT count(*), count(DISTINCT made) FROM rows"), "3|3");
    // -9007199254740993 has more digits than an integer, and that is told before anything is committed.
    shop.psql("ALTER TABLE rows ALTER i TYPE integer USING NULL");
    let said = shop.load_again("rows", "narrow").unwrap_err();
    assert!(said.contains("WR-S005") && said.contains("-9007199254740993"), "{said}");
    shop.psql("ALTER TABLE rows DROP f");
    let said = shop.load_again("rows", "gone").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("\\\"f\\\"") || said.contains("\"f\""), "{said}");
    assert_eq!(shop.psql("SELECT count(*) FROM rows"), "3");
}

//! The policies at tables of a PostgreSQL database.

use windrow_tests::{
    postgres::Postgres,
    process::{ran, run_json},
    skip::skip,
};

use super::{Days, SECOND, SECOND_ROWS, Said, dead_letters};

/// The pipeline and its database.
struct Shop {
    postgres: Postgres,
    days: Days,
}

impl Shop {
    fn open(test: &str) -> Option<Self> {
        let Some(postgres) = Postgres::start().unwrap() else {
            skip(test, "there is no PostgreSQL server");
            return None;
        };
        let days = days_at(&postgres.url());
        Some(Self { postgres, days })
    }

    fn psql(&self, sql: &str) -> String {
        self.postgres.psql(sql).unwrap()
    }

    /// The table is gone, and whoever loads it knows nothing of it.
    fn begin_anew(&mut self) {
        self.psql("DROP TABLE IF EXISTS days CASCADE; DROP SCHEMA IF EXISTS windrow, windrow_stage CASCADE");
        self.days = days_at(&self.postgres.url());
    }

    fn types(&self) -> String {
        self.psql(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute \
             WHERE attrelid = 'days'::regclass AND attnum > 0 AND NOT attisdropped",
        )
    }
}

fn days_at(url: &str) -> Days {
    let days = Days::new("", "{ to: shop, format: postgres, table: days, staging: here }");
    let file = days.path().join("url");
    std::fs::write(&file, url).unwrap();
    Days { connections: format!("  shop: {{ type: postgres, url: \"${{file:{}}}\" }}\n", file.display()), ..days }
}

#[test]
fn a_table_of_a_database_follows_the_policy() {
    let Some(mut shop) = Shop::open("a_table_of_a_database_follows_the_policy") else { return };
    let old = "id integer, at timestamp with time zone";
    let limits = "    limits: { max_rejected: 0.9 }\n";
    for (policy, code, types, rows) in [
        ("", 4, old.to_owned(), "1"),
        ("evolve", 0, "id bigint, at timestamp with time zone, extra text".to_owned(), "1\n2\n4\n3000000000"),
        ("discard_row", 0, old.to_owned(), "1\n2"),
        ("discard_value", 0, old.to_owned(), "1\n2\n4\n"),
    ] {
        shop.begin_anew();
        let said = match policy {
            "" => String::new(),
            word => format!("    schema: {{ new_column: {word}, type_change: {word} }}\n{limits}"),
        };
        let (found, text) = shop.days.second_day(&said);
        assert_eq!(found, Some(code), "{policy}: {text}");
        assert_eq!(shop.types(), types, "{policy}");
        assert_eq!(shop.psql("SELECT id FROM days ORDER BY id NULLS LAST").trim_end(), rows.trim_end(), "{policy}");
        match policy {
            "" => assert!(text.contains("WR-K004") && text.contains("\"extra\""), "{text}"),
            "evolve" => assert_eq!(shop.psql("SELECT extra FROM days WHERE id = 4"), "x"),
            "discard_row" => assert_eq!(dead_letters(shop.days.path()).len(), 2, "{text}"),
            _ => {
                let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", shop.days.arg()]).unwrap();
                assert_eq!(pipelines[0]["values_discarded"], 2, "{text}");
                assert_eq!(shop.psql("SELECT count(*) FROM days"), "4");
            }
        }
    }
}

/// What stands against a change is told, and the rows of before stay.
#[test]
fn a_view_on_the_column_stands_against_its_change() {
    let Some(shop) = Shop::open("a_view_on_the_column_stands_against_its_change") else { return };
    let evolving = "    schema: { new_column: evolve, type_change: evolve }\n";
    shop.days.declare(super::FIRST, super::FIRST_ROWS);
    assert_eq!(shop.days.run().0, Some(0));
    shop.psql("CREATE VIEW seen AS SELECT id FROM days");
    shop.days.declare(Said { columns: SECOND, days: 2, policy: evolving }, SECOND_ROWS);
    let (code, text) = shop.days.run();
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("view"), "{text}");
    assert_eq!(shop.psql("SELECT id FROM days"), "1");
    shop.psql("DROP VIEW seen");
    let (code, text) =
        ran(&["backfill", "create", "days", "--reprocess", "missing+failed", "--local", shop.days.arg()]).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(shop.psql("SELECT sum(id) FROM days"), "3000000007");
}

/// Who may write a table may not change it; that is told before anything is staged, with the statement that would allow it.
#[test]
fn only_the_owner_of_a_table_changes_its_columns() {
    let Some(shop) = Shop::open("only_the_owner_of_a_table_changes_its_columns") else { return };
    shop.psql(
        "CREATE TABLE days (id integer, at timestamptz); CREATE USER loader PASSWORD 'x'; GRANT CREATE ON DATABASE shop TO loader; \
         GRANT INSERT, DELETE, SELECT ON days TO loader",
    );
    let loader = days_at(&shop.postgres.url_of("loader", "x", "shop"));
    loader.declare(super::FIRST, super::FIRST_ROWS);
    let (code, text) = loader.run();
    assert_eq!(code, Some(0), "{text}");
    loader.declare(Said { columns: SECOND, days: 2, policy: "    schema: { new_column: evolve }\n" }, SECOND_ROWS);
    let (code, text) = loader.run();
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("WR-K002") && text.contains("may not change the table's columns"), "{text}");
    assert_eq!(shop.types(), "id integer, at timestamp with time zone");
}

/// A full load makes a table of its own, whatever its columns; where the policy says so, only with those of before.
#[test]
fn a_full_load_takes_other_columns_unless_they_are_frozen() {
    let Some(shop) = Shop::open("a_full_load_takes_other_columns_unless_they_are_frozen") else { return };
    let declare = |columns: &str, rows: &str, policy: &str| {
        std::fs::write(shop.days.path().join("rows.csv"), rows).unwrap();
        let text = format!(
            "version: 1\nconnections:\n  here: {{ type: local, root: . }}\n{}pipelines:\n  all:\n    pattern: full\n    \
             source: {{ from: here, path: rows.csv, format: csv, schema: {{ {columns} }} }}\n    sink: {}\n{policy}",
            shop.days.connections, shop.days.sink
        );
        std::fs::write(shop.days.path().join("pipelines.yaml"), text).unwrap();
    };
    let again = |request: &str| {
        let arg = shop.days.arg();
        ran(&["backfill", "create", "all", "--reprocess", "all", "--request-id", request, "--local", arg]).unwrap()
    };
    declare("id: int32", "id\n1\n", "");
    assert_eq!(ran(&["run", shop.days.arg()]).unwrap().0, Some(0));
    let frozen = "    schema: { new_column: freeze, type_change: freeze }\n";
    for (columns, rows, named) in
        [("id: int", "id\n2\n", "bigint"), ("id: int32, extra: string", "id,extra\n2,x\n", "extra")]
    {
        declare(columns, rows, frozen);
        let _ = ran(&["run", shop.days.arg()]).unwrap();
        let (code, text) = again(named);
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains("WR-K004"), "{text}");
        assert_eq!(shop.psql("SELECT id FROM days"), "1");
    }
    declare("id: int, extra: string", "id,extra\n3000000000,x\n", "");
    let _ = ran(&["run", shop.days.arg()]).unwrap();
    let (code, text) = again("free");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(shop.psql("SELECT id, extra FROM days"), "3000000000|x");
    declare("id: int", "id\n1\n", "    schema: { type_change: discard_value }\n");
    let (code, text) = ran(&["validate", shop.days.arg()]).unwrap();
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("WR-K006") && text.contains("a table of its own"), "{text}");
}

//! Loads into a database: every row once, and what stands in the way is told.

use windrow_tests::{example::Example, postgres::PASSWORD, process::run};

use super::{COUNTS, Shop, YEAR, finished, into_database};

/// Proves CL2. The row in `windrow.head` is moved in the transaction of the data; a second run finds nothing to do.
#[test]
fn a_year_of_flights_and_their_planes_are_in_the_database_once() {
    let Some(shop) = Shop::open("a_year_of_flights_and_their_planes_are_in_the_database_once") else { return };
    let example = Example::new().unwrap();
    into_database(&example, &shop.postgres);
    for _ in 0..2 {
        let output = run(&["run", example.arg()]).unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(PASSWORD), "{said}");
        assert_eq!(shop.psql(COUNTS), YEAR);
        assert_eq!(shop.psql("SELECT count(*), count(DISTINCT tailnum), sum(seats) FROM planes"), "3322|3322|512639");
        assert_eq!(shop.check_commits("planes"), 1);
        shop.check_tidy();
    }
    assert!(shop.check_commits("flights") <= 2);
    // The table is made with an index by which windows are found.
    let index =
        shop.psql("SELECT count(*) FROM pg_indexes WHERE tablename = 'flights' AND indexdef LIKE '%time_hour%'");
    assert_eq!(index, "1");
    let kept = std::fs::read_to_string(example.path().join("url")).unwrap();
    assert!(kept.contains(PASSWORD), "the canary is where it belongs");
    let recorded = std::process::Command::new("grep").args(["-r", "-l", PASSWORD, example.arg()]).output().unwrap();
    let found = String::from_utf8_lossy(&recorded.stdout).trim().to_owned();
    assert_eq!(found, example.path().join("url").display().to_string(), "a secret is in no other file");
}

const APPEND: &str = "  visits:
    pattern: incremental
    source: { from: here, path: visits.csv, schema: { id: int, at: timestamp }, cursor: at }
    window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-01T02:00 }
    sink: { to: shop, format: postgres, table: sales.visits, staging: staging }
    retries: { attempts: 1 }
";

fn visits(shop: &Shop) {
    let rows = "id,at\n1,2024-01-01T00:00:00Z\n2,2024-01-01T01:00:00Z\n3,2024-01-01T01:59:59Z\n";
    std::fs::write(shop.path().join("visits.csv"), rows).unwrap();
}

/// Every missing grant is told by name, with the statement that gives it, before a row is staged.
#[test]
fn a_missing_grant_is_named_with_the_statement_that_gives_it() {
    let Some(shop) = Shop::open("a_missing_grant_is_named_with_the_statement_that_gives_it") else { return };
    visits(&shop);
    shop.psql("CREATE SCHEMA sales; CREATE TABLE sales.visits (id bigint, at timestamptz); CREATE ROLE loader LOGIN PASSWORD 'x'");
    let url = shop.postgres.url_of("loader", "x", "shop");
    let text = format!("version: 1\n{}pipelines:\n{APPEND}", super::connections(shop.path(), &url));
    std::fs::write(shop.path().join("pipelines.yaml"), text).unwrap();
    let said = shop.run().unwrap_err();
    for wanted in ["WR-K002", "USAGE ON SCHEMA \"sales\"", "CREATE ON DATABASE shop", "DELETE ON"] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    shop.psql(
        "GRANT USAGE ON SCHEMA sales TO loader; GRANT INSERT, DELETE, SELECT ON sales.visits TO loader; \
         CREATE SCHEMA windrow AUTHORIZATION loader; CREATE SCHEMA windrow_stage AUTHORIZATION loader",
    );
    finished(&["backfill", "create", "visits", "--reprocess", "all", "--local", shop.arg()]).unwrap();
    assert_eq!(shop.psql("SELECT count(*) FROM sales.visits"), "3");
    // Nobody can log in with another's password, and that is told too.
    std::fs::write(shop.path().join("url"), shop.postgres.url_of("loader", "wrong", "shop")).unwrap();
    let said = shop.load_again("visits", "wrong").unwrap_err();
    assert!(said.contains("WR-K002") && !said.contains("wrong@"), "{said}");
}

/// What is no table of rows, and what windrow did not make, is left alone.
#[test]
fn a_name_that_is_taken_is_refused() {
    let Some(shop) = Shop::open("a_name_that_is_taken_is_refused") else { return };
    visits(&shop);
    shop.psql(
        "CREATE SCHEMA sales; CREATE VIEW sales.visits AS SELECT 1 AS id, now() AS at; CREATE TABLE plain (id bigint)",
    );
    let full = "  plain:
    pattern: full
    source: { from: here, path: visits.csv, schema: { id: int, at: timestamp } }
    sink: { to: shop, format: postgres, table: plain, staging: staging }
    retries: { attempts: 1 }
";
    shop.declare(&format!("{APPEND}{full}"));
    let said = shop.run().unwrap_err();
    assert!(said.contains("WR-K006"), "{said}");
    for wanted in ["sales.visits is no table", "public.plain is a table"] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    assert_eq!(shop.psql("SELECT count(*) FROM plain"), "0");
}

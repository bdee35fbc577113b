//! One entry of a file for many tables.

use windrow_tests::process::said;

use super::{Project, server};
use crate::demo::rows_by_log;

const ENTRY: &str = "  shop:
    pattern: full
    source: { from: shop, tables: [\"public.*\", \"sales.*\"], except: [\"*_log\"] }
    sink: { to: lake, format: delta, path: \"{schema}/{table}\" }
";

/// Proves FL13. Of five tables that are meant one cannot be written, one may not be read, and three arrive; a table that is
/// made later is taken up by the next run.
#[test]
fn each_table_that_patterns_mean_is_a_pipeline_of_its_own() {
    let Some(postgres) = server("each_table_that_patterns_mean_is_a_pipeline_of_its_own") else { return };
    postgres
        .psql(
            "CREATE SCHEMA sales; CREATE TABLE users AS SELECT n AS id FROM generate_series(1, 10) n;
             CREATE TABLE opening (id int, opens time); INSERT INTO opening VALUES (1, '08:00');
             CREATE TABLE visits_log (id int); CREATE TABLE salaries (id int); CREATE TABLE sales.\"Order Lines\" AS SELECT 1 AS id;
             CREATE VIEW sales.large AS SELECT * FROM public.users WHERE id > 5;
             CREATE USER reader PASSWORD 'reader'; GRANT USAGE ON SCHEMA public, sales TO reader;
             GRANT SELECT ON users, opening, visits_log, sales.\"Order Lines\", sales.large TO reader",
        )
        .unwrap();
    let project = Project::new(&postgres.url_of("reader", "reader", "shop"), ENTRY);
    let output = project.run(&["run"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("may not read public.salaries") && text.contains("shop.opening: 1 window failed"), "{text}");
    let counts = |tables: &[&str]| tables.iter().map(|table| rows_by_log(&project.table(table))).collect::<Vec<_>>();
    assert_eq!(counts(&["public/users", "sales/Order-Lines", "sales/large"]), [Some(10), Some(1), Some(5)], "{text}");
    assert!(!project.table("public/visits_log").exists() && !project.table("public/salaries").exists(), "{text}");

    postgres.psql("CREATE TABLE later AS SELECT 1 AS id; GRANT SELECT ON later TO reader").unwrap();
    let text = said(&project.run(&["run"]));
    assert_eq!(counts(&["public/users", "public/later"]), [Some(10), Some(1)], "{text}");
}

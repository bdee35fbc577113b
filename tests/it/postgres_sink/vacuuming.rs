//! Dead rows of tables that windrow writes, on a real server whose own autovacuum sleeps.

use windrow_tests::{
    postgres::Postgres,
    process::{run, said},
    skip::skip,
};

use super::Shop;

const PIPELINES: &str = "  visits:
    pattern: incremental
    source: { from: here, path: input.csv, schema: { id: int, word: string, at: timestamp }, cursor: at }
    window: { every: 1d, start: 2024-01-01, end: 2024-01-03, per_task: 2 }
    sink: { to: shop, format: postgres, table: visits, staging: staging, cleaning: { vacuum: WHEN } }
";
const ROWS: u64 = 20_000;
const DEAD: &str = "SELECT n_dead_tup FROM pg_stat_all_tables WHERE relname = 'visits'";
const VACUUMS: &str = "SELECT vacuum_count, analyze_count FROM pg_stat_all_tables WHERE relname = 'visits'";

/// The table loaded twice, so that all rows of the first time are dead.
fn replaced(test: &str, when: &str) -> Option<Shop> {
    let Some(postgres) = Postgres::start_with(&["autovacuum=off"]).unwrap() else {
        skip(test, "there is no PostgreSQL server");
        return None;
    };
    let shop = Shop { postgres, folder: tempfile::tempdir().unwrap() };
    let row = |id: u64| format!("{id},word {id},2024-01-0{}T00:00:00Z\n", 1 + id % 2);
    let text = (0..ROWS).fold("id,word,at\n".to_owned(), |text, id| text + &row(id));
    std::fs::write(shop.path().join("input.csv"), text).unwrap();
    shop.declare(&PIPELINES.replace("WHEN", when));
    shop.run().unwrap();
    shop.load_again("visits", "again").unwrap();
    assert_eq!(shop.psql("SELECT count(*) FROM visits"), ROWS.to_string());
    Some(shop)
}

fn clean(shop: &Shop, more: &[&str]) -> String {
    let output = run(&[&["clean", "visits", "--local", shop.arg()], more].concat()).unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    said
}

/// Proves CO7. The rows that a window's replacement left dead are gone after the next look, and the table is analyzed; what is
/// read and written meanwhile does not wait.
#[test]
fn the_dead_rows_of_replaced_windows_are_vacuumed() {
    let test = "the_dead_rows_of_replaced_windows_are_vacuumed";
    let Some(shop) = replaced(test, "auto") else { return };
    super::wait("the statistics", || shop.psql(DEAD) == ROWS.to_string() || shop.psql(VACUUMS) != "0|0");
    // Any command that leads begins with a sweep, and looks at the tables.
    if shop.psql(VACUUMS) == "0|0" {
        let said = clean(&shop, &["--dry-run"]);
        assert!(said.contains("20,000 dead rows: would be vacuumed"), "{said}");
        assert_eq!(shop.psql(VACUUMS), "0|0", "nothing was done");
        let said = clean(&shop, &[]);
        assert!(said.contains("was vacuumed in") && said.contains("20,000 dead rows before, 0 after"), "{said}");
    }
    assert_eq!((shop.psql(DEAD), shop.psql(VACUUMS)), ("0".to_owned(), "1|1".to_owned()));
    let said = clean(&shop, &[]);
    assert!(said.contains("few of its rows are dead"), "{said}");
    assert_eq!(shop.psql("SELECT count(*), sum(id) FROM visits"), "20000|199990000");
}

/// Proves CO7. Whoever holds a lock is not waited for, and ingestion goes on; with `never` nothing is done.
#[test]
fn a_table_that_is_locked_is_passed_by_and_never_means_never() {
    let test = "a_table_that_is_locked_is_passed_by_and_never_means_never";
    let Some(shop) = replaced(test, "{ dead_rows: 100%, at_least: 1000000 }") else { return };
    super::wait("the statistics", || shop.psql(DEAD) == ROWS.to_string());
    let mut holder = shop.postgres.session().unwrap();
    holder.run("BEGIN; LOCK TABLE visits IN SHARE UPDATE EXCLUSIVE MODE").unwrap();
    let said = clean(&shop, &[]);
    assert!(said.contains("20,000 dead rows: somebody holds a lock on it"), "{said}");
    shop.load_again("visits", "beside").unwrap();
    holder.run("COMMIT").unwrap();
    assert_eq!(shop.psql(VACUUMS), "0|0", "few enough by the pipeline's own rule");
    shop.declare(&PIPELINES.replace("WHEN", "never"));
    shop.run().unwrap();
    let said = clean(&shop, &[]);
    assert!(said.contains("there is nothing that could be cleaned"), "{said}");
    assert_eq!(shop.psql(VACUUMS), "0|0");
}

//! The ledger is lost, or the database went back in time.

use std::fs;

use windrow_tests::process::{Process, run_json};

use super::{Shop, finished, wait_for_end};
use crate::visits::{ROWS, Visits, WINDOWS};

/// `visits`, into the database.
fn into(shop: &Shop) -> Visits {
    let visits = Visits::new();
    let (pipelines, url) = (visits.path().join("pipelines.yaml"), visits.path().join("url"));
    fs::write(&url, shop.postgres.url()).unwrap();
    let to = "sink: { to: shop, format: postgres, table: visits, staging: lake }";
    let connection = format!("  shop: {{ type: postgres, url: \"${{file:{}}}\" }}\n  lake: {{", url.display());
    let text = fs::read_to_string(&pipelines).unwrap();
    let text = text.replace("sink: { to: lake, format: delta, path: visits }", to).replace("  lake: {", &connection);
    fs::write(&pipelines, text).unwrap();
    visits
}

fn told(visits: &Visits) -> (u64, u64) {
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", visits.arg()]).unwrap();
    (pipelines[0]["windows"]["published"].as_u64().unwrap(), pipelines[0]["rows_written"].as_u64().unwrap())
}

/// What the row in the database and the recorded intents say is published, and is not loaded again.
#[test]
fn a_lost_ledger_is_read_back_from_the_database() {
    let Some(shop) = Shop::open("a_lost_ledger_is_read_back_from_the_database") else { return };
    let visits = into(&shop);
    finished(&["run", visits.arg()]).unwrap();
    let before = told(&visits);
    assert_eq!(before, (WINDOWS, ROWS));
    fs::remove_dir_all(visits.path().join(".windrow")).unwrap();
    finished(&["admin", "rebuild", visits.arg(), "--local", visits.arg()]).unwrap();
    assert_eq!(told(&visits), before);
    finished(&["run", visits.arg()]).unwrap();
    assert_eq!(shop.psql("SELECT count(*), count(DISTINCT id) FROM visits"), "240|240");
    // The timeline goes on after the seq that the reading spent.
    let seq = shop.check_commits("visits");
    assert_eq!(shop.psql("SELECT aborted FROM windrow.head WHERE starts_with(sink, 'visits')"), "t");
    shop.load_again_in(&visits);
    assert!(shop.check_commits("visits") > seq);
    assert_eq!(shop.psql("SELECT count(*), count(DISTINCT id) FROM visits"), "240|240");
}

/// A database that was brought back from a backup lacks commits: nothing more is committed until somebody has looked.
#[test]
fn a_database_that_went_back_in_time_is_not_written() {
    let Some(shop) = Shop::open("a_database_that_went_back_in_time_is_not_written") else { return };
    let visits = into(&shop);
    finished(&["run", visits.arg()]).unwrap();
    shop.load_again_in(&visits);
    shop.psql(
        "DELETE FROM windrow.commit c USING windrow.head h WHERE c.sink = h.sink AND c.seq = h.seq; UPDATE windrow.head h \
         SET seq = c.seq, digest = c.digest FROM windrow.commit c WHERE c.sink = h.sink AND c.seq = h.seq - 1",
    );
    let seq = shop.check_commits("visits");
    let file = visits.path().join("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("end: 2024-01-02T00:00", "end: 2024-01-02T02:00")).unwrap();
    let mut running = Process::start(&["run", visits.arg()], &visits.path().join("run.log")).unwrap();
    wait_for_end(&mut running);
    let said = running.log();
    assert_eq!(running.ended().unwrap().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("sink is halted: "), "{said}");
    assert_eq!(shop.check_commits("visits"), seq);
}

impl Shop {
    fn load_again_in(&self, visits: &Visits) {
        finished(&["backfill", "create", "visits", "--reprocess", "all", "--local", visits.arg()]).unwrap();
    }
}

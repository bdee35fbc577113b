//! The ledger is lost, or back at an older state, while the tables are not: what the sinks hold is published, and is not
//! loaded again.

use std::fs;

use windrow_tests::process::{run, run_json, said};

use crate::visits::{ROWS, Visits, WINDOWS, rows_of};

fn succeeds(args: &[&str]) -> String {
    let output = run(args).unwrap();
    let text = said(&output);
    assert!(output.status.success(), "windrow {args:?}: {text}");
    text
}

/// Windows published and rows ever written, by the ledger.
fn told(visits: &Visits) -> (u64, u64) {
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", visits.arg()]).unwrap();
    (pipelines[0]["windows"]["published"].as_u64().unwrap(), pipelines[0]["rows_written"].as_u64().unwrap())
}

fn reprocess(visits: &Visits, from: &str, to: &str) {
    let range = ["--from", from, "--to", to, "--reprocess", "all", "--local", visits.arg()];
    succeeds(&[["backfill", "create", "visits"].as_slice(), &range].concat());
}

/// The same pipeline with another sink, and with other windows to a task.
fn edited(format: &str, per_task: u32) -> Visits {
    let visits = Visits::new();
    visits.edit("format: delta", &format!("format: {format}"));
    visits.edit("per_task: 1", &format!("per_task: {per_task}"));
    visits
}

/// Everything is lost but the tables. Windows that were loaded twice are among them, and an attempt at one that failed.
#[test]
fn a_lost_ledger_is_read_back_from_the_sinks() {
    for (format, per_task) in [("delta", 1), ("delta", 7), ("parquet", 5)] {
        let visits = edited(format, per_task);
        succeeds(&["run", visits.arg()]);
        reprocess(&visits, "2024-01-01T03:00", "2024-01-01T09:00");
        let before = told(&visits);
        assert_eq!(before, (WINDOWS, ROWS + 60));

        fs::remove_dir_all(visits.path().join(".windrow")).unwrap();
        let text = succeeds(&["admin", "rebuild", visits.arg(), "--local", visits.arg()]);
        assert!(text.contains("24 windows are published"), "{text}");
        assert_eq!(told(&visits), before);
        let text = succeeds(&["run", visits.arg()]);
        assert!(text.contains("nothing to do"), "{text}");

        // The timeline goes on, under tokens greater than all before.
        reprocess(&visits, "2024-01-01T05:00", "2024-01-01T06:00");
        assert_eq!(told(&visits), (WINDOWS, ROWS + 70));
        if format == "delta" {
            assert_eq!(rows_of(&visits.table()), ROWS);
        }
    }
}

/// The ledger is as it was when half of the day was published; the rest of the day and a backfill came after.
#[test]
fn a_restored_ledger_takes_over_what_was_published_since() {
    let visits = edited("delta", 5);
    visits.edit("end: 2024-01-02T00:00", "end: 2024-01-01T12:00");
    succeeds(&["run", visits.arg()]);
    let (ledger, backup) = (visits.path().join(".windrow/ledger.redb"), visits.path().join("backup.redb"));
    fs::copy(&ledger, &backup).unwrap();
    visits.edit("end: 2024-01-01T12:00", "end: 2024-01-02T00:00");
    succeeds(&["run", visits.arg()]);
    reprocess(&visits, "2024-01-01T10:00", "2024-01-01T14:00");
    assert_eq!(told(&visits), (WINDOWS, ROWS + 40));

    fs::copy(&backup, &ledger).unwrap();
    succeeds(&["admin", "restore", "--local", visits.arg()]);
    let text = succeeds(&["run", visits.arg()]);
    assert!(text.contains("nothing to do"), "{text}");
    assert_eq!((told(&visits), rows_of(&visits.table())), ((WINDOWS, ROWS + 40), ROWS));
}

/// A body that is gone may be one that published anything, so nothing is loaded until it is back.
#[test]
fn a_sink_whose_record_has_a_hole_is_not_loaded_again() {
    let visits = edited("delta", 24);
    succeeds(&["run", visits.arg()]);
    reprocess(&visits, "2024-01-01T10:00", "2024-01-01T14:00");
    fs::remove_dir_all(visits.path().join(".windrow")).unwrap();
    let intents = visits.table().join("_windrow/intents");
    let first = fs::read_dir(&intents).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let kept = visits.path().join("kept.json");
    fs::rename(&first, &kept).unwrap();

    let refused = run(&["admin", "rebuild", visits.arg(), "--local", visits.arg()]).unwrap();
    assert_eq!(refused.status.code(), Some(75), "{}", said(&refused));
    assert!(said(&refused).contains("WR-K013"), "{}", said(&refused));
    assert_eq!(told(&visits), (0, 0));

    fs::rename(&kept, &first).unwrap();
    succeeds(&["admin", "restore", "--local", visits.arg()]);
    assert_eq!((told(&visits), rows_of(&visits.table())), ((WINDOWS, ROWS + 40), ROWS));
}

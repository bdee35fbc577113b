//! Windows that are counted again: rows that came, changed or went after their window was read are found.

use std::{
    fs,
    time::{Duration, Instant},
};

use windrow_tests::{reader, skip::skip};

use super::{Project, delta, said, server};

/// Windows of the pipeline: the last of them ends about now.
const WINDOWS: i64 = 8;
const SECONDS: i64 = 5;
/// How long after its end a window is counted again.
const AUDIT: i64 = 60;

/// Three windows change after they were read: a row comes late, one goes, one is another. They are found and loaded
/// again; the others cost no commit, and nothing is counted a third time.
#[test]
fn rows_that_come_late_go_or_change_are_found_and_loaded() {
    let test = "rows_that_come_late_go_or_change_are_found_and_loaded";
    let Some(postgres) = server(test) else { return };
    let start: i64 = postgres
        .psql(&format!("SELECT (extract(epoch FROM now())::bigint / {SECONDS} - {WINDOWS}) * {SECONDS}"))
        .unwrap()
        .parse()
        .unwrap();
    let (at, end) = (civil(start), civil(start + WINDOWS * SECONDS));
    postgres
        .psql(&format!(
            "CREATE TABLE visits (id int PRIMARY KEY, at timestamptz NOT NULL, note text);
             INSERT INTO visits SELECT n, timestamptz '{at}Z' + n * interval '1 s', 'n' || n
             FROM generate_series(0, {}) n",
            WINDOWS * SECONDS - 1
        ))
        .unwrap();
    let project = Project::new(
        &postgres.url(),
        &format!(
            "  visits:\n    pattern: incremental\n    source: {{ from: shop, table: visits, cursor: at }}\n    \
             window: {{ every: {SECONDS}s, start: \"{at}\", end: \"{end}\", audit_after: {AUDIT}s }}\n    \
             sink: {{ to: lake, format: delta, path: visits }}\n"
        ),
    );
    let loaded = Instant::now();
    let first = project.run(&["run"]);
    assert!(first.status.success(), "{}", said(&first));
    let windows = project.ask(&["get", "windows", "visits"]);
    let waiting = |windows: &serde_json::Value| {
        let windows = windows.as_array().unwrap().iter();
        windows.filter(|window| window["state"] == "published" && !window["recount"].is_null()).count()
    };
    assert_eq!(waiting(&windows), WINDOWS as usize, "{windows}");
    // The time of the first comes a while after this, or the machine is too slow for it to show anything.
    assert!(loaded.elapsed() < Duration::from_secs(15), "{:?}", loaded.elapsed());
    let log = project.table("visits").join("_delta_log");
    let commits = || fs::read_dir(&log).unwrap().count();
    let before = commits();

    let of_window = |window: i64| window * SECONDS;
    postgres
        .psql(&format!(
            "INSERT INTO visits SELECT 1000, at + interval '1 ms', 'late' FROM visits WHERE id = {};
             DELETE FROM visits WHERE id = {}; UPDATE visits SET note = 'another' WHERE id = {}",
            of_window(3),
            of_window(5),
            of_window(6)
        ))
        .unwrap();
    let early = project.run(&["run"]);
    assert!(early.status.success() && commits() == before, "{}", said(&early));

    let due = Duration::from_secs((AUDIT + SECONDS) as u64);
    std::thread::sleep(due.saturating_sub(loaded.elapsed()));
    let second = project.run(&["run"]);
    assert!(second.status.success(), "{}", said(&second));
    assert!(said(&second).contains("15 rows of windows that were loaded again"), "{}", said(&second));
    let made = commits() - before;
    assert!((1..=3).contains(&made), "{made} commits for three windows");
    let pipelines = project.ask(&["get", "pipelines"]);
    assert_eq!(pipelines[0]["windows"]["recounts"], 0, "{pipelines}");
    let totals = pipelines[0]["rows_written"].as_i64().unwrap();
    assert_eq!(totals, WINDOWS * SECONDS + 3 * SECONDS, "three windows were loaded again: one row more, one less");
    let third = project.run(&["run"]);
    assert!(said(&third).contains("nothing to do") && commits() - before == made, "{}", said(&third));

    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip(test, &reason),
    };
    let columns = "count(*), sum(id), count(*) FILTER (WHERE note = 'late'), count(*) FILTER (WHERE note = 'another')";
    let in_database = postgres.psql(&format!("SELECT {columns} FROM visits")).unwrap();
    let in_table = delta(&python, &project.table("visits"), &format!("SELECT {columns} FROM t"));
    assert_eq!(in_table.join("|"), in_database);
}

fn civil(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// What would count nothing, or load rows twice, is refused.
#[test]
fn audits_that_make_no_sense_are_refused() {
    let Some(postgres) = server("audits_that_make_no_sense_are_refused") else { return };
    for (window, write, expected) in [
        ("audit_after: 6h", "append", "appended it would be there twice"),
        ("audit_after: 6h, lookback: 2", "replace_window", "remove one of the two"),
        ("audit_after: 5m, lag: 10m", "replace_window", "counted again before it is read"),
    ] {
        let project = Project::new(
            &postgres.url(),
            &format!(
                "  visits:\n    pattern: incremental\n    source: {{ from: shop, table: visits, cursor: at }}\n    \
                 window: {{ every: 1h, start: 2024-01-01T00:00, {window} }}\n    \
                 sink: {{ to: lake, format: delta, path: visits, write: {write} }}\n"
            ),
        );
        let output = project.run(&["validate"]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("WR-P009") && said(&output).contains(expected), "{}", said(&output));
    }
}

//! Windows that are counted again: rows that came, changed or went after their window was read are found.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use windrow_common::window::Window;
use windrow_tests::{postgres::Postgres, process::said, reader, skip::skip};
use windrow_worker::source::Source;

use super::{Project, delta, hours, server, server_with, source};

/// Windows of the pipeline: the last of them ends about now.
const WINDOWS: i64 = 8;
const SECONDS: i64 = 5;
/// How long after its end a window is counted again.
const AUDIT: i64 = 60;

/// Three windows change after they were read: a row comes late, one goes, one is another. They are found and loaded
/// again; the others cost no commit, and nothing is counted a third time.
#[test]
fn rows_that_come_late_go_or_change_are_found_and_loaded() {
    found_and_loaded("rows_that_come_late_go_or_change_are_found_and_loaded", 1);
}

/// The same of a run: one task and one question for all of its windows, and those that have not changed are not loaded again.
#[test]
fn rows_that_come_late_go_or_change_in_a_run_are_found_by_one_question() {
    found_and_loaded("rows_that_come_late_go_or_change_in_a_run_are_found_by_one_question", 100);
}

/// How often the server was asked to count the windows of a run.
fn questions(postgres: &Postgres) -> usize {
    postgres.log().lines().filter(|line| line.contains("execute") && line.contains("width_bucket")).count()
}

fn found_and_loaded(test: &str, per_task: u32) {
    let Some(postgres) = server_with(test, &["log_statement=all"]) else { return };
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
             window: {{ every: {SECONDS}s, start: \"{at}\", end: \"{end}\", audit_after: {AUDIT}s, per_task: {per_task} }}\n    \
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
    let asked = usize::from(per_task > 1);
    assert_eq!(questions(&postgres), asked, "when it was loaded");
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
    assert_eq!(questions(&postgres), 2 * asked, "when it was counted again, and never since");
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

/// Whatever tells the windows of a run apart: a row that comes changes what is proven of its window and of no other, and one that belongs to
/// no window changes all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_changes_the_proof_of_its_window_alone() {
    let Some(postgres) = server("a_row_changes_the_proof_of_its_window_alone") else { return };
    let folder = tempfile::tempdir().unwrap();
    let row = |id: &str, at: &str| {
        format!(
            "SELECT {id}, {at}, ({at}) AT TIME ZONE 'Europe/Paris', (({at}) AT TIME ZONE 'UTC')::date, (extract(epoch FROM {at}) * 1000000)::bigint"
        )
    };
    let many = row("n", "timestamptz '2024-01-01Z' + n * interval '1 h'");
    postgres
        .psql(&format!(
            "CREATE TABLE visits (id int, instant timestamptz, local timestamp, day date, number bigint);
             INSERT INTO visits {many} FROM generate_series(0, 71) n"
        ))
        .unwrap();
    let windows = [hours(0, 24), hours(24, 48), hours(48, 72)];
    let sources = ["instant", "local", "day", "number"].map(|cursor| {
        let zone = if cursor == "local" { "Europe/Paris" } else { "UTC" };
        let params = json!({ "table": "visits", "cursor_timezone": zone, "null_cursor": "reject" });
        source(&postgres.url(), folder.path(), params, Some(cursor))
    });
    let mut known = Vec::new();
    for source in &sources {
        let proven = proofs(source, &windows).await;
        assert_eq!(proven, proofs(source, &windows).await);
        assert!(proven[0] != proven[1] && proven[1] != proven[2] && proven[0] != proven[2], "{proven:?}");
        known.push(proven);
    }
    for (added, changed) in [
        (row("100", "timestamptz '2024-01-02 12:00Z'"), [false, true, false]),
        // On an edge it is the next window's.
        (row("101", "timestamptz '2024-01-03Z'"), [false, false, true]),
        ("SELECT 102, NULL::timestamptz, NULL::timestamp, NULL::date, NULL::bigint".to_owned(), [true; 3]),
    ] {
        postgres.psql(&format!("INSERT INTO visits {added}")).unwrap();
        for (source, known) in sources.iter().zip(&mut known) {
            let proven = proofs(source, &windows).await;
            let found: Vec<bool> = known.iter().zip(&proven).map(|(before, now)| before != now).collect();
            assert_eq!(found, changed, "{added}: {known:?}, {proven:?}");
            *known = proven;
        }
    }
}

async fn proofs(source: &Arc<dyn Source>, windows: &[Window]) -> Vec<String> {
    let slices = source.resolve(&hours(0, 72)).await.unwrap();
    source.prove_each(&slices, windows).await.unwrap().unwrap()
}

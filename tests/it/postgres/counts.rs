//! Completeness: what was read is held against what the database counts when it was read.

use windrow_tests::process::said;

use super::{Project, server};

const PIPELINE: &str = "  visits:
    pattern: incremental
    source: { from: shop, WHAT, cursor: at }
    window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-01T04:00, per_task: 1 }
    readiness: { require: { all: [{ count: true }], timeout: 1s, then: fail } }
    sink: { to: lake, format: json, path: visits }
    retries: { backoff: 10ms }
";

/// Proves RM10.
#[test]
fn a_window_is_published_when_its_source_counts_what_was_read() {
    let Some(postgres) = server("a_window_is_published_when_its_source_counts_what_was_read") else { return };
    postgres
        .psql(
            "CREATE TABLE visits (id int, at timestamptz NOT NULL);
             INSERT INTO visits SELECT n, TIMESTAMPTZ '2024-01-01 00:00+00' + n * interval '1 second'
             FROM generate_series(0, 14399) AS n",
        )
        .unwrap();
    let url = postgres.url();
    let sound = Project::new(&url, &PIPELINE.replace("WHAT", "table: public.visits"));
    let output = sound.run(&["run"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(sound.ask(&["get", "pipelines"])[0]["windows"]["published"], 4);

    // Rows that are not there yet when they are read, and are when they are counted.
    let query = "query: \"SELECT id, at FROM public.visits WHERE current_query() NOT LIKE 'COPY%' OR id % 3 > 0\"";
    let moving = Project::new(&url, &PIPELINE.replace("WHAT", query));
    let output = moving.run(&["run"]);
    let windows = &moving.ask(&["get", "pipelines"])[0]["windows"];
    assert_eq!(windows["published"], 0, "{}", said(&output));
    assert!(!moving.table("visits").join("_windrow/log").exists(), "nothing was committed");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let output = moving.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let failed = said(&output);
    assert!(
        failed.contains("WR-S031") && failed.contains("2,400 rows were read, and its source counts 3,600"),
        "{failed}"
    );
}

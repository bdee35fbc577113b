//! Windows that wait for what a database says.

use windrow_tests::process::said;

use super::{Project, server};

/// Proves IL11. Windows go as far as a query says, all of them by one look; a query that would change something is refused by the server.
#[test]
fn windows_wait_for_what_a_query_says() {
    let Some(postgres) = server("windows_wait_for_what_a_query_says") else { return };
    postgres
        .psql(
            "CREATE TABLE visits (id int PRIMARY KEY, at timestamptz NOT NULL);
             INSERT INTO visits SELECT n, timestamptz '2024-01-01Z' + n * interval '1 h' FROM generate_series(0, 23) n;
             CREATE TABLE progress (done_to timestamptz); INSERT INTO progress VALUES ('2024-01-01T10:00Z')",
        )
        .unwrap();
    let project = |query: &str| {
        Project::new(
            &postgres.url(),
            &format!(
                "  visits:\n    pattern: incremental\n    source: {{ from: shop, table: visits, cursor: at }}\n    \
                 window: {{ every: 1h, start: 2024-01-01T00:00, end: 2024-01-02T00:00 }}\n    \
                 sink: {{ to: lake, format: delta, path: visits }}\n    \
                 readiness: {{ require: {{ all: [{{ sql: {{ from: shop, query: \"{query}\" }} }}] }} }}\n"
            ),
        )
    };
    let published = |project: &Project| project.ask(&["get", "pipelines"])[0]["windows"]["published"].clone();
    let waits = project("SELECT max(done_to) FROM progress");
    let first = waits.run(&["run"]);
    assert!(first.status.success(), "{}", said(&first));
    assert_eq!(published(&waits), 10, "{}", said(&first));
    assert!(said(&first).contains("the query it waits for says 2024-01-01T10:00:00Z"), "{}", said(&first));
    postgres.psql("UPDATE progress SET done_to = '2024-01-02T00:00Z'").unwrap();
    let second = waits.run(&["run"]);
    assert!(second.status.success() && published(&waits) == 24, "{}", said(&second));

    for (query, expected) in [
        ("SELECT count(*) > 24 FROM visits", "says false"),
        ("SELECT null::boolean", "says null"),
        ("SELECT done_to FROM progress WHERE false", "has no row yet"),
        ("INSERT INTO progress VALUES (now()) RETURNING true", "read-only transaction"),
        ("SELECT 1", "the query's answer is of type int4"),
        ("SELECT true; SELECT true", "cannot be seen"),
        ("SELECT true FROM nothing", "cannot be seen"),
    ] {
        let waits = project(query);
        let ran = waits.run(&["run"]);
        assert!(said(&ran).contains(expected), "{query}: {}", said(&ran));
        assert_eq!(published(&waits), 0, "{query}");
    }
    assert_eq!(postgres.psql("SELECT count(*) FROM progress").unwrap(), "1");
}

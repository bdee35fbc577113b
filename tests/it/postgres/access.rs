//! Who may read what: each missing grant is named with the statement that gives it, and nothing is hidden in silence.

use std::process::Command;

use serde_json::json;
use windrow_common::{error, task::Retry, window::Window};
use windrow_tests::{postgres, process::said, skip::skip};
use windrow_worker::error::{Outcome, WorkerError, in_one_line};

use super::{Project, read, rows_of, server, server_with, source, source_over};

fn full() -> Window {
    Window::version(1)
}

/// Code, fix and whether trying again is of use.
fn told(error: &WorkerError) -> (&'static str, String, bool) {
    (
        error.code().code,
        error.fix_text().unwrap_or_default().to_owned(),
        error.outcome() == Outcome::Failed(Retry::Never),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_missing_grant_is_named_with_the_statement_that_gives_it() {
    let Some(postgres) = server("each_missing_grant_is_named_with_the_statement_that_gives_it") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE SCHEMA \"Back Office\"; CREATE TABLE \"Back Office\".pay (id int, name text, salary numeric);
             INSERT INTO \"Back Office\".pay VALUES (1, 'a', 2); CREATE USER clerk PASSWORD 'clerk'",
        )
        .unwrap();
    let url = postgres.url_of("clerk", "clerk", "shop");
    let pay = || source(&url, folder.path(), json!({ "table": "Back Office.pay" }), None);
    let schema = pay().schema().await.unwrap_err();
    assert_eq!(told(&schema), ("WR-S011", "GRANT USAGE ON SCHEMA \"Back Office\" TO \"clerk\"".to_owned(), true));
    postgres.psql(&told(&schema).1).unwrap();
    let table = pay().schema().await.unwrap_err();
    assert_eq!(told(&table).1, "GRANT SELECT ON \"Back Office\".\"pay\" TO \"clerk\"");
    postgres.psql("GRANT SELECT (id, name) ON \"Back Office\".pay TO clerk").unwrap();
    let column = pay().schema().await.unwrap_err();
    assert!(
        in_one_line(&column).contains("columns of Back Office.pay: salary (Back Office.pay")
            || in_one_line(&column).contains("pay: salary"),
        "{column}"
    );
    assert_eq!(told(&column).1, "GRANT SELECT (\"salary\") ON \"Back Office\".\"pay\" TO \"clerk\"");
    // Columns that are not asked for need no grant, and are not asked for.
    let columns = source(&url, folder.path(), json!({ "table": "Back Office.pay", "columns": ["id", "name"] }), None);
    assert_eq!(rows_of(&read(&columns, &full()).await.unwrap().0), 1);
    postgres.psql(&told(&column).1).unwrap();
    assert_eq!(rows_of(&read(&pay(), &full()).await.unwrap().0), 1);

    // The role a session takes on is the one that counts.
    postgres.psql("CREATE ROLE nobody_in_particular; GRANT nobody_in_particular TO clerk").unwrap();
    let over = json!({ "role": "nobody_in_particular" });
    let other = source_over(over, &url, folder.path(), json!({ "table": "Back Office.pay" }), None);
    assert_eq!(
        told(&other.schema().await.unwrap_err()).1,
        "GRANT USAGE ON SCHEMA \"Back Office\" TO \"nobody_in_particular\""
    );
}

/// Policies that would hide rows are an error unless the pipeline says that they are meant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_level_security_hides_nothing_in_silence() {
    let Some(postgres) = server("row_level_security_hides_nothing_in_silence") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE TABLE notes (id int, owner text); INSERT INTO notes VALUES (1, 'clerk'), (2, 'boss');
             ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE USER clerk PASSWORD 'clerk'; GRANT SELECT ON notes TO clerk;
             CREATE POLICY own ON notes USING (owner = current_user);
             CREATE VIEW notes_of AS SELECT * FROM notes; ALTER VIEW notes_of OWNER TO clerk",
        )
        .unwrap();
    let url = postgres.url_of("clerk", "clerk", "shop");
    let refused = source(&url, folder.path(), json!({ "table": "notes" }), None);
    assert_eq!(told(&refused.schema().await.unwrap_err()).0, "WR-S011");
    // Behind a view and in a query nothing is hidden either.
    for params in [json!({ "table": "notes_of" }), json!({ "query": "SELECT * FROM notes" })] {
        let hidden = read(&source(&url, folder.path(), params, None), &full()).await.unwrap_err();
        assert_eq!(told(&hidden).0, "WR-S011", "{hidden}");
    }
    let applied = source(&url, folder.path(), json!({ "table": "notes", "row_policies": "apply" }), None);
    assert_eq!(rows_of(&read(&applied, &full()).await.unwrap().0), 1);
    let all = source(&postgres.url(), folder.path(), json!({ "table": "notes" }), None);
    assert_eq!(rows_of(&read(&all, &full()).await.unwrap().0), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_and_who_is_not_let_in_is_told_at_once() {
    let Some(postgres) = server("what_is_not_there_and_who_is_not_let_in_is_told_at_once") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres.psql("CREATE TABLE visits (id int, at timestamptz)").unwrap();
    let at = |url: String, params| source(&url, folder.path(), params, None);
    let visits = json!({ "table": "visits" });
    for (source, code) in [
        (at(postgres.url_of("windrow", "wrong", "shop"), visits.clone()), "WR-S011"),
        (at(postgres.url_of("stranger", "wrong", "shop"), visits.clone()), "WR-S011"),
        (at(postgres.url_of("windrow", postgres::PASSWORD, "nowhere"), visits.clone()), "WR-S001"),
        (at(postgres.url(), json!({ "table": "Visits" })), "WR-S001"),
        (at(postgres.url(), json!({ "table": "visits", "columns": ["id", "nope"] })), "WR-S006"),
        (at(postgres.url(), json!({ "query": "SELECT * FROM nope" })), "WR-S001"),
        (at(postgres.url(), json!({ "query": "SELECT nope FROM visits" })), "WR-S006"),
        (at(postgres.url(), json!({ "query": "SELEC * FROM visits" })), "WR-S013"),
        (at(postgres.url(), json!({ "query": "SELECT 1 AS a) AS x; DROP TABLE visits; --" })), "WR-S013"),
    ] {
        let error = source.schema().await.unwrap_err();
        assert_eq!((told(&error).0, told(&error).2), (code, true), "{}", in_one_line(&error));
        assert!(!told(&error).1.is_empty(), "a fix: {error}");
        assert!(!format!("{}{:?}", in_one_line(&error), error).contains("canary"), "no password is told");
    }
    let role = json!({ "role": "no_such_role" });
    let role = source_over(role, &postgres.url(), folder.path(), visits, None).schema().await.unwrap_err();
    assert_eq!((told(&role).0, told(&role).2), ("WR-S013", true), "{}", in_one_line(&role));
    // What writes is refused by the transaction itself.
    let writes = at(postgres.url(), json!({ "query": "SELECT nextval('counter') AS n" }));
    postgres.psql("CREATE SEQUENCE counter").unwrap();
    assert_eq!(told(&read(&writes, &full()).await.unwrap_err()).0, "WR-S013");
    let divided = at(postgres.url(), json!({ "query": "SELECT 1 / (g - 3) AS x FROM generate_series(1, 9) g" }));
    assert_eq!(told(&read(&divided, &full()).await.unwrap_err()).0, error::VALUE_MALFORMED.code);
}

/// As a user meets it: the window is quarantined at once, with the statement, and loaded when the grant is there.
#[test]
fn a_missing_grant_stops_a_run_with_the_fix_and_the_next_one_goes_on() {
    let Some(postgres) = server("a_missing_grant_stops_a_run_with_the_fix_and_the_next_one_goes_on") else { return };
    postgres
        .psql(
            "CREATE TABLE pay (id int, salary numeric(10,2)); INSERT INTO pay VALUES (1, 2.5);
             CREATE USER clerk PASSWORD 'canary-clerk'; GRANT SELECT (id) ON pay TO clerk",
        )
        .unwrap();
    let pipeline = "  pay:\n    pattern: full\n    source: { from: shop, table: pay }\n    sink: { to: lake, format: delta, path: pay }\n";
    let project = Project::new(&postgres.url_of("clerk", "canary-clerk", "shop"), pipeline);
    let refused = project.run(&["run"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("WR-S011"), "{}", said(&refused));
    let tasks = project.ask(&["get", "tasks"]).to_string();
    assert!(tasks.contains("GRANT SELECT (\\\"salary\\\") ON \\\"public\\\".\\\"pay\\\" TO \\\"clerk\\\""), "{tasks}");
    assert!(!tasks.contains("canary") && !said(&refused).contains("canary"));
    postgres.psql("GRANT SELECT ON pay TO clerk").unwrap();
    let mended = project.run(&["backfill", "create", "pay", "--reprocess", "missing+failed", "--local"]);
    assert!(mended.status.success(), "{}", said(&mended));
    assert_eq!(crate::demo::rows_by_log(&project.table("pay")), Some(1));
}

/// What `sslmode` promises, on a server with a certificate of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_what_sslmode_says() {
    let test = "tls_is_what_sslmode_says";
    let Some(mut postgres) = server_with(test, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        Command::new("openssl").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let made = openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=windrow ca",
        "-keyout",
        &path("ca.key"),
        "-out",
        &path("ca.pem"),
    ]) && openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=db",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        &path("server.key"),
        "-out",
        &path("server.csr"),
    ]) && openssl(&[
        "x509",
        "-req",
        "-in",
        &path("server.csr"),
        "-CA",
        &path("ca.pem"),
        "-CAkey",
        &path("ca.key"),
        "-CAcreateserial",
        "-days",
        "2",
        "-copy_extensions",
        "copy",
        "-out",
        &path("server.pem"),
    ]);
    if !made {
        return skip(test, "there is no openssl that makes certificates");
    }
    let visits = |url: &str, mode: &str, ca: Option<String>| {
        let tls = json!({ "tls": { "mode": mode, "ca": ca } });
        source_over(
            tls,
            url,
            folder.path(),
            json!({ "query": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()" }),
            None,
        )
    };
    let by_address = postgres.url();
    let encrypted = async |url: &str, mode: &str, ca: Option<String>| -> Result<bool, &'static str> {
        use arrow_array::cast::AsArray;
        match read(&visits(url, mode, ca), &full()).await {
            Ok((rows, _)) => Ok(rows[0].column(0).as_boolean().value(0)),
            Err(error) => Err(error.code().code),
        }
    };
    assert_eq!(encrypted(&by_address, "prefer", None).await, Ok(false), "the server has no TLS yet");
    assert_eq!(encrypted(&by_address, "require", None).await, Err("WR-S011"));

    postgres.shut_down().unwrap();
    postgres
        .own(&[
            ("server.pem", std::fs::read(path("server.pem")).unwrap()),
            ("server.key", std::fs::read(path("server.key")).unwrap()),
        ])
        .unwrap();
    postgres.set(&["ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key"]);
    postgres.start_again().unwrap();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let ca = || Some(path("ca.pem"));
    assert_eq!(encrypted(&by_address, "disable", None).await, Ok(false));
    assert_eq!(encrypted(&by_address, "prefer", None).await, Ok(true));
    assert_eq!(encrypted(&by_address, "require", None).await, Ok(true));
    assert_eq!(encrypted(&by_address, "verify-ca", ca()).await, Ok(true));
    assert_eq!(
        encrypted(&by_address, "verify-full", ca()).await,
        Err("WR-S011"),
        "the certificate is not for this name"
    );
    assert_eq!(encrypted(&by_name, "verify-full", ca()).await, Ok(true));
    assert_eq!(
        encrypted(&by_name, "verify-full", None).await,
        Err("WR-S011"),
        "the machine does not know who signed it"
    );
    assert_eq!(encrypted(&by_name, "require", Some(path("server.pem"))).await, Err("WR-S011"), "others are trusted");
}

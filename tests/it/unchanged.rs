//! Full loads whose source is what is loaded already: no row moves, and whatever may have changed is loaded.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use object_store::ObjectStoreExt;
use tempfile::TempDir;
use windrow_tests::{
    cluster::Cluster,
    postgres::Postgres,
    process::{Process, run, run_in, run_json, said},
    reader, s3,
    skip::skip,
};

use crate::{cluster::TURN, demo::rows_by_log, lake};

/// A folder with one pipeline, `load`, that is left out where it would change nothing.
struct Load {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Load {
    /// `connections` beside `here`, the folder itself; `pipelines` before `load`.
    fn new(connections: &str, pipelines: &str, source: &str, sink: &str) -> Self {
        let load = Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() };
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: \"{}\" }}
{connections}pipelines:
{pipelines}  load:
    pattern: full
    source: {{ {source} }}
    sink: {{ {sink} }}
    unchanged: skip
",
            load.folder.path().display()
        );
        fs::write(load.folder.path().join("pipelines.yaml"), text).unwrap();
        load
    }

    fn of_files(format: &str) -> Self {
        let source = "from: here, path: 'in/*.csv', schema: { id: int, name: string }";
        let load = Self::new("", "", source, &format!("to: here, format: {format}, path: table"));
        fs::create_dir(load.path("in")).unwrap();
        load.deliver("a.csv", "1,one\n2,two\n");
        load.deliver("b.csv", "3,three\n");
        load
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// A file of the source, in place: whoever is open on it sees the new rows.
    fn deliver(&self, name: &str, rows: &str) {
        fs::write(self.path("in").join(name), format!("id,name\n{rows}")).unwrap();
    }

    fn run(&self) {
        let output = run_in(&["run", self.arg()], &self.environment).unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Asks for the next version; whether it was found unchanged.
    fn again(&self, flags: &[&str]) -> bool {
        let create = ["backfill", "create", "load", "--reprocess", "all", "--local", self.arg()];
        let output = run_in(&[create.as_slice(), flags].concat(), &self.environment).unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let args = ["get", "windows", "load", "-o", "json", "--local", self.arg()];
        let output = run_in(&args, &self.environment).unwrap();
        let windows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let newest = windows.last().unwrap();
        assert_eq!(newest["state"], "published", "{windows:?}");
        newest["unchanged"].as_bool().unwrap()
    }

    fn commits(&self) -> usize {
        let logs = ["table/_delta_log", "table/_windrow/log"].map(|log| self.path(log));
        let log = logs.into_iter().find(|log| log.exists()).unwrap();
        let is_commit = |name: &Path| name.extension().is_some_and(|extension| extension == "json");
        fs::read_dir(log).unwrap().filter(|entry| is_commit(&entry.as_ref().unwrap().path())).count()
    }
}

/// Proves FL12. Files: the same ones are no new version of the table, and one byte is; also when the file's size, its times and its
/// inode are what they were.
#[test]
fn files_that_are_what_they_were_are_not_loaded_again() {
    for format in ["delta", "parquet"] {
        let load = Load::of_files(format);
        load.run();
        let commits = load.commits();
        assert!(load.again(&[]), "{format}");
        assert!(load.again(&[]), "what is unchanged may be found so again");
        assert_eq!(load.commits(), commits, "{format}: nothing was committed");
        let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", load.arg()]).unwrap();
        let windows = &pipelines[0]["windows"];
        assert_eq!((&windows["published"], &windows["unchanged"]), (&3.into(), &2.into()), "{pipelines}");
        assert_eq!(pipelines[0]["rows_written"], 3, "{pipelines}");
        let listed = run(&["get", "windows", "load", "--local", load.arg()]).unwrap();
        assert!(said(&listed).contains("published, unchanged"), "{}", said(&listed));

        let versions = run_json(&["get", "versions", "load", "-o", "json", "--local", load.arg()]).unwrap();
        assert_eq!((&versions[0]["version"], &versions[0]["unchanged_to"]), (&0.into(), &2.into()), "{versions}");

        let file = load.path("in").join("a.csv");
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        load.deliver("a.csv", "1,one\n2,too\n");
        File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
        assert!(!load.again(&[]), "{format}: a byte is another one");
        assert_eq!(load.commits(), commits + 1);
        assert!(load.again(&[]));
        fs::rename(load.path("in/b.csv"), load.path("in/c.csv")).unwrap();
        assert!(!load.again(&[]), "{format}: a file has another name");
        load.deliver("d.csv", "4,four\n");
        assert!(!load.again(&[]), "{format}: a file came");
        fs::remove_file(load.path("in/d.csv")).unwrap();
        assert!(!load.again(&[]), "{format}: a file went");
        assert!(load.again(&[]));
        assert!(!load.again(&["--accept"]), "whoever accepts what comes has it loaded");
        assert!(load.again(&[]));
    }
}

/// Proves FL12. What readers see counts, and not what was loaded once: after a rollback, a load of somebody else's, or a change by
/// another writer the same files are loaded again.
#[test]
fn a_table_that_shows_something_else_is_loaded_again() {
    let load = Load::of_files("delta");
    load.run();
    load.deliver("a.csv", "1,one\n");
    assert!(!load.again(&[]));
    let back = run(&["rollback", "load", "--to", "0", "--local", load.arg()]).unwrap();
    assert!(back.status.success(), "{}", said(&back));
    assert_eq!(rows_by_log(&load.path("table")), Some(3));
    assert!(!load.again(&[]), "after a rollback");
    assert_eq!(rows_by_log(&load.path("table")), Some(2));

    let file = load.path("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let mapped = text.replace("    unchanged: skip\n", "    unchanged: skip\n    guard: { min_rows: 1 }\n");
    fs::write(&file, mapped).unwrap();
    load.run();
    assert!(!load.again(&[]), "the pipeline is another one");
    assert!(load.again(&[]));

    let python = match reader::python() {
        Ok(python) => python,
        Err(reason) => return skip("a_table_that_shows_something_else_is_loaded_again", &reason),
    };
    let script = "import sys; from deltalake import DeltaTable; DeltaTable(sys.argv[1]).delete('id = 1')";
    let output = Command::new(python).args(["-c", script]).arg(load.path("table")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(rows_by_log(&load.path("table")), Some(1));
    assert!(!load.again(&[]), "another writer deleted a row");
    assert_eq!(rows_by_log(&load.path("table")), Some(2));
}

/// A table that is gone is no table that is what it was.
#[test]
fn a_table_that_was_wiped_is_never_called_unchanged() {
    let load = Load::of_files("delta");
    load.run();
    fs::remove_dir_all(load.path("table")).unwrap();
    let create = ["backfill", "create", "load", "--reprocess", "all", "--local", load.arg()];
    // It would wait for somebody to look.
    let mut creating = Process::start(&create, &load.path("create.log")).unwrap();
    let begun = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        creating.log().contains("0/1 window,")
    });
    assert!(begun, "{}", creating.log());
    creating.kill().unwrap();
    let ran = run(&["run", load.arg()]).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
    assert!(said(&ran).contains("WR-K009"), "{}", said(&ran));
    let windows = run_json(&["get", "windows", "load", "-o", "json", "--local", load.arg()]).unwrap();
    assert_eq!(windows[1]["unchanged"], false, "{windows}");
}

/// Proves FL12. A Delta table as the source: its files tell what it holds.
#[test]
fn a_delta_table_that_is_what_it_was_is_not_loaded_again() {
    let raw = "  raw:
    pattern: full
    source: { from: here, path: input.csv, schema: { id: int } }
    sink: { to: here, format: delta, path: raw }
";
    let load = Load::new("", raw, "from: here, format: delta, path: raw", "to: here, format: delta, path: table");
    let deliver = |rows: &str| fs::write(load.path("input.csv"), format!("id\n{rows}")).unwrap();
    deliver("1\n2\n");
    // The table has to be there first.
    let file = load.path("pipelines.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.find("  load:").unwrap()]).unwrap();
    load.run();
    fs::write(&file, text).unwrap();
    load.run();
    let commits = load.commits();
    assert!(load.again(&[]));
    assert_eq!(load.commits(), commits);
    deliver("1\n3\n");
    let args = ["backfill", "create", "raw", "--reprocess", "all", "--local", load.arg()];
    assert!(run(&args).unwrap().status.success());
    assert!(!load.again(&[]), "it has other rows");
    assert!(load.again(&[]));
}

/// Proves FL12. A database counts and hashes its rows itself: no counter is trusted, and the same rows are the same however they came
/// to be.
#[test]
fn a_table_of_a_database_that_is_what_it_was_is_not_loaded_again() {
    let Some(postgres) = Postgres::start().unwrap() else {
        return skip("a_table_of_a_database_that_is_what_it_was_is_not_loaded_again", "there is no PostgreSQL server");
    };
    postgres
        .psql(
            "CREATE TABLE visits (id int PRIMARY KEY, at timestamptz, note text, price double precision);
             INSERT INTO visits SELECT n, timestamptz '2024-01-01Z' + n * interval '1 s', 'n' || n, n / 3.0::double precision
             FROM generate_series(1, 5000) n;
             CREATE VIEW recent AS SELECT * FROM visits WHERE id > 10",
        )
        .unwrap();
    let connection = "  shop: { type: postgres, url: \"${env:WINDROW_TEST_SHOP_URL}\" }\n";
    for source in
        ["table: visits, shards: { rows: 1000 }", "table: recent", "query: 'SELECT id, note, price FROM visits'"]
    {
        let mut load =
            Load::new(connection, "", &format!("from: shop, {source}"), "to: here, format: delta, path: table");
        load.environment = vec![("WINDROW_TEST_SHOP_URL".to_owned(), postgres.url())];
        load.run();
        let commits = load.commits();
        assert!(load.again(&[]), "{source}");
        assert_eq!(load.commits(), commits);
        postgres.psql("UPDATE visits SET price = price + 1e-12 WHERE id = 4999").unwrap();
        assert!(!load.again(&[]), "{source}: the last digit of a number");
        postgres.psql("UPDATE visits SET price = 4999 / 3.0::double precision WHERE id = 4999").unwrap();
        assert!(!load.again(&[]), "{source}: what was loaded last is something else");
        postgres
            .psql(
                "CREATE TABLE copy AS TABLE visits; TRUNCATE visits; INSERT INTO visits SELECT * FROM copy ORDER BY id DESC;
                 DROP TABLE copy; SELECT pg_stat_reset()",
            )
            .unwrap();
        assert!(load.again(&[]), "{source}: the same rows in another order");
        postgres.psql("DELETE FROM visits WHERE id = 77; INSERT INTO visits SELECT 78000, at, note, price FROM visits LIMIT 1").unwrap();
        assert!(!load.again(&[]), "{source}: one went and one came");
        postgres
            .psql("DELETE FROM visits WHERE id = 78000; INSERT INTO visits VALUES (77, '2024-01-01', 'n77', 1)")
            .unwrap();
    }
}

/// Proves FL12. A table in a database is anybody's: what the view shows is counted before a load is left out.
#[test]
fn a_table_in_a_database_that_somebody_changed_is_loaded_again() {
    let Some(postgres) = Postgres::start().unwrap() else {
        return skip("a_table_in_a_database_that_somebody_changed_is_loaded_again", "there is no PostgreSQL server");
    };
    let connections = "  shop: { type: postgres, url: \"${env:WINDROW_TEST_SHOP_URL}\" }\n";
    let mut load = Load::new(
        connections,
        "",
        "from: here, path: input.csv, schema: { id: int }",
        "to: shop, format: postgres, table: public.devices, staging: here",
    );
    load.environment = vec![("WINDROW_TEST_SHOP_URL".to_owned(), postgres.url())];
    fs::write(load.path("input.csv"), "id\n1\n2\n3\n").unwrap();
    load.run();
    let versions = || postgres.psql("SELECT count(*) FROM windrow.version").unwrap();
    assert!(load.again(&[]));
    assert_eq!(versions(), "1");
    let table = postgres.psql("SELECT table_name FROM windrow.version").unwrap();
    postgres.psql(&format!("DELETE FROM \"{table}\" WHERE id = 2")).unwrap();
    assert!(!load.again(&[]));
    assert_eq!((versions(), postgres.psql("SELECT count(*) FROM devices").unwrap()), ("2".into(), "3".into()));
    assert!(load.again(&[]));
}

/// Proves FL12. Objects in a bucket: their ETags tell, and no object is read for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_bucket_that_are_what_they_were_are_not_loaded_again() {
    let Some(s3) = lake::server("objects_of_a_bucket_that_are_what_they_were_are_not_loaded_again") else { return };
    let store = s3.client().unwrap();
    let put = async |key: &str, text: &'static str| store.put(&key.into(), text.into()).await.unwrap();
    let load =
        Load::new("", "", "from: drop, path: 'in/*.csv', schema: { id: int }", "to: here, format: delta, path: table");
    let drop = lake::connection(load.folder.path(), &s3.address(), &format!("{}/", s3::BUCKET));
    lake::edit(&load.path("pipelines.yaml"), "pipelines:\n", &format!("  drop: {drop}\npipelines:\n"));
    put("in/a.csv", "id\n1\n2\n").await;
    load.run();
    assert!(load.again(&[]));
    put("in/a.csv", "id\n1\n2\n").await;
    assert!(load.again(&[]), "the same bytes were put again");
    put("in/a.csv", "id\n1\n3\n").await;
    assert!(!load.again(&[]));
    put("in/b.csv", "id\n4\n").await;
    assert!(!load.again(&[]));
    assert!(load.again(&[]));
}

/// Proves FL12. In a cluster the reader asks the sink worker what readers see; a version is found unchanged by whichever reader and
/// leader there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_the_sink_worker_is_asked_what_readers_see() {
    let test = "in_a_cluster_the_sink_worker_is_asked_what_readers_see";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start_with_lease(2, "6s").await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    cluster.add_worker_with("sink", &["--role", "sink"]).unwrap();
    cluster.add_worker_with("reader", &["--role", "ingest"]).unwrap();
    let load = Load::of_files("delta");
    cluster.apply(load.arg()).unwrap();
    let published = |cluster: &Cluster| {
        let found = cluster.ask(&["get", "pipelines"]).ok()?;
        Some((found[0]["windows"]["published"].as_u64()?, found[0]["windows"]["unchanged"].as_u64()?))
    };
    let until = async |cluster: &Cluster, expected: (u64, u64)| {
        let held = async {
            while published(cluster) != Some(expected) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(90), held).await.is_ok(), "{expected:?}: {}", cluster.logs());
    };
    let again = |cluster: &Cluster| {
        let addresses = cluster.addresses();
        let create = ["backfill", "create", "load", "--reprocess", "all", "--no-watch", "--coordinator", &addresses];
        let output = run(&create).unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    until(&cluster, (1, 0)).await;
    let commits = load.commits();
    again(&cluster);
    until(&cluster, (2, 1)).await;
    assert_eq!(load.commits(), commits);
    assert_eq!(cluster.metric("windrow_unchanged_loads"), 1, "{}", cluster.logs());
    let leader = cluster.leader().unwrap();
    cluster.coordinators[leader].process.kill().unwrap();
    cluster.workers[1].1.kill().unwrap();
    cluster.add_worker_with("other", &["--role", "ingest"]).unwrap();
    // A sink worker that is not back yet cannot say what readers see, and then a version is loaded.
    let back = async {
        let here = || cluster.ask(&["get", "workers"]).ok().and_then(|found| Some(found.as_array()?.len()));
        while here() != Some(2) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), back).await.is_ok(), "{}", cluster.logs());
    again(&cluster);
    until(&cluster, (3, 2)).await;
    load.deliver("a.csv", "9,nine\n");
    again(&cluster);
    until(&cluster, (4, 2)).await;
    assert_eq!((load.commits(), rows_by_log(&load.path("table"))), (commits + 1, Some(2)));
}

/// What nothing proves is refused before it runs, and said where it stands.
#[test]
fn a_source_that_proves_nothing_is_refused() {
    let load = Load::new(
        "  made_up: { type: synthetic }\n",
        "",
        "from: made_up, rows_per_window: 10",
        "to: here, format: delta, path: table",
    );
    let output = run(&["validate", load.arg()]).unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("WR-S050"), "{}", said(&output));
}

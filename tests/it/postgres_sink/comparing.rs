//! Rows that are gone at their source without a word: what a comparison of keys deletes, and what it leaves alone.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use windrow_tests::{
    cluster::Cluster,
    postgres::{PASSWORD, Postgres, USER},
    process::{Process, Surroundings, run_json},
    skip::skip,
};

use super::{Shop, finished, wait, wait_for_end};
use crate::cluster::TURN;

/// The users of a shop that lie at the source.
const USERS: &str = "CREATE TABLE users (id int, name text, updated_at timestamptz NOT NULL); \
    INSERT INTO users SELECT n, 'name ' || n, timestamptz '2024-01-02T00:00Z' + n * interval '1 minute' \
    FROM generate_series(1, 100) n";

/// A source, `origin`: another database of the sink's server.
struct Origin<'a>(&'a Shop);

impl<'a> Origin<'a> {
    fn new(shop: &'a Shop, sql: &str) -> Self {
        shop.psql("CREATE DATABASE origin");
        let origin = Self(shop);
        origin.psql(sql);
        origin
    }

    fn psql(&self, sql: &str) -> String {
        self.0.postgres.psql_in("origin", sql).unwrap()
    }

    fn declare(&self, pipelines: &str) {
        declare(self.0, &[("origin", &self.0.postgres.url_of(USER, PASSWORD, "origin"), "")], pipelines);
    }
}

/// Writes the pipeline file with these connections more: name, address and what else is said of each.
fn declare(shop: &Shop, connections: &[(&str, &str, &str)], pipelines: &str) {
    let more = connections.iter().map(|(name, url, more)| {
        let file = shop.path().join(format!("url-{name}"));
        fs::write(&file, url).unwrap();
        format!("  {name}: {{ type: postgres, url: \"${{file:{}}}\"{more} }}\n", file.display())
    });
    let more: String = more.collect();
    let text = format!("version: 1\n{}{more}pipelines:\n{pipelines}", shop.connections());
    fs::write(shop.path().join("pipelines.yaml"), text).unwrap();
}

/// A pipeline of users with a key.
fn users(deletes: &str) -> String {
    format!(
        "  users:
    pattern: incremental
    source: {{ from: origin, table: users, cursor: updated_at }}
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-04 }}
    sink: {{ to: shop, format: postgres, table: users, staging: staging, write: upsert, key: [id] }}
    deletes: {deletes}
    retries: {{ attempts: 2, backoff: 1ms, max_backoff: 1ms }}
"
    )
}

fn compare(shop: &Shop, more: &[&str]) -> Result<(), String> {
    finished(&[&["compare", "users", "--local", shop.arg()], more].concat())
}

fn deleted(shop: &Shop) -> u64 {
    run_json(&["compare", "users", "-o", "json", "--local", shop.arg()]).unwrap()["rows_deleted"].as_u64().unwrap()
}

fn ids(shop: &Shop, condition: &str) -> String {
    shop.psql(&format!("SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM users WHERE {condition}"))
}

/// Proves IL8. Keys are compared in the table's types, whatever they look like at the source. What the transform leaves out is at the
/// source all the same, and a row without a key is nobody's.
#[test]
fn rows_whose_keys_are_gone_are_deleted_and_no_others() {
    let Some(shop) = Shop::open("rows_whose_keys_are_gone_are_deleted_and_no_others") else { return };
    let origin = Origin::new(
        &shop,
        "CREATE TABLE users (region text, code text, id int, status text, updated_at timestamptz NOT NULL); \
         INSERT INTO users SELECT 'r' || n % 3, upper(md5(n::text)::uuid::text), n, 'live', \
         timestamptz '2024-01-02T00:00Z' + n * interval '1 minute' FROM generate_series(1, 1000) n",
    );
    shop.psql(
        "CREATE TABLE users (region char(5), code uuid, id numeric(12,3), status text, updated_at timestamptz, \
         UNIQUE (region, code, id))",
    );
    let pipeline = users("{ every: 1d }")
        .replace("key: [id]", "key: [region, code, id]")
        .replace("    sink:", "    transform: [ { sql: \"SELECT * FROM input WHERE status <> 'draft'\" } ]\n    sink:");
    origin.declare(&pipeline);
    shop.run().unwrap();
    assert_eq!(shop.psql("SELECT count(*) FROM users"), "1000");
    assert_eq!(deleted(&shop), 0, "all is there");

    shop.psql("INSERT INTO users (region, id) VALUES (NULL, 7)");
    origin.psql(
        "DELETE FROM users WHERE id % 20 = 0; UPDATE users SET status = 'draft' WHERE id = 1; \
         INSERT INTO users VALUES (NULL, 'x', 1, 'live', now()), ('r1', md5('new')::uuid::text, 5000, 'live', now())",
    );
    assert_eq!(deleted(&shop), 50);
    assert_eq!(
        shop.psql("SELECT count(*), count(*) FILTER (WHERE id % 20 = 0), count(region) FROM users"),
        "951|0|950"
    );
    assert_eq!(ids(&shop, "id = 1 AND status = 'live'"), "1.000");
    assert_eq!(deleted(&shop), 0);
    // The load, and three comparisons.
    assert!(shop.check_commits("users") >= 4);
    shop.check_tidy();

    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", shop.arg()]).unwrap();
    assert_eq!(pipelines[0]["rows_deleted"], 50, "{pipelines}");
    assert_eq!((&pipelines[0]["comparison"]["due"], &pipelines[0]["windows"]["published"]), (&false.into(), &3.into()));
    let tasks = run_json(&["get", "tasks", "-o", "json", "--local", shop.arg()]).unwrap();
    let told = tasks[0]["obstacles"][0].as_str().unwrap();
    assert!(tasks[0]["comparison"] == true && told.contains("the last comparison found 0 rows gone"), "{tasks}");
}

/// Proves IL8. What is due is compared by a run, and a key that is gone from the source may come back.
#[test]
fn a_comparison_comes_when_it_is_due() {
    let Some(shop) = Shop::open("a_comparison_comes_when_it_is_due") else { return };
    let origin = Origin::new(&shop, USERS);
    origin.declare(&users("{ every: 1s }"));
    shop.run().unwrap();
    origin.psql("DELETE FROM users WHERE id = 3");
    std::thread::sleep(Duration::from_millis(1_100));
    shop.run().unwrap();
    assert_eq!((ids(&shop, "id < 5").as_str(), shop.psql("SELECT count(*) FROM users").as_str()), ("1,2,4", "99"));
    origin.psql("INSERT INTO users VALUES (3, 'again', '2024-01-01T00:00Z')");
    shop.load_again("users", "again").unwrap();
    assert_eq!(ids(&shop, "name = 'again'"), "3", "though it is older than the row that was deleted");
}

/// Proves IL8. An empty source is not the truth, and neither is one that lacks more than was said, until somebody says so.
#[test]
fn a_source_that_lacks_too_much_deletes_nothing() {
    let Some(shop) = Shop::open("a_source_that_lacks_too_much_deletes_nothing") else { return };
    let origin = Origin::new(&shop, USERS);
    origin.declare(&users("{ every: 1d }"));
    shop.run().unwrap();
    let count = || shop.psql("SELECT count(*) FROM users");
    origin.psql("DELETE FROM users WHERE id <= 11");
    let said = compare(&shop, &[]).unwrap_err();
    assert!(said.contains("WR-K021") && said.contains("11 of 100 rows of the table have a key"), "{said}");
    // Until somebody looks, a run says so too.
    let said = shop.run().unwrap_err();
    assert!(said.contains("WR-K021"), "{said}");
    assert_eq!(count(), "100");
    origin.declare(&users("{ every: 1d, max_deleted: 11% }"));
    let _ = shop.run();
    compare(&shop, &[]).unwrap();
    assert_eq!(count(), "89");

    origin.psql("TRUNCATE users");
    origin.declare(&users("{ every: 1d, max_deleted: 100% }"));
    shop.run().unwrap();
    let said = compare(&shop, &[]).unwrap_err();
    assert!(said.contains("WR-K021") && said.contains("has no keys at all"), "{said}");
    assert_eq!(count(), "89");
    compare(&shop, &["--accept"]).unwrap();
    assert_eq!(count(), "0");
    // What was accepted was accepted once.
    shop.psql("INSERT INTO users VALUES (1, 'back', now())");
    assert!(compare(&shop, &[]).is_err());
    assert_eq!(count(), "1");
}

/// Proves IL8, CL2. Killed wherever it is, a comparison deletes what is gone, once, and nothing else.
#[test]
fn a_comparison_that_is_killed_deletes_what_is_gone_once() {
    let Some(shop) = Shop::open("a_comparison_that_is_killed_deletes_what_is_gone_once") else { return };
    let origin = Origin::new(&shop, USERS);
    origin.declare(&users("{ every: 1d }"));
    shop.run().unwrap();
    let mut seq = shop.check_commits("users");
    for (place, trap) in ["F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10"].into_iter().enumerate() {
        let id = place + 1;
        origin.psql(&format!("DELETE FROM users WHERE id = {id}"));
        let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", format!("{trap}=kill"));
        let args = ["compare", "users", "--local", shop.arg()];
        let mut killed = Process::start_in(&armed, &args, &shop.path().join(trap)).unwrap();
        wait_for_end(&mut killed);
        assert!(killed.ended().unwrap().is_some_and(|status| !status.success()), "{trap}: {}", killed.log());
        let committed = matches!(trap, "F8" | "F9" | "F10");
        assert_eq!(ids(&shop, &format!("id = {id}")).is_empty(), committed, "{trap}: {}", killed.log());
        if committed {
            // Whoever repeats the commit must not take it for the one that was compared.
            shop.psql(&format!("INSERT INTO users VALUES ({id}, 'another one', now())"));
            origin.psql(&format!("INSERT INTO users VALUES ({id}, 'another one', now())"));
        }
        let found = shop.run();
        assert!(found.is_ok(), "{trap}: {found:?}");
        assert_eq!(ids(&shop, &format!("id = {id}")).is_empty(), !committed, "{trap}");
        seq += 1;
        assert_eq!(shop.check_commits("users"), seq, "{trap}: one commit, however often it is tried");
    }
    assert_eq!(shop.psql("SELECT count(*) FROM users"), "93");
    shop.check_tidy();
}

/// Proves IL8. While keys are compared rows come and go: whatever was written since stays, also a row of which a load left out an older one,
/// for it says that the key is there. What is at the source again and was not loaded yet is deleted, and comes with the next load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_written_while_keys_are_compared_stay() {
    let test = "rows_that_are_written_while_keys_are_compared_stay";
    let _turn = TURN.lock().await;
    let Some(shop) = Shop::open(test) else { return };
    let origin = Origin::new(&shop, USERS);
    origin.declare(&users("{ every: 1d }"));
    let traps = shop.path().join("traps");
    fs::create_dir(&traps).unwrap();
    let environment = vec![("WINDROW_FAILPOINT_FOLDER".to_owned(), traps.display().to_string())];
    let Some(mut cluster) = Cluster::start_in(environment, 1, 0).await.unwrap() else {
        return skip(test, "there is no etcd");
    };
    cluster.apply(shop.arg()).unwrap();
    cluster.add_worker("w1").unwrap();
    wait("the load", || published(&cluster) == 3);
    cluster.workers[0].1.terminate().unwrap();
    wait_for_end(&mut cluster.workers[0].1);
    // Keys take the hop to another process.
    cluster.add_worker_with("w2", &["--role", "sink"]).unwrap();
    cluster.add_worker_armed_with("w3", "F3=hold", &["--role", "ingest", "--slots", "4"]).unwrap();

    origin.psql("DELETE FROM users WHERE id <= 6");
    let addresses = cluster.addresses();
    let args = ["compare", "users", "--coordinator", &addresses];
    let mut comparing = Process::start(&args, &shop.path().join("log")).unwrap();
    wait("what is gone to be staged", || traps.join("F3.hit").exists());
    origin.psql(
        "INSERT INTO users VALUES (1, 'newer', '2024-01-03T00:00Z'), (2, 'equal', '2024-01-02T00:02Z'), \
         (3, 'older', '2024-01-01T00:00Z')",
    );
    shop.psql("UPDATE users SET name = 'by hand' WHERE id = 4");
    let before = shop.psql("SELECT xmin FROM users WHERE id = 100");
    let args = ["backfill", "create", "users", "--reprocess", "all", "--request-id", "meanwhile"];
    finished(&[&args[..], &["--coordinator", &addresses]].concat()).unwrap();
    wait("the windows to be loaded again", || shop.psql("SELECT xmin FROM users WHERE id = 100") != before);
    wait("the windows to be loaded again", || ids(&shop, "name = 'newer'") == "1");
    wait("all of it", || {
        cluster.ask(&["get", "tasks", "users"]).is_ok_and(|tasks| {
            tasks.as_array().is_some_and(|tasks| tasks.iter().all(|task| task["comparison"] == true))
        })
    });
    origin.psql("INSERT INTO users VALUES (5, 'not yet', '2024-01-02T00:05Z')");
    fs::write(traps.join("F3.go"), "").unwrap();
    wait_for_end(&mut comparing);
    assert!(comparing.ended().unwrap().is_some_and(|status| status.success()), "{}", comparing.log());
    let names = "SELECT string_agg(id || ' ' || name, ',' ORDER BY id) FROM users WHERE id < 8";
    assert_eq!(shop.psql(names), "1 newer,2 equal,3 name 3,4 by hand,7 name 7", "{}", cluster.logs());
    assert_eq!(shop.psql("SELECT count(*) FROM users"), "98");

    let args = ["backfill", "create", "users", "--reprocess", "all", "--request-id", "after"];
    finished(&[&args[..], &["--coordinator", &addresses]].concat()).unwrap();
    wait("the row that came back", || ids(&shop, "name = 'not yet'") == "5");
    shop.check_commits("users");
}

fn published(cluster: &Cluster) -> u64 {
    let found = cluster.ask(&["get", "pipelines"]).unwrap_or_default();
    found[0]["windows"]["published"].as_u64().unwrap_or_default()
}

/// Proves IL8. A row that came into the table after its rows were noted, while keys were read, is none of this comparison's, though its key came
/// behind the look at the source.
#[test]
fn a_row_that_comes_while_keys_are_read_stays() {
    let Some(shop) = Shop::open("a_row_that_comes_while_keys_are_read_stays") else { return };
    let origin = Origin::new(&shop, "CREATE TABLE users (id int, updated_at timestamptz NOT NULL)");
    shop.psql("CREATE TABLE users (id int PRIMARY KEY, updated_at timestamptz)");
    origin.declare(&users("{ every: 1d }"));
    shop.run().unwrap();
    let many = "INSERT INTO users SELECT n, '2024-01-02T00:00Z' FROM generate_series(1, 100000) n";
    shop.psql(many);
    origin.psql(many);
    origin.psql("DELETE FROM users WHERE id = 1");
    let traps = shop.path().join("traps");
    fs::create_dir(&traps).unwrap();
    // The first time is before the source is looked at, the second when some of the keys are on their way.
    let armed = Surroundings::default()
        .with_env("WINDROW_FAILPOINTS", "F2@2=hold")
        .with_env("WINDROW_FAILPOINT_FOLDER", traps.display().to_string());
    let args = ["compare", "users", "--local", shop.arg()];
    let mut comparing = Process::start_in(&armed, &args, &shop.path().join("log")).unwrap();
    wait("keys to be read", || traps.join("F2.hit").exists());
    shop.psql("INSERT INTO users VALUES (1000000, now())");
    fs::write(traps.join("F2.go"), "").unwrap();
    wait_for_end(&mut comparing);
    assert!(comparing.ended().unwrap().is_some_and(|status| status.success()), "{}", comparing.log());
    assert_eq!(shop.psql("SELECT count(*), min(id), max(id) FROM users"), "100000|2|1000000");
    assert_eq!(deleted(&shop), 1, "the next one finds it");
}

/// Proves IL8. A row that somebody else is writing at the very moment of the commit is looked at again when that is done.
#[test]
fn a_row_that_is_being_written_when_it_would_be_deleted_stays() {
    let Some(shop) = Shop::open("a_row_that_is_being_written_when_it_would_be_deleted_stays") else { return };
    let origin = Origin::new(&shop, USERS);
    origin.declare(&users("{ every: 1d }"));
    shop.run().unwrap();
    origin.psql("DELETE FROM users WHERE id <= 2");
    let mut other = shop.postgres.session().unwrap();
    other.run("BEGIN; UPDATE users SET name = 'busy' WHERE id = 1").unwrap();
    let args = ["compare", "users", "--local", shop.arg()];
    let mut comparing = Process::start(&args, &shop.path().join("log")).unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM%'";
    wait("the commit to meet the other", || shop.psql(waits) == "1");
    other.run("COMMIT").unwrap();
    wait_for_end(&mut comparing);
    assert!(comparing.ended().unwrap().is_some_and(|status| status.success()), "{}", comparing.log());
    assert_eq!(ids(&shop, "id < 5"), "1,3,4");
    assert_eq!(deleted(&shop), 1, "the next one finds it");
}

/// Proves IL8. Keys are read off the primary: from a standby that is behind nothing is concluded before it is not, and from another database
/// nothing at all.
#[test]
fn keys_are_read_from_a_standby_that_has_what_rows_were_read_from() {
    let test = "keys_are_read_from_a_standby_that_has_what_rows_were_read_from";
    let Some(shop) = Shop::open(test) else { return };
    let Some(primary) = Postgres::start().unwrap() else { return };
    primary.psql(USERS).unwrap();
    let standby = primary.standby().unwrap();
    let (url, there) = (primary.url(), standby.url());
    let sessions = ", limits: { connections: 1, rows_per_s: 10000 }";
    let connections = [("origin", url.as_str(), ""), ("standby", there.as_str(), sessions)];
    declare(&shop, &connections, &users("{ every: 1d, from: standby }"));
    shop.run().unwrap();
    primary.psql("DELETE FROM users WHERE id <= 2").unwrap();
    assert_eq!(deleted(&shop), 2);

    standby.psql("SELECT pg_wal_replay_pause()").unwrap();
    wait("the standby to stand still", || standby.psql("SELECT pg_get_wal_replay_pause_state()").unwrap() == "paused");
    primary
        .psql("INSERT INTO users VALUES (1000, 'young', '2024-01-03T00:00Z'); DELETE FROM users WHERE id = 5")
        .unwrap();
    shop.load_again("users", "young").unwrap();
    assert_eq!(ids(&shop, "id = 1000"), "1000");
    let args = ["compare", "users", "--local", shop.arg()];
    let mut comparing = Process::start(&args, &shop.path().join("log")).unwrap();
    std::thread::sleep(Duration::from_secs(8));
    assert!(comparing.ended().unwrap().is_none(), "{}", comparing.log());
    standby.psql("SELECT pg_wal_replay_resume()").unwrap();
    wait_for_end(&mut comparing);
    assert!(comparing.ended().unwrap().is_some_and(|status| status.success()), "{}", comparing.log());
    assert_eq!(ids(&shop, "id IN (5, 1000)"), "1000");

    declare(&shop, &connections[..1], &users("{ every: 1d, from: shop }"));
    shop.run().unwrap();
    let said = compare(&shop, &[]).unwrap_err();
    assert!(said.contains("WR-S051") && said.contains("another database than rows"), "{said}");
    assert_eq!(shop.psql("SELECT count(*) FROM users"), "98");
}

/// Proves IL8. A hundred times the keys take no more memory than a few.
#[test]
fn memory_does_not_grow_with_the_keys() {
    let Some(shop) = Shop::open("memory_does_not_grow_with_the_keys") else { return };
    let long = "rpad(n::text, 200, md5(n::text))";
    let table = |rows: u32| {
        format!(
            "SELECT {long} AS id, timestamptz '2024-01-02T00:00Z' + n * interval '1 ms' AS updated_at \
             FROM generate_series(1, {rows}) n"
        )
    };
    let origin = Origin::new(&shop, "CREATE TABLE users (id text, updated_at timestamptz NOT NULL)");
    shop.psql("CREATE TABLE users (id text PRIMARY KEY, updated_at timestamptz)");
    origin.declare(&users("{ every: 1d, max_deleted: 50% }"));
    shop.run().unwrap();
    let peak = |rows: u32| {
        for psql in [&origin.0.postgres.psql_in("origin", "TRUNCATE users"), &shop.postgres.psql("TRUNCATE users")] {
            psql.as_ref().unwrap();
        }
        shop.psql(&format!("INSERT INTO users {}", table(rows)));
        origin.psql(&format!("INSERT INTO users SELECT * FROM ({}) u WHERE hashtext(id) % 4 <> 0", table(rows)));
        let (peak, log) = peak_of(&["compare", "users", "--local", shop.arg()], &shop.path().join("log"));
        let left = |database: &str| shop.postgres.psql_in(database, "SELECT count(*) FROM users").unwrap();
        assert_eq!(left("shop"), left("origin"), "{log}");
        assert_ne!(left("shop"), rows.to_string());
        peak
    };
    let few = peak(2_000);
    let many = peak(200_000);
    let grown = many.saturating_sub(few) >> 20;
    // 40 MB of keys go one way and 10 MB come back.
    assert!(grown < 30, "{} MiB for 2,000 keys, {} MiB for 200,000", few >> 20, many >> 20);
}

/// The most memory a windrow took that ran to its good end, and what it said.
fn peak_of(args: &[&str], log: &Path) -> (u64, String) {
    let mut process = Process::start(args, log).unwrap();
    let mut peak = 0;
    wait("a process to end", || {
        peak = process.peak_bytes().unwrap_or_default().max(peak);
        process.ended().unwrap().is_some()
    });
    let log = process.log();
    assert!(process.ended().unwrap().is_some_and(|status| status.success()), "{log}");
    (peak, log)
}

/// What cannot be compared is refused before anything runs.
#[test]
fn what_cannot_be_compared_is_refused() {
    let Some(shop) = Shop::open("what_cannot_be_compared_is_refused") else { return };
    let origin = Origin::new(&shop, USERS);
    let sound = users("{ every: 1d }");
    for (wrong, code, part) in [
        (sound.replace(", write: upsert, key: [id]", ""), "WR-P009", "rows without a key"),
        (users("{ every: 0s }"), "WR-P006", "all the time"),
        (users("{ every: 1d, from: here }"), "WR-P009", "a standby of the source's database"),
        (users("{ every: 1d, from: nobody }"), "WR-P007", "nobody"),
        (format!("{sound}{}", sound.replace("  users:", "  others:")), "WR-P009", "would delete the rows"),
    ] {
        origin.declare(&wrong);
        let said = shop.run().unwrap_err();
        assert!(said.contains(code) && said.contains(part), "{said}");
    }
    // What only the run can see.
    let made = "    transform: [ { sql: \"SELECT id + 1 AS id, name, updated_at FROM input\" } ]\n    sink:";
    origin.declare(&sound.replace("    sink:", made));
    shop.run().unwrap();
    let said = compare(&shop, &[]).unwrap_err();
    assert!(said.contains("WR-S051") && said.contains("the transform makes the key's column"), "{said}");
    let none: Value = run_json(&["get", "pipelines", "-o", "json", "--local", shop.arg()]).unwrap();
    assert_eq!(none[0]["comparison"]["given_up"]["code"], "WR-S051", "{none}");
    assert_eq!(shop.psql("SELECT count(*) FROM users"), "100");
}

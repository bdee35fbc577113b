//! Rows that go by their keys, held against a plain fold of all that was read.

use std::{collections::BTreeMap, fs};

use windrow_tests::process::{Process, Surroundings};

use super::{Shop, finished, wait_for_end};

const DAYS: usize = 5;
/// Rows of a day. There are more rows than keys, so days meet in many of them.
const ROWS: usize = 80;
const KEYS: u64 = 40;

/// A row of the source. `at` is a second of January.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    shop: String,
    id: u64,
    at: u64,
    op: char,
    word: String,
}

/// The numbers a seed leads to.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A day's rows, some of them equal in key and time, some deletions, in no order.
    fn day(&mut self, day: usize) -> Vec<Row> {
        let row = |n: usize| {
            let key = self.throw(KEYS);
            Row {
                shop: format!("s{}", key % 3),
                id: key / 3,
                // Few instants, so that rows of one key meet in one.
                at: (day * 86_400) as u64 + 600 * self.throw(12),
                op: if self.throw(4) == 0 { 'D' } else { 'U' },
                word: format!("d{day}n{n}"),
            }
        };
        (0..ROWS).map(row).collect()
    }

    fn order(&mut self) -> Vec<usize> {
        let mut left: Vec<usize> = (0..DAYS).collect();
        (0..DAYS).map(|_| left.remove(self.throw(left.len() as u64) as usize)).collect()
    }
}

fn instant(at: u64) -> String {
    let (day, second) = (at / 86_400, at % 86_400);
    format!("2024-01-{:02}T{:02}:{:02}:00Z", day + 1, second / 3_600, second / 60 % 60)
}

fn csv(rows: &[Row]) -> String {
    let line = |row: &Row| format!("{},{},{},{},{}\n", row.shop, row.id, instant(row.at), row.op, row.word);
    rows.iter().map(line).fold("shop,id,at,op,word\n".to_owned(), |text, line| text + &line)
}

/// The newest of each key among rows in the order they were read; of equals the last.
fn fold(read: &[Row]) -> BTreeMap<(String, u64), Row> {
    let mut newest: BTreeMap<(String, u64), Row> = BTreeMap::new();
    for row in read {
        let known = newest.entry((row.shop.clone(), row.id)).or_insert_with(|| row.clone());
        if known.at <= row.at {
            *known = row.clone();
        }
    }
    newest
}

/// What a table has to hold, and how many keys have to be remembered as deleted.
fn expected(read: &[Row]) -> (String, usize) {
    let newest = fold(read);
    let living = newest.values().filter(|row| row.op == 'U');
    let lines = living.map(|row| format!("{}|{}|{}|{}", row.shop, row.id, instant(row.at), row.word));
    (lines.collect::<Vec<_>>().join("\n"), newest.values().filter(|row| row.op == 'D').count())
}

fn held(shop: &Shop, table: &str) -> (String, usize) {
    let at = "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let rows = shop.psql(&format!("SELECT shop, id, {at}, word FROM {table} ORDER BY shop COLLATE \"C\", id"));
    let gone = shop.psql(&format!(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'windrow' AND starts_with(tablename, 'deleted_{table}_')"
    ));
    let gone = match gone.is_empty() {
        true => "0".to_owned(),
        false => shop.psql(&format!("SELECT count(*) FROM windrow.{gone}")),
    };
    (rows, gone.parse().unwrap())
}

/// A pipeline whose days are all in one file, and are read when they are asked for.
fn daily(table: &str) -> String {
    format!(
        "  {table}:
    pattern: incremental
    source:
      from: here
      path: {table}.csv
      schema: {{ shop: string, id: int, at: timestamp, op: string, word: string }}
      cursor: at
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-0{} }}
    sink: {{ to: shop, format: postgres, table: {table}, staging: staging, write: upsert, key: [shop, id], deleted: \"op = 'D'\" }}
    retries: {{ attempts: 1 }}
",
        DAYS + 1
    )
}

fn deliver(shop: &Shop, table: &str, days: &[Vec<Row>]) {
    fs::write(shop.path().join(format!("{table}.csv")), csv(&days.concat())).unwrap();
}

/// Runs the pipelines once on nothing, so that what is read later is read when the test says so.
fn begin(shop: &Shop, tables: &[&str]) {
    shop.declare(&tables.iter().map(|table| daily(table)).collect::<String>());
    tables.iter().for_each(|table| deliver(shop, table, &[]));
    shop.run().unwrap();
}

/// What reads one day.
fn reading(table: &str, day: usize, request: &str, folder: &str) -> Vec<String> {
    let (from, to) = (format!("2024-01-{:02}", day + 1), format!("2024-01-{:02}", day + 2));
    let words = ["backfill", "create", table, "--from", &from, "--to", &to, "--reprocess", "all"];
    words.into_iter().chain(["--request-id", request, "--local", folder]).map(str::to_owned).collect()
}

fn read_day(shop: &Shop, table: &str, day: usize, request: &str) {
    let arguments = reading(table, day, request, shop.arg());
    finished(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

/// Proves IL7. Days of updates and deletions are committed in three orders, and after each the table is the fold of what was read:
/// an older day never undoes a newer one, and no deleted key comes back. Days that are read again, also with an older row of a
/// deleted key that was not there before, change what a fold changes.
#[test]
fn the_newest_row_of_a_key_stays_in_whatever_order_days_come() {
    let Some(shop) = Shop::open("the_newest_row_of_a_key_stays_in_whatever_order_days_come") else { return };
    let mut dice = Dice(20_240_101);
    let mut days: Vec<Vec<Row>> = (0..DAYS).map(|day| dice.day(day)).collect();
    let orders: [Vec<usize>; 3] = [(0..DAYS).collect(), (0..DAYS).rev().collect(), dice.order()];
    let tables = ["up", "down", "mixed"];
    begin(&shop, &tables);
    let mut read: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for (table, order) in tables.into_iter().zip(&orders) {
        deliver(&shop, table, &days);
        let read = read.entry(table).or_default();
        for day in order {
            read_day(&shop, table, *day, &format!("{table}-{day}"));
            read.extend(days[*day].clone());
            assert_eq!(held(&shop, table), expected(read), "{table} after day {day} of {order:?}");
        }
    }
    let (rows, deleted) = held(&shop, "up");
    assert!(rows.lines().count() > 10 && deleted > 3, "{deleted} deleted, {rows}");
    assert_eq!(held(&shop, "down"), (rows.clone(), deleted));
    assert_eq!(held(&shop, "mixed"), (rows, deleted));

    // An older row of every key, deleted ones among them; and words that are other ones now.
    let late = |key: u64| {
        let (at, op, word) = (60, 'U', "late".to_owned());
        Row { shop: format!("s{}", key % 3), id: key / 3, at, op, word }
    };
    days[0].iter_mut().for_each(|row| row.word.push('b'));
    days[0].extend((0..KEYS).map(late));
    for table in tables {
        deliver(&shop, table, &days);
        read_day(&shop, table, 0, &format!("{table}-late"));
        let read = read.get_mut(table).unwrap();
        read.extend(days[0].clone());
        assert_eq!(held(&shop, table), expected(read), "{table}");
    }
    // All at once, in one commit.
    shop.load_again("mixed", "mixed-all").unwrap();
    let read = read.get_mut("mixed").unwrap();
    read.extend(days.concat());
    assert_eq!(held(&shop, "mixed"), expected(read));
    for table in tables {
        assert!(shop.check_commits(table) >= 7, "{table}");
    }
    shop.check_tidy();
}

/// Proves IL7, CL2. Killed within the transaction nothing of it is there; killed behind it, it is there once, and whoever comes
/// next finds that.
#[test]
fn an_upsert_that_is_killed_is_there_once_or_not_at_all() {
    let Some(shop) = Shop::open("an_upsert_that_is_killed_is_there_once_or_not_at_all") else { return };
    let mut dice = Dice(7);
    let days: Vec<Vec<Row>> = (0..DAYS).map(|day| dice.day(day)).collect();
    begin(&shop, &["killed"]);
    deliver(&shop, "killed", &days);
    read_day(&shop, "killed", 3, "third");
    let before = held(&shop, "killed");
    assert_eq!(before, expected(&days[3]));
    let seq = shop.check_commits("killed");
    let arguments = reading("killed", 1, "first", shop.arg());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let after = expected(&[days[3].clone(), days[1].clone()].concat());
    for (trap, found) in [("F7=kill", (&before, seq)), ("F8=kill", (&after, seq + 1))] {
        let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", trap);
        let mut killed = Process::start_in(&armed, &arguments, &shop.path().join(trap)).unwrap();
        wait_for_end(&mut killed);
        assert_eq!((&held(&shop, "killed"), shop.check_commits("killed")), found, "{}", killed.log());
    }
    finished(&arguments).unwrap();
    assert_eq!((held(&shop, "killed"), shop.check_commits("killed")), (after, seq + 1));
    shop.check_tidy();
}

const WORDS: &str = "  words:
    pattern: incremental
    source: { from: here, path: words.csv, schema: { id: string, at: timestamp, word: string }, cursor: at }
    window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-01T02:00 }
    sink: { to: shop, format: postgres, table: words, staging: staging, write: upsert, key: [id] }
    retries: { attempts: 1 }
";
const WHAT: &str = "SELECT string_agg(id::text || ' ' || word, ',' ORDER BY id) FROM words";

fn words(shop: &Shop, lines: &[&str]) {
    fs::write(shop.path().join("words.csv"), format!("id,at,word\n{}\n", lines.join("\n"))).unwrap();
}

/// Proves IL7. Rows go into a table that is there: what it holds that is newer stays, what says nothing of its age goes, keys are
/// compared by the table's type, and a row that the table leaves out is told.
#[test]
fn rows_meet_those_of_a_table_that_is_there() {
    let Some(shop) = Shop::open("rows_meet_those_of_a_table_that_is_there") else { return };
    shop.psql(
        "CREATE TABLE words (id uuid, at timestamptz, word varchar(6), added int DEFAULT 7);
         INSERT INTO words VALUES ('00000000-0000-0000-0000-00000000000a', '2024-01-02', 'newer', 1),
            ('00000000-0000-0000-0000-00000000000b', NULL, 'noage', 2)",
    );
    words(
        &shop,
        &[
            "00000000-0000-0000-0000-00000000000A,2024-01-01T00:10:00Z,old",
            "00000000-0000-0000-0000-00000000000b,2024-01-01T00:10:00Z,b",
            "00000000-0000-0000-0000-00000000000C,2024-01-01T00:20:00Z,one",
            "00000000-0000-0000-0000-00000000000c,2024-01-01T00:20:00Z,two",
            "00000000-0000-0000-0000-00000000000C,2024-01-01T01:20:00Z,three",
        ],
    );
    shop.declare(WORDS);
    let said = shop.run().unwrap_err();
    assert!(
        said.contains("WR-K006") && said.contains("CREATE UNIQUE INDEX ON \"public\".\"words\" (\"id\")"),
        "{said}"
    );
    // What does not hold for all rows keeps none unique.
    shop.psql("CREATE UNIQUE INDEX ON words (id) WHERE added < 9; CREATE UNIQUE INDEX ON words (id, word)");
    assert!(shop.load_again("words", "part").unwrap_err().contains("WR-K006"));
    assert_eq!(shop.psql("SELECT count(*) FROM words"), "2");
    shop.psql("CREATE UNIQUE INDEX ON words (id)");
    shop.load_again("words", "whole").unwrap();
    let zeros = "00000000-0000-0000-0000-00000000000";
    assert_eq!(shop.psql(WHAT), format!("{zeros}a newer,{zeros}b b,{zeros}c three"));
    // What the rows lack stays as it is, or takes its default.
    assert_eq!(shop.psql("SELECT string_agg(added::text, ',' ORDER BY id) FROM words"), "1,2,7");

    shop.psql(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER keep BEFORE UPDATE ON words FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    words(&shop, &[&format!("{zeros}c,2024-01-01T01:30:00Z,four")]);
    let said = shop.load_again("words", "kept").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("left out 1 row:"), "{said}");
    shop.psql("DROP TRIGGER keep ON words");
    shop.load_again("words", "free").unwrap();
    assert_eq!(shop.psql(WHAT), format!("{zeros}a newer,{zeros}b b,{zeros}c four"));
    words(&shop, &[&format!("{zeros}c,2024-01-01T01:40:00Z,too long for it")]);
    assert!(shop.load_again("words", "long").unwrap_err().contains("character varying(6)"));
    assert_eq!(shop.psql(WHAT), format!("{zeros}a newer,{zeros}b b,{zeros}c four"));

    // Texts compare as the table's columns say, in which all capitals are before all other letters.
    shop.psql(
        "DROP TABLE words; \
         CREATE TABLE public.words (id text COLLATE \"C\" PRIMARY KEY, at timestamptz, word text COLLATE \"C\")",
    );
    shop.declare(&WORDS.replace("key: [id]", "key: [id], order: [at, word]"));
    let at = "2024-01-01T01:40:00Z";
    words(&shop, &[&format!("a,{at},b"), &format!("a,{at},C"), &format!("b,{at},D")]);
    shop.load_changed("words", "texts").unwrap();
    assert_eq!(shop.psql(WHAT), "a b,b D");
    words(&shop, &[&format!("a,{at},Z"), &format!("b,{at},d")]);
    shop.load_again("words", "more texts").unwrap();
    assert_eq!(shop.psql(WHAT), "a b,b d");
    shop.check_commits("words");
}

/// A row without a key is a dead letter with its reason, and too many of them set the window aside.
#[test]
fn a_row_without_a_key_is_a_dead_letter() {
    let Some(shop) = Shop::open("a_row_without_a_key_is_a_dead_letter") else { return };
    words(&shop, &["a,2024-01-01T00:10:00Z,one", ",2024-01-01T00:20:00Z,nobody", "b,2024-01-01T00:30:00Z,two"]);
    let keyless = WORDS.replace("word: string }", "word: string }, format: { type: csv, nulls: [\"\"] }");
    shop.declare(&keyless);
    let said = shop.run().unwrap_err();
    assert!(said.contains("WR-S008") && said.contains("\"id\" is null"), "{said}");
    shop.declare(&format!("{keyless}    limits: {{ max_rejected: 0.5 }}\n"));
    shop.load_changed("words", "half").unwrap();
    assert_eq!(shop.psql(WHAT), "a one,b two");
    let letters = std::process::Command::new("grep").args(["-r", "-h", "WR-K014", shop.arg()]).output().unwrap();
    let letters = String::from_utf8_lossy(&letters.stdout).into_owned();
    let letter = letters.lines().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).unwrap();
    assert_eq!(letter["position"], 2);
    assert!(letter["raw"].as_str().unwrap().contains("nobody"), "{letter}");

    // A key that no index holds is told of the rows, and does not hold up those that come after it.
    let mut dice = Dice(1);
    let long: String = (0..4_000).map(|_| char::from(b'0' + dice.throw(64) as u8)).collect();
    words(&shop, &[&format!("{long},2024-01-01T00:10:00Z,long")]);
    let said = shop.load_again("words", "long").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("index row"), "{said}");
    words(&shop, &["c,2024-01-01T01:30:00Z,three"]);
    shop.load_again("words", "short").unwrap();
    assert_eq!(shop.psql(WHAT), "a one,b two,c three");
    let others = WORDS.replace("  words:", "  others:").replace("table: words", "table: others, order: [word]");
    shop.declare(&others.replace("key: [id]", "key: [id], types: { word: json }"));
    let said = shop.run().unwrap_err();
    assert!(said.contains("WR-K005") && said.contains("ordering operator"), "{said}");

    shop.declare(&WORDS.replace("key: [id]", "key: [id], deleted: \"gone\""));
    let said = shop.load_changed("words", "condition").unwrap_err();
    assert!(said.contains("WR-T001") && said.contains("sink.deleted"), "{said}");
    shop.declare(&WORDS.replace("key: [id]", "key: [nobody]"));
    let said = shop.load_changed("words", "nobody").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("\"nobody\""), "{said}");
}

const USERS: &str = "  users:
    pattern: incremental
    source: { from: shop, table: public.users, cursor: updated_at }
    window: { every: 1d, start: 2024-01-01, end: 2024-01-03 }
    sink:
      to: shop
      format: postgres
      table: copies.users
      staging: staging
      write: upsert
      key: [id]
      deleted: deleted_at IS NOT NULL
    retries: { attempts: 1 }
";

/// Proves IL7. A table with soft deletes is followed from window to window: updated rows move, and those that are marked go.
/// Forgotten deletions are the price of a limit on remembering them.
#[test]
fn soft_deletes_of_a_table_are_deletes_in_its_copy() {
    let Some(shop) = Shop::open("soft_deletes_of_a_table_are_deletes_in_its_copy") else { return };
    shop.psql(
        "CREATE SCHEMA copies; CREATE TABLE users (id int PRIMARY KEY, name text, updated_at timestamptz NOT NULL, \
            deleted_at timestamptz);
         INSERT INTO users SELECT n, 'user ' || n, timestamptz '2024-01-01Z' + n * interval '20 minutes' \
            FROM generate_series(1, 100) n",
    );
    shop.declare(USERS);
    shop.run().unwrap();
    let difference = "SELECT count(*) FROM (SELECT id, name, updated_at FROM users WHERE deleted_at IS NULL) a \
        FULL JOIN copies.users b USING (id, name, updated_at) WHERE a IS NULL OR b IS NULL";
    assert_eq!((shop.psql(difference).as_str(), shop.psql("SELECT count(*) FROM copies.users").as_str()), ("0", "100"));
    shop.psql(
        "UPDATE users SET name = 'renamed', updated_at = '2024-01-03T10:00Z' WHERE id % 3 = 0; \
         UPDATE users SET deleted_at = '2024-01-03T11:00Z', updated_at = '2024-01-03T11:00Z' WHERE id % 5 = 0; \
         INSERT INTO users VALUES (101, 'short', '2024-01-03T12:00Z', '2024-01-03T12:00Z')",
    );
    shop.declare(&USERS.replace("end: 2024-01-03", "end: 2024-01-04"));
    shop.run().unwrap();
    assert_eq!((shop.psql(difference).as_str(), shop.psql("SELECT count(*) FROM copies.users").as_str()), ("0", "80"));
    let deleted =
        shop.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'windrow' AND tablename LIKE 'deleted%'");
    assert_eq!(shop.psql(&format!("SELECT count(*) FROM windrow.{deleted}")), "21");

    // A key that lives again is not remembered any more.
    shop.psql("UPDATE users SET deleted_at = NULL, updated_at = '2024-01-04T01:00Z' WHERE id = 5");
    let forgetful =
        USERS.replace("end: 2024-01-03", "end: 2024-01-05").replace("key: [id]", "key: [id]\n      keep_deleted: 0s");
    shop.declare(&forgetful);
    shop.run().unwrap();
    assert_eq!((shop.psql(difference).as_str(), shop.psql("SELECT count(*) FROM copies.users").as_str()), ("0", "81"));
    assert_eq!(shop.psql(&format!("SELECT count(*) FROM windrow.{deleted}")), "0");
    // Other keys than those that are remembered by are refused.
    shop.declare(&USERS.replace("key: [id]", "key: [id]\n      order: [updated_at, name]"));
    let said = shop.load_changed("users", "other").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains(&deleted), "{said}");
}

/// Proves IL7. A source that only ever adds rows is folded to its current state by a full load, and again when it has grown.
#[test]
fn a_source_that_only_adds_is_folded_to_its_current_state() {
    let Some(shop) = Shop::open("a_source_that_only_adds_is_folded_to_its_current_state") else { return };
    let deliver =
        |lines: &str| fs::write(shop.path().join("log.csv"), format!("id,version,part,price\n{lines}")).unwrap();
    shop.declare(
        "  prices:
    pattern: full
    source: { from: here, path: log.csv, schema: { id: int, version: int, part: int, price: string } }
    transform: [ { sql: \"SELECT *, 'x' AS extra FROM input\" } ]
    sink: { to: shop, format: postgres, table: prices, staging: staging, write: upsert, key: [id], order: [version, part],
      deleted: \"price = 'none'\", types: { price: char(4) } }
    retries: { attempts: 1 }
",
    );
    deliver("1,1,1,a\n2,1,1,b\n1,3,1,c\n1,2,9,d\n3,1,2,e\n3,1,1,f\n4,1,1,g\n4,2,1,none\n");
    shop.run().unwrap();
    let state = "SELECT string_agg(id || ' ' || price, ',' ORDER BY id) FROM prices";
    assert_eq!(shop.psql(state), "1 c,2 b,3 e");
    // Version 5 of 4 lives; 1 goes.
    deliver("1,1,1,a\n2,2,1,h\n1,3,1,c\n1,4,1,none\n3,1,1,f\n4,1,1,g\n4,5,1,long\n4,2,1,none\n");
    shop.load_again("prices", "grown").unwrap();
    assert_eq!(shop.psql(state), "2 h,3 e,4 long");
    // Whoever begins with a new table has nothing that was deleted from it.
    shop.psql("DROP TABLE prices");
    deliver("1,1,1,a\n");
    shop.load_again("prices", "anew").unwrap();
    assert_eq!(shop.psql(state), "1 a");
}

//! Windows that are loaded again while somebody reads.

use windrow_tests::{
    example::Example,
    process::{Process, Surroundings},
};

use super::{COUNTS, Reader, Shop, YEAR, finished, into_database, wait_for_end};

const MONTH: &str = "time_hour >= '2013-02-01T00:00Z' AND time_hour < '2013-03-01T00:00Z'";

/// Proves IL3, IL4, CL2. A month is loaded again and killed within the commit's transaction and right after it; a reader who
/// looks all the time sees the month whole, and in the end the rows are the same.
#[test]
fn a_month_that_is_loaded_again_and_killed_is_whole_for_whoever_reads() {
    let test = "a_month_that_is_loaded_again_and_killed_is_whole_for_whoever_reads";
    let Some(shop) = Shop::open(test) else { return };
    let example = Example::new().unwrap();
    into_database(&example, &shop.postgres);
    finished(&["run", example.arg()]).unwrap();
    let digest = format!("SELECT md5(string_agg(f::text, ',' ORDER BY f::text)) FROM flights f WHERE {MONTH}");
    let count = format!("SELECT count(*), sum(distance) FROM flights WHERE {MONTH}");
    let (before, counted) = (shop.psql(&digest), shop.psql(&count));
    assert_eq!(counted.split('|').next(), Some("24936"));
    let reader = Reader::start(shop.postgres.session().unwrap(), count, move |answer| answer == counted);

    #[rustfmt::skip]
    let create = [
        "backfill", "create", "flights", "--from", "2013-02-01", "--to", "2013-03-01", "--reprocess", "all",
        "--request-id", "february", "--local", example.arg(),
    ];
    let seq = shop.check_commits("flights");
    for trap in ["F7=kill", "F8=kill"] {
        let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", trap);
        let mut killed = Process::start_in(&armed, &create, &example.path().join(trap)).unwrap();
        wait_for_end(&mut killed);
        assert!(killed.log().contains("running"), "{}", killed.log());
    }
    // The second was killed when its commit was done.
    assert_eq!(shop.check_commits("flights"), seq + 1);
    finished(&create).unwrap();
    let looks = reader.stop();
    assert!(looks > 100, "{looks} looks");
    assert_eq!(shop.check_commits("flights"), seq + 1);
    assert_eq!(shop.psql(&digest), before);
    assert_eq!(shop.psql(COUNTS), YEAR);
    shop.check_tidy();
}

const DAILY: &str = "  daily:
    pattern: incremental
    source: { from: here, path: \"in/{window.start:%Y-%m-%d}.csv\", schema: { id: int, word: string } }
    window: { every: 1d, start: 2024-01-01, end: 2024-01-03 }
    sink: { to: shop, format: postgres, table: daily, staging: staging }
    retries: { attempts: 1 }
";

/// Proves IL3. Rows without a column of time carry their window in a column of windrow's, and are replaced by it.
#[test]
fn rows_without_a_column_of_time_are_replaced_by_the_window_they_carry() {
    let Some(shop) = Shop::open("rows_without_a_column_of_time_are_replaced_by_the_window_they_carry") else { return };
    std::fs::create_dir(shop.path().join("in")).unwrap();
    let deliver =
        |day: u32, text: &str| std::fs::write(shop.path().join(format!("in/2024-01-0{day}.csv")), text).unwrap();
    deliver(1, "id,word\n1,one\n2,two\n");
    deliver(2, "id,word\n3,three\n");
    shop.declare(DAILY);
    shop.run().unwrap();
    let words = "SELECT string_agg(word, ' ' ORDER BY id) FROM daily";
    assert_eq!(shop.psql(words), "one two three");
    deliver(1, "id,word\n1,uno\n");
    finished(&[
        "backfill",
        "create",
        "daily",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-02",
        "--reprocess",
        "all",
        "--local",
        shop.arg(),
    ])
    .unwrap();
    assert_eq!(shop.psql(words), "uno three");
    let windows = "SELECT DISTINCT _windrow_window FROM daily ORDER BY 1";
    assert_eq!(shop.psql(windows).lines().count(), 2, "{}", shop.psql(windows));
}

/// Proves IL4. A window whose rows the table does not take keeps its old ones, and the reason is told.
#[test]
fn a_window_the_table_does_not_take_keeps_its_old_rows() {
    let Some(shop) = Shop::open("a_window_the_table_does_not_take_keeps_its_old_rows") else { return };
    std::fs::create_dir(shop.path().join("in")).unwrap();
    let deliver =
        |day: u32, text: &str| std::fs::write(shop.path().join(format!("in/2024-01-0{day}.csv")), text).unwrap();
    shop.psql("CREATE TABLE daily (id bigint PRIMARY KEY, word varchar(5), _windrow_window tstzrange)");
    deliver(1, "id,word\n1,one\n");
    deliver(2, "id,word\n2,two\n");
    shop.declare(DAILY);
    shop.run().unwrap();
    deliver(1, "id,word\n1,too long for five\n");
    deliver(2, "id,word\n2,deux\n");
    let said = shop.load_again("daily", "longer").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("character varying(5)"), "{said}");
    // The other window is not held up by it.
    assert_eq!(shop.psql("SELECT string_agg(word, ' ' ORDER BY id) FROM daily"), "one deux");
    deliver(1, "id,word\n2,twice\n");
    let said = shop.load_again("daily", "twice").unwrap_err();
    assert!(said.contains("daily_pkey"), "{said}");
    assert_eq!(shop.psql("SELECT string_agg(word, ' ' ORDER BY id) FROM daily"), "one deux");
    shop.check_commits("daily");
}

//! Going back to a version: the view shows a table again that was kept.

use windrow_tests::process::{Process, Surroundings, ran};

use super::{Reader, Shop, wait_for_end};

/// Rows of the generations of the input: no sum of parts of them is one of them.
const ROWS: [u64; 4] = [6_000, 7_777, 9_001, 5_003];
const TRAPS: [&str; 6] = ["F5=kill", "F6=kill", "F7=kill", "F8=kill", "F9=kill", "F10=kill"];
const SEEN: &str = "SELECT count(*), min(generation), max(generation) FROM devices";
const TABLES: &str = "SELECT string_agg(tablename, ' ' ORDER BY 1) FROM pg_tables WHERE schemaname = 'public'";

fn seen(generation: usize) -> String {
    format!("{}|{generation}|{generation}", ROWS[generation])
}

/// The pipeline, with SQL between source and sink.
fn declare(shop: &Shop, sql: &str, keep: u32) {
    shop.declare(&format!(
        "  devices:
    pattern: full
    source: {{ from: here, path: devices.csv, schema: {{ id: int, generation: int, name: string, price: float }} }}
    transform: [ {{ sql: \"{sql}\" }} ]
    sink: {{ to: shop, format: postgres, table: devices, staging: staging, expose: {{ keep_versions: {keep} }} }}
    retries: {{ attempts: 1, lost_leases: 100 }}
"
    ));
}

const ALL: &str = "SELECT id, generation, name, price FROM input";

fn deliver(shop: &Shop, generation: usize) {
    let row = |id: u64| format!("{id},{generation},name {id},{}.5\n", id % 100);
    let text = (0..ROWS[generation]).fold("id,generation,name,price\n".to_owned(), |text, id| text + &row(id));
    std::fs::write(shop.path().join("devices.csv"), text).unwrap();
}

/// So many generations as versions, the last one shown.
fn published(shop: &Shop, keep: u32, generations: usize) {
    declare(shop, ALL, keep);
    deliver(shop, 0);
    shop.run().unwrap();
    for generation in 1..generations {
        deliver(shop, generation);
        shop.load_again("devices", &format!("load {generation}")).unwrap();
    }
    assert_eq!(shop.psql(SEEN), seen(generations - 1));
}

/// The exit code of a rollback and all it said.
fn roll_back(shop: &Shop, flags: &[&str]) -> (Option<i32>, String) {
    ran(&[&["rollback", "devices", "--local", shop.arg()], flags].concat()).unwrap()
}

/// Proves FL4, FL7. A reader who looks all the time sees one version or the other, whatever is killed; it is one commit, the
/// next load is shown above it, and the version that was gone back to outlives the one that was wrong.
#[test]
fn a_view_goes_back_to_the_version_before_whatever_is_killed() {
    let Some(shop) = Shop::open("a_view_goes_back_to_the_version_before_whatever_is_killed") else { return };
    published(&shop, 3, 3);
    shop.psql(
        "SET search_path = public; CREATE ROLE analyst LOGIN PASSWORD 'x'; GRANT SELECT ON devices TO analyst; \
         CREATE VIEW ids AS SELECT id FROM devices WHERE id < 10",
    );
    let fits = [seen(2), seen(1)];
    let reader = Reader::start(shop.postgres.session().unwrap(), SEEN.to_owned(), move |answer| {
        fits.iter().any(|fits| fits == answer)
    });
    let args = ["rollback", "devices", "--request-id", "back", "--local", shop.arg()];
    for trap in TRAPS {
        let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", trap);
        let mut killed = Process::start_in(&armed, &args, &shop.path().join(trap)).unwrap();
        wait_for_end(&mut killed);
        assert!(!killed.ended().unwrap().unwrap().success(), "{trap} was not met: {}", killed.log());
    }
    for _ in 0..2 {
        let (code, said) = roll_back(&shop, &["--request-id", "back"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("v1 is shown again, v2 was before (commit 4)"), "{said}");
    }
    let looks = reader.stop();
    assert!(looks > 50, "{looks} looks");
    assert_eq!(shop.psql(SEEN), seen(1));
    assert_eq!(shop.check_commits("devices"), 4);
    assert_eq!(shop.psql("SELECT rows FROM windrow.commit WHERE seq = 4"), "7777");
    let analyst = shop.postgres.url_of("analyst", "x", "shop");
    assert_eq!(shop.postgres.psql_as(&analyst, "SELECT count(*) FROM devices").unwrap(), "7777");
    assert_eq!(shop.psql("SELECT count(*) FROM ids"), "10");

    deliver(&shop, 3);
    shop.load_again("devices", "after").unwrap();
    assert_eq!(shop.psql(SEEN), seen(3));
    assert_eq!(shop.psql(TABLES), "devices_v2 devices_v3 devices_v5", "the oldest is past those kept");
    let (code, said) = roll_back(&shop, &["--to", "v0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WR-K030") && said.contains("kept: v1, v2"), "{said}");
    shop.load_again("devices", "once more").unwrap();
    assert_eq!(shop.psql(TABLES), "devices_v2 devices_v5 devices_v6", "the wrong one goes first");
    let (code, said) = roll_back(&shop, &["--to", "v1"]);
    assert_eq!((code, shop.psql(SEEN)), (Some(0), seen(1)), "{said}");
    shop.check_commits("devices");
    shop.check_tidy();
}

/// Proves FL7. Columns that came with a later version go again, with what rests on the view, or the rollback says what
/// does not fit and everything stays as it is.
#[test]
fn a_view_goes_back_through_a_change_of_columns_or_says_what_does_not_fit() {
    let test = "a_view_goes_back_through_a_change_of_columns_or_says_what_does_not_fit";
    let Some(shop) = Shop::open(test) else { return };
    published(&shop, 2, 1);
    declare(&shop, "SELECT name AS label, generation, id, price * 2 AS twice FROM input", 2);
    deliver(&shop, 1);
    shop.load_changed("devices", "changed").unwrap();
    shop.psql(
        "SET search_path = public; CREATE VIEW twice AS SELECT twice FROM devices; \
         CREATE VIEW ids AS SELECT id FROM devices WHERE id < 10",
    );
    let (code, said) = roll_back(&shop, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("WR-K004") && said.contains("public.twice") && said.contains("v1 stays shown"), "{said}");
    assert_eq!(shop.psql(SEEN), seen(1));
    shop.psql("DROP VIEW twice");
    let (code, said) = roll_back(&shop, &[]);
    assert_eq!((code, shop.psql(SEEN)), (Some(0), seen(0)), "{said}");
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'devices'::regclass AND attnum > 0";
    assert_eq!(shop.psql(columns), "id generation name price");
    assert_eq!(shop.psql("SELECT count(*) FROM ids"), "10");
    // The refused one took a commit of its own.
    assert_eq!(shop.check_commits("devices"), 4);
}

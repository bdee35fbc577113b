//! Full loads: a table a load, and a view that shows the newest.

use windrow_tests::process::{Process, Surroundings};

use super::{Reader, Shop, again, wait_for_end};

/// Rows of the two generations of the input: no sum of parts of them is one of them.
const ROWS: [u64; 2] = [6_000, 7_777];

fn deliver(shop: &Shop, generation: usize) {
    let row = |id: u64| format!("{id},{generation},name {id},{}.5\n", id % 100);
    let text = (0..ROWS[generation]).fold("id,generation,name,price\n".to_owned(), |text, id| text + &row(id));
    let new = shop.path().join("devices.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, shop.path().join("devices.csv")).unwrap();
}

/// The pipeline, with SQL between source and sink and more words for the sink.
fn declare(shop: &Shop, sql: &str, more: &str) {
    shop.declare(&format!(
        "  devices:
    pattern: full
    source: {{ from: here, path: devices.csv, schema: {{ id: int, generation: int, name: string, price: float }} }}
    transform: [ {{ sql: \"{sql}\" }} ]
    sink: {{ to: shop, format: postgres, table: devices, staging: staging, primary_key: [id]{more} }}
    retries: {{ attempts: 1, lost_leases: 100 }}
"
    ));
}

const ALL: &str = "SELECT id, generation, name, price FROM input";

/// Proves FL4, FL5. Loads are killed within the transaction that switches the view and right after it; a reader who looks all
/// the time sees one generation or the other, whole. The table of the older version is there until it is past those kept.
#[test]
fn a_full_load_shows_the_old_dataset_or_the_new_one_and_keeps_versions() {
    let Some(shop) = Shop::open("a_full_load_shows_the_old_dataset_or_the_new_one_and_keeps_versions") else { return };
    declare(&shop, ALL, ", indexes: [[name]], expose: { keep_versions: 2 }");
    deliver(&shop, 0);
    shop.run().unwrap();
    let query = "SELECT count(*), min(generation), max(generation) FROM devices".to_owned();
    assert_eq!(shop.psql(&query), "6000|0|0");
    let reader = Reader::start(shop.postgres.session().unwrap(), query.clone(), |answer| {
        ["6000|0|0", "7777|1|1"].contains(&answer)
    });
    deliver(&shop, 1);
    let create = again("devices", "second", shop.arg());
    for trap in ["F7=kill", "F8=kill"] {
        let armed = Surroundings::default().with_env("WINDROW_FAILPOINTS", trap);
        let mut killed = Process::start_in(&armed, &create, &shop.path().join(trap)).unwrap();
        wait_for_end(&mut killed);
    }
    shop.load_again("devices", "second").unwrap();
    let looks = reader.stop();
    assert!(looks > 50, "{looks} looks");
    assert_eq!(shop.psql(&query), "7777|1|1");
    assert_eq!(shop.check_commits("devices"), 2);
    // The old version is kept, with its key and its index.
    assert_eq!(shop.psql("SELECT count(*) FROM devices_v1"), "6000");
    assert_eq!(shop.psql("SELECT count(*) FROM pg_indexes WHERE tablename = 'devices_v2'"), "2");
    shop.load_again("devices", "third").unwrap();
    let tables = "SELECT string_agg(tablename, ' ' ORDER BY 1) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(shop.psql(tables), "devices_v2 devices_v3");
    assert_eq!(shop.psql("SELECT count(*) FROM windrow.version"), "2");
    shop.check_tidy();
}

/// Proves FL9. A source that is empty overnight does not empty the view, and one that doubles past the limit does not replace it.
#[test]
fn a_load_that_fails_its_guard_leaves_the_version_that_is_shown() {
    let Some(shop) = Shop::open("a_load_that_fails_its_guard_leaves_the_version_that_is_shown") else { return };
    declare(&shop, ALL, "");
    deliver(&shop, 0);
    shop.run().unwrap();
    std::fs::write(shop.path().join("devices.csv"), "id,generation,name,price\n").unwrap();
    let said = shop.load_again("devices", "empty").unwrap_err();
    assert!(said.contains("WR-K020") && said.contains("6,000"), "{said}");
    assert_eq!(shop.psql("SELECT count(*) FROM devices"), "6000");
    deliver(&shop, 1);
    let file = shop.path().join("pipelines.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "    guard: { max_row_change: 10% }\n").unwrap();
    let said = shop.load_changed("devices", "grown").unwrap_err();
    assert!(said.contains("WR-K020") && said.contains("7,777"), "{said}");
    assert_eq!(shop.psql("SELECT count(*), max(generation) FROM devices"), "6000|0");
    let create = [again("devices", "accepted", shop.arg()).as_slice(), &["--accept"]].concat();
    super::finished(&create).unwrap();
    assert_eq!(shop.psql("SELECT count(*), max(generation) FROM devices"), "7777|1");
}

/// Proves FL6. The view takes on dropped, renamed, reordered and retyped columns; grants, options, comments and the views
/// that rest on it stay, or the load is refused with the name of the view that does not fit, and the old data stays.
#[test]
fn the_view_takes_on_other_columns_with_all_that_rests_on_it_or_says_what_does_not_fit() {
    let test = "the_view_takes_on_other_columns_with_all_that_rests_on_it_or_says_what_does_not_fit";
    let Some(shop) = Shop::open(test) else { return };
    declare(&shop, ALL, "");
    deliver(&shop, 0);
    shop.run().unwrap();
    shop.psql(
        "SET search_path = public; CREATE ROLE analyst LOGIN PASSWORD 'x'; GRANT SELECT ON devices TO analyst; COMMENT ON VIEW devices IS 'it''s ours'; \
         CREATE VIEW ids WITH (security_barrier) AS SELECT id FROM devices WHERE id < 10; GRANT SELECT ON ids TO PUBLIC; \
         CREATE VIEW fewer AS SELECT id FROM ids WHERE id < 5; CREATE VIEW prices AS SELECT price FROM devices",
    );
    // `price` is gone, `name` has another name, `id` another type and place.
    declare(&shop, "SELECT name AS label, CAST(id AS VARCHAR) AS code, id FROM input", "");
    let said = shop.load_changed("devices", "refused").unwrap_err();
    assert!(said.contains("WR-K004") && said.contains("public.prices"), "{said}");
    assert_eq!(shop.psql("SELECT count(*), sum(price) > 0 FROM prices"), "6000|t");
    shop.psql("DROP VIEW prices");
    shop.load_again("devices", "taken").unwrap();
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'devices'::regclass AND attnum > 0";
    assert_eq!(shop.psql(columns), "label code id");
    let analyst = shop.postgres.url_of("analyst", "x", "shop");
    assert_eq!(shop.postgres.psql_as(&analyst, "SELECT count(*) FROM devices").unwrap(), "6000");
    assert_eq!(shop.postgres.psql_as(&analyst, "SELECT count(*) FROM ids").unwrap(), "10");
    assert_eq!(shop.psql("SELECT count(*) FROM fewer"), "5");
    assert_eq!(shop.psql("SELECT obj_description('devices'::regclass)"), "it's ours");
    assert_eq!(shop.psql("SELECT reloptions FROM pg_class WHERE relname = 'ids'"), "{security_barrier=true}");
    shop.check_commits("devices");
    shop.check_tidy();
}

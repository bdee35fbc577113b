//! A database that nobody made for these tests: the tables of PostgreSQL's own benchmark, partitioned and with foreign keys,
//! and all that its catalogues say of a server, with their arrays, domains and internal types. It is loaded into Delta
//! tables and from there into another server, and has to be there what it was here.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use windrow_tests::{
    postgres::Postgres,
    process::{run, run_json, said},
    skip::skip,
};

/// Every catalogue and view that can be copied and has rows; each under a name short enough for a versioned table.
const SAMPLE: &str = "
CREATE SCHEMA sample;
DO $$
DECLARE r record; n bigint;
BEGIN
  FOR r IN SELECT nspname AS schema, relname AS name,
      replace(CASE nspname WHEN 'pg_catalog' THEN 'c_' ELSE 'i_' END || relname, 'information_schema_', '') AS copy
      FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
      WHERE nspname IN ('pg_catalog', 'information_schema') AND relkind IN ('r', 'v') ORDER BY 1, 2
  LOOP
    BEGIN
      EXECUTE format('CREATE TABLE sample.%I AS SELECT * FROM %I.%I', r.copy, r.schema, r.name);
      EXECUTE format('SELECT count(*) FROM sample.%I', r.copy) INTO n;
      IF n = 0 THEN EXECUTE format('DROP TABLE sample.%I', r.copy); END IF;
    EXCEPTION WHEN invalid_table_definition OR duplicate_column THEN NULL; -- pseudo-types and names of system columns
    END;
  END LOOP;
END $$;
CREATE VIEW sample.rich_branches AS
  SELECT bid, count(*) AS accounts, sum(abalance) AS balance FROM pgbench_accounts GROUP BY bid;";

/// Every table and view of the sample: name in the database, name of the copy.
const TABLES: &str = "
SELECT format('%I.%I', nspname, relname), relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE (nspname = 'sample' OR nspname = 'public' AND relname LIKE 'pgbench%')
  AND relkind IN ('r', 'v', 'p') AND NOT relispartition ORDER BY 1";

/// For each of them a query of its rows, and one of the rows of its copy in the types of here.
const QUERIES: &str = "
SELECT format('%I.%I', nspname, relname),
  string_agg(format('%I::text', attname), ', ' ORDER BY attnum),
  string_agg(CASE
    WHEN type.typname IN ('regproc', 'pg_node_tree') THEN format('%I', attname) -- their text is no input
    WHEN type.typname IN ('int2vector', 'oidvector') THEN format('array_to_string(%I, '' '')', attname)
    ELSE format('%I::%s::text', attname, format_type(atttypid, atttypmod)) END, ', ' ORDER BY attnum)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace JOIN pg_attribute ON attrelid = pg_class.oid
  JOIN pg_type type ON type.oid = atttypid
WHERE (nspname = 'sample' OR nspname = 'public' AND relname LIKE 'pgbench%')
  AND relkind IN ('r', 'v', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped
GROUP BY 1, nspname, relname ORDER BY 1";

/// Count and digest of a table's rows, whatever their order.
fn digest(table: &str, columns: &str) -> String {
    format!(
        "SELECT count(*), md5(string_agg(r, E'\\n' ORDER BY r COLLATE \"C\")) FROM (SELECT ROW({columns})::text AS r FROM {table}) AS rows;\n"
    )
}

/// A table of the sample.
struct Table {
    name: String,
    copy: String,
}

fn tables(sample: &Postgres) -> Vec<Table> {
    let listed = sample.psql(TABLES).unwrap();
    let pair = |line: &str| line.split_once('|').map(|(name, copy)| (name.to_owned(), copy.to_owned())).unwrap();
    listed.lines().map(pair).map(|(name, copy)| Table { name, copy }).collect()
}

/// One pipeline for each table, from `source` to `sink`.
fn declare(folder: &Path, connections: &str, tables: &[Table], block: impl Fn(&Table) -> String) {
    let mut text = format!("version: 1\nconnections:\n{connections}pipelines:\n");
    for table in tables {
        write!(text, "  {}:\n    pattern: full\n{}", table.copy.replace('_', "-"), block(table)).unwrap();
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("pipelines.yaml"), text).unwrap();
}

fn load(folder: &Path, tables: usize) {
    let path = folder.to_str().unwrap();
    let output = run(&["run", path]).unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", path]).unwrap();
    let published = pipelines.as_array().unwrap().iter().filter(|one| one["windows"]["published"] == 1).count();
    assert_eq!(published, tables);
}

/// The file that is made for a database is run as it is.
#[test]
fn every_table_of_a_schema_is_found_and_loaded_by_the_file_that_is_made_for_it() {
    let test = "every_table_of_a_schema_is_found_and_loaded_by_the_file_that_is_made_for_it";
    let Some(shop) = Postgres::start().unwrap() else { return skip(test, "there is no PostgreSQL server") };
    shop.run_tool("pgbench", &["-i", "-q", "--partitions=3"]).unwrap();
    shop.psql(
        "CREATE SCHEMA sales; CREATE TABLE sales.\"Day's sums\" AS SELECT now() AS at, localtime AS opens, 1 AS n;
         CREATE VIEW rich AS SELECT * FROM pgbench_accounts WHERE abalance > 0; CREATE TABLE audit_log (id int)",
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (url, lake, file) =
        (folder.path().join("url"), folder.path().join("lake"), folder.path().join("pipelines.yaml"));
    fs::write(&url, shop.url()).unwrap();
    let reference = format!("${{file:{}}}", url.display());
    let discover = |more: &[&str]| {
        let output = run(&[&["discover", "--url", &reference], more].concat()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = discover(&["--except", "audit*"]);
    assert_eq!(listed.lines().count(), 1 + 6, "{listed}");
    let accounts = listed.lines().find(|line| line.starts_with("public.pgbench_accounts ")).unwrap();
    assert!(
        accounts.contains("100,000") && accounts.contains("aid"),
        "partitions are counted and none is listed: {listed}"
    );
    fs::create_dir(&lake).unwrap();
    let text = discover(&["*.*", "--except", "audit*", "--to", lake.to_str().unwrap()]);
    assert!(text.contains("source.cursor: at") && !text.contains("audit"), "{text}");
    fs::write(&file, text).unwrap();
    load(&file, 6);
    assert_eq!(crate::demo::rows_by_log(&lake.join("pgbench_accounts")), Some(100_000));
    assert_eq!(crate::demo::rows_by_log(&lake.join("sales.Day-s-sums")), Some(1));
    let none = run(&["discover", "nothing_*", "--url", &reference]).unwrap();
    assert_eq!(none.status.code(), Some(1), "{}", String::from_utf8_lossy(&none.stderr));
}

#[test]
fn a_foreign_database_goes_to_delta_and_into_another_server_with_equal_rows() {
    let test = "a_foreign_database_goes_to_delta_and_into_another_server_with_equal_rows";
    let (Some(here), Some(there)) = (Postgres::start().unwrap(), Postgres::start().unwrap()) else {
        return skip(test, "there is no PostgreSQL server");
    };
    here.run_tool("pgbench", &["-i", "-q", "--partitions=5", "--foreign-keys"]).unwrap();
    here.run_tool("pgbench", &["-n", "-t", "50"]).unwrap();
    here.psql(SAMPLE).unwrap();
    let tables = tables(&here);
    assert!(tables.len() > 100, "{} tables", tables.len());

    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    fs::create_dir(&lake).unwrap();
    let connections = |postgres: &Postgres| {
        let (url, lake) = (postgres.url(), lake.display());
        let secret = folder.path().join(format!("url-{}", postgres.port()));
        fs::write(&secret, url).unwrap();
        let shop = format!("  shop: {{ type: postgres, url: \"${{file:{}}}\" }}\n", secret.display());
        format!("{shop}  lake: {{ type: local, root: {lake} }}\n  staging: {{ type: local, root: {lake}/staging }}\n")
    };
    let (out, back) = (folder.path().join("out"), folder.path().join("back"));
    declare(&out, &connections(&here), &tables, |Table { name, copy }| {
        format!("    source: {{ from: shop, table: {name} }}\n    sink: {{ to: lake, format: delta, path: {copy} }}\n")
    });
    load(&out, tables.len());
    declare(&back, &connections(&there), &tables, |Table { copy, .. }| {
        format!(
            "    source: {{ from: lake, format: delta, path: {copy} }}\n    sink: {{ to: shop, format: postgres, table: {copy}, staging: staging }}\n"
        )
    });
    load(&back, tables.len());

    let copies: BTreeMap<_, _> = tables.iter().map(|table| (table.name.as_str(), table.copy.as_str())).collect();
    let (mut asked_here, mut asked_there) =
        ("SET TimeZone = 'UTC';\n".to_owned(), "SET TimeZone = 'UTC';\n".to_owned());
    let queries = here.psql(QUERIES).unwrap();
    for line in queries.lines() {
        let [name, own, cast] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        asked_here += &digest(name, own);
        asked_there += &digest(copies[name], cast);
    }
    let (rows_here, rows_there) = (here.psql(&asked_here).unwrap(), there.psql(&asked_there).unwrap());
    let differing: Vec<_> = queries
        .lines()
        .zip(rows_here.lines().zip(rows_there.lines()))
        .filter(|(_, (here, there))| here != there)
        .map(|(query, digests)| (query.split('|').next(), digests))
        .collect();
    assert_eq!((differing, rows_here.lines().count()), (Vec::new(), tables.len()));
}

//! Which rows go as they are, what arrives of values that windrow has no form for, and what is said of those that are decoded.

use windrow_tests::process::ran;

use super::Pair;

/// Every sort of type that has one form everywhere, and the values that are the strangest of it. Some of them the decoder refuses.
const STRANGE: &str = "
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE strange (
    id bigint GENERATED ALWAYS AS IDENTITY, b boolean, c \"char\", n name, i2 smallint, i4 integer, i8 bigint, o oid, t tid, f4 real,
    f8 double precision, d numeric, d2 numeric(12,2), s text, v varchar(20), k char(5), bin bytea, dt date, tm time(3), tz timetz,
    ts timestamp, ts0 timestamp(0), tstz timestamptz, iv interval, iv2 interval day to second(3), u uuid, j json, jb jsonb, jp jsonpath,
    ip inet, net cidr, mac macaddr, mac8 macaddr8, bits bit(3), vb varbit, tsv tsvector, p point, bx box, pa path, po polygon,
    ci circle, li line, ls lseg, lsn pg_lsn, r int4range, rd daterange, m nummultirange, a int[], a2 text[][], at timestamptz[], an numeric(9,3)[],
    mo mood, po2 positive, nothing text, \"odd \"\"name\"\" of it\" int
);
INSERT INTO strange (b, c, n, i2, i4, i8, o, t, f4, f8, d, d2, s, v, k, bin, dt, tm, tz, ts, ts0, tstz, iv, iv2, u, j, jb, jp, ip, net, mac, mac8,
    bits, vb, tsv, p, bx, pa, po, ci, li, ls, lsn, r, rd, m, a, a2, at, an, mo, po2, \"odd \"\"name\"\" of it\")
VALUES (true, 'x', 'a name', -32768, -2147483648, -9223372036854775808, 4294967295, '(1,2)', 'NaN', '-infinity', 'NaN', 'NaN',
    E'line\\n\\ttab \\u00e9\\U0001F33E', 'tw\u{e9}nty', 'ab', '\\x00ff0a', 'infinity', '24:00', '23:59:59.999999+15:59', 'infinity',
    '-infinity', '294276-12-31 23:59:59.999999+00', '178000000 years 5 mons -3 days 04:05:06.789', '1 day 2.5', gen_random_uuid(),
    '{ \"b\" : 1,   \"a\": 1.0e5, \"b\": 2 }', '{\"b\": 1, \"a\": 1.0e5}', '$.a[*] ? (@ > 1)', '::ffff:1.2.3.4/96', '10.0.0.0/8',
    '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'101', B'0110', 'a fat:1A cat:3', '(1,-2)', '((1,2),(3,4))',
    '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(1,2),3>', '{1,2,3}', '[(0,0),(1,1)]', '16/B374D848', '[1,)', 'empty', '{[1,2),(5,7.5]}',
    '[0:2]={1,NULL,3}', '{{a,NULL},{\"c,\",\"\"}}', '{infinity,\"4713-01-01 00:00:00+00 BC\"}', '{NaN,1.5}', 'it''s ok', 3, 1),
   (false, '', '', 32767, 2147483647, 9223372036854775807, 0, '(0,0)', 'infinity', '-0', 'infinity', 9999999999.99, '', '', '', '', '4713-01-01 BC',
    '00:00', '00:00-15:59', '4713-01-01 00:00:00 BC', '2000-01-01', '-infinity', '-178000000 years', '-1 day', gen_random_uuid(), 'null', 'null',
    '$', '0.0.0.0', '::/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', B'000', B'', '', '(NaN,infinity)', '((0,0),(0,0))',
    '((0,0))', '((0,0))', '<(0,0),0>', '{1,0,0}', '[(0,0),(0,0)]', '0/0', 'empty', '[2024-01-01,infinity)', '{}', '{}', '{}', '{}', '{}', 'glad', 1, NULL),
   (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, -1e100, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL)";

/// Proves FL1. The values are the same and so are the types, and nobody decoded any: the decoder refuses some of them.
#[test]
fn rows_of_every_type_arrive_as_they_are() {
    let Some(pair) = Pair::open("rows_of_every_type_arrive_as_they_are") else { return };
    pair.here.psql(STRANGE).unwrap();
    pair.there.psql("CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glad')").unwrap();
    pair.declare_load("strange", "", "");
    assert_eq!(pair.planned(), Ok(()));
    let (code, text) = ran(&["plan", pair.arg()]).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("rows travel as they are: not decoded") && text.contains("numeric(12,2)"), "{text}");
    let (code, text) = pair.run();
    assert_eq!(code, Some(0), "{text}");
    // A domain is its base there, which the plan says.
    pair.here.psql("ALTER TABLE strange ALTER po2 TYPE int").unwrap();
    pair.check_equal("strange");
    assert_eq!(
        pair.there.psql("SELECT ts, tm, d, i8 FROM strange WHERE id = 1").unwrap(),
        "infinity|24:00:00|NaN|-9223372036854775808"
    );
    assert_eq!(pair.staged(), (1, 0));
    // The same rows, decoded: those with such values are rejected.
    pair.declare_load("strange", "", ", decode: always");
    assert_eq!(pair.planned(), Err("`decode: always` says so".to_owned()));
    let (code, text) = pair.again("load", "decoded");
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("WR-S008"), "{text}");
    pair.check_equal("strange");
}

/// Where both sides have not the very same type, values are decoded as ever, and the plan says why.
#[test]
fn what_has_another_form_on_the_other_side_is_decoded_and_the_plan_says_why() {
    let Some(pair) = Pair::open("what_has_another_form_on_the_other_side_is_decoded_and_the_plan_says_why") else {
        return;
    };
    pair.here.psql("CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (a int, b int)").unwrap();
    pair.there.psql("CREATE TYPE mood AS ENUM ('glad', 'sad')").unwrap();
    for (column, values, source, sink, why) in [
        ("mood", "('sad')", "", "", "is another type here"),
        ("mood[]", "('{sad}')", "", "", "by a number what its elements are"),
        ("pair", "('(1,2)')", "", "", "by numbers what it is made of"),
        ("money", "(1.5)", "", "", "locale"),
        ("tsquery", "('fat & rat')", "", "", "does not take back all"),
        ("regclass", "('pg_class')", "", "", "numbers that each database gives itself"),
        ("int", "(1)", "", ", decode: always", "`decode: always` says so"),
        ("int", "(1)", "", ", types: { x: bigint }", "`types` gives"),
        ("numeric(9,2)", "(1.5)", ", schema: { x: text }", "", "`schema` has"),
        ("numeric(9,2)", "(1.5)", ", special_values: reject", "", "`special_values: reject`"),
        ("timestamp", "('2024-01-01')", ", special_values: 'null'", "", "`special_values: null`"),
    ] {
        pair.here
            .psql(&format!(
                "DROP TABLE IF EXISTS rows; CREATE TABLE rows (x {column}); INSERT INTO rows VALUES {values}"
            ))
            .unwrap();
        pair.there.psql("DROP VIEW IF EXISTS rows; DROP TABLE IF EXISTS rows_v1").unwrap();
        pair.begin_anew();
        pair.declare_load("rows", source, sink);
        let planned = pair.planned().unwrap_err();
        assert!(planned.contains(why), "{column}{source}{sink}: {planned}");
        let (code, text) = pair.run();
        assert_eq!(code, Some(0), "{column}: {text}");
        assert_eq!(pair.there.psql("SELECT count(x) FROM rows").unwrap(), "1", "{column}");
    }
}

/// A table that is there is written as it is if its columns are of the same types; its own length and precision count.
#[test]
fn a_table_that_is_there_takes_rows_as_they_are_if_its_types_are_theirs() {
    let Some(pair) = Pair::open("a_table_that_is_there_takes_rows_as_they_are_if_its_types_are_theirs") else { return };
    pair.here
        .psql("CREATE TABLE rows (id int, v varchar(20), d numeric(12,2)); INSERT INTO rows VALUES (1, 'one', 1.5), (2, NULL, 'NaN')")
        .unwrap();
    let append = ", write: append";
    for (columns, planned) in [
        ("id int, v varchar(20), d numeric(12,2)", Ok(())),
        ("made bigint GENERATED ALWAYS AS IDENTITY, d numeric, v varchar, id int, more text DEFAULT 'x'", Ok(())),
        (
            "id bigint, v varchar(20), d numeric(12,2)",
            Err("the column \"id\": it is integer at the source and bigint in the table"),
        ),
        (
            "id int, v varchar(10), d numeric(12,2)",
            Err("it is character varying(20) at the source and character varying(10)"),
        ),
        (
            "id int, v varchar(20), d numeric(12,2) GENERATED ALWAYS AS (1) STORED",
            Err("the table makes its values itself"),
        ),
    ] {
        pair.there.psql(&format!("DROP TABLE IF EXISTS public.rows; CREATE TABLE public.rows ({columns})")).unwrap();
        pair.declare_load("rows", "", append);
        match (pair.planned(), planned) {
            (Ok(()), Ok(())) => {}
            (Err(said), Err(why)) => {
                assert!(said.contains(why), "{said}");
                continue;
            }
            (found, _) => panic!("{columns}: {found:?}"),
        }
        let (code, text) = pair.again("load", &columns.len().to_string());
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(
            pair.there.psql("SELECT DISTINCT id, v, d FROM public.rows ORDER BY id").unwrap(),
            "1|one|1.50\n2||NaN"
        );
    }
}

/// `decode: never` refuses what would have to be decoded: from the file alone where that tells it, else before a row is read.
#[test]
fn rows_that_must_not_be_decoded_are_refused_where_they_would_be() {
    let Some(pair) = Pair::open("rows_that_must_not_be_decoded_are_refused_where_they_would_be") else { return };
    pair.here.psql("CREATE TABLE rows (x int); INSERT INTO rows VALUES (1)").unwrap();
    pair.declare_load("rows", "", ", decode: never");
    assert_eq!(pair.run().0, Some(0));
    pair.here.psql("ALTER TABLE rows ADD m money").unwrap();
    let (code, text) = ran(&["plan", pair.arg()]).unwrap();
    assert!(code == Some(2) && text.contains("WR-K015") && text.contains("locale"), "{text}");
    let (code, text) = pair.again("load", "money");
    assert!(code == Some(4) && text.contains("WR-K015"), "{text}");
    assert_eq!(pair.there.psql("SELECT count(*) FROM rows").unwrap(), "1");
    pair.declare_load(
        "rows",
        "",
        ", decode: never }\n    transform: [ { sql: SELECT x FROM input } ]\n    guard: { min_rows: 1",
    );
    let (code, text) = ran(&["validate", pair.arg()]).unwrap();
    assert!(code == Some(2) && text.contains("WR-P009") && text.contains("the transform looks at values"), "{text}");
}

//! Values of every type: what the source yields, held against what `psql` shows.

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
        Time64MicrosecondType, TimestampMicrosecondType,
    },
};
use arrow_schema::DataType;
use proptest::{
    collection::vec,
    prelude::*,
    strategy::{BoxedStrategy, ValueTree},
    test_runner::{Config, TestRng, TestRunner},
};
use serde_json::{Value, json};
use windrow_common::window::Window;

use windrow_tests::process::said;

use super::{read, rows_of, server, source};

const ROWS: usize = 2_000;
const TEST: &str = "every_type_is_read_as_psql_shows_it";

/// A column: its type, literals of random values, and how the server is asked for what the source should have read.
struct Case {
    kind: &'static str,
    values: BoxedStrategy<String>,
    asked: &'static str,
}

fn case(kind: &'static str, values: impl Strategy<Value = String> + 'static, asked: &'static str) -> Case {
    Case { kind, values: values.boxed(), asked }
}

fn quoted(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', "''"))
}

/// Text as people and machines write it, all of Unicode but the one character PostgreSQL does not take, and those that are
/// none and that `psql` leaves out of what it shows.
fn text() -> impl Strategy<Value = String> {
    let is_one = |c: char| !matches!(u32::from(c), 0xfdd0..=0xfdef) && u32::from(c) & 0xfffe != 0xfffe;
    let any = "[^\0]{0,20}".prop_map(move |text| text.chars().filter(|c| is_one(*c)).collect::<String>());
    prop_oneof!["[a-z]{0,12}", any]
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::NAN), Just(-0.0)]
}

fn digits(whole: usize, fraction: usize) -> impl Strategy<Value = String> {
    let pattern = format!("-?[0-9]{{1,{whole}}}\\.[0-9]{{0,{fraction}}}0");
    proptest::string::string_regex(&pattern).unwrap()
}

/// An instant from year 1 to 9999 in microseconds.
fn micros() -> impl Strategy<Value = i64> {
    -62_135_596_800_000_000..253_402_300_800_000_000_i64
}

const AT: &str = "'1970-01-01T00:00:00'::timestamp + make_interval(hours => ";

fn instant(micros: i64, kind: &str) -> String {
    let (hours, rest) = (micros.div_euclid(3_600_000_000), micros.rem_euclid(3_600_000_000));
    let local = format!("({AT}{hours}) + {rest} * interval '1 microsecond')");
    match kind {
        "timestamptz" => format!("({local} AT TIME ZONE 'UTC')"),
        _ => local,
    }
}

fn bytes(most: usize) -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..most).prop_map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn array(kind: &'static str, elements: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let elements = prop_oneof![8 => elements, 1 => Just("NULL".to_owned())];
    vec(elements, 0..5).prop_map(move |elements| format!("ARRAY[{}]::{kind}", elements.join(",")))
}

const MICROS: &str = "(extract(epoch FROM c) * 1000000)::bigint::text";

fn cases() -> Vec<Case> {
    let whole = any::<i32>().prop_map(|value| value.to_string());
    let uuid = || any::<u128>().prop_map(|bits| quoted(format!("{bits:032x}")));
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|([a, b, c, d], bits)| quoted(format!("{a}.{b}.{c}.{d}/{bits}")));
    let v6 = || {
        let word = prop_oneof![Just(0_u16), Just(0xffff), any::<u16>()];
        vec(word, 8).prop_map(|words| words.iter().map(|word| format!("{word:x}")).collect::<Vec<_>>().join(":"))
    };
    let interval = (any::<i16>(), any::<i16>(), -1_000_000_000_000_000_i64..1_000_000_000_000_000);
    let json_text =
        || (any::<i32>(), text()).prop_map(|(n, text)| quoted(json!({ "n": n, "t": [text, null] }).to_string()));
    let no_escape = json_text().prop_filter("jsonb takes no \\u0000", |text| !text.contains("\\u0000"));
    vec![
        case("boolean", any::<bool>().prop_map(|value| value.to_string()), "c::text"),
        case("smallint", any::<i16>().prop_map(|value| format!("({value})::smallint")), "c::text"),
        case("integer", whole.clone(), "c::text"),
        case("bigint", any::<i64>().prop_map(|value| quoted(value.to_string())), "c::text"),
        case("oid", any::<u32>().prop_map(|value| value.to_string()), "c::text"),
        case("real", floats().prop_map(|v| quoted(format!("{:e}", v as f32))), "c::text"),
        case("double precision", floats().prop_map(|v| quoted(format!("{v:e}"))), "c::text"),
        case("numeric(12,2)", digits(10, 1), "c::text"),
        case("numeric(38,9)", digits(29, 8), "c::text"),
        case("numeric(76,30)", digits(46, 29), "c::text"),
        case("numeric(3,-2)", (-99_949_i32..=99_949).prop_map(|v| v.to_string()), "c::text"),
        case("numeric(2,5)", (-99_i32..=99).prop_map(|v| format!("{v}e-5")), "c::text"),
        case(
            "numeric",
            prop_oneof![digits(60, 40), Just("'NaN'".to_owned()), Just("'-Infinity'".to_owned())],
            "c::text",
        ),
        case("text", text().prop_map(quoted), "c"),
        case("varchar(30)", text().prop_map(quoted), "c"),
        case("char(8)", "[a-z ]{0,8}".prop_map(quoted), "rpad(c::text, 8)"),
        case("name", "[a-z ]{0,20}".prop_map(quoted), "c::text"),
        case("bytea", bytes(30).prop_map(|hex| format!("'\\x{hex}'")), "encode(c, 'hex')"),
        case(
            "date",
            (-719_162..=2_932_896_i32).prop_map(|d| format!("date '1970-01-01' + ({d})")),
            "(c - date '1970-01-01')::text",
        ),
        case(
            "time",
            (0..86_400_000_000_i64).prop_map(|m| format!("time '00:00' + {m} * interval '1 microsecond'")),
            MICROS,
        ),
        case("timestamp", micros().prop_map(|m| instant(m, "timestamp")), MICROS),
        case("timestamptz", micros().prop_map(|m| instant(m, "timestamptz")), MICROS),
        case(
            "interval",
            interval.prop_map(|(m, d, t)| {
                format!("make_interval(months => {m}, days => {d}) + ({t}) * interval '1 microsecond'")
            }),
            "c::text",
        ),
        case("uuid", uuid(), "c::text"),
        case("json", json_text(), "c::text"),
        case("jsonb", no_escape, "c::text"),
        case("mood", prop_oneof![Just("'sad'".to_owned()), Just("'très ''ok'''".to_owned())], "c::text"),
        case(
            "inet",
            prop_oneof![v4, (v6(), 0..=128_u8).prop_map(|(a, bits)| quoted(format!("{a}/{bits}")))],
            "CASE WHEN c IS NOT NULL THEN format('%s', c) END",
        ),
        case(
            "cidr",
            prop_oneof![any::<u8>().prop_map(|a| quoted(format!("{a}.0.0.0/8"))), v6().prop_map(quoted)],
            "CASE WHEN c IS NOT NULL THEN format('%s', c) END",
        ),
        case("macaddr", any::<[u8; 6]>().prop_map(|m| quoted(m.map(|b| format!("{b:02x}")).join(":"))), "c::text"),
        case("macaddr8", any::<[u8; 8]>().prop_map(|m| quoted(m.map(|b| format!("{b:02x}")).join(":"))), "c::text"),
        case("price", digits(8, 1), "c::text"),
        case("label", "[a-z]{1,9}".prop_map(quoted), "c::text"),
        case(
            "int4range",
            (any::<i16>(), 1..100_i32).prop_map(|(a, n)| format!("int4range({a}, {a} + {n})")),
            "c::text",
        ),
        case("pair", (any::<i16>(), text()).prop_map(|(n, t)| format!("ROW({n}, {})::pair", quoted(t))), "c::text"),
        case("point", (any::<i16>(), any::<i16>()).prop_map(|(x, y)| format!("point({x}, {y})")), "c::text"),
        case("bit varying", "[01]{0,20}".prop_map(|bits| format!("B'{bits}'")), "c::text"),
        case("money", any::<i32>().prop_map(|value| format!("({value})::money")), "c::text"),
        case("timetz", (0..86_400_u32).prop_map(|s| format!("timetz '00:00+02' + {s} * interval '1 s'")), "c::text"),
        case("tsvector", "[a-z]{1,8}".prop_map(|t| format!("to_tsvector('simple', '{t}')")), "c::text"),
        case("integer[]", array("integer[]", whole), "array_to_json(c)::text"),
        case("text[]", array("text[]", text().prop_map(quoted)), "array_to_json(c)::text"),
        case("uuid[]", array("uuid[]", uuid()), "array_to_json(c)::text"),
        case("numeric(12,2)[]", array("numeric(12,2)[]", digits(10, 1)), "array_to_json(c::text[])::text"),
        case(
            "int4range[]",
            array("int4range[]", any::<i16>().prop_map(|a| format!("int4range({a}, {a} + 5)"))),
            "array_to_json(c::text[])::text",
        ),
        case("mood[]", array("mood[]", Just("'sad'".to_owned())), "array_to_json(c)::text"),
    ]
}

/// A value as text, in the form the server was asked for.
fn shown(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    Value::String(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(row),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(row).to_string(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Binary => array.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02x}")).collect(),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            let item = |at: usize| match (shown(&list, at), list.data_type()) {
                (Value::String(number), DataType::Int32) => json!(number.parse::<i32>().unwrap()),
                (other, _) => other,
            };
            Value::Array((0..list.len()).map(item).collect()).to_string()
        }
        other => panic!("no source yields {other}"),
    })
}

/// The column as text.
fn column(batches: &[RecordBatch], column: usize) -> Vec<String> {
    let cell = |batch: &RecordBatch, row| shown(batch.column(column), row).as_str().unwrap_or("null").to_owned();
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| cell(batch, row))).collect()
}

/// Whether the two texts are the same value: numbers of floating point may be written in two ways, lists spaced in two.
fn same(kind: &str, read: &Value, asked: &Value) -> bool {
    let (Some(read_text), Some(asked_text)) = (read.as_str(), asked.as_str()) else { return read == asked };
    let float = |text: &str| text.replace("Infinity", "inf").parse::<f64>().ok().map(f64::to_bits);
    match kind {
        "real" => {
            let float = |text: &str| text.replace("Infinity", "inf").parse::<f32>().ok().map(f32::to_bits);
            float(read_text) == float(asked_text)
        }
        "double precision" => float(read_text) == float(asked_text),
        kind if kind.ends_with("[]") => {
            let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            json(read_text) == json(asked_text)
        }
        _ => read_text == asked_text,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_is_read_as_psql_shows_it() {
    let Some(postgres) = server(TEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE TYPE mood AS ENUM ('sad', 'très ''ok'''); CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE > -1e9);
             CREATE DOMAIN label AS text NOT NULL; CREATE TYPE pair AS (n int, t text);",
        )
        .unwrap();
    let cases = cases();
    let columns: Vec<String> = cases.iter().enumerate().map(|(at, case)| format!("c{at} {}", case.kind)).collect();
    postgres.psql(&format!("CREATE TABLE every (id int PRIMARY KEY, {})", columns.join(", "))).unwrap();

    let seed = std::env::var("WINDROW_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()).unwrap_or(20_240_101);
    println!("WINDROW_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for from in (0..ROWS).step_by(100) {
        let rows: Vec<String> = (from..from + 100)
            .map(|id| {
                let values: Vec<String> = cases
                    .iter()
                    .map(|case| match case.kind {
                        // One row in nine is null where it may be.
                        kind if kind != "label" && id % 9 == kind.len() % 9 => "NULL".to_owned(),
                        _ => case.values.new_tree(&mut runner).unwrap().current(),
                    })
                    .collect();
                format!("({id}, {})", values.join(", "))
            })
            .collect();
        postgres.psql(&format!("INSERT INTO every VALUES {};", rows.join(",\n"))).unwrap();
    }

    let source = source(&postgres.url(), folder.path(), json!({ "table": "every" }), None);
    let (batches, rejected) = read(&source, &Window::version(1)).await.unwrap();
    assert_eq!(rejected, []);
    assert_eq!(rows_of(&batches), ROWS);
    for (at, case) in cases.iter().enumerate() {
        // The column's own name stands for `c`.
        let asked = format!("(SELECT {} FROM (SELECT c{at}) AS one (c))", case.asked);
        let sql = format!(
            "SET IntervalStyle = 'iso_8601'; SET TimeZone = 'UTC'; SELECT json_object_agg(id, {asked}) FROM every"
        );
        let asked: Value = serde_json::from_str(&postgres.psql(&sql).unwrap()).unwrap();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let id = shown(batch.column(0), row).as_str().unwrap().to_owned();
                let read = shown(batch.column(at + 1), row);
                assert!(
                    same(case.kind, &read, &asked[&id]),
                    "{} of row {id}: read {read}, psql shows {}",
                    case.kind,
                    asked[&id]
                );
            }
        }
    }
}

/// Values that arrow has not are rejected with their row, or become null where that is declared; as text they are
/// themselves. What does not fit a type that was declared is rejected in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_without_an_equal_are_never_lost_in_silence() {
    let Some(postgres) = server("values_without_an_equal_are_never_lost_in_silence") else { return };
    let folder = tempfile::tempdir().unwrap();
    postgres
        .psql(
            "CREATE TABLE odd (id int, day date, at timestamptz, price numeric(10,2), free numeric, grid int[], tod time);
             INSERT INTO odd VALUES
                (1, '2024-01-01', '2024-01-01', 1.5, 12.345, '{1,2}', '12:00'),
                (2, 'infinity', NULL, NULL, NULL, NULL, NULL), (3, NULL, '-infinity', NULL, NULL, NULL, NULL),
                (4, NULL, NULL, 'NaN', NULL, NULL, NULL), (5, '0044-03-15 BC', NULL, NULL, NULL, NULL, NULL),
                (6, NULL, '294276-12-31', NULL, NULL, NULL, NULL), (7, NULL, NULL, NULL, NULL, '{{1,2},{3,4}}', NULL),
                (8, NULL, NULL, NULL, 'Infinity', NULL, NULL), (9, NULL, NULL, NULL, NULL, NULL, '24:00')",
        )
        .unwrap();
    let of = |params: Value| source(&postgres.url(), folder.path(), params, None);
    let ids = |batches: &[RecordBatch]| column(batches, 0);

    let (rows, rejected) = read(&of(json!({ "table": "odd" })), &Window::version(1)).await.unwrap();
    assert_eq!(ids(&rows), ["1", "8"]);
    let told: Vec<_> = rejected.iter().map(|reject| (reject.position, reject.code, reject.reason.as_str())).collect();
    assert_eq!(told[0], (2, "WR-S005", "column \"day\": infinity has no equal in the column's type"));
    assert_eq!(told.len(), 7);
    assert!(rejected[2].raw.starts_with("id=4, day=null"), "{}", rejected[2].raw);
    assert!(rejected[0].input.starts_with("public.odd of 127.0.0.1:"), "{}", rejected[0].input);

    let nulls = of(json!({ "table": "odd", "special_values": "null" }));
    let (rows, rejected) = read(&nulls, &Window::version(1)).await.unwrap();
    assert_eq!(ids(&rows), ["1", "2", "3", "4", "5", "6", "8", "9"]);
    assert_eq!(rejected.iter().map(|reject| reject.position).collect::<Vec<_>>(), [7]);

    let text = of(
        json!({ "table": "odd", "schema": { "day": "text", "at": "text", "price": "text", "grid": "text", "tod": "text" } }),
    );
    let (rows, rejected) = read(&text, &Window::version(1)).await.unwrap();
    assert_eq!((rows_of(&rows), rejected.len()), (9, 0));
    let cell = |row: usize, at: usize| column(&rows, at)[row].clone();
    assert_eq!(
        (cell(1, 1), cell(3, 3), cell(4, 1)),
        ("infinity".to_owned(), "NaN".to_owned(), "0044-03-15 BC".to_owned())
    );
    assert_eq!((cell(6, 5), cell(8, 6)), ("{{1,2},{3,4}}".to_owned(), "24:00:00".to_owned()));

    let declared = of(json!({ "table": "odd", "columns": ["id", "free"], "schema": { "free": "decimal(10,2)" } }));
    let (_, rejected) = read(&declared, &Window::version(1)).await.unwrap();
    let told: Vec<_> = rejected.iter().map(|reject| (reject.position, reject.reason.as_str())).collect();
    assert_eq!(told[0], (1, "column \"free\": 12.345 does not fit decimal(10,2)"));
    assert_eq!(told.len(), 2);
}

/// The worker's own test of a round trip through an encoder that is not ours, on this server.
#[test]
fn what_pgpq_puts_in_comes_out_equal() {
    let test = "what_pgpq_puts_in_comes_out_equal";
    let Some(postgres) = server(test) else { return };
    let Some(tests) = crate::s3::worker_tests() else {
        return windrow_tests::skip::skip(test, "the worker's unit tests are not built beside these");
    };
    let output = std::process::Command::new(tests)
        .args(["--ignored", "--exact", "postgres::tests::what_pgpq_puts_in_comes_out_equal"])
        .env("WINDROW_TEST_POSTGRES", postgres.url())
        .output()
        .unwrap();
    let said = said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

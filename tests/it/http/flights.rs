//! Flights and planes from an API to Delta, as a user loads them: once, whatever goes wrong on the way.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Map, Value, json};
use windrow_tests::{
    api::{Api, Asked, Reply},
    process::{run_in, said},
    reader,
    skip::skip,
};

use super::reading::planes;
use crate::demo::rows_by_log;

const TOKEN: &str = "tok-1d0nt5h0w";
const DAYS: [&str; 3] = ["2013-02-01", "2013-02-02", "2013-02-03"];

/// The flights of some days, by day.
struct Flights(BTreeMap<String, Vec<Value>>);

impl Flights {
    fn read() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/flights/data/flights.csv.gz");
        let unpacked = Command::new("gzip").arg("-dc").arg(file).output().unwrap();
        let text = String::from_utf8(unpacked.stdout).unwrap();
        let mut lines = text.lines();
        let names: Vec<_> = lines.next().unwrap().split(',').collect();
        let mut days: BTreeMap<_, Vec<Value>> = DAYS.iter().map(|day| ((*day).to_owned(), Vec::new())).collect();
        for line in lines {
            let Some(day) = line.rsplit(',').next().and_then(|at| days.get_mut(&at[..10])) else { continue };
            let value = |text: &str| match (text, text.parse::<i64>()) {
                ("NA", _) => Value::Null,
                (_, Ok(number)) => number.into(),
                _ => text.into(),
            };
            let record: Map<_, _> =
                names.iter().zip(line.split(',')).map(|(name, text)| ((*name).to_owned(), value(text))).collect();
            day.push(record.into());
        }
        Self(days)
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.0.values().flatten()
    }

    /// Rows and the sum of their distances.
    fn sums(&self) -> (i64, i64) {
        let distance = |flight: &Value| flight["distance"].as_i64().unwrap();
        (self.all().count() as i64, self.all().map(distance).sum())
    }
}

/// An API that has flights, and trouble.
struct Trouble {
    flights: Mutex<Flights>,
    count: AtomicUsize,
    /// Whether it is out.
    out: AtomicBool,
}

impl Trouble {
    /// Records from `from` up to `to`, by tokens, behind a token of its own.
    fn answer(&self, asked: &Asked) -> Reply {
        if asked.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return Reply::status(401, &format!("who is {:?}?", asked.headers.get("authorization")));
        }
        if self.out.load(Ordering::SeqCst) {
            return Reply::status(503, "closed");
        }
        let day = &asked.query["from"][..10];
        assert_eq!(asked.query["to"].len(), "2013-02-01T00:00:00Z".len());
        let from = asked.number("cursor").unwrap_or(0);
        let flights = self.flights.lock().unwrap();
        let records = &flights.0[day];
        let next = (from + 200 < records.len()).then(|| (from + 200).to_string());
        let reply = Reply::json(json!({ "data": super::reading::part(records, from, 200), "next": next }));
        match self.count.fetch_add(1, Ordering::SeqCst) {
            2 => Reply::status(503, "busy").with("Retry-After", "1"),
            5 => Reply { cut: Some(3_000), ..reply },
            7 => Reply::status(500, "oops"),
            _ => reply,
        }
    }
}

/// A pipeline of one window a day, whose token stands in the environment.
fn pipelines(folder: &Path, api: &Api, more: &str) -> String {
    let columns = [
        "year: int, month: int, day: int, dep_time: int, sched_dep_time: int, dep_delay: int, arr_time: int",
        "sched_arr_time: int, arr_delay: int, carrier: string, flight: int, tailnum: string, origin: string",
        "dest: string, air_time: int, distance: int, hour: int, minute: int, time_hour: timestamp",
    ]
    .join(", ");
    let text = format!(
        "version: 1
connections:
  api: {{ type: http, url: \"{url}\", headers: {{ authorization: \"Bearer ${{env:API_TOKEN}}\" }} }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  flights:
    pattern: incremental
    source:
      from: api
      path: \"/v1/flights?from={{window.start:%Y-%m-%dT%H:%M:%SZ}}&to={{window.end:%Y-%m-%dT%H:%M:%SZ}}\"
      records: /data
      pages: {{ by: cursor, at: /next }}
      schema: {{ {columns} }}
    window: {{ every: 1d, start: 2013-02-01, end: 2013-02-04 }}
    sink: {{ to: lake, format: delta, path: flights }}
    retries: {{ attempts: 1, backoff: 10ms }}
{more}",
        url = api.url(),
    );
    fs::write(folder.join("pipelines.yaml"), text).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// Runs windrow with a token; what it says must not have the real one in it.
fn windrow(args: &[&str], token: &str) -> (Option<i32>, String) {
    let environment = [("API_TOKEN", token), ("WINDROW_LOG", "debug")].map(|(name, value)| (name.into(), value.into()));
    let output: Output = run_in(args, &environment).unwrap();
    let said = said(&output);
    assert!(!said.contains(token), "{said}");
    (output.status.code(), said)
}

/// That no file below the folder has the token in it.
fn check_no_token(folder: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += check_no_token(&path);
        } else {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{}", path.display());
            files += 1;
        }
    }
    files
}

fn check_table(test: &str, folder: &Path, expected: (i64, i64)) {
    let table = folder.join("lake/flights");
    assert_eq!(rows_by_log(&table), Some(expected.0 as u64));
    match reader::python() {
        Ok(python) => {
            let found = reader::flights(&python, &table).unwrap();
            assert_eq!((found.rows, found.distance), expected);
            assert_eq!(found.distinct_rows, found.rows);
        }
        Err(reason) => skip(test, &reason),
    }
}

/// Windows by placeholder, through trouble: every record once. Then nothing to do; then one day again, which the API has
/// corrected meanwhile, and only that day is asked for.
#[test]
fn flights_of_an_api_arrive_once_and_a_backfill_of_a_day_asks_for_that_day() {
    let test = "flights_of_an_api_arrive_once_and_a_backfill_of_a_day_asks_for_that_day";
    let folder = tempfile::tempdir().unwrap();
    let flights = Flights::read();
    let sums = flights.sums();
    assert_eq!(sums.0, 2_426, "the flights of three days");
    let trouble =
        Arc::new(Trouble { flights: Mutex::new(flights), count: AtomicUsize::new(0), out: AtomicBool::new(false) });
    let api = Api::serve({
        let trouble = trouble.clone();
        move |asked| trouble.answer(asked)
    })
    .unwrap();
    let path = pipelines(folder.path(), &api, "");
    let (code, said) = windrow(&["run", &path], TOKEN);
    assert_eq!(code, Some(0), "{said}");
    check_table(test, folder.path(), sums);
    let (_, said) = windrow(&["run", &path], TOKEN);
    assert!(said.contains("nothing to do"), "{said}");

    // The API corrects a day: one flight never was, another went further.
    let before = api.asked().len();
    {
        let mut flights = trouble.flights.lock().unwrap();
        let day = flights.0.get_mut(DAYS[1]).unwrap();
        day.pop();
        day[0]["distance"] = json!(day[0]["distance"].as_i64().unwrap() + 1_000_000);
    }
    let corrected = trouble.flights.lock().unwrap().sums();
    assert_eq!(corrected.0, sums.0 - 1);
    let backfill = ["backfill", "create", "flights", "--from", DAYS[1], "--to", DAYS[2], "--reprocess", "all"];
    let (code, said) = windrow(&[backfill.as_slice(), &["--local", &path]].concat(), TOKEN);
    assert_eq!(code, Some(0), "{said}");
    check_table(test, folder.path(), corrected);
    let asked = api.asked().split_off(before);
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.query["from"].starts_with(DAYS[1])));

    assert!(check_no_token(folder.path()) > 10);
    let manifests = fs::read_dir(folder.path().join("lake/flights/_windrow/manifests")).unwrap();
    let texts: Vec<_> = manifests.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let named = format!("{}/v1/flights?from=2013-02-01T00%3A00%3A00Z", api.url());
    assert!(texts.iter().any(|text| text.contains(&named)), "manifests say what was read: {texts:?}");
}

/// An outage costs no attempt, where a pipeline has but one.
#[test]
fn an_api_that_is_out_for_a_while_costs_no_window_its_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let flights = Flights::read();
    let sums = flights.sums();
    let trouble =
        Arc::new(Trouble { flights: Mutex::new(flights), count: AtomicUsize::new(0), out: AtomicBool::new(true) });
    let api = Api::serve({
        let trouble = trouble.clone();
        move |asked| trouble.answer(asked)
    })
    .unwrap();
    let path = pipelines(folder.path(), &api, "");
    let back = std::thread::spawn({
        let trouble = trouble.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_secs(12));
            trouble.out.store(false, Ordering::SeqCst);
        }
    });
    let (code, said) = windrow(&["run", &path], TOKEN);
    back.join().unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("WR-S002") || said.contains("503"), "an attempt met the outage: {said}");
    assert_eq!(rows_by_log(&folder.path().join("lake/flights")), Some(sums.0 as u64));
}

/// A wrong token is told at once, with what to do, and without any token.
#[test]
fn a_wrong_token_quarantines_its_windows_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let trouble =
        Trouble { flights: Mutex::new(Flights::read()), count: AtomicUsize::new(0), out: AtomicBool::new(false) };
    let api = Api::serve(move |asked| trouble.answer(asked)).unwrap();
    let path = pipelines(folder.path(), &api, "");
    let (code, said) = windrow(&["run", &path], "wrong-t0ken");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("WR-S002") && said.contains("401") && said.contains("check the credentials"), "{said}");
    assert!(said.contains("/v1/flights?from=2013-02-0"), "{said}");
    assert!(said.contains("who is Some(\"Bearer *****\")?"), "what the API said, without the token: {said}");
    assert_eq!(api.asked().len(), 3, "each window asked once");
    assert_eq!(rows_by_log(&folder.path().join("lake/flights")).unwrap_or(0), 0);
}

/// A full load, by numbered pages, into Delta; loaded once more it replaces what was there.
#[test]
fn planes_of_an_api_are_loaded_whole() {
    let folder = tempfile::tempdir().unwrap();
    let planes = planes();
    let api = Api::serve(move |asked| {
        let page = asked.number("page").unwrap();
        Reply::json(super::reading::part(&planes, (page - 1) * 1_000, 1_000).into_iter().collect::<Value>())
    })
    .unwrap();
    let text = format!(
        "version: 1
connections:
  api: {{ type: http, url: \"{}\" }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  planes:
    pattern: full
    source:
      from: api
      path: /planes
      pages: {{ by: page }}
      schema: {{ tailnum: string, year: int, seats: int, engine: string }}
    sink: {{ to: lake, format: delta, path: planes }}
",
        api.url()
    );
    fs::write(folder.path().join("pipelines.yaml"), text).unwrap();
    let path = folder.path().to_str().unwrap();
    let plan = windrow(&["plan", path], TOKEN);
    assert!(plan.0 == Some(0) && plan.1.contains("tailnum"), "{plan:?}");
    assert_eq!(api.asked().len(), 0, "a plan asks for nothing");
    let (code, said) = windrow(&["run", path], TOKEN);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("3,322"), "{said}");
    assert_eq!(rows_by_log(&folder.path().join("lake/planes")), Some(3_322));
}

/// What does not go together is told where it stands, before anything is asked for.
#[test]
fn wrong_parameters_are_told_where_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::serve(|_| Reply::json("[]")).unwrap();
    let path = pipelines(folder.path(), &api, "");
    let file = folder.path().join("pipelines.yaml");
    let sound = fs::read_to_string(&file).unwrap();
    for (from, to, code) in [
        ("\"Bearer ${env:API_TOKEN}\"", "\"Bearer abc\"", "WR-P011"),
        ("at: /next", "start: 1", "WR-P005"),
        ("at: /next", "at: next", "WR-P006"),
        ("records: /data", "record: /data", "WR-P003"),
        ("path: \"/v1", "path: \"v1", "WR-P006"),
        ("pattern: incremental", "pattern: full", "WR-P009"),
        ("type: http,", "type: http, retry: 3,", "WR-P003"),
        ("type: http, url: \"http", "type: http, url: \"ftp", "WR-P006"),
        ("end: 2013-02-04 }", "end: 2013-02-04, per_task: 3 }", "WR-P009"),
    ] {
        assert!(sound.contains(from), "{from}");
        fs::write(&file, sound.replace(from, to)).unwrap();
        let (exit, said) = windrow(&["validate", &path], TOKEN);
        assert!(exit == Some(2) && said.contains(code) && said.contains("pipelines.yaml:"), "{to}: {said}");
    }
    assert_eq!(api.asked().len(), 0);
}

//! A process dies at each point of a commit's way, one after the other, while a reader that is not ours looks all the time: it sees what
//! was there before or what is there after, never nothing and never a mixture, and never what was before again. For each kind of sink and each
//! kind of change: a full load, a rollback, a replacement of windows.

use std::{fs, os::unix::process::ExitStatusExt, path::Path};

use tempfile::TempDir;
use windrow_common::failpoint::Point;
use windrow_tests::{
    postgres::Postgres,
    process::{run, run_in},
    skip::skip,
};

use self::readers::{Reader, Seen};

mod copying;
mod readers;

/// Rows of the generations of the input: more than one batch of any source, and no sum of parts of them is one of them.
const ROWS: [u64; 2] = [20_000, 27_777];
/// Where a change comes from its source.
const LOADING: [Point; 5] = [Point::Claimed, Point::Reading, Point::Staging, Point::Staged, Point::Sealed];
/// Where it comes to its sink. Each is met by the process that goes on where the one before it was killed.
const COMMITTING: [Point; 6] =
    [Point::Prepared, Point::Intended, Point::Committing, Point::Committed, Point::Finalizing, Point::Finalized];
const SIGKILL: i32 = 9;

/// A pipeline, the folder it is declared in, and where it writes to.
struct Course {
    folder: TempDir,
    format: &'static str,
    /// The database it writes to, with its files of the way in the folder.
    postgres: Option<Postgres>,
}

impl Course {
    /// `None` after saying what is missing. The first generation is there to be loaded.
    fn open(test: &str, format: &'static str) -> Option<Self> {
        let postgres = (format == "postgres").then(|| Postgres::start().unwrap());
        if let Some(None) = postgres {
            skip(test, "there is no PostgreSQL server");
            return None;
        }
        let course = Self { folder: tempfile::tempdir().unwrap(), format, postgres: postgres.flatten() };
        course.deliver(0, ROWS[0]);
        Some(course)
    }

    /// A full load that keeps its versions, or a day in hourly windows, which one task loads and one commit replaces.
    fn declare(&self, pattern: &str) {
        let full = pattern == "full";
        let (cursor, window) = match full {
            true => ("", ""),
            false => (", cursor: at", "    window: { every: 1h, start: 2024-01-01, end: 2024-01-02, per_task: 24 }\n"),
        };
        let expose = if full { ", expose: { keep_versions: 2 }" } else { "" };
        let (shop, place) = match &self.postgres {
            None => (String::new(), format!("to: here, format: {}, path: rows", self.format)),
            Some(postgres) => {
                let url = self.path().join("url");
                fs::write(&url, postgres.url()).unwrap();
                let shop = format!("  shop: {{ type: postgres, url: \"${{file:{}}}\" }}\n", url.display());
                (shop, "to: shop, format: postgres, table: rows, staging: here".to_owned())
            }
        };
        let text = format!(
            "version: 1
connections:
  here: {{ type: local, root: . }}
{shop}pipelines:
  load:
    pattern: {pattern}
    source: {{ from: here, path: input.csv, schema: {{ id: int, generation: int, at: timestamp }}{cursor} }}
{window}    sink: {{ {place}{expose} }}
    retries: {{ lost_leases: 100 }}
"
        );
        fs::write(self.path().join("pipelines.yaml"), text).unwrap();
    }

    /// Puts a generation of the input in place, whole: every hour of the day has its share.
    fn deliver(&self, generation: usize, rows: u64) {
        let row = |id: u64| format!("{id},{generation},2024-01-01T{:02}:{:02}:00Z\n", id % 24, id % 60);
        let text = (0..rows).fold("id,generation,at\n".to_owned(), |text, id| text + &row(id));
        let new = self.path().join("input.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path().join("input.csv")).unwrap();
    }

    /// The first generation published, and somebody who reads from then on.
    fn begin(&self, test: &str, pattern: &str) -> Option<Reader> {
        self.declare(pattern);
        let first = run(&["run", self.arg()]).unwrap();
        assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
        self.reader(test, &ROWS)
    }

    /// `None` after saying what is missing.
    fn reader(&self, test: &str, rows: &[u64]) -> Option<Reader> {
        let reader = match &self.postgres {
            Some(postgres) => Ok(Reader::of_database(postgres, "rows", rows)),
            None => Reader::of_files(self.format, &self.path().join("rows"), rows),
        };
        reader.map_err(|reason| skip(test, &reason)).ok()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn arg(&self) -> &str {
        self.path().to_str().unwrap()
    }

    /// Runs a command again and again, each time killed at another point, and then to its end.
    fn killed_at(&self, points: &[Point], args: &[&str]) {
        let args = [args, &["--request-id", args[0], "--local", self.arg()]].concat();
        for point in points {
            let trap = ("WINDROW_FAILPOINTS".to_owned(), format!("{}=kill", point.id()));
            let killed = run_in(&args, &[trap]).unwrap();
            let said = String::from_utf8_lossy(&killed.stderr);
            assert_eq!(killed.status.signal(), Some(SIGKILL), "{} was not met: {said}", point.id());
        }
        let last = run(&args).unwrap();
        assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    }

    /// Loads the second generation over the first.
    fn load_again(&self) {
        self.deliver(1, ROWS[1]);
        let points = [LOADING.as_slice(), &COMMITTING].concat();
        self.killed_at(&points, &["backfill", "create", "load", "--reprocess", "all"]);
    }

    /// Takes away what no commit names any more, and nothing that one does.
    fn clean(&self) {
        self.killed_at_sweeping();
        let last = run(&["clean", "load", "--local", self.arg()]).unwrap();
        assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    }

    fn killed_at_sweeping(&self) {
        let trap = ("WINDROW_FAILPOINTS".to_owned(), format!("{}=kill", Point::Sweeping.id()));
        let killed = run_in(&["clean", "load", "--local", self.arg()], &[trap]).unwrap();
        assert_eq!(killed.status.signal(), Some(SIGKILL), "{}", String::from_utf8_lossy(&killed.stderr));
    }

    /// Damages what is shown behind everybody's back: a reader that does not notice shows nothing.
    fn betray(&self) {
        match &self.postgres {
            Some(postgres) => drop(postgres.psql("DELETE FROM rows WHERE id = 7").unwrap()),
            None => remove_files(&self.path().join("rows")),
        }
    }
}

/// Those that are shown, and what they were staged as.
fn remove_files(folder: &Path) {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")) {
        fs::remove_file(file).unwrap();
    }
    let _ = fs::remove_dir_all(folder.join("_windrow/stage"));
}

/// A full load and its rollback.
fn there_and_back(test: &str, format: &'static str) {
    let Some(course) = Course::open(test, format) else { return };
    let Some(mut reader) = course.begin(test, "full") else { return };
    course.load_again();
    assert_eq!(reader.seen().order, [0, 1]);
    course.killed_at(&COMMITTING, &["rollback", "load"]);
    assert_eq!(reader.seen().order, [0, 1, 0]);
    if course.postgres.is_none() {
        course.clean();
    }
    end(&course, &mut reader, &[0, 1, 0]);
}

/// All windows of a day, replaced by one commit, so that a mixture would be seen.
fn replaced(test: &str, format: &'static str) {
    let Some(course) = Course::open(test, format) else { return };
    let Some(mut reader) = course.begin(test, "incremental") else { return };
    course.load_again();
    end(&course, &mut reader, &[0, 1]);
}

fn end(course: &Course, reader: &mut Reader, order: &[u64]) {
    let Seen { looks, order: seen, faults } = reader.seen();
    assert_eq!(seen, order);
    assert!(faults.is_empty(), "{looks} looks: {faults:?}");
    assert!(looks > 100, "{looks} looks");
    course.betray();
    assert!(!reader.seen().faults.is_empty(), "nobody saw that rows were gone");
}

/// Proves FL4, FL7.
#[test]
fn a_delta_table_is_loaded_and_rolled_back_before_a_reader_whoever_dies_where() {
    there_and_back("a_delta_table_is_loaded_and_rolled_back_before_a_reader_whoever_dies_where", "delta");
}

/// Proves FL4, FL7.
#[test]
fn a_folder_is_loaded_and_rolled_back_before_a_reader_of_its_log_whoever_dies_where() {
    there_and_back("a_folder_is_loaded_and_rolled_back_before_a_reader_of_its_log_whoever_dies_where", "parquet");
}

/// Proves FL4, FL7, CL2.
#[test]
fn a_view_is_loaded_and_rolled_back_before_a_reader_whoever_dies_where() {
    there_and_back("a_view_is_loaded_and_rolled_back_before_a_reader_whoever_dies_where", "postgres");
}

/// Proves IL3, IL4.
#[test]
fn windows_of_a_delta_table_are_replaced_before_a_reader_whoever_dies_where() {
    replaced("windows_of_a_delta_table_are_replaced_before_a_reader_whoever_dies_where", "delta");
}

/// Proves IL3, IL4.
#[test]
fn windows_of_a_folder_are_replaced_before_a_reader_of_its_log_whoever_dies_where() {
    replaced("windows_of_a_folder_are_replaced_before_a_reader_of_its_log_whoever_dies_where", "parquet");
}

/// Proves IL3, IL4, CL2.
#[test]
fn windows_of_a_database_are_replaced_before_a_reader_whoever_dies_where() {
    replaced("windows_of_a_database_are_replaced_before_a_reader_whoever_dies_where", "postgres");
}

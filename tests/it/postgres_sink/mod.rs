//! PostgreSQL as a sink: a real server, read back by `psql`.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tempfile::TempDir;
use windrow_tests::{
    example::Example,
    postgres::{Postgres, Psql},
    process::{Process, run},
    skip::skip,
};

mod comparing;
mod faults;
mod loading;
mod recovery;
mod replacing;
mod rollback;
mod types;
mod upserting;
mod vacuuming;
mod versions;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(5);
/// What is known of the year of flights, from the publisher of the data.
const YEAR: &str = "336776|350217607|6936|8255";
const COUNTS: &str =
    "SELECT count(*), sum(distance), count(DISTINCT time_hour), count(*) FILTER (WHERE dep_time IS NULL) FROM flights";

/// A database and, beside it, a folder of pipelines that write it; both are gone when dropped.
struct Shop {
    postgres: Postgres,
    folder: TempDir,
}

impl Shop {
    /// `None` after saying what is missing.
    fn open(test: &str) -> Option<Self> {
        let postgres = Postgres::start().unwrap();
        if postgres.is_none() {
            skip(test, "there is no PostgreSQL server");
        }
        Some(Self { postgres: postgres?, folder: tempfile::tempdir().unwrap() })
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The connections `here`, `shop` and `staging`; the database's address is in a file.
    fn connections(&self) -> String {
        connections(self.path(), &self.postgres.url())
    }

    /// Writes the pipeline file, connections put before.
    fn declare(&self, pipelines: &str) {
        let text = format!("version: 1\n{}pipelines:\n{pipelines}", self.connections());
        fs::write(self.path().join("pipelines.yaml"), text).unwrap();
    }

    /// Runs the pipelines to their end; the output if they fail.
    fn run(&self) -> Result<(), String> {
        finished(&["run", self.arg()])
    }

    /// Takes over what was declared anew, then loads a pipeline's whole timeline again, as a request of its own.
    fn load_changed(&self, pipeline: &str, request: &str) -> Result<(), String> {
        // It fails while windows of before are set aside.
        let _ = self.run();
        self.load_again(pipeline, request)
    }

    /// Loads a pipeline's whole timeline again, as a request of its own.
    fn load_again(&self, pipeline: &str, request: &str) -> Result<(), String> {
        finished(&again(pipeline, request, self.arg()))
    }

    fn psql(&self, sql: &str) -> String {
        self.postgres.psql(sql).unwrap()
    }

    /// The commits windrow made to sinks whose id begins so, each with the digest of the one before.
    fn check_commits(&self, sink: &str) -> u64 {
        let broken = format!(
            "SELECT count(*) FROM (SELECT seq, previous, lag(seq) OVER w AS before, lag(digest) OVER w AS digest_before \
             FROM windrow.commit WHERE starts_with(sink, '{sink}') WINDOW w AS (PARTITION BY sink ORDER BY seq)) c \
             WHERE previous IS DISTINCT FROM digest_before OR seq <> coalesce(before, 0) + 1"
        );
        assert_eq!(self.psql(&broken), "0", "{}", self.psql("TABLE windrow.commit"));
        self.psql(&format!("SELECT seq FROM windrow.head WHERE starts_with(sink, '{sink}')")).parse().unwrap()
    }

    /// Nothing is left in the schema rows are loaded in.
    fn check_tidy(&self) {
        assert_eq!(self.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'windrow_stage'"), "");
    }
}

fn connections(folder: &Path, url: &str) -> String {
    fs::write(folder.join("url"), url).unwrap();
    format!(
        "connections:
  here: {{ type: local, root: . }}
  shop: {{ type: postgres, url: \"${{file:{}}}\" }}
  staging: {{ type: local, root: ./staging }}
",
        folder.join("url").display()
    )
}

/// Has the example write its flights and planes to the database instead.
fn into_database(example: &Example, postgres: &Postgres) {
    let url = example.path().join("url");
    fs::write(&url, postgres.url()).unwrap();
    let shop = format!("  shop: {{ type: postgres, url: \"${{file:{}}}\" }}\n", url.display());
    example.edit("  lake: {", &format!("{shop}  lake: {{")).unwrap();
    for table in ["flights", "planes"] {
        let to = format!("sink: {{ to: shop, format: postgres, table: {table}, staging: lake }}");
        example.edit(&format!("sink: {{ to: lake, format: delta, path: {table} }}"), &to).unwrap();
    }
}

fn again<'a>(pipeline: &'a str, request: &'a str, folder: &'a str) -> [&'a str; 9] {
    ["backfill", "create", pipeline, "--reprocess", "all", "--request-id", request, "--local", folder]
}

fn finished(args: &[&str]) -> Result<(), String> {
    let output = run(args).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Asks a query again and again, as fast as it is answered; all answers must be ones that `fits` takes.
struct Reader {
    done: Arc<AtomicBool>,
    looking: JoinHandle<u64>,
}

impl Reader {
    fn start(mut session: Psql, query: String, fits: impl Fn(&str) -> bool + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let over = done.clone();
        let looking = std::thread::spawn(move || {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = session.run(&query).unwrap();
                assert!(fits(&answer), "a reader saw {answer:?}");
                looks += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            looks
        });
        Self { done, looking }
    }

    /// How often it looked.
    fn stop(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// Waits until something holds.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let tries = PATIENCE.as_millis() / PAUSE.as_millis();
    let held = (0..tries).any(|_| {
        std::thread::sleep(PAUSE);
        holds()
    });
    assert!(held, "waited for {what}");
}

/// Waits for the end of a process.
pub(crate) fn wait_for_end(process: &mut Process) {
    wait("a process to end", || process.ended().unwrap().is_some());
}

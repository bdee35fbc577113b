//! From one PostgreSQL database into another: rows travel as they are where both have the same types, and are decoded where not.

use std::fs;

use tempfile::TempDir;
use windrow_tests::{
    postgres::Postgres,
    process::{ran, run},
    skip::skip,
};

mod moving;
mod types;

/// A server to read from, one to write to, and a folder of pipelines between them.
struct Pair {
    here: Postgres,
    there: Postgres,
    folder: TempDir,
}

impl Pair {
    /// `None` after saying what is missing.
    fn open(test: &str) -> Option<Self> {
        let (Some(here), Some(there)) = (Postgres::start().unwrap(), Postgres::start().unwrap()) else {
            skip(test, "there is no PostgreSQL server");
            return None;
        };
        Some(Self { here, there, folder: tempfile::tempdir().unwrap() })
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Pipelines between `here` and `there`, beside files of the folder itself, which is `files`.
    fn declare(&self, pipelines: &str) {
        let url = |name: &str, server: &Postgres| {
            let file = self.folder.path().join(name);
            fs::write(&file, server.url()).unwrap();
            format!("  {name}: {{ type: postgres, url: \"${{file:{}}}\" }}\n", file.display())
        };
        let text = format!(
            "version: 1\nconnections:\n  files: {{ type: local, root: . }}\n{}{}pipelines:\n{pipelines}",
            url("here", &self.here),
            url("there", &self.there)
        );
        fs::write(self.folder.path().join("pipelines.yaml"), text).unwrap();
    }

    /// A full load of a table under the same name.
    fn declare_load(&self, table: &str, source: &str, sink: &str) {
        self.declare(&format!(
            "  load:
    pattern: full
    source: {{ from: here, table: {table}{source} }}
    sink: {{ to: there, format: postgres, table: {table}, staging: files{sink} }}
    retries: {{ attempts: 1, lost_leases: 100 }}
"
        ));
    }

    fn run(&self) -> (Option<i32>, String) {
        ran(&["run", self.arg()]).unwrap()
    }

    /// Takes over what is declared and loads all of a pipeline again, as a request of its own.
    fn again(&self, pipeline: &str, request: &str) -> (Option<i32>, String) {
        let _ = self.run();
        ran(&["backfill", "create", pipeline, "--reprocess", "all", "--request-id", request, "--local", self.arg()])
            .unwrap()
    }

    /// Nothing is known of any load before, on either side.
    fn begin_anew(&self) {
        self.there.psql("DROP SCHEMA IF EXISTS windrow, windrow_stage CASCADE").unwrap();
        for path in fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }

    /// What is planned for the only pipeline: whether rows travel as they are, else why they are decoded.
    fn planned(&self) -> Result<(), String> {
        // It ends with 2 where something is refused, and says it all the same.
        let plans: serde_json::Value =
            serde_json::from_slice(&run(&["plan", "-o", "json", self.arg()]).unwrap().stdout).unwrap();
        let why = plans[0]["decoded"].as_str().unwrap_or_default().to_owned();
        if plans[0]["verbatim"] == true { Ok(()) } else { Err(why) }
    }

    /// Rows, bytes and types of a table are those of the other server's. Every value is compared by its text.
    fn check_equal(&self, table: &str) {
        for query in [
            format!("SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM {table} t"),
            format!(
                "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute \
                 WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\\_windrow%'"
            ),
        ] {
            assert_eq!(self.there.psql(&query).unwrap(), self.here.psql(&query).unwrap(), "{query}");
        }
    }

    /// Staged files by the form of their rows: as they are, or of values.
    fn staged(&self) -> (usize, usize) {
        let mut found = (0, 0);
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                match path.extension().and_then(|end| end.to_str()) {
                    _ if path.is_dir() => folders.push(path),
                    Some("rows") => found.0 += 1,
                    Some("parquet") => found.1 += 1,
                    _ => {}
                }
            }
        }
        found
    }
}

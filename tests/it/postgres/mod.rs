//! PostgreSQL as a source, on a real server.

use std::{path::Path, process::Output, sync::Arc};

use arrow_array::RecordBatch;
use futures::TryStreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use windrow_common::{
    pipeline::SourceSpec,
    window::{Axis, Window},
};
use windrow_tests::{
    postgres::Postgres,
    process::{run_in, said},
    skip::skip,
};
use windrow_worker::{
    error::Result,
    source::{self, Chunk, Reject, Source},
};

mod access;
mod counts;
mod gate;
mod limits;
mod loads;
mod many;
mod outages;
mod recounts;
mod shards;
mod standby;
mod values;
mod waits;
mod windows;

/// The variable that holds the database's address.
const URL: &str = "WINDROW_TEST_SHOP_URL";

/// The server, if there is one; otherwise the test is left out.
fn server(test: &str) -> Option<Postgres> {
    server_with(test, &[])
}

fn server_with(test: &str, settings: &[&str]) -> Option<Postgres> {
    let postgres = Postgres::start_with(settings).unwrap();
    if postgres.is_none() {
        skip(test, "there is no PostgreSQL server: `make tools` installs one");
    }
    postgres
}

/// A source of the server's database, its address in a file as a secret's would be.
fn source(url: &str, folder: &Path, params: Value, cursor: Option<&str>) -> Arc<dyn Source> {
    source_over(json!({}), url, folder, params, cursor)
}

/// The same with more said of the connection.
fn source_over(
    mut connection: Value,
    url: &str,
    folder: &Path,
    mut params: Value,
    cursor: Option<&str>,
) -> Arc<dyn Source> {
    let secret = folder.join(format!("url-{}", blake3::hash(url.as_bytes()).to_hex()));
    std::fs::write(&secret, url).unwrap();
    connection["name"] = json!("shop");
    connection["type"] = json!("postgres");
    connection["url"] = json!(format!("${{file:{}}}", secret.display()));
    params["from"] = connection;
    params["cursor"] = json!(cursor);
    let spec: SourceSpec = serde_json::from_value(params).unwrap();
    (source::find(&spec).unwrap().build)(&spec).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Everything of a window: rows and rejects.
async fn read(source: &Arc<dyn Source>, window: &Window) -> Result<(Vec<RecordBatch>, Vec<Reject>)> {
    let (mut rows, mut rejected) = (Vec::new(), Vec::new());
    for slice in source.resolve(window).await? {
        let mut stream = source.read(&slice, window).await?;
        while let Some(chunk) = stream.try_next().await? {
            match chunk {
                Chunk::Rows(batch) => rows.push(batch),
                Chunk::Rejected(rejects) => rejected.extend(rejects),
            }
        }
    }
    Ok((rows, rejected))
}

fn rows_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// `2024-01-01T00:00` plus so many hours, as a window.
fn hours(from: i64, to: i64) -> Window {
    let start = 1_704_067_200_000_000;
    Window::new(Axis::Time, start + from * 3_600_000_000, start + to * 3_600_000_000).unwrap()
}

/// A folder with pipelines from the database into Delta tables of the folder `lake`.
struct Project {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Project {
    /// `pipelines` is what stands below `pipelines:`, with `shop` and `lake` to read from and write to.
    fn new(url: &str, pipelines: &str) -> Self {
        Self::with_shop(url, "", pipelines)
    }

    /// The same with more said of the connection `shop`.
    fn with_shop(url: &str, more: &str, pipelines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "version: 1\nconnections:\n  shop: {{ type: postgres, url: \"${{env:{URL}}}\", {more} }}\n  \
             lake: {{ type: local, root: ./lake }}\npipelines:\n{pipelines}"
        );
        std::fs::write(folder.path().join("pipelines.yaml"), text).unwrap();
        Self { folder, environment: vec![(URL.to_owned(), url.to_owned())] }
    }

    fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn table(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("lake").join(name)
    }

    /// Runs windrow with arguments, and this folder last.
    fn run(&self, args: &[&str]) -> Output {
        run_in(&[args, &[self.arg()]].concat(), &self.environment).unwrap()
    }

    fn ask(&self, args: &[&str]) -> Value {
        let output = run_in(&[args, &["-o", "json", "--local", self.arg()]].concat(), &self.environment).unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// What a reader that is not ours finds in a Delta table by a query over `t`: the first row's columns as text.
fn delta(python: &Path, table: &Path, query: &str) -> Vec<String> {
    const SCRIPT: &str = "
import json, sys, duckdb
from deltalake import DeltaTable
t = DeltaTable(sys.argv[1]).to_pyarrow_table()
duckdb.sql(\"SET TimeZone = 'UTC'\")
print(json.dumps([str(value) for value in duckdb.sql(sys.argv[2]).fetchall()[0]]))
";
    let output = std::process::Command::new(python).args(["-c", SCRIPT]).arg(table).arg(query).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

//! Readers that are not ours: Python with deltalake, pyarrow and DuckDB.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::s3::{self, S3};

/// What the reader finds in a table of flights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flights {
    pub rows: i64,
    pub distance: i64,
    pub hours: i64,
    pub null_departures: i64,
    pub distinct_rows: i64,
    /// Of all rows, whatever their order.
    pub digest: String,
    pub files: i64,
    pub protocol: (i64, i64),
}

/// What is known of the year of flights, from the publisher of the data.
pub const YEAR: (i64, i64, i64, i64) = (336_776, 350_217_607, 6_936, 8_255);

const SCRIPT: &str = concat!(
    r#"
import json, sys, duckdb
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
t = table.to_pyarrow_table()
files = len(table.file_uris())
protocol = [table.protocol().min_reader_version, table.protocol().min_writer_version]
"#,
    include_str!("../readers/flights.py")
);

const FILES_SCRIPT: &str = concat!(
    r#"
import json, os, sys, duckdb
import pyarrow.dataset as ds
from pyarrow.fs import S3FileSystem
place = S3FileSystem(access_key=os.environ["AWS_ACCESS_KEY_ID"], secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    endpoint_override=os.environ["AWS_ENDPOINT_URL"], region=os.environ["AWS_REGION"])
found = ds.dataset(sys.argv[1], filesystem=place, format="parquet")
t = found.to_table()
files = len(found.files)
protocol = [0, 0]
"#,
    include_str!("../readers/flights.py")
);

/// The Python that has the readers, or why there is none.
pub fn python() -> Result<PathBuf, String> {
    let named = std::env::var_os("WINDROW_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/venv/bin/python"));
    let works = Command::new(&python).args(["-c", "import deltalake, duckdb"]).output();
    match works {
        Ok(output) if output.status.success() => Ok(python),
        Ok(output) => Err(format!("the readers cannot be loaded: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("there is no Python with readers at {}: {error}", python.display())),
    }
}

/// Reads a table of flights whole.
pub fn flights(python: &Path, table: &Path) -> Result<Flights> {
    found_by(Command::new(python).args(["-c", SCRIPT]).arg(table))
}

/// Reads a table of flights in the server's bucket whole.
pub fn flights_in(s3: &S3, python: &Path, folder: &str) -> Result<Flights> {
    let table = format!("s3://{}/{folder}", s3::BUCKET);
    found_by(Command::new(python).args(["-c", SCRIPT, &table]).envs(s3.environment()))
}

/// Reads a folder of Parquet files in the server's bucket whole, as readers that know no log of commits do.
pub fn flights_in_files(s3: &S3, python: &Path, folder: &str) -> Result<Flights> {
    let folder = format!("{}/{folder}", s3::BUCKET);
    found_by(Command::new(python).args(["-c", FILES_SCRIPT, &folder]).envs(s3.environment()))
}

fn found_by(reader: &mut Command) -> Result<Flights> {
    let output = reader.output()?;
    ensure!(output.status.success(), "the reader failed: {}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |key: &str| found[key].as_i64().with_context(|| format!("the reader found no {key}"));
    Ok(Flights {
        rows: number("rows")?,
        distance: number("distance")?,
        hours: number("hours")?,
        null_departures: number("null_departures")?,
        distinct_rows: number("distinct_rows")?,
        digest: found["digest"].as_str().unwrap_or_default().to_owned(),
        files: number("files")?,
        protocol: (found["protocol"][0].as_i64().unwrap_or(0), found["protocol"][1].as_i64().unwrap_or(0)),
    })
}

impl Flights {
    /// Whether this is the year of flights: every row, once.
    pub fn check_year(&self) -> Result<()> {
        let found = (self.rows, self.distance, self.hours, self.null_departures);
        ensure!(found == YEAR, "found {found:?}, expected {YEAR:?}");
        ensure!(self.distinct_rows == self.rows, "{} rows are doubled", self.rows - self.distinct_rows);
        Ok(())
    }
}

const ASK: &str = r#"
import json, sys, duckdb
format, place, query = sys.argv[1:4]
if format == "delta":
    from deltalake import DeltaTable
    version = int(sys.argv[4]) if len(sys.argv) > 4 else None
    t = DeltaTable(place, version=version).to_pyarrow_table()
elif format == "parquet":
    t = duckdb.sql(f"SELECT * FROM read_parquet('{place}/part-*.parquet', union_by_name = true)")
elif format == "csv":
    t = duckdb.sql(f"SELECT * FROM read_csv('{place}/part-*.csv')")
else:
    t = duckdb.sql(f"SELECT * FROM read_json('{place}/part-*.json*', union_by_name = true)")
print("\n".join("|".join("" if value is None else str(value) for value in row) for row in duckdb.sql(query).fetchall()))
"#;

/// What a query of the table `t` finds in a folder of a format, one line for each row; of a Delta table at one of its
/// versions, if one is named.
pub fn ask(python: &Path, (format, folder): (&str, &Path), query: &str, version: Option<u64>) -> Result<String> {
    let mut reader = Command::new(python);
    reader.args(["-c", ASK, format]).arg(folder).arg(query).args(version.map(|version| version.to_string()));
    let output = reader.output()?;
    ensure!(output.status.success(), "the reader failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

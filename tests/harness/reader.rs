//! A reader of Delta tables that is not ours: Python with deltalake and DuckDB.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

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

const SCRIPT: &str = r#"
import json, sys, duckdb
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
t = table.to_pyarrow_table()
one = lambda sql: duckdb.sql(sql).fetchone()[0]
protocol = table.protocol()
print(json.dumps({
    "rows": one("select count(*) from t"),
    "distance": int(one("select coalesce(sum(distance), 0) from t")),
    "hours": one("select count(distinct time_hour) from t"),
    "null_departures": one("select count(*) from t where dep_time is null"),
    "distinct_rows": one("select count(*) from (select distinct * from t)"),
    "digest": str(one("select sum(hash(t)::hugeint) from t")),
    "files": len(table.file_uris()),
    "protocol": [protocol.min_reader_version, protocol.min_writer_version],
}))
"#;

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
    let output = Command::new(python).args(["-c", SCRIPT]).arg(table).output()?;
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

//! A small pipeline whose every row is known: 24 hourly windows, ten rows each, one task a window.

use std::{fs, path::Path};

use tempfile::TempDir;
use windrow_tests::cluster::Cluster;

use crate::lake::edit;

pub(crate) const WINDOWS: u64 = 24;
pub(crate) const ROWS: u64 = 240;

/// A folder with the pipeline `visits` and its data; gone with its table when dropped.
pub(crate) struct Visits {
    folder: TempDir,
}

impl Visits {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let minutes = (0..60).step_by(6);
        let row = |hour: u64, minute: u64| format!("{hour:02}{minute:02},2024-01-01T{hour:02}:{minute:02}:00Z\n");
        let rows = (0..WINDOWS).flat_map(|hour| minutes.clone().map(move |minute| row(hour, minute)));
        fs::write(folder.path().join("visits.csv"), rows.fold("id,at\n".to_owned(), |text, row| text + &row)).unwrap();
        fs::write(folder.path().join("pipelines.yaml"), PIPELINE).unwrap();
        Self { folder }
    }

    pub(crate) fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces a part of the pipeline file that must be there.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        edit(&self.path().join("pipelines.yaml"), from, to);
    }

    pub(crate) fn table(&self) -> std::path::PathBuf {
        self.folder.path().join("lake/visits")
    }
}

const PIPELINE: &str = "version: 1
connections:
  here: { type: local, root: . }
  lake: { type: local, root: ./lake }
pipelines:
  visits:
    pattern: incremental
    source:
      from: here
      path: visits.csv
      format: csv
      cursor: at
      schema: { id: string, at: timestamp }
    window: { every: 1h, start: 2024-01-01T00:00, end: 2024-01-02T00:00, per_task: 1 }
    sink: { to: lake, format: delta, path: visits }
    retries: { attempts: 2, backoff: 10ms }
";

/// Windows of visits in a state, and rows ever written, as the cluster tells them.
pub(crate) fn told(cluster: &Cluster) -> Option<(u64, u64)> {
    let pipelines = cluster.ask(&["get", "pipelines"]).ok()?;
    let visits = &pipelines.as_array()?.iter().find(|one| one["name"] == "visits")?;
    Some((visits["windows"]["published"].as_u64()?, visits["rows_written"].as_u64()?))
}

/// Rows of the table, by a replay of its Delta log.
pub(crate) fn rows_of(table: &Path) -> u64 {
    crate::demo::rows_by_log(table).unwrap()
}

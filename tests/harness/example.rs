//! A copy of the flights example in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The copy; gone with its table when dropped.
pub struct Example {
    folder: TempDir,
}

impl Example {
    /// The example as it is.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/flights");
        fs::create_dir(folder.path().join("data"))?;
        for file in ["pipelines.yaml", "data/flights.csv.gz", "data/planes.csv"] {
            fs::copy(from.join(file), folder.path().join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        Ok(Self { folder })
    }

    /// The same with so many windows in a task at most.
    pub fn with_tasks_of(windows: u32) -> Result<Self> {
        let example = Self::new()?;
        example.edit("per_task: 4378", &format!("per_task: {windows}"))?;
        Ok(example)
    }

    /// Replaces a part of the pipeline file that must be there.
    pub fn edit(&self, from: &str, to: &str) -> Result<()> {
        let path = self.pipelines();
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "{from:?} is not in the pipeline file");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder as an argument.
    pub fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap_or_default()
    }

    pub fn pipelines(&self) -> PathBuf {
        self.folder.path().join("pipelines.yaml")
    }

    /// Where the table of flights will be.
    pub fn table(&self) -> PathBuf {
        self.folder.path().join("lake/flights")
    }
}

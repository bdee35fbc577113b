//! A folder with a file of pipelines, for what a test has windrow do.

use std::{fs, path::Path};

use anyhow::Result;
use tempfile::TempDir;

/// The folder; gone with all that was written into it when dropped.
pub struct Declared {
    folder: TempDir,
}

impl Declared {
    /// Where `text` is the file of pipelines.
    pub fn new(text: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("pipelines.yaml"), text)?;
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder as an argument.
    pub fn arg(&self) -> &str {
        self.folder.path().to_str().unwrap_or_default()
    }
}

//! The windows that are loaded, by the time of day, and what a source has for them: rows of which each says its window, that window's revision
//! and a number, as `tests/readers/watcher.py` expects them.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;

/// How long a window is: as finely as a path tells them apart.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// Before the first one ends there is a cluster.
const SOON: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) start: Timestamp,
    pub(super) windows: u64,
}

impl Timeline {
    /// As many windows as fit, from soon on.
    pub(super) fn lasting(time: Duration) -> Result<Self> {
        let soon = (Timestamp::now() + SOON).as_second();
        Ok(Self { start: Timestamp::from_second(soon)?, windows: time.as_secs() / EVERY.as_secs() })
    }

    /// When a window starts.
    pub(super) fn start_of(&self, window: u64) -> Timestamp {
        self.start + EVERY * u32::try_from(window).unwrap_or(u32::MAX)
    }

    /// The pipeline into a sink, as the file that has it says it.
    pub(super) fn pipeline(&self, sink: &str) -> String {
        let at = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let (start, end) = (at(self.start), at(self.start_of(self.windows)));
        format!(
            "version: 1
connections:
  here: {{ type: local, root: . }}
  lake: {{ type: local, root: ./lake }}
pipelines:
  rows:
    pattern: incremental
    source:
      from: here
      path: \"in/{{window.start:%Y%m%dT%H%M%S}}.csv\"
      schema: {{ w: int, rev: int, id: int, at: timestamp, name: string }}
      cursor: at
    window: {{ every: {}s, start: {start}, end: {end} }}
    sink: {{ {sink} }}
    compaction: {{ when: inline, min_files: 2, target_size: 1MiB }}
    retries: {{ attempts: 100, lost_leases: 100, backoff: 200ms, max_backoff: 2s }}
    limits: {{ deadline: 1m }}
",
            EVERY.as_secs()
        )
    }

    /// Puts a revision of a window in place, whole.
    pub(super) fn deliver(&self, folder: &Path, window: u64, revision: u64) -> Result<()> {
        let mut text = "w,rev,id,at,name\n".to_owned();
        for id in 0..15 + (7 * window + 3 * revision) % 10 {
            let at = self.start_of(window) + EVERY * u32::try_from(id)? / 32;
            writeln!(text, "{window},{revision},{id},{at},{window}/{revision}/{id}")?;
        }
        let path = self.file(folder, window);
        let partial = path.with_extension("new");
        fs::write(&partial, text)?;
        Ok(fs::rename(partial, path)?)
    }

    fn file(&self, folder: &Path, window: u64) -> PathBuf {
        folder.join("in").join(format!("{}.csv", self.start_of(window).strftime("%Y%m%dT%H%M%S")))
    }
}

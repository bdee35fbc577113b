//! The machine as far as figures rest on it, and what its disk allows.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Duration,
};

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    report::millis,
    sample::{median_time, percentile},
};

/// Says on what and under which load everything below was measured.
pub(crate) fn print() -> Result<()> {
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kibibytes: u64 = memory.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("?");
    println!("{cores} cores, {:.0} GiB, load {load}, {}", kibibytes as f64 / f64::from(1 << 20), profile());
    let folder = tempfile::tempdir()?;
    let synced = file_syncs(folder.path(), 200)?;
    let (middle, tail) = (median_time(&synced), percentile(&synced, 99));
    println!("a file of 4 KiB created and synced: p50 {}, p99 {}", millis(middle), millis(tail));
    Ok(())
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "DEBUG BUILD: its figures mean nothing" } else { "release build" }
}

/// How long creating and syncing so many files takes, each.
pub(crate) fn file_syncs(folder: &Path, count: usize) -> Result<Vec<Duration>> {
    (0..count).map(|number| file_sync(&folder.join(format!("{number}.limit")))).collect()
}

fn file_sync(path: &Path) -> Result<Duration> {
    let began = Instant::now();
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(&[b'x'; 4096])?;
    file.sync_all()?;
    Ok(began.elapsed())
}

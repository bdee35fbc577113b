//! A full disk where something is written: the sink's, and the one the embedded ledger lies on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use windrow_tests::process::{Process, run};

use super::Case;
use crate::{course::Outcome, ground::Ground, plot::Plot};

const HELD: &[u8] = &[1, 2, 3, 4, 9, 21];

pub(crate) const SINK: Case = Case {
    name: "disk-sink",
    injected: "the disk of a folder of files is full until there is room again",
    held: HELD,
    run: |ground, seed| Box::pin(full(ground, seed, "lake", "parquet")),
};

pub(crate) const STATE: Case = Case {
    name: "disk-ledger",
    injected: "the disk of the embedded ledger is full until there is room again",
    held: HELD,
    run: |ground, seed| Box::pin(full(ground, seed, ".windrow", "delta")),
};

/// A small file system; taken down when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "windrow"]).arg(at).status()?;
        ensure!(mounted.success(), "mounting is refused");
        Ok(Self(at.to_owned()))
    }

    /// Leaves no room at all.
    fn fill(&self) -> Result<()> {
        let full = (0..).find_map(|number| {
            let file = self.0.join(format!("filler-{number}"));
            fs::write(file, vec![0; 64 * 1024]).err()
        });
        full.map(|_| ()).context("a disk has an end")
    }

    fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("filler-")) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn full(ground: &Ground, seed: u64, folder: &str, format: &'static str) -> Result<Outcome> {
    let plot = Plot::new(format, seed)?;
    plot.edit("rows", "per_task: 2", "per_task: 1")?;
    plot.edit("rows", "retries: { ", "retries: { attempts: 100, ")?;
    let disk = Disk::mount(&plot.path().join(folder))?;
    let log = plot.path().join("run.log");
    let mut running = Process::start(&["run", plot.arg()], &log)?;
    // In the middle: something is written, not all.
    let begun = Instant::now();
    while !plot.table("rows").exists() && begun.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(5)).await;
    }
    disk.fill()?;
    sleep(Duration::from_secs(4)).await;
    disk.clear()?;
    let begun = Instant::now();
    while running.ended()?.is_none() && begun.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(100)).await;
    }
    let said = running.log();
    // It may have given up on the full disk, which it must say; then it is started again.
    let again = run(&["run", plot.arg()])?;
    ensure!(again.status.success(), "{said}\n{}", String::from_utf8_lossy(&again.stderr));
    let found = plot.read_back(&ground.python, "rows").with_context(|| said.clone())?;
    let told = said.contains("WR-K003") || said.contains("WR-L0") || said.to_lowercase().contains("no space");
    ensure!(told, "nothing was said of the full disk:\n{said}");
    Ok(Outcome::of(&found, 0, 1))
}

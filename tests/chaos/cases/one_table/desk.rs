//! What those who work on the table at once share: where it is, whom to ask, what the watcher has seen of it, and when to stop.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Output,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinHandle, time::Instant};
use windrow_tests::process::run;

use super::timeline::Timeline;

/// How long one may wait for what is sure to come, whatever is killed meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Desk {
    pub(super) timeline: Timeline,
    /// Where the pipeline and its sources are.
    pub(super) folder: PathBuf,
    pub(super) table: PathBuf,
    /// Where in it a file stands for each commit.
    log: &'static str,
    pub(super) python: PathBuf,
    /// Of all coordinators; whoever takes a dead one's place takes its address.
    pub(super) addresses: String,
    pub(super) seed: u64,
    seen: Mutex<Seen>,
    /// Versions that are pinned, by pin.
    pins: Mutex<BTreeMap<String, u64>>,
    over: AtomicBool,
    closed: AtomicBool,
}

/// What the watcher has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The newest version it has checked.
    pub(super) version: u64,
    /// Of each window that was there.
    pub(super) revisions: BTreeMap<u64, u64>,
}

impl Desk {
    pub(super) fn new(
        timeline: Timeline,
        (folder, table, log): (PathBuf, PathBuf, &'static str),
        (python, addresses): (PathBuf, String),
        seed: u64,
    ) -> Self {
        Self {
            timeline,
            folder,
            table,
            log,
            python,
            addresses,
            seed,
            seen: Mutex::default(),
            pins: Mutex::default(),
            over: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pins(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing new is to be begun.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether there is nothing more to watch.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.end();
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Runs windrow to its end with what the coordinators are to be asked.
    pub(super) fn ask(&self, args: &[&str]) -> Result<Output> {
        run(&[args, &["--coordinator", &self.addresses]].concat())
    }

    /// The newest commit of the table, by its log; 0 before there is one with rows.
    pub(super) fn newest(&self) -> u64 {
        let names = fs::read_dir(self.table.join(self.log)).into_iter().flatten().flatten();
        let version = |name: std::ffi::OsString| name.to_string_lossy().strip_suffix(".json")?.parse().ok();
        names.filter_map(|entry| version(entry.file_name())).max().unwrap_or(0)
    }

    /// Waits for what has to come.
    pub(super) fn wait(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds()? {
            ensure!(Instant::now() < deadline && !self.is_closed(), "waited {PATIENCE:?} for {what}");
            sleep(PAUSE);
        }
        Ok(())
    }
}

/// Lets somebody work at the desk in a thread of their own. Where one fails all end.
pub(super) fn employ<T: Send + 'static>(
    desk: &Arc<Desk>,
    what: &'static str,
    work: impl FnOnce(&Desk) -> Result<T> + Send + 'static,
) -> JoinHandle<Result<T>> {
    let desk = desk.clone();
    tokio::task::spawn_blocking(move || {
        let done = work(&desk);
        if done.is_err() {
            desk.end();
        }
        done.context(what)
    })
}

//! Sinks that cannot be written: a clear error with its code, and nothing lost. When the cause is gone, what failed is
//! loaded and what was done stays.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use windrow_tests::{
    process::{Process, run, run_json, said, windrow},
    skip::skip,
};

use crate::visits::{ROWS, Visits, WINDOWS, rows_of};

/// Runs windrow as somebody to whom permissions apply: root without its capabilities, or whoever runs the test.
fn run_held_to_permissions(args: &[&str]) -> Option<Output> {
    let binary = windrow().unwrap();
    if !is_root() {
        return Some(run(args).unwrap());
    }
    let without = ["--bounding-set", "-all", "--inh-caps", "-all"];
    Command::new("setpriv").args(without).arg(binary).args(args).output().ok()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn published(visits: &Visits) -> u64 {
    let pipelines = run_json(&["get", "pipelines", "-o", "json", "--local", visits.arg()]).unwrap();
    pipelines[0]["windows"]["published"].as_u64().unwrap()
}

#[test]
fn a_sink_that_may_not_be_written_is_refused_before_anything_is_read() {
    let visits = Visits::new();
    let lake = visits.path().join("lake");
    fs::create_dir(&lake).unwrap();
    fs::set_permissions(&lake, fs::Permissions::from_mode(0o555)).unwrap();
    let Some(refused) = run_held_to_permissions(&["run", visits.arg()]) else {
        return skip("a_sink_that_may_not_be_written_is_refused_before_anything_is_read", "there is no setpriv");
    };
    let text = said(&refused);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("WR-K002") && text.contains("lake/visits"), "{text}");

    fs::set_permissions(&lake, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run(&["run", visits.arg()]).unwrap().status.success());
    assert_eq!(rows_of(&visits.table()), ROWS);
}

/// The table became read-only after it had been made: the windows fail with the reason, and come when it is mended.
#[test]
fn a_table_that_became_read_only_loses_nothing() {
    let visits = Visits::new();
    let table = visits.table();
    fs::create_dir_all(&table).unwrap();
    fs::set_permissions(&table, fs::Permissions::from_mode(0o555)).unwrap();
    let Some(failed) = run_held_to_permissions(&["run", visits.arg()]) else {
        return skip("a_table_that_became_read_only_loses_nothing", "there is no setpriv");
    };
    let text = said(&failed);
    assert_ne!(failed.status.code(), Some(0), "{text}");
    assert!(text.contains("WR-K002"), "{text}");
    assert!(!text.contains("nothing to do"), "{text}");

    fs::set_permissions(&table, fs::Permissions::from_mode(0o755)).unwrap();
    let again = ["backfill", "create", "visits", "--reprocess", "missing+failed", "--local", visits.arg()];
    let mended = run(&again).unwrap();
    assert!(mended.status.success(), "{}", said(&mended));
    assert_eq!((published(&visits), rows_of(&table)), (WINDOWS, ROWS));
}

/// A small file system; taken down when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "windrow"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What could not be staged or committed waits, although each window has two attempts only, and comes by itself when
/// there is room.
#[test]
fn a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room() {
    let visits = Visits::new();
    let Some(disk) = Disk::mount(&visits.path().join("lake"), "128k") else {
        return skip("a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room", "mounting is refused");
    };
    let mut running = Process::start(&["run", visits.arg()], &visits.path().join("run.log")).unwrap();
    assert!(within_a_minute(|| running.log().contains("WR-K003")), "{}", running.log());
    // Longer than the attempts of all windows take.
    std::thread::sleep(Duration::from_secs(3));
    if visits.table().join("_delta_log").exists() {
        let rows = rows_of(&visits.table());
        assert!(rows < ROWS && rows.is_multiple_of(ROWS / WINDOWS), "{rows} rows: windows are published whole");
    }

    disk.grow("64m");
    assert!(within_a_minute(|| running.ended().unwrap().is_some()), "{}", running.log());
    assert_eq!(running.ended().unwrap().unwrap().code(), Some(0), "{}", running.log());
    assert_eq!((published(&visits), rows_of(&visits.table())), (WINDOWS, ROWS));
}

fn within_a_minute(mut holds: impl FnMut() -> bool) -> bool {
    let tries = 600;
    (0..tries).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        holds()
    })
}

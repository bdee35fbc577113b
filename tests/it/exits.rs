//! Exit codes are promises: scripts and schedulers decide by them what to do next.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use windrow_tests::process::{Process, free_port, run};

use crate::visits::Visits;

fn code(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = run(args).unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn a_command_that_makes_no_sense_exits_with_2_and_one_that_finds_nothing_with_1() {
    let visits = Visits::new();
    let local = ["--local", visits.arg()];
    let with = |args: &[&str]| code(&[args, &local].concat());
    assert_eq!(code(&["run", visits.arg()]).0, Some(0));
    for (expected, args) in [
        (0, &["get", "pipelines"][..]),
        (0, &["backfill", "preview", "visits"]),
        (2, &["get", "windows"]),
        (2, &["get", "nonsense"]),
        (2, &["explain", "window", "visits", "yesterday"]),
        (2, &["get", "windows", "visits", "--from", "2024-01-02", "--to", "2024-01-01"]),
        (2, &["backfill", "preview", "visits", "--from", "2030-01-01", "--to", "2030-01-02"]),
        (1, &["describe", "vists"]),
        (1, &["explain", "window", "vists", "2024-01-01"]),
        (1, &["backfill", "create", "vists"]),
        (1, &["backfill", "pause", "bf-0000000000"]),
        (1, &["pause", "vists"]),
    ] {
        let (found, said) = with(args);
        assert_eq!(found, Some(expected), "{args:?}: {said}");
        assert!(expected == 0 || said.contains("error"), "{args:?}: {said}");
    }
    for (expected, args) in [
        (2, &["run", "/nowhere/at/all.yaml"][..]),
        (2, &["validate", "/nowhere/at/all.yaml"]),
        (2, &["apply", "/nowhere/at/all.yaml"]),
        (2, &["plan", "/nowhere/at/all.yaml"]),
        (2, &["explain", "nonsense"]),
        (0, &["explain", "WR-L004"]),
        (2, &["coordinator", "--lease", "2s", "--heartbeat", "1s"]),
        (2, &["worker", "--slots", "1000"]),
        (2, &["get", "pipelines", "--coordinator", "no address"]),
    ] {
        let (found, said) = code(args);
        assert_eq!(found, Some(expected), "{args:?}: {said}");
    }
}

/// A moment outside the pipeline's time is answered, not refused.
#[test]
fn a_window_that_never_was_is_explained() {
    let visits = Visits::new();
    assert_eq!(code(&["run", visits.arg()]).0, Some(0));
    for (at, expected) in [
        ("2023-12-31T23:00", "its first window starts at 2024-01-01T00:00:00Z"),
        ("2024-01-02", "its last window ends at 2024-01-02T00:00:00Z"),
        ("2031-05-05", "its last window ends at 2024-01-02T00:00:00Z"),
        ("2024-01-01T23:59:59", "2024-01-01T23:00:00Z 2024-01-02T00:00:00Z: published"),
        ("2024-01-01", "2024-01-01T00:00:00Z 2024-01-01T01:00:00Z: published"),
    ] {
        let (found, said) = code(&["explain", "window", "visits", at, "--local", visits.arg()]);
        assert!(found == Some(0) && said.contains(expected), "{at}: {said}");
    }
}

#[test]
fn where_no_coordinator_answers_trying_again_later_is_advised() {
    let nowhere = format!("127.0.0.1:{}", free_port().unwrap());
    let (found, said) = code(&["get", "pipelines", "--coordinator", &nowhere]);
    assert_eq!(found, Some(75), "{said}");
    assert!(said.contains("error[WR-C002]") && said.contains("--coordinator"), "{said}");
}

#[test]
fn a_ledger_another_process_has_is_named_with_what_to_do() {
    let visits = Visits::new();
    let dev = Process::start(&["dev", visits.arg()], &visits.path().join("dev.log")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !dev.log().contains("pipelines run; stop with") {
        assert!(Instant::now() < deadline, "{}", dev.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for args in [&["run", visits.arg()][..], &["get", "pipelines", "--local", visits.arg()]] {
        let (found, said) = code(args);
        assert_eq!(found, Some(75), "{said}");
        assert!(said.contains("error[WR-L004]") && said.contains("--state") && !said.contains("broken"), "{said}");
    }
}

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
    while !dev.log().contains("; stop with Ctrl-C") {
        assert!(Instant::now() < deadline, "{}", dev.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for args in [&["run", visits.arg()][..], &["get", "pipelines", "--local", visits.arg()]] {
        let (found, said) = code(args);
        assert_eq!(found, Some(75), "{said}");
        assert!(said.contains("error[WR-L004]") && said.contains("--state") && !said.contains("broken"), "{said}");
    }
}

/// A window whose input is not complete is not due, and neither done: the run says which, for what, and what to do.
#[test]
fn a_run_says_what_windows_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "version: 1
connections:
  here: {{ type: local, root: \"{}\" }}
pipelines:
  days:
    pattern: incremental
    source: {{ from: here, path: 'in/{{window.start:%F}}/*.csv', schema: {{ id: int }} }}
    window: {{ every: 1d, start: 2024-01-01, end: 2024-01-07 }}
    readiness: {{ require: {{ all: [{{ marker: _SUCCESS }}] }} }}
    sink: {{ to: here, format: delta, path: table }}
",
        folder.path().display()
    );
    std::fs::write(folder.path().join("pipelines.yaml"), text).unwrap();
    let arg = folder.path().to_str().unwrap();
    let deliver = |day: &str| {
        let day = folder.path().join("in").join(day);
        std::fs::create_dir_all(&day).unwrap();
        std::fs::write(day.join("a.csv"), "id\n1\n").unwrap();
        std::fs::write(day.join("_SUCCESS"), "").unwrap();
    };
    let (found, said) = code(&["run", arg]);
    assert_eq!(found, Some(0), "{said}");
    assert!(said.contains("no window was published") && !said.contains("every due window"), "{said}");
    assert!(said.contains("days: 6 windows wait for their source\n"), "{said}");
    let first = "  2024-01-01T00:00:00Z..2024-01-02T00:00:00Z: ";
    assert!(said.contains(first) && said.contains("_SUCCESS") && said.contains("  and others: "), "{said}");
    assert!(said.contains(&format!("  windrow run {arg}\n  windrow dev {arg}\n")), "{said}");
    assert!(!said.contains("read the table"), "there is none: {said}");

    ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-06"].into_iter().for_each(deliver);
    // Who begins looks at once.
    let (found, said) = code(&["run", arg]);
    assert_eq!(found, Some(0), "{said}");
    assert!(said.contains("days: 5 of 6 windows, 5 rows"), "{said}");
    assert!(said.contains("days: 1 window waits for its source\n  2024-01-05T00:00:00Z.."), "{said}");
}

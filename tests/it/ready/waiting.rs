//! Waiting: pipelines for pipelines, and consumers by a command.

use std::{fs, time::Duration};

use serde_json::Value;
use windrow_tests::{
    cluster::Cluster,
    process::{Process, ran, run, said},
    skip::skip,
};

use super::{BY_HOUR, Day, HOURS, PER_HOUR, rows_in, windows_of, with_reports};
use crate::cluster::TURN;

/// Proves IL11, RM7.
#[test]
fn a_pipeline_waits_for_the_windows_of_another() {
    let day = Day::new("format: delta", "");
    with_reports(&day);
    day.run();
    let rows = rows_in(&day.path().join("reports")).unwrap();
    assert_eq!(rows.len() as u64, (HOURS - 1) * PER_HOUR);
}

/// Proves IL11. A version of a table that somebody else writes is waited for, and who waits says for what.
#[test]
fn a_pipeline_waits_for_a_version_of_a_table() {
    let day = Day::new("format: delta", "");
    let path = day.path().join("pipelines.yaml");
    let visits = fs::read_to_string(&path).unwrap();
    let waits = |version: u64| {
        let require = format!("{{ delta: {{ from: here, path: visits, version: {version} }} }}");
        let reports = super::REPORTS.replace("{ pipeline: visits }", &require);
        visits.replace("pipelines:\n", &format!("pipelines:\n{reports}"))
    };
    fs::write(&path, waits(1)).unwrap();
    day.run();
    day.run();
    assert_eq!(windows_of(&day, "reports")["published"], HOURS);

    let other = Day::new("format: delta", "");
    let text = fs::read_to_string(&path).unwrap().replace("version: 1 }", "version: 1000000 }");
    fs::write(other.path().join("pipelines.yaml"), text).unwrap();
    other.run();
    let told = other.run();
    assert!(told.contains("and not 1000000 yet"), "{told}");
    assert_eq!(windows_of(&other, "reports")["published"], 0);
}

/// The hour that cannot be had keeps the hour that needs it and no other.
#[test]
fn a_window_that_is_not_published_keeps_only_those_that_wait_for_it() {
    let day = Day::new("format: delta", "");
    with_reports(&day);
    let input = day.path().join("input.csv");
    let text = fs::read_to_string(&input).unwrap().replace("\n3-0,Basel,1,", "\n3-0,Basel,one,");
    fs::write(&input, text).unwrap();
    let output = run(&["run", day.arg()]).unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let (visits, reports) = (windows_of(&day, "visits"), windows_of(&day, "reports"));
    assert_eq!((&visits["published"], &visits["quarantined"]), (&Value::from(23), &Value::from(1)));
    assert_eq!((&reports["published"], &reports["waiting"]), (&Value::from(23), &Value::from(1)), "{reports}");
    let check = run(&["ready", "check", "reports", "--local", day.arg()]).unwrap();
    assert_eq!(check.status.code(), Some(75), "{}", said(&check));
    assert!(said(&check).contains("pipeline visits has not published all of 2024-01-01T03"), "{}", said(&check));
}

/// Proves RM11.
#[test]
fn whether_windows_are_ready_is_an_exit_code() {
    let day = Day::new("format: json", BY_HOUR);
    day.run();
    let ready = |args: &[&str]| ran(&[&["ready"], args, &["--local", day.arg()]].concat()).unwrap();
    for args in [
        &["check", "visits"][..],
        &["check", "visits", "--settled"],
        &["check", "visits", "--window", "2024-01-01T05:30"],
        &["wait", "visits", "--from", "2024-01-01", "--to", "2024-01-01T12:00", "--timeout", "1m"],
    ] {
        let (code, said) = ready(args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        assert!(said.contains("visits: ready"), "{said}");
    }
    for (args, expected) in [
        (&["check", "visit"][..], "WR-C003"),
        (&["check", "visits", "--from", "2024-01-01", "--to", "2024-01-03"][..], "WR-W004"),
        (&["check", "visits", "--version", "v1"][..], "WR-W004"),
        (&["check", "visits", "--version", "one"][..], "WR-C001"),
        (&["check", "visits", "--window", "2025-01-01"][..], "WR-C001"),
    ] {
        let (code, said) = ready(args);
        assert!(
            code.is_some_and(|code| [1, 2].contains(&code)) && said.contains(expected),
            "{args:?}: {code:?} {said}"
        );
    }
}

/// Proves RM11. Who waits asks whoever leads, and hears of it when the last window is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_windows_is_told_although_the_leader_changes() {
    let test = "whoever_waits_for_windows_is_told_although_the_leader_changes";
    let _turn = TURN.lock().await;
    let Some(mut cluster) = Cluster::start(2, 0).await.unwrap() else { return skip(test, "there is no etcd") };
    let day = Day::new("format: json", BY_HOUR);
    cluster.apply(day.arg()).unwrap();
    let addresses = cluster.addresses();
    let asked = |verb: &str, patience: &[&str]| {
        let args = [&["ready", verb, "visits", "--coordinator", &addresses], patience].concat();
        run(&args).unwrap()
    };
    assert_eq!(asked("check", &[]).status.code(), Some(75));
    assert_eq!(asked("wait", &["--timeout", "1s"]).status.code(), Some(75), "the time is over");
    let args = ["ready", "wait", "visits", "--timeout", "2m", "--coordinator", &addresses];
    let mut waiting: Vec<Process> =
        (0..5).map(|number| Process::start(&args, &day.path().join(format!("wait-{number}.log"))).unwrap()).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let leader = cluster.leader().unwrap();
    cluster.coordinators[leader].process.kill().unwrap();
    cluster.add_worker("w1").unwrap();
    for process in &mut waiting {
        let mut ended = None;
        for _ in 0..1_200 {
            ended = process.ended().unwrap();
            if ended.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(ended.is_some_and(|ended| ended.success()), "{}\n{}", process.log(), cluster.logs());
        assert!(process.log().contains("24 of 24 windows are published"), "{}", process.log());
    }
    assert_eq!(day.check(), HOURS, "they were told of no window before its marker was set");
}

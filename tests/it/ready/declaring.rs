//! Windows that an operator declares complete.

use std::fs;

use serde_json::Value;
use windrow_tests::process::{ran, run, run_json, said};

use super::{BY_HOUR, Day, HOURS, PER_HOUR, rows_in, windows_of, with_reports};

fn publish(day: &Day, time: &str) -> (Option<i32>, String) {
    let window = format!("2024-01-{time}");
    let args = ["ready", "publish", "visits", "--window", &window, "--reason", "the feed was down", "--by", "ann"];
    ran(&[&args[..], &["--local", day.arg()]].concat()).unwrap()
}

/// Proves RM11. What was given up keeps nobody waiting once somebody has said that it is complete: its marker is set and tells who,
/// and whoever waits for it goes on.
#[test]
fn a_window_that_is_declared_complete_keeps_nobody_waiting() {
    let day = Day::new("format: delta", &BY_HOUR.replace("_SUCCESS\"", "_SUCCESS\", folder: told"));
    with_reports(&day);
    let input = day.path().join("input.csv");
    let text = fs::read_to_string(&input).unwrap().replace("\n3-0,Basel,1,", "\n3-0,Basel,one,");
    fs::write(&input, text).unwrap();
    let output = run(&["run", day.arg()]).unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert_eq!(windows_of(&day, "reports")["waiting"], 1);

    let (code, told) = publish(&day, "01T03:30");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("visits: 2024-01-01T03:00:00Z is published"), "{told}");
    let (code, told) = publish(&day, "01T03:00");
    assert!(code == Some(0) && told.contains("published or declared already"), "{told}");
    day.run();
    assert_eq!(windows_of(&day, "reports")["published"], HOURS);
    assert_eq!(rows_in(&day.path().join("reports")).unwrap().len() as u64, (HOURS - 2) * PER_HOUR);

    let marker = day.path().join("told/ready/2024-01-01T03/_SUCCESS");
    let told: Value = serde_json::from_slice(&fs::read(marker).unwrap()).unwrap();
    let declared = &told["windows"][0]["declared"];
    assert_eq!((&declared["by"], &declared["reason"]), (&Value::from("ann"), &Value::from("the feed was down")));
    let windows = run_json(&["get", "windows", "visits", "-o", "json", "--local", day.arg()]).unwrap();
    assert_eq!((&windows[3]["declared_by"], &windows[3]["state"]), (&Value::from("ann"), &Value::from("published")));
    assert_eq!(windows[4]["declared_by"], Value::Null);
    let (code, told) = publish(&day, "03T00:00");
    assert!(code != Some(0) && told.contains("WR-C001"), "{told}");

    // The rows may come all the same.
    day.deliver(1, &["Basel"]);
    let again = ["backfill", "create", "visits", "--from", "2024-01-01T03:00", "--to", "2024-01-01T04:00"];
    let output = run(&[&again[..], &["--reprocess", "all", "--local", day.arg()]].concat()).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let windows = run_json(&["get", "windows", "visits", "-o", "json", "--local", day.arg()]).unwrap();
    assert_eq!((&windows[3]["declared_by"], &windows[3]["revision"]), (&Value::Null, &Value::from(1)));
}
